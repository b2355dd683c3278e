"""Small drawings for the report: inline SVG that takes the page's colours.

Curves are drawn here and not by matplotlib: its SVG has fixed colours, which a
dark page cannot change, a style sheet and identifiers that act on the whole
page, addresses of the network, and three times the size.
"""

import base64
import io
import math
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup, escape
from matplotlib import ticker
from PIL import Image

from jaxpriv.reports import cells, wording
from jaxpriv.reports import curves as curves_lib

BAR = (160, 18)  # width and height of an interval bar, in CSS pixels
CHART = (300, 132)
PLOT = (440, 250)  # of a metric against known pairs
MOST_POINTS = 400
COLORS = 6  # as many as report.css has classes s0, s1, ...
MARKERS = (  # a circle, a square, two triangles and a diamond, about a point
  "m-3,0 a3,3 0 1,0 6,0 a3,3 0 1,0 -6,0 z",
  "m-2.7,-2.7 h5.4 v5.4 h-5.4 z",
  "m0,-3.6 l3.4,6.2 h-6.8 z",
  "m0,-3.8 l3.8,3.8 l-3.8,3.8 l-3.8,-3.8 z",
  "m0,3.6 l3.4,-6.2 h-6.8 z",
)
LEVELS = {  # the dashed lines, by the field of a curve
  "ceiling": "without protection",
  "floor": "knowing nothing",
  "threshold": "threshold",
}


def png(image: np.ndarray) -> str:
  """Returns a uint8 image [H, W, 3] or [H, W] as a data URL."""
  buffer = io.BytesIO()
  picture = Image.fromarray(np.asarray(image, np.uint8).squeeze())
  picture.save(buffer, "PNG", optimize=True)
  return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _svg(kind: str, size: tuple[int, int], label: str, content: str) -> Markup:
  width, height = size
  told = f'role="img" aria-label="{escape(label)}"' if label else (
    'aria-hidden="true"'
  )  # fmt: skip
  fixed = (
    "" if kind.startswith("chart") else f'width="{width}" height="{height}" '
  )
  return Markup(
    f'<svg class="{escape(kind)}" {fixed}viewBox="0 0 {width} {height}" '
    f"{told}>{content}</svg>"
  )


def _across(place: float) -> float:
  """Maps 0 to 1 to pixels on a bar."""
  return 4 + (BAR[0] - 8) * place


def axis(ticks: Sequence[tuple[float, str]]) -> Markup:
  """Draws the scale that stands above a column of bars."""
  marks = "".join(
    f'<text x="{_across(place):.1f}" y="12" text-anchor="'
    f'{"start" if place == 0 else "end" if place == 1 else "middle"}">'
    f"{escape(text)}</text>"
    for place, text in ticks
  )
  return _svg("axis", BAR, "", marks)


def bar(drawn: cells.Bar, level: str) -> Markup:
  """Draws an interval with its floor, a line, and its ceiling, a ring.

  `level` is the class that colours it: good, unclear, bad or told.
  """
  width, height = BAR
  middle = height / 2
  left, value, right = map(_across, (drawn.low, drawn.value, drawn.high))
  parts = [
    f'<line class="track" x1="4" x2="{width - 4}" y1="{middle}" y2="{middle}"/>'
  ]
  if drawn.floor is not None:
    x = _across(drawn.floor)
    parts.append(
      f'<line class="floor" x1="{x:.1f}" x2="{x:.1f}" y1="1" '
      f'y2="{height - 1}"/>'
    )
  if drawn.ceiling is not None:
    parts.append(
      f'<circle class="ceiling" cx="{_across(drawn.ceiling):.1f}" '
      f'cy="{middle}" r="3.5"/>'
    )
  parts.append(
    f'<rect class="interval" x="{left:.1f}" y="{middle - 4}" '
    f'width="{max(right - left, 1):.1f}" height="8" rx="2"/>'
    f'<circle class="value" cx="{value:.1f}" cy="{middle}" r="2.5"/>'
  )
  return _svg(f"bar {level}", BAR, drawn.label, "".join(parts))


