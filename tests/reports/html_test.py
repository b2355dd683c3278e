"""The report is one file that loads nothing and leaves nothing out."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from jaxpriv.reports import drawing
from jaxpriv.reports import html as report
from jaxpriv.reports import results as results_lib
from tests.reports import examples, pages
from tests.reports.pages import Page

CURVES = {"pen": {"loss": [(0, 2.0), (10, None), (20, 1.0), (30, 0.5)]}}


def strips(count=1):
  generator = np.random.default_rng(0)
  pictures = generator.integers(0, 256, (count, 3, 16, 16, 3), np.uint8)
  return {"strips": [list(strip) for strip in pictures]}


@pytest.fixture(scope="module")
def text():
  return report.render(examples.results(), strips(2), CURVES)


@pytest.fixture(scope="module")
def page(text):
  return Page(text)


def test_one_file_that_loads_nothing(text, page):
  pages.loads_nothing(text, page)


def test_every_row_is_in_a_table(page):
  results = examples.results()
  for row in results["identification"]:
    hits = f"{row['hits']:,} / {row['total']:,}"
    found = [r for r in page.rows if hits in r and row["attack"] in r]
    assert found, row
    assert "0.5%" in found[0]  # Chance stands beside it.
  for row in results["attributes"]:
    change = f"{(row['rate'] - row['original']) * 100:+.1f}"
    shown = change.replace("-", "−")
    assert any(f"{row['rate']:.1%}" in r and shown in r for r in page.rows), row
  assert any("733 / 1,000 73.3%" in r and "0.22 11.5" in r for r in page.rows)


def test_the_undisguised_figure_stands_beside_every_attack(page):
  for hits, witness in (("6 /", "87.1%"), ("498 /", "87.1%"), ("5 /", "94.2%")):
    (row,) = [r for r in page.rows if re.search(rf"(^| ){hits}", r)]
    assert witness in row


def test_verdicts_are_words(page):
  words = " ".join(page.words)
  for word in ("protects", "does not protect", "kept", "weakened"):
    assert word in words
  assert "Identity is hidden from every attack" in words
  assert "What is not claimed" in words
  assert "Gaussian blur" in words


def test_names_are_text_not_markup(text):
  assert "<b>bad" not in text
  assert "a &lt;b&gt;bad&lt;/b&gt; &amp; broken.jpg" in text
  results = examples.results()
  evil = '"><script>alert(1)</script>'
  results["mechanism"] = evil
  for row in results["identification"]:
    row["recogniser"] = evil
  curves = {evil: {evil: [(0, 1.0), (1, 2.0)]}}
  (strip,) = strips()["strips"]
  images = {"strips": [{"images": strip, "captions": [evil] * 3}]}
  hostile = report.render(results, images, curves)
  assert "<script" not in hostile
  Page(hostile)


def test_images_are_embedded_bit_for_bit(page):
  sources = [a["src"] for tag, a in page.tags if tag == "img"]
  shown = [
    np.asarray(Image.open(io.BytesIO(base64.b64decode(s.split(",")[1]))))
    for s in sources
  ]
  expected = [p for strip in strips(2)["strips"] for p in strip]
  np.testing.assert_array_equal(shown, expected)
  assert all(a["alt"] for tag, a in page.tags if tag == "img")
  assert "shows original photographs" in " ".join(page.words)


def test_sections_link_to_what_is_there(page):
  pages.links_lead_somewhere(page)


@pytest.mark.parametrize("missing", list(examples.results()))
def test_any_part_may_be_missing(missing):
  results = examples.results()
  del results[missing]
  Page(report.render(results, {}, {}))


def test_nothing_at_all_is_said_plainly():
  page = Page(report.render({}, {}, {}))
  assert "was not measured" in " ".join(page.words)


def test_rows_that_contradict_themselves_are_refused():
  results = examples.results()
  results["identification"][1]["rate"] = 0.0
  with pytest.raises(results_lib.ResultsError, match="row 1 of identification"):
    report.render(results, {}, {})


def test_curve_breaks_where_a_value_is_missing(text):
  (svg,) = re.findall(r'<svg class="chart".*?</svg>', text, re.DOTALL)
  assert svg.count("<polyline") == 1  # Steps 20 and 30.
  assert svg.count('<circle class="dot"') == 1  # Step 0 stands alone.
  assert "from 2.00 to 0.500" in svg


def test_curve_is_drawn_to_scale():
  svg = str(drawing.chart("loss", [(0, 1.0), (50, 3.0), (100, 2.0)]))
  place = re.search(r'points="([^"]*)"', svg)[1]
  (x0, y0), (x1, y1), (x2, y2) = (
    map(float, p.split(",")) for p in place.split()
  )
  assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
  assert y0 - y1 == pytest.approx(2 * (y2 - y1), abs=0.2)
  assert y1 < y2 < y0  # Down is more in SVG.


@pytest.mark.parametrize(
  "curve", [[], [(0, None)], [(3, 1.0)], [(0, 2), (1, 2)]]
)
def test_short_and_flat_curves(curve):
  svg = str(drawing.chart("loss", curve))
  assert bool(svg) == any(value is not None for _, value in curve)
  assert "nan" not in svg


def test_long_curves_are_thinned():
  svg = str(drawing.chart("loss", [(s, s % 7) for s in range(100_000)]))
  assert len(svg) < 20_000


def test_bar_is_in_order():
  svg = str(drawing.bar(0.2, 0.1, 0.3, "bad", chance=0.01, witness=0.9))
  interval = re.search(
    r'class="interval" x="([\d.]+)"[^>]*width="([\d.]+)"', svg
  )
  low, width = map(float, interval.groups())
  rate = float(re.search(r'class="rate" cx="([\d.]+)"', svg)[1])
  chance = float(re.search(r'class="chance" x1="([\d.]+)"', svg)[1])
  witness = float(re.search(r'class="witness" cx="([\d.]+)"', svg)[1])
  assert chance < low < rate < low + width < witness
  assert "20.0%, interval 10.0 – 30.0%, chance 1.0%" in svg


def test_writes_and_leaves_no_half_file(tmp_path):
  path = report.write(tmp_path / "evaluation/report.html", examples.results())
  assert path.read_text().startswith("<!doctype html>")
  assert [p.name for p in path.parent.iterdir()] == ["report.html"]


def model_results(**changes):
  return {
    "mechanism": "dp_multitask",
    "tasks": [
      {
        "mechanism": "dp_multitask",
        "score": score,
        "value": value,
        "low": value - 0.01,
        "high": value + 0.01,
        "total": 100,
        "constant": constant,
      }
      for score, value, constant in (
        ("gender_accuracy", 0.75, 0.6),
        ("landmark_error", 0.05, 0.12),
        ("pose_error", 5.0, 5.0),
        ("detection_ap", 0.9, None),
      )
    ],
    "privacy": {
      "epsilon": 2.997,
      "delta": 1e-5,
      "relation": "add_or_remove_one",
      "accountant": "pld",
      "unit": "image",
      "units": 16000,
      "phases": [{"phase": "multi_task", "noise_multiplier": 1.5}],
      "not_private_phases": [],
      "pretrained": "",
    },
    **changes,
  }


def test_a_model_is_judged_by_its_guarantee_and_what_it_can_do():
  text = report.render(model_results(), {}, {})
  assert "private for each image: epsilon 3.00, delta 1e-05" in text
  assert "2 of 3" in text and "pose, mean absolute error" in text
  assert "noise_multiplier" in text and "Privacy of the training data" in text
  assert 'id="identification"' not in text


@pytest.mark.parametrize(
  "privacy,sentence",
  [
    (None, "trained without differential privacy"),
    ({"not_private_phases": ["pen"]}, "others without"),
    ({"pretrained": "public"}, "the parameters of public"),
  ],
)
def test_what_a_guarantee_does_not_cover_is_said(privacy, sentence):
  made = model_results()
  whole = made["privacy"]
  made["privacy"] = None if privacy is None else {**whole, **privacy}
  assert sentence in report.render(made, {}, {})


def test_an_epsilon_without_what_it_rests_on_is_refused():
  made = model_results()
  del made["privacy"]["delta"]
  with pytest.raises(results_lib.ResultsError, match="privacy lacks delta"):
    report.render(made, {}, {})
