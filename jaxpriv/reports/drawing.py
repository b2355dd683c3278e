"""Small drawings for the report: inline SVG that takes the page's colours."""

import base64
import io
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup, escape
from matplotlib import ticker
from PIL import Image

from jaxpriv.reports import wording

BAR = (160, 18)  # Width and height of an interval bar, in CSS pixels.
CHART = (300, 132)
MARGIN = dict(left=44, right=10, top=8, bottom=22)
MOST_POINTS = 400
PLOT = (440, 250)  # Of SSIM against known pairs.
ROOM = dict(left=36, right=22, top=10, bottom=40)
COLORS = 6  # As many as report.css has classes s0, s1, ...
MARKERS = (  # A circle, a square, two triangles and a diamond, about a point.
  "m-3,0 a3,3 0 1,0 6,0 a3,3 0 1,0 -6,0 z",
  "m-2.7,-2.7 h5.4 v5.4 h-5.4 z",
  "m0,-3.6 l3.4,6.2 h-6.8 z",
  "m0,-3.8 l3.8,3.8 l-3.8,3.8 l-3.8,-3.8 z",
  "m0,3.6 l3.4,-6.2 h-6.8 z",
)
# The dashed lines, by the key of `curves` in the results.
LEVELS = {
  "clean": "unprotected features",
  "mean": "mean image",
  "threshold_ssim": "threshold",
}


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


def place(ssim: float, floor: float, ceiling: float) -> float:
  """Maps an SSIM to pixels on the bar: the bounds stand a sixth from its ends.

  What lies far outside of them stands at the end.
  """
  share = (ssim - floor) / (ceiling - floor)
  return BAR[0] * min(max((1 + 4 * share) / 6, 0.03), 0.97)


def between_axis() -> Markup:
  """Names the two bounds above a column of `between`."""
  width, height = BAR
  marks = "".join(
    f'<text x="{place(end, 0, 1):.1f}" y="12" text-anchor="middle">'
    f"{name}</text>"
    for end, name in ((0, "mean"), (1, "clean"))
  )
  return Markup(
    f'<svg class="axis" width="{width}" height="{height}" '
    f'viewBox="0 0 {width} {height}" aria-hidden="true">{marks}</svg>'
  )


