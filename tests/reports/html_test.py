"""The report is one file that loads nothing and leaves nothing out."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from jaxpriv.reports import html as report
from jaxpriv.reports import summary, tables
from tests.reports import examples, pages
from tests.reports.pages import Page

CURVES = {"pen": {"loss": [(0, 2.0), (10, None), (20, 1.0), (30, 0.5)]}}
EVIL = '"><script>alert(1)</script>'


def strips(count=1, length=3):
  generator = np.random.default_rng(0)
  pictures = generator.integers(0, 256, (count, length, 16, 16, 3), np.uint8)
  captions = ["original", *(f"attack {n}" for n in range(1, length))]
  return [{"images": list(p), "captions": captions} for p in pictures]


def render(results, strips=(), curves=None):
  return report.render(examples.checked(results), strips, curves or {})


@pytest.fixture(scope="module", params=list(examples.ALL))
def results(request):
  return examples.checked(examples.ALL[request.param]())


@pytest.fixture(scope="module")
def text(results):
  return render(results, strips(2), CURVES)


@pytest.fixture(scope="module")
def page(text):
  return Page(text)


def test_one_file_that_loads_nothing(text, page):
  pages.loads_nothing(text, page)


def test_sections_link_to_what_is_there(page):
  pages.links_lead_somewhere(page)


def test_columns_are_as_many_as_headings(page):
  counts, rows = [], []
  for tag, attributes in page.tags:
    if tag == "table":
      rows.append(counts := [])
    elif tag == "tr":
      counts.append(0)
    elif tag in ("th", "td") and counts:
      counts[-1] += int(attributes.get("colspan", 1))
  assert len(rows) > 1
  assert all(len(set(table)) == 1 for table in rows), rows


def test_verdicts_stay_in_sight_where_tables_scroll(results, text, page):
  judged = [
    table
    for table in tables.views(results)
    if tables.VERDICT in [column.title for column in table.columns]
  ]
  kept = [tag for tag, a in page.tags if a.get("class") == "verdicts"]
  assert kept.count("th") == len(judged)
  assert kept.count("td") == sum(len(table.rows) for table in judged)
  assert ".verdicts { position: sticky; right: 0;" in text


def test_headings_descend_one_at_a_time(page):
  levels = [int(tag[1]) for tag, _ in page.tags if tag in ("h1", "h2", "h3")]
  assert levels.count(1) == 1 and levels[0] == 1
  assert all(after <= before + 1 for before, after in zip(levels, levels[1:]))
  assert page.tags[0] == ("html", {"lang": "en"})


def test_every_drawing_says_what_it_shows(page):
  for tag, attributes in page.tags:
    if tag == "svg":
      assert attributes.get("aria-label") or attributes["aria-hidden"] == "true"


def test_every_cell_of_every_table_is_there(results, page):
  rows = [" ".join(row.split()) for row in page.rows]
  compared = tables.comparison(results)
  shown = [*tables.views(results), *([compared] if compared else [])]
  for table in shown:
    for row in table.rows:
      parts = [
        part
        for cell in row.cells
        for part in (cell.text, cell.mark, cell.sub)
        if part
      ]
      assert " ".join(parts) in rows, parts


def test_the_headline_and_the_limits_are_said(results, page):
  words = " ".join(" ".join(page.words).split())
  assert "What is not claimed" in words
  assert summary.headline(results).text in words
  for line in summary.limits(results.products, results):
    assert line in words


def test_images_are_embedded_bit_for_bit(page):
  sources = [a["src"] for tag, a in page.tags if tag == "img"]
  shown = [
    np.asarray(Image.open(io.BytesIO(base64.b64decode(s.split(",")[1]))))
    for s in sources
  ]
  expected = [p for strip in strips(2) for p in strip["images"]]
  np.testing.assert_array_equal(shown, expected)
  alts = [a["alt"] for tag, a in page.tags if tag == "img"]
  assert alts == ["original", "attack 1", "attack 2"] * 2
  assert "shows original photographs" in " ".join(page.words)


@pytest.mark.parametrize("length", [1, 2, 3, 6, 9])
def test_strips_of_any_length(length):
  page = Page(render(examples.images(), strips(1, length)))
  shown = [a["alt"] for tag, a in page.tags if tag == "img"]
  assert shown == strips(1, length)[0]["captions"]


def test_each_image_has_a_caption():
  (strip,) = strips(1, 5)
  with pytest.raises(ValueError, match="shorter"):
    render(examples.images(), [{**strip, "captions": ["one"]}])


def test_names_are_text_not_markup():
  text = render(examples.images())
  assert "<b>bad" not in text
  assert "a &lt;b&gt;bad&lt;/b&gt; &amp; broken.jpg" in text
  rows = [
    f._replace(
      subject=EVIL,
      by=EVIL,
      claim=f.claim + EVIL,
      where={EVIL: EVIL, "knows": EVIL * 3, "pairs": f.where.get("pairs", 1)},
    )
    for f in [*examples.image_findings(), *examples.feature_findings()]
  ]
  results = examples.images(
    rows, mechanism=EVIL, products=[EVIL], not_claimed=[EVIL], proven=[EVIL]
  )
  images = strips(1, 3)
  images[0]["captions"] = [EVIL] * 3
  text = render(results, images, {EVIL: {EVIL: [(0, 1.0), (1, 2.0)]}})
  assert "<script" not in text
  Page(text)


@pytest.mark.parametrize("name", list(examples.ALL))
def test_any_part_of_the_header_may_be_missing(name):
  results = examples.ALL[name]()
  needed = ("mechanism", "products")
  for key in results.header:
    if key not in needed:
      Page(render(examples.without(results, key)))
  bare = examples.without(results, *(set(results.header) - set(needed)))
  Page(render(bare))


def test_nothing_at_all_is_said_plainly():
  page = Page(render(examples.images([])))
  assert "was not measured" in " ".join(page.words)
  Page(render(examples.images([], mechanism="", products=[])))


def test_pairs_and_privacy_have_their_sections():
  text = render(examples.features())
  assert 'class="chart pairs"' in text and "Known pairs</h2>" in text
  text = render(examples.model())
  assert "Privacy of the training data</h2>" in text
  assert "Noise multiplier" in text and "add_or_remove_one" in text
  assert 'id="pairs"' not in text and "not_private_phases" not in text
  assert 'id="privacy"' not in render(examples.model(privacy=None))


def test_what_is_said_of_images_is_not_said_of_features():
  words = " ".join(" ".join(Page(render(examples.images())).words).split())
  assert "secrecy" not in words and "features" not in words
  assert "Identity is hidden from every attack" in words
  assert "Blur" in words


def test_writes_and_leaves_no_half_file(tmp_path):
  path = report.write(tmp_path / "evaluation/report.html", examples.images())
  assert path.read_text().startswith("<!doctype html>")
  assert [p.name for p in path.parent.iterdir()] == ["report.html"]


def test_weaker_attacks_are_folded_and_there():
  rows = [examples.attack(f"attack {n}", n) for n in range(20)]
  text = render(examples.images(rows))
  head, tail = text.split("12 more, which weigh less")
  names = [set(re.findall(r"attack \d+", part)) for part in (head, tail)]
  assert {f"attack {n}" for n in range(12, 20)} == names[0]
  assert {f"attack {n}" for n in range(12)} == names[1]
