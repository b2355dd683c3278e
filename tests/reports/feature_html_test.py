"""Reports of released features: bounds, attacks, pairs and strips."""

import re

import numpy as np
import pytest

from jaxpriv.reports import drawing
from jaxpriv.reports import html as report
from jaxpriv.reports import results as results_lib
from tests.reports import examples, pages
from tests.reports.pages import Page

CURVES = {"poison": {"loss": [(0, 2.0), (10, 1.0)]}}


def strips(count=6):
  generator = np.random.default_rng(0)
  pictures = generator.integers(0, 256, (count, 16, 16, 3), np.uint8)
  captions = ["original", *(f"attack {n}" for n in range(1, count))]
  return {"strips": [{"images": list(pictures), "captions": captions}]}


@pytest.fixture(scope="module")
def text():
  return report.render(examples.feature_results(), strips(), CURVES)


@pytest.fixture(scope="module")
def page(text):
  return Page(text)


def test_features_load_nothing_and_link_to_what_is_there(text, page):
  pages.loads_nothing(text, page)
  pages.links_lead_somewhere(page)


def test_columns_are_as_many_as_headings(page):
  """In every table without cells that span rows."""
  counts, tables, headings = [], [], 0
  for tag, attributes in page.tags:
    if tag == "table":
      tables.append(counts := [])
    elif tag == "tr":
      counts.append(0)
    elif tag in ("th", "td") and counts:
      counts[-1] += int(attributes.get("colspan", 1))
      headings += "rowspan" in attributes
  assert headings == 0 and len(tables) > 5
  assert all(len(set(table)) == 1 for table in tables), tables


def test_every_row_of_features_is_in_a_table(page):
  results = examples.feature_results()
  rows = [" ".join(row.split()) for row in page.rows]
  for row in results["reconstruction"]:
    ssim = f"{row['ssim']:.2f}"
    (found,) = [
      r
      for r in rows
      if r.startswith(row["attack"])
      and f" {ssim} " in r
      and "networks." in r
      and (row["hits"] is None or f"{row['hits']} / 1,000" in r)
    ]
    assert (f"{row['pairs']:,}" if row["pairs"] else "–") in found
    assert "14.6" in found and "0.123" in found
    assert ("– – –" in found) == (row["hits"] is None)
    read = row["attributes"]
    if read:
      assert f"{read['hits']:,} / 6,000 hidden, of 93.1%" in found
      assert f"{read['balanced']:.1%}" in found
    if row["hits"] is not None:
      assert "87.1% 0.5%" in found
  for row in results["leakage"]:
    hits = f"{row['hits']:,} / 1,000"
    assert any(row["attack"] in r and hits in r for r in rows)
  assert any("Keyed 0.40 not reached 16,384" in r for r in rows)
  assert any("89.3% −0.7 kept" in r for r in rows)
  assert "decider 6 kept 91.2% 89.1 – 93.3% 93.4% 48.2%" in rows
  assert "decider 6 kept 50.7% 48.6 – 52.8% 93.4% 48.2%" in rows


def test_bounds_come_first_and_then_the_strongest(page):
  order = [r for r in page.rows if "networks." in r]
  names = [" ".join(r.split()[:2]) for r in order]
  assert names[:3] == ["clean features", "another photograph", "mean image"]
  assert names[3:6] == ["A1 known", "A1 known", "A3 transfer"]
  assert "0.71" in order[3] and "rebuilt" in order[3]
  assert "held off" in order[-1]


def test_features_are_spoken_of_as_features(text, page):
  words = " ".join(" ".join(page.words).split())
  assert "Photographs can be rebuilt from the released features" in words
  assert "secrecy of a deterministic map" in words
  assert "from the original images" not in words
  assert "protected images" not in words
  assert ">Utility</h2>" in text
  assert 'id="identification"' not in text


@pytest.mark.parametrize("missing", list(examples.feature_results()))
def test_any_part_of_features_may_be_missing(missing):
  results = examples.feature_results()
  del results[missing]
  Page(report.render(results, {}, {}))


@pytest.mark.parametrize("left", ["reconstruction", "leakage", "curves"])
@pytest.mark.parametrize("bounds", ["clean features", "mean image", ""])
def test_a_part_of_features_alone(left, bounds):
  results = examples.feature_results()
  rows = [r for r in results[left] if r.get("attack") != bounds]
  text = report.render({"mechanism": "x", left: rows}, {}, {})
  Page(text)
  section = "leakage" if left == "leakage" else "reconstruction"
  assert f'id="{section}"' in text


def test_names_of_attacks_are_text_not_markup():
  evil = '"><script>alert(1)</script>'
  results = examples.feature_results()
  results["mechanism"] = evil
  for section in (
    "reconstruction", "leakage", "curves", "attributes", "precision",
  ):  # fmt: skip
    for row in results[section]:
      row["mechanism"] = evil
      for key in ("attack", "knowledge", "what", "attribute", "reader"):
        if key in row and row[key] not in ("clean features", "mean image"):
          row[key] = evil
  results["curves"] = results["curves"][:1]
  strip = {"images": strips(4)["strips"][0]["images"]}
  images = {"strips": [{**strip, "captions": [evil] * 4}]}
  text = report.render(results, images, {})
  assert "<script" not in text and 'class="chart pairs"' in text
  Page(text)


