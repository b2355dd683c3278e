"""Small drawings for the report: inline SVG that takes the page's colours.

Curves are drawn here and not by a library of plots: its SVG has fixed colours,
which a dark page cannot change, a style sheet and identifiers that act on the
whole page, addresses of the network, and three times the size.
"""

import base64
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from markupsafe import Markup, escape

from jaxpriv.reports import cells, wording
from jaxpriv.reports import curves as curves_lib
from jaxpriv.training import pictures

BAR = (124, 18)  # width and height of an interval bar, in CSS pixels
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
LEVELS = {  # the dashed lines
  "ceiling": "without protection",
  "floor": "knowing nothing",
  "threshold": "threshold",
}


def png(image: np.ndarray) -> str:
  """Returns a uint8 image [H, W, 3] as a data URL."""
  content = base64.b64encode(pictures.png_bytes(image)).decode()
  return f"data:image/png;base64,{content}"


def _svg(kind: str, size: tuple[int, int], label: str, content: str) -> Markup:
  width, height = size
  hidden = 'aria-hidden="true"'
  told = f'role="img" aria-label="{escape(label)}"' if label else hidden
  if not kind.startswith("chart"):  # charts are as wide as there is room
    told += f' width="{width}" height="{height}"'
  return Markup(
    f'<svg class="{escape(kind)}" viewBox="0 0 {width} {height}" {told}>'
    f"{content}</svg>"
  )


def _across(place: float) -> float:
  """Maps 0 to 1 to pixels on a bar."""
  return 4 + (BAR[0] - 8) * place


def axis(ticks: Sequence[tuple[float, str]]) -> Markup:
  """Draws the scale that stands above a column of bars."""
  anchors = {0.0: "start", 1.0: "end"}
  marks = "".join(
    f'<text x="{_across(place):.1f}" y="12" '
    f'text-anchor="{anchors.get(place, "middle")}">{escape(text)}</text>'
    for place, text in ticks
  )
  return _svg("axis", BAR, "", marks)


def bar(drawn: cells.Bar, level: str) -> Markup:
  """Draws an interval with its floor, a line, and its ceiling, a ring.

  `level` is the class that colours it: good, unclear, bad or told.
  """
  line = lambda kind, x1, x2, y1, y2: (
    f'<line class="{kind}" x1="{x1:.1f}" x2="{x2:.1f}" y1="{y1}" y2="{y2}"/>'
  )
  dot = lambda kind, place, radius: (
    f'<circle class="{kind}" cx="{_across(place):.1f}" cy="9" r="{radius}"/>'
  )
  parts = [line("track", _across(0), _across(1), 9, 9)]
  if drawn.floor is not None:
    x = _across(drawn.floor)
    parts.append(line("floor", x, x, 1, 17))
  if drawn.ceiling is not None:
    parts.append(dot("ceiling", drawn.ceiling, 3.5))
  left, right = _across(drawn.low), _across(drawn.high)
  parts.append(
    f'<rect class="interval" x="{left:.1f}" y="5" '
    f'width="{max(right - left, 1):.1f}" height="8" rx="2"/>'
  )
  parts.append(dot("value", drawn.value, 2.5))
  return _svg(f"bar {level}", BAR, drawn.label, "".join(parts))


class _Line(NamedTuple):
  """A line: points are [N, 2], or [N, 4] with a band between two more ys."""

  points: np.ndarray
  kind: str  # a class of report.css
  marker: str = ""


def _plot(
  kind: str,
  size: tuple[int, int],
  room: tuple[int, int, int, int],  # for the axes: left, right, top, bottom
  xs: tuple[float, float],
  ys: tuple[float, float],
  lines: Sequence[_Line],
  label: str,
  ticks: Mapping[float, str],  # x -> text below
  title: str = "",
) -> Markup:
  """Draws lines between axes; points that are not finite leave a gap."""
  left, right = room[0], size[0] - room[1]
  top, bottom = room[2], size[1] - room[3]
  x = lambda v: left + (right - left) * (v - xs[0]) / max(xs[1] - xs[0], 1e-12)
  y = lambda v: bottom + (top - bottom) * (v - ys[0]) / (ys[1] - ys[0])
  text = lambda x, y, content, anchor="middle": (
    f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{content}</text>'
  )
  parts = [
    f'<line class="grid" x1="{left}" x2="{right}" y1="{y(v):.1f}" '
    f'y2="{y(v):.1f}"/>{text(left - 6, y(v) + 3.5, wording.tick(v), "end")}'
    for v in nice_ticks(*ys, 5 if title else 3)
  ]
  parts += [text(x(v), bottom + 15, word) for v, word in ticks.items()]
  parts.append(text((left + right) / 2, size[1] - 7, title) if title else "")
  for line in lines:
    parts.append(f'<g class="{line.kind}">')
    good = np.isfinite(line.points).all(axis=1)
    breaks = np.flatnonzero(np.diff(good.astype(int))) + 1
    for part in np.split(line.points, breaks):
      if not np.isfinite(part).all():
        continue
      middle, *band = (
        [f"{x(row[0]):.1f},{y(row[i]):.1f}" for row in part]
        for i in range(1, part.shape[1])
      )
      if band:  # that of one point is an upright line
        tag = 'polygon class="band"' if len(part) > 1 else "polyline"
        spots = " ".join(band[1] + band[0][::-1])
        parts.append(f'<{tag} points="{spots}"/>')
      if len(middle) > 1:
        parts.append(f'<polyline points="{" ".join(middle)}"/>')
      elif not line.marker:
        parts.append(f'<path d="M{middle[0]} {MARKERS[0]}"/>')
      if line.marker:
        parts += [f'<path d="M{spot} {line.marker}"/>' for spot in middle]
    parts.append("</g>")
  return _svg(kind, size, label, "".join(parts))


