"""Small drawings for the report: inline SVG that takes the page's colours."""

import base64
import io
import math
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup, escape
from matplotlib import ticker
from PIL import Image

from jaxpriv.reports import wording

BAR = (160, 18)  # Width and height of an interval bar, in CSS pixels.
CHART = (300, 132)
MARGIN = dict(left=44, right=10, top=8, bottom=22)
MOST_POINTS = 400


def png(image: np.ndarray, magnify: int = 1) -> str:
  """Returns a uint8 image [H, W, 3] or [H, W] as a data URL."""
  buffer = io.BytesIO()
  picture = Image.fromarray(np.asarray(image, np.uint8).squeeze())
  if magnify > 1:
    size = (picture.width * magnify, picture.height * magnify)
    picture = picture.resize(size, Image.Resampling.NEAREST)
  picture.save(buffer, "PNG", optimize=True)
  return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def position(rate: float) -> float:
  """Maps a rate to pixels on the bar; the root spreads what is near chance."""
  width = BAR[0] - 8
  return 4 + width * math.sqrt(min(max(rate, 0.0), 1.0))


def axis(ticks: Sequence[float] = (0, 0.02, 0.1, 0.25, 0.5, 1)) -> Markup:
  """Draws the scale that stands above a column of bars."""
  width, height = BAR
  marks = "".join(
    f'<text x="{position(t):.1f}" y="12" text-anchor="{_anchor(t)}">'
    f"{round(t * 100)}</text>"
    for t in ticks
  )
  return Markup(
    f'<svg class="axis" width="{width}" height="{height}" '
    f'viewBox="0 0 {width} {height}" aria-hidden="true">{marks}</svg>'
  )


def _anchor(tick: float) -> str:
  return "start" if tick == 0 else "end" if tick == 1 else "middle"


def bar(
  rate: float,
  low: float,
  high: float,
  level: str,
  chance: float | None = None,
  witness: float | None = None,
) -> Markup:
  """Draws a rate with its interval, chance (a line) and a reference (a ring).

  `level` is the class that colours it: good, unclear, bad or plain.
  """
  width, height = BAR
  middle = height / 2
  left, right = position(low), position(high)
  parts = [
    f'<line class="track" x1="4" x2="{width - 4}" y1="{middle}" y2="{middle}"/>'
  ]
  if chance is not None:
    x = position(chance)
    parts.append(
      f'<line class="chance" x1="{x:.1f}" x2="{x:.1f}" y1="1" '
      f'y2="{height - 1}"/>'
    )
  if witness is not None:
    parts.append(
      f'<circle class="witness" cx="{position(witness):.1f}" cy="{middle}" '
      'r="3.5"/>'
    )
  parts.append(
    f'<rect class="interval" x="{left:.1f}" y="{middle - 4}" '
    f'width="{max(right - left, 1):.1f}" height="8" rx="2"/>'
    f'<circle class="rate" cx="{position(rate):.1f}" cy="{middle}" r="2.5"/>'
  )
  label = f"{wording.percent(rate)}, interval {wording.interval(low, high)}"
  if chance is not None:
    label += f", chance {wording.percent(chance)}"
  return Markup(
    f'<svg class="bar {escape(level)}" width="{width}" height="{height}" '
    f'viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">'
    f"{''.join(parts)}</svg>"
  )


def _thin(curve: Sequence[tuple[float, float]]) -> np.ndarray:
  """Returns [N, 2] steps and values; where too many, means of neighbours."""
  points = np.asarray(curve, np.float64).reshape(-1, 2)
  if len(points) <= MOST_POINTS:
    return points
  return np.stack(
    [part.mean(axis=0) for part in np.array_split(points, MOST_POINTS)]
  )


def _ticks(low: float, high: float, most: int) -> list[float]:
  values = ticker.MaxNLocator(most).tick_values(low, high)
  slack = 1e-9 * (high - low)
  return [float(v) for v in values if low - slack <= v <= high + slack]


def chart(metric: str, curve: Sequence[tuple[float, float | None]]) -> Markup:
  """Draws one metric over steps; values that are not finite leave a gap."""
  points = _thin([(s, math.nan if v is None else v) for s, v in curve])
  finite = points[np.isfinite(points).all(axis=1)]
  if not len(finite):
    return Markup("")
  (first, low), (last, high) = finite.min(axis=0), finite.max(axis=0)
  if high == low:
    low, high = low - max(abs(low), 1) / 2, high + max(abs(high), 1) / 2
  width, height = CHART
  across = (MARGIN["left"], width - MARGIN["right"])
  down = (height - MARGIN["bottom"], MARGIN["top"])

  def x(step):
    span = max(last - first, 1e-12)
    return across[0] + (across[1] - across[0]) * (step - first) / span

  def y(value):
    return down[0] + (down[1] - down[0]) * (value - low) / (high - low)

  grid = "".join(
    f'<line class="grid" x1="{across[0]}" x2="{across[1]}" y1="{y(v):.1f}" '
    f'y2="{y(v):.1f}"/><text x="{across[0] - 6}" y="{y(v) + 3.5:.1f}" '
    f'text-anchor="end">{wording.tick(v)}</text>'
    for v in _ticks(low, high, 3)
  )
  grid += "".join(
    f'<text x="{x(v):.1f}" y="{height - 6}" text-anchor="middle">'
    f"{wording.tick(v)}</text>"
    for v in _ticks(first, last, 4)
    if v == round(v)
  )
  label = (
    f"{metric}: from {wording.real(float(finite[0, 1]))}"
    f" to {wording.real(float(finite[-1, 1]))}"
    f" over steps {first:,.0f} to {last:,.0f}"
  )
  return Markup(
    f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" '
    f'aria-label="{escape(label)}">{grid}{_lines(points, x, y)}</svg>'
  )


def _lines(points: np.ndarray, x, y) -> str:
  """Returns one polyline for each stretch of finite points."""
  good = np.isfinite(points).all(axis=1)
  breaks = np.flatnonzero(np.diff(good.astype(int))) + 1
  lines = []
  for part in np.split(points, breaks):
    if not np.isfinite(part).all():
      continue
    place = " ".join(f"{x(s):.1f},{y(v):.1f}" for s, v in part)
    if len(part) == 1:
      (cx, cy) = place.split(",")
      lines.append(f'<circle class="dot" cx="{cx}" cy="{cy}" r="2"/>')
    else:
      lines.append(f'<polyline points="{place}"/>')
  return "".join(lines)