@pytest.mark.parametrize("count", [1, 2, 3, 6, 9])
def test_strips_of_any_number(count):
  images = strips(count)
  (strip,) = images["strips"]
  for results in (examples.feature_results(), examples.results()):
    page = Page(report.render(results, images, {}))
    shown = [a for tag, a in page.tags if tag == "img"]
    assert len(shown) == count and all(a["alt"] for a in shown)
    assert set(strip["captions"]) <= {word.strip() for word in page.words}
    if results["mechanism"] == examples.POISONING:
      assert [a["alt"] for a in shown] == strip["captions"]


def test_a_strip_without_captions_and_one_with_too_few():
  images = {"strips": [strips(5)["strips"][0]["images"]]}
  page = Page(report.render(examples.results(), images, {}))
  alts = [a["alt"] for tag, a in page.tags if tag == "img"]
  assert alts == [*report.ROLES, "Image 4", "Image 5"]
  images = {"strips": [{"images": images["strips"][0], "captions": ["one"]}]}
  with pytest.raises(results_lib.ResultsError, match="1 captions of 5"):
    report.render(examples.results(), images, {})


def test_bar_between_bounds_is_in_order():
  svg = str(drawing.between(0.5, 0.4, 0.6, "bad", 0.2, 0.85))
  interval = re.search(
    r'class="interval" x="([\d.]+)"[^>]*width="([\d.]+)"', svg
  )
  low, width = map(float, interval.groups())
  places = [
    float(re.search(pattern, svg)[1])
    for pattern in (
      r'class="chance" x1="([\d.]+)"',
      r'class="rate" cx="([\d.]+)"',
      r'class="ceiling" x1="([\d.]+)"',
    )
  ]
  floor, rate, ceiling = places
  assert floor < low < rate < low + width < ceiling
  assert rate - floor == pytest.approx((ceiling - floor) * 0.3 / 0.65, abs=0.1)
  assert "SSIM 0.50, interval 0.40 – 0.60, mean image 0.20" in svg


@pytest.mark.parametrize("ends", [(None, 0.8), (0.2, None), (0.5, 0.5)])
def test_no_bar_without_bounds(ends):
  assert drawing.between(0.5, 0.4, 0.6, "bad", *ends) == ""


@pytest.mark.parametrize("ssim", [-1.0, 0.0, 0.2, 0.85, 1.0])
def test_bar_between_bounds_stays_inside(ssim):
  svg = str(drawing.between(ssim, ssim - 0.1, ssim + 0.1, "bad", 0.2, 0.85))
  width = drawing.BAR[0]
  values = re.findall(r' c?x[12]?="(-?[\d.]+)"', svg)
  assert all(0 <= float(value) <= width for value in values)


def test_pairs_are_drawn_on_a_doubling_axis():
  points = [[16, 0.2], [64, 0.6], [256, 0.4]]
  svg = str(drawing.pairs([examples.curve(points, 64, largest=256)]))
  line = re.search(r'<polyline points="([^"]*)"', svg)[1]
  (x0, y0), (x1, y1), (x2, y2) = (
    map(float, p.split(",")) for p in line.split()
  )
  assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
  assert y0 - y1 == pytest.approx(2 * (y2 - y1), abs=0.2)
  band = re.search(r'class="band" points="([^"]*)"', svg)[1].split()
  assert len(band) == 6
  assert float(band[0].split(",")[1]) < y0 < float(band[-1].split(",")[1])
  level = {
    key: float(re.search(rf'"level {key}"[^>]* y1="([\d.]+)"', svg)[1])
    for key in drawing.LEVELS
  }
  assert level["clean"] < level["threshold_ssim"] < level["mean"]
  assert level["mean"] == pytest.approx(y0, abs=0.1)  # Both are at 0.2.
  assert "0.20 with 16, 0.40 with 256" in svg


def test_one_line_a_mechanism_and_a_legend():
  results = examples.feature_results()
  curves = [*results["curves"], results["curves"][0] | {"threshold_ssim": 0.5}]
  svg, key = str(drawing.pairs(curves)), str(drawing.pairs_legend(curves))
  assert svg.count('class="series') == key.count('class="series') == 2
  assert svg.count('class="level threshold_ssim"') == 2
  assert "deep_poisoning: 0.40 reached with 1,024" in key
  assert "keyed: 0.40 not reached with 16,384" in key
  assert "threshold 0.40, 0.50" in key and "mean image 0.20" in key


@pytest.mark.parametrize("points", [[], [[7, 0.3]], [[7, 0.3], [9, 0.3]]])
def test_short_curves_of_pairs(points):
  curve = examples.curve(points, None, clean=None, mean=None)
  svg = str(drawing.pairs([curve]))
  assert bool(svg) == bool(points)
  assert "nan" not in svg and "inf" not in svg
  results = {"mechanism": examples.POISONING, "curves": [curve]}
  Page(report.render(results, {}, {}))


def test_pairs_of_nothing_at_all():
  curve = examples.curve([[1, 0.0]], None, clean=None, mean=None)
  curve["points"] = [[1, 0.0, 0.0, 0.0]]
  curve["threshold_ssim"] = 0.0
  assert "nan" not in str(drawing.pairs([curve]))


def test_labels_of_pairs_do_not_run_into_each_other():
  points = [[n, 0.3] for n in range(100, 140)]
  svg = str(drawing.pairs([examples.curve(points, None)]))
  labels = re.findall(r'x="([\d.]+)" y="225"', svg)
  places = [float(x) for x in labels]
  assert places and all(b - a >= 42 for a, b in zip(places, places[1:]))