def between(
  ssim: float,
  low: float,
  high: float,
  level: str,
  floor: float | None,
  ceiling: float | None,
) -> Markup:
  """Draws an SSIM with its interval between two bounds, which are lines.

  Nothing is drawn where the bounds are not known or leave no room.
  """
  if floor is None or ceiling is None or ceiling <= floor:
    return Markup("")
  width, height = BAR
  middle = height / 2
  left, x, right = (place(v, floor, ceiling) for v in (low, ssim, high))
  start = place(floor, floor, ceiling)
  ends = "".join(
    f'<line class="{kind}" x1="{place(end, floor, ceiling):.1f}" '
    f'x2="{place(end, floor, ceiling):.1f}" y1="1" y2="{height - 1}"/>'
    for kind, end in (("chance", floor), ("ceiling", ceiling))
  )
  label = (
    f"SSIM {wording.fixed(ssim, 2)}, interval {wording.span(low, high)}, mean"
    f" image {wording.fixed(floor, 2)}, from unprotected features"
    f" {wording.fixed(ceiling, 2)}"
  )
  return Markup(
    f'<svg class="bar {escape(level)}" width="{width}" height="{height}" '
    f'viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">'
    f'<line class="track" x1="4" x2="{width - 4}" y1="{middle}" y2="{middle}"/>'
    f'<rect class="reach" x="{min(start, x):.1f}" y="{middle - 1.5}" '
    f'width="{abs(x - start):.1f}" height="3"/>{ends}'
    f'<rect class="interval" x="{left:.1f}" y="{middle - 4}" '
    f'width="{max(right - left, 1):.1f}" height="8" rx="2"/>'
    f'<circle class="rate" cx="{x:.1f}" cy="{middle}" r="2.5"/></svg>'
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


def _by_mechanism(curves: Sequence[Mapping[str, Any]]):
  """Returns the first curve of each mechanism that has points."""
  found: dict[str, Mapping[str, Any]] = {}
  for curve in curves:
    if curve["points"]:
      found.setdefault(curve["mechanism"], curve)
  return found


def _levels(curves: Sequence[Mapping[str, Any]], key: str) -> list[float]:
  return sorted({c[key] for c in curves if wording.known(c[key])})


def pairs(
  curves: Sequence[Mapping[str, Any]], name: Callable[[str], str] = str
) -> Markup:
  """Draws SSIM against the logarithm of known pairs, a line a mechanism.

  `curves` as in `jaxpriv.reports.results`; bands are the intervals.
  """
  series = _by_mechanism(curves)
  if not series:
    return Markup("")
  points = np.concatenate(
    [np.asarray(c["points"], np.float64) for c in series.values()]
  )
  levels = {key: _levels(curves, key) for key in LEVELS}
  heights = [*points[:, 1:].ravel(), *sum(levels.values(), []), 0.0]
  low, high = min(heights), max(heights)
  high += 0.04 * (high - low) or 1
  first, last = np.log2(points[:, 0].min()), np.log2(points[:, 0].max())
  if first == last:
    first, last = first - 1, last + 1
  width, height = PLOT
  across = (ROOM["left"], width - ROOM["right"])
  down = (height - ROOM["bottom"], ROOM["top"])

  def x(pairs):
    share = (math.log2(pairs) - first) / (last - first)
    return across[0] + (across[1] - across[0]) * share

  def y(ssim):
    return down[0] + (down[1] - down[0]) * (ssim - low) / (high - low)

  parts = [
    f'<line class="grid" x1="{across[0]}" x2="{across[1]}" y1="{y(v):.1f}" '
    f'y2="{y(v):.1f}"/><text x="{across[0] - 6}" y="{y(v) + 3.5:.1f}" '
    f'text-anchor="end">{wording.tick(v)}</text>'
    for v in _ticks(low, high, 5)
  ]
  parts += [
    f'<line class="grid" x1="{x(n):.1f}" x2="{x(n):.1f}" y1="{down[0]}" '
    f'y2="{down[0] + 4}"/><text x="{x(n):.1f}" y="{down[0] + 15}" '
    f'text-anchor="middle">{wording.count(n)}</text>'
    for n in _apart(sorted({int(n) for n in points[:, 0]}), x, 42)
  ]
  parts.append(
    f'<text x="{sum(across) / 2:.1f}" y="{height - 7}" text-anchor="middle">'
    "known pairs, doubling along the axis</text>"
  )
  parts += [
    f'<line class="level {key}" x1="{across[0]}" x2="{across[1]}" '
    f'y1="{y(v):.1f}" y2="{y(v):.1f}"/>'
    for key, values in levels.items()
    for v in values
  ]
  parts += [
    _series(i, curve["points"], x, y) for i, curve in enumerate(series.values())
  ]
  label = "SSIM against known pairs. " + "; ".join(
    f"{name(mechanism)}: {wording.fixed(curve['points'][0][1], 2)} with"
    f" {wording.count(curve['points'][0][0])},"
    f" {wording.fixed(curve['points'][-1][1], 2)} with"
    f" {wording.count(curve['points'][-1][0])}"
    for mechanism, curve in series.items()
  )
  return Markup(
    f'<svg class="chart pairs" viewBox="0 0 {width} {height}" role="img" '
    f'aria-label="{escape(label)}">{"".join(parts)}</svg>'
  )


def _apart(values: Sequence[int], x, room: float) -> list[int]:
  """Leaves out, from the right, what would be written over its neighbour."""
  kept: list[int] = []
  for value in reversed(values):
    if not kept or x(kept[-1]) - x(value) >= room:
      kept.append(value)
  return kept[::-1]


def _series(number: int, points: Sequence[Sequence[float]], x, y) -> str:
  """Returns a line with its band; a band of one point is an upright line."""
  upper = [f"{x(n):.1f},{y(high):.1f}" for n, _, _, high in points]
  lower = [f"{x(n):.1f},{y(low):.1f}" for n, _, low, _ in points]
  middle = [(f"{x(n):.1f}", f"{y(ssim):.1f}") for n, ssim, _, _ in points]
  if len(points) == 1:
    band = f'<polyline points="{upper[0]} {lower[0]}"/>'
  else:
    line = " ".join(",".join(place) for place in middle)
    band = (
      f'<polygon class="band" points="{" ".join(upper + lower[::-1])}"/>'
      f'<polyline points="{line}"/>'
    )
  shape = MARKERS[number % len(MARKERS)]
  dots = "".join(
    f'<path d="M{across},{down} {shape}"/>' for across, down in middle
  )
  return f'<g class="series s{number % COLORS}">{band}{dots}</g>'


def pairs_legend(
  curves: Sequence[Mapping[str, Any]], name: Callable[[str], str] = str
) -> Markup:
  """Names what `pairs` draws, each beside a sample of its line."""
  entries = []
  for i, (mechanism, curve) in enumerate(_by_mechanism(curves).items()):
    needed = curve["pairs_needed"]
    wanted = wording.fixed(curve["threshold_ssim"], 2)
    reached = (
      f"{wanted} not reached with {wording.count(curve['largest'])}"
      if needed is None
      else f"{wanted} reached with {wording.count(needed)}"
    )
    sample = (
      f'<g class="series s{i % COLORS}"><polyline points="0,7 26,7"/>'
      f'<path d="M13,7 {MARKERS[i % len(MARKERS)]}"/></g>'
    )
    entries.append((sample, f"{name(mechanism)}: {reached}"))
  for key, text in LEVELS.items():
    values = [wording.fixed(v, 2) for v in _levels(curves, key)]
    if values:
      sample = f'<line class="level {key}" x1="0" x2="26" y1="7" y2="7"/>'
      entries.append((sample, f"{text} {', '.join(values)}"))
  items = Markup("").join(
    Markup(
      '<li><svg class="chart sample" width="26" height="14" '
      'viewBox="0 0 26 14" aria-hidden="true">{}</svg>{}</li>'
    ).format(Markup(sample), text)
    for sample, text in entries
  )
  return Markup('<ul class="key">{}</ul>').format(items)