class _Frame:
  """Where numbers stand in a drawing with axes."""

  def __init__(self, size, room, xs, ys):
    left, right, top, bottom = room
    self.across = (left, size[0] - right)
    self.down = (size[1] - bottom, top)
    self.xs, self.ys = xs, ys

  def x(self, value: float) -> float:
    share = (value - self.xs[0]) / max(self.xs[1] - self.xs[0], 1e-12)
    return self.across[0] + (self.across[1] - self.across[0]) * share

  def y(self, value: float) -> float:
    share = (value - self.ys[0]) / (self.ys[1] - self.ys[0])
    return self.down[0] + (self.down[1] - self.down[0]) * share

  def grid(self, most: int) -> str:
    """Lines across the drawing, with numbers beside them."""
    first, last = self.across
    return "".join(
      f'<line class="grid" x1="{first}" x2="{last}" y1="{self.y(v):.1f}" '
      f'y2="{self.y(v):.1f}"/><text x="{first - 6}" y="{self.y(v) + 3.5:.1f}" '
      f'text-anchor="end">{wording.tick(v)}</text>'
      for v in _ticks(self.ys[0], self.ys[1], most)
    )

  def below(self, places: Sequence[float], texts: Sequence[str]) -> str:
    return "".join(
      f'<text x="{place:.1f}" y="{self.down[0] + 15}" '
      f'text-anchor="middle">{text}</text>'
      for place, text in zip(places, texts)
    )


def _ticks(low: float, high: float, most: int) -> list[float]:
  values = ticker.MaxNLocator(most).tick_values(low, high)
  slack = 1e-9 * (high - low)
  return [float(v) for v in values if low - slack <= v <= high + slack]


def _thin(curve: Sequence[tuple[float, float]]) -> np.ndarray:
  """Returns [N, 2] steps and values; where too many, means of neighbours."""
  points = np.asarray(curve, np.float64).reshape(-1, 2)
  if len(points) <= MOST_POINTS:
    return points
  return np.stack(
    [part.mean(axis=0) for part in np.array_split(points, MOST_POINTS)]
  )


def chart(metric: str, curve: Sequence[tuple[float, float | None]]) -> Markup:
  """Draws one metric over steps; values that are not finite leave a gap."""
  points = _thin([(s, math.nan if v is None else v) for s, v in curve])
  finite = points[np.isfinite(points).all(axis=1)]
  if not len(finite):
    return Markup("")
  (first, low), (last, high) = finite.min(axis=0), finite.max(axis=0)
  if high == low:
    low, high = low - max(abs(low), 1) / 2, high + max(abs(high), 1) / 2
  frame = _Frame(CHART, (44, 10, 8, 22), (first, last), (low, high))
  steps = [v for v in _ticks(first, last, 4) if v == round(v)]
  parts = [
    frame.grid(3),
    frame.below([frame.x(v) for v in steps], [wording.tick(v) for v in steps]),
  ]
  good = np.isfinite(points).all(axis=1)
  breaks = np.flatnonzero(np.diff(good.astype(int))) + 1
  for part in np.split(points, breaks):
    if not np.isfinite(part).all():
      continue
    places = [f"{frame.x(s):.1f},{frame.y(v):.1f}" for s, v in part]
    if len(part) == 1:
      x, y = places[0].split(",")
      parts.append(f'<circle class="dot" cx="{x}" cy="{y}" r="2"/>')
    else:
      parts.append(f'<polyline points="{" ".join(places)}"/>')
  label = (
    f"{metric}: from {wording.real(float(finite[0, 1]))}"
    f" to {wording.real(float(finite[-1, 1]))}"
    f" over steps {first:,.0f} to {last:,.0f}"
  )
  return _svg("chart", CHART, label, "".join(parts))


def _levels(curves: Sequence[curves_lib.Curve], key: str) -> list[float]:
  values = {getattr(curve, key) for curve in curves}
  return sorted(value for value in values if value is not None)


