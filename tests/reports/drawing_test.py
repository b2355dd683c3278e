"""Drawings are to scale, in order, and legible."""

import re

import hypothesis
import pytest
from hypothesis import strategies as st

from jaxpriv.metrics.finding import HIDDEN
from jaxpriv.reports import cells, drawing
from jaxpriv.reports import curves as curves_lib
from tests.reports.examples import ceiling, finding


def curve(points, subject="deep_poisoning", threshold=0.4, needed=None, **ends):
  ends = {"floor": 0.2, "ceiling": ceiling(0.85), "spread": 0.03, **ends}
  found = {n: finding("x", HIDDEN, "A1", "SSIM", v, **ends) for n, v in points}
  return curves_lib.Curve(subject, found, threshold, needed)


def places(text):
  return [tuple(map(float, spot.split(","))) for spot in text.split()]


def test_bar_is_in_order():
  drawn = cells.Bar(0.3, 0.4, 0.5, 0.1, 0.9, 'rank-1 <"20%">')
  svg = str(drawing.bar(drawn, "bad"))
  interval = re.search(
    r'class="interval" x="([\d.]+)"[^>]*width="([\d.]+)"', svg
  )
  low, width = map(float, interval.groups())
  value = float(re.search(r'class="value" cx="([\d.]+)"', svg)[1])
  floor = float(re.search(r'class="floor" x1="([\d.]+)"', svg)[1])
  ceiling = float(re.search(r'class="ceiling" cx="([\d.]+)"', svg)[1])
  assert floor < low < value < low + width < ceiling
  assert 'class="bar bad"' in svg
  assert 'aria-label="rank-1 &lt;&#34;20%&#34;&gt;"' in svg
  bare = str(drawing.bar(drawn._replace(floor=None, ceiling=None), "good"))
  assert "floor" not in bare and "ceiling" not in bare


def test_ticks_stand_where_bars_do():
  svg = str(drawing.axis([(0, "0"), (0.5, "a<b"), (1, "100")]))
  width = drawing.BAR[0]
  places = [float(x) for x in re.findall(r'x="([\d.]+)"', svg)]
  assert places == [4, width / 2, width - 4]
  assert "a&lt;b" in svg and "aria-hidden" in svg


def test_curve_is_drawn_to_scale():
  svg = str(drawing.chart("loss", [(0, 1.0), (50, 3.0), (100, 2.0)]))
  (x0, y0), (x1, y1), (x2, y2) = places(re.search(r'points="([^"]*)"', svg)[1])
  assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
  assert y0 - y1 == pytest.approx(2 * (y2 - y1), abs=0.2)
  assert y1 < y2 < y0  # down is more in SVG


def test_curve_breaks_where_a_value_is_missing():
  svg = str(drawing.chart("l", [(0, 2.0), (10, None), (20, 1.0), (30, 0.5)]))
  assert svg.count("<polyline") == 1  # steps 20 and 30
  assert svg.count("<path") == 1  # step 0 stands alone
  assert "from 2.00 to 0.500" in svg


@pytest.mark.parametrize(
  "points", [[], [(0, None)], [(3, 1.0)], [(0, 2), (1, 2)]]
)
def test_short_and_flat_curves(points):
  svg = str(drawing.chart("loss", points))
  assert bool(svg) == any(value is not None for _, value in points)
  assert "nan" not in svg


@pytest.mark.parametrize(
  ("low", "high", "most", "expected"),
  [
    (0, 1, 5, [0, 0.2, 0.4, 0.6, 0.8, 1]),
    (0.1, 0.99, 3, [0.5]),
    (-3, 3, 3, [-2, 0, 2]),
    (0, 20_000, 4, [0, 5000, 10_000, 15_000, 20_000]),
    (0.0021, 0.0089, 4, [0.004, 0.006, 0.008]),
    (7, 7, 4, [7]),
    (0, 5e-324, 4, [0]),
    (-1.7e308, 1.7e308, 4, [-1.7e308]),
  ],
)
def test_ticks_are_round_numbers(low, high, most, expected):
  assert drawing.nice_ticks(low, high, most) == pytest.approx(expected)


@hypothesis.given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.integers(2, 6))
def test_ticks_are_few_and_inside(low, span, most):
  ticks = drawing.nice_ticks(low, low + span, most)
  assert len(ticks) <= most + 1
  assert all(low - 1e-6 * span <= v <= low + 1.000001 * span for v in ticks)


def test_long_curves_are_thinned():
  svg = str(drawing.chart("loss", [(s, s % 7) for s in range(100_000)]))
  assert len(svg) < 20_000


def test_pairs_are_drawn_on_a_doubling_axis():
  svg = str(drawing.pairs([curve([(16, 0.2), (64, 0.6), (256, 0.4)])]))
  line = places(re.findall(r'<polyline points="([^"]*)"', svg)[-1])
  (x0, y0), (x1, y1), (x2, y2) = line
  assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
  assert y0 - y1 == pytest.approx(2 * (y2 - y1), abs=0.2)
  band = places(re.search(r'class="band" points="([^"]*)"', svg)[1])
  assert len(band) == 6 and band[0][1] < y0 < band[-1][1]
  level = {
    key: float(
      re.search(rf'"level {key}"><polyline points="\S+,(\S+) ', svg)[1]
    )
    for key in drawing.LEVELS
  }
  assert level["ceiling"] < level["threshold"] < level["floor"]
  assert level["floor"] == pytest.approx(y0, abs=0.1)  # both are at 0.2
  assert "0.20 with 16 and 0.40 with 256" in svg


def test_one_line_a_mechanism_and_a_legend():
  points = [(16, 0.2), (1024, 0.6)]
  curves = [curve(points, needed=100), curve(points, subject="key<ed")]
  svg = str(drawing.pairs(curves))
  key = str(drawing.legend(curves))
  assert svg.count('class="series') == key.count('class="series') == 2
  assert "Deep poisoning: 0.40 reached with 100" in key
  assert "Key&lt;ed: 0.40 not reached with 1,024" in key
  assert "threshold 0.40" in key and "knowing nothing 0.20" in key


@pytest.mark.parametrize("points", [[(7, 0.3)], [(7, 0.3), (9, 0.3)]])
def test_short_curves_of_pairs(points):
  bare = curve(points, floor=None, ceiling=None, threshold=None)
  svg = str(drawing.pairs([bare])) + str(drawing.legend([bare]))
  assert "nan" not in svg and "inf" not in svg and "reached" not in svg
  assert drawing.pairs([]) == ""


def test_pairs_of_nothing_at_all():
  ends = dict(floor=0.0, ceiling=None, threshold=0.0, spread=0.0)
  flat = curve([(1, 0.0)], **ends)
  assert "nan" not in str(drawing.pairs([flat]))


def test_labels_of_pairs_do_not_run_into_each_other():
  svg = str(drawing.pairs([curve([(n, 0.3) for n in range(100, 140)])]))
  labels = [float(x) for x in re.findall(r'x="([\d.]+)" y="225.0"', svg)]
  assert labels and all(a - b >= 42 for a, b in zip(labels, labels[1:]))