def nice_ticks(low: float, high: float, most: int) -> list[float]:
  """At most so many steps of 1, 2 or 5 times a power of ten, and their ends."""
  rough = (high - low) / most
  if not 1e-300 < rough < 1e300:
    return [low]
  unit = 10.0 ** math.floor(math.log10(rough))
  step = next(n * unit for n in (1, 2, 5, 10) if n * unit >= rough * (1 - 1e-9))
  first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
  return [n * step for n in range(first, last + 1)]


def chart(metric: str, curve: Sequence[tuple[float, float | None]]) -> Markup:
  """Draws one metric over steps; of too many, means of neighbours."""
  values = [(s, math.nan if v is None else v) for s, v in curve]
  points = np.asarray(values, np.float64).reshape(-1, 2)
  if len(points) > MOST_POINTS:
    parts = np.array_split(points, MOST_POINTS)
    points = np.stack([part.mean(axis=0) for part in parts])
  finite = points[np.isfinite(points).all(axis=1)]
  if not len(finite):
    return Markup("")
  (first, low), (last, high) = finite.min(axis=0), finite.max(axis=0)
  if high == low:
    low, high = low - max(abs(low), 1) / 2, high + max(abs(high), 1) / 2
  steps = [v for v in nice_ticks(first, last, 4) if v == round(v)]
  label = (
    f"{metric}: from {wording.real(float(finite[0, 1]))}"
    f" to {wording.real(float(finite[-1, 1]))}"
    f" over steps {first:,.0f} to {last:,.0f}"
  )
  return _plot(
    *("chart", CHART, (44, 10, 8, 22), (first, last), (low, high)),
    [_Line(points, "series s0")],
    label,
    {v: wording.tick(v) for v in steps},
  )


def _style(number: int) -> tuple[str, str]:
  """The class and the marker of a curve."""
  return f"series s{number % COLORS}", MARKERS[number % len(MARKERS)]


def _levels(curves: Sequence[curves_lib.Curve]) -> dict[str, list[float]]:
  """Reference values of the curves, by the keys of LEVELS."""
  ends = [(curve.points[max(curve.points)], curve) for curve in curves]
  levels = {
    "ceiling": [end.ceiling and end.ceiling.value for end, _ in ends],
    "floor": [end.floor for end, _ in ends],
    "threshold": [curve.threshold for _, curve in ends],
  }
  return {
    key: sorted({v for v in values if v is not None})
    for key, values in levels.items()
  }


def pairs(curves: Sequence[curves_lib.Curve]) -> Markup:
  """Draws a metric against the logarithm of known pairs, with intervals."""
  if not curves:
    return Markup("")
  lines = [
    _Line(
      np.array(
        [(math.log2(n), f.value, f.low, f.high) for n, f in c.points.items()]
      ),
      *_style(i),
    )
    for i, c in enumerate(curves)
  ]
  points = np.concatenate([line.points for line in lines])
  levels = [(key, v) for key, vs in _levels(curves).items() for v in vs]
  heights = [*points[:, 1:].ravel(), *(v for _, v in levels), 0.0]
  low, high = min(heights), max(heights)
  high += 0.04 * (high - low) or 1
  first, last = points[:, 0].min(), points[:, 0].max()
  if first == last:
    first, last = first - 1, last + 1
  ticks: dict[float, str] = {}
  for x in sorted(set(points[:, 0]), reverse=True):
    if not ticks or min(ticks) - x >= 0.11 * (last - first):  # or they overlap
      ticks[x] = wording.count(round(2**x))
  across = [
    _Line(np.array([(first, v), (last, v)]), f"level {key}")
    for key, v in levels
  ]
  ends = lambda c: " and ".join(
    f"{wording.fixed(c.points[n].value, 2)} with {wording.count(n)}"
    for n in (min(c.points), max(c.points))
  )
  label = f"{curves_lib.METRIC} against known pairs. " + "; ".join(
    f"{wording.name(curve.subject)}: {ends(curve)}" for curve in curves
  )
  return _plot(
    *("chart pairs", PLOT, (36, 22, 10, 40), (first, last), (low, high)),
    across + lines,
    label,
    ticks,
    "known pairs, doubling along the axis",
  )


def legend(curves: Sequence[curves_lib.Curve]) -> Markup:
  """Names what `pairs` draws, each beside a sample of its line."""
  entries = []
  for i, curve in enumerate(curves):
    text = wording.name(curve.subject)
    if curve.threshold is not None:
      text += f": {wording.fixed(curve.threshold, 2)} "
      text += (
        f"not reached with {wording.count(max(curve.points))}"
        if curve.needed is None
        else f"reached with {wording.count(curve.needed)}"
      )
    entries.append((*_style(i), text))
  for key, values in _levels(curves).items():
    if values:
      text = ", ".join(wording.fixed(v, 2) for v in values)
      entries.append((f"level {key}", "", f"{LEVELS[key]} {text}"))
  items = []
  for kind, marker, text in entries:
    mark = f'<path d="M13,7 {marker}"/>' if marker else ""
    line = f'<g class="{kind}"><polyline points="0,7 26,7"/>{mark}</g>'
    sample = _svg("sample", (26, 14), "", line)
    items.append(Markup("<li>{}{}</li>").format(sample, text))
  return Markup('<ul class="key">{}</ul>').format(Markup("").join(items))