def pairs(curves: Sequence[curves_lib.Curve]) -> Markup:
  """Draws a metric against the logarithm of known pairs, a line a subject.

  Bands are the intervals.
  """
  if not curves:
    return Markup("")
  points = np.concatenate([np.asarray(c.points, np.float64) for c in curves])
  levels = {key: _levels(curves, key) for key in LEVELS}
  heights = [*points[:, 1:].ravel(), *sum(levels.values(), []), 0.0]
  low, high = min(heights), max(heights)
  high += 0.04 * (high - low) or 1
  first, last = np.log2(points[:, 0].min()), np.log2(points[:, 0].max())
  if first == last:
    first, last = first - 1, last + 1
  frame = _Frame(PLOT, (36, 22, 10, 40), (first, last), (low, high))
  start, end = frame.across
  places: dict[float, str] = {}
  for n in sorted({int(n) for n in points[:, 0]}, reverse=True):
    x = frame.x(math.log2(n))
    if not places or min(places) - x >= 42:  # or they would overlap
      places[x] = wording.count(n)
  parts = [
    frame.grid(5),
    frame.below(list(places), list(places.values())),
    f'<text x="{(start + end) / 2:.1f}" y="{PLOT[1] - 7}" '
    'text-anchor="middle">known pairs, doubling along the axis</text>',
  ]
  parts += [
    f'<line class="level {key}" x1="{start}" x2="{end}" '
    f'y1="{frame.y(v):.1f}" y2="{frame.y(v):.1f}"/>'
    for key, values in levels.items()
    for v in values
  ]
  parts += [_series(i, curve.points, frame) for i, curve in enumerate(curves)]
  ends = lambda c: " and ".join(
    f"{wording.fixed(value, 2)} with {wording.count(n)}"
    for n, value, *_ in (c.points[0], c.points[-1])
  )
  label = f"{curves_lib.METRIC} against known pairs. " + "; ".join(
    f"{wording.name(curve.subject)}: {ends(curve)}" for curve in curves
  )
  return _svg("chart pairs", PLOT, label, "".join(parts))


def _series(number: int, points, frame: _Frame) -> str:
  """Returns a line with its band; a band of one point is an upright line."""
  place = lambda n, v: f"{frame.x(math.log2(n)):.1f},{frame.y(v):.1f}"
  upper = [place(n, high) for n, _, _, high in points]
  lower = [place(n, low) for n, _, low, _ in points]
  middle = [place(n, value) for n, value, _, _ in points]
  if len(points) == 1:
    band = f'<polyline points="{upper[0]} {lower[0]}"/>'
  else:
    band = (
      f'<polygon class="band" points="{" ".join(upper + lower[::-1])}"/>'
      f'<polyline points="{" ".join(middle)}"/>'
    )
  shape = MARKERS[number % len(MARKERS)]
  dots = "".join(f'<path d="M{spot} {shape}"/>' for spot in middle)
  return f'<g class="series s{number % COLORS}">{band}{dots}</g>'


def legend(curves: Sequence[curves_lib.Curve]) -> Markup:
  """Names what `pairs` draws, each beside a sample of its line."""
  entries = []
  for i, curve in enumerate(curves):
    text = wording.name(curve.subject)
    if curve.threshold is not None:
      wanted = wording.fixed(curve.threshold, 2)
      text += (
        f": {wanted} not reached with {wording.count(curve.points[-1][0])}"
        if curve.needed is None
        else f": {wanted} reached with {wording.count(curve.needed)}"
      )
    shape = MARKERS[i % len(MARKERS)]
    sample = (
      f'<g class="series s{i % COLORS}"><polyline points="0,7 26,7"/>'
      f'<path d="M13,7 {shape}"/></g>'
    )
    entries.append((sample, text))
  for key, text in LEVELS.items():
    values = [wording.fixed(v, 2) for v in _levels(curves, key)]
    if values:
      sample = f'<line class="level {key}" x1="0" x2="26" y1="7" y2="7"/>'
      entries.append((sample, f"{text} {', '.join(values)}"))
  items = [
    Markup("<li>{}{}</li>").format(_svg("sample", (26, 14), "", sample), text)
    for sample, text in entries
  ]
  return Markup('<ul class="key">{}</ul>').format(Markup("").join(items))
