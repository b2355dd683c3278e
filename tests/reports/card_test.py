"""A release says what was measured, what is missing and what is not claimed."""

import hashlib
import json

import pytest

from jaxpriv.data import alignment
from jaxpriv.reports import card as card_lib
from jaxpriv.reports import results as results_lib
from jaxpriv.reports import tables
from tests.reports import examples

SECTIONS = [("", "1,200 PNG files."), ("How to use it", "Open *them*.")]


def card(results=None, **changes):
  results = examples.images() if results is None else results
  return {
    "mechanism": results.mechanism,
    "created": "2026-03-02T10:05:00+00:00",
    "version": "0.1.0",
    "products": {name: {"count": 1200} for name in results.products},
    "config": {"b": 1, "a": [0.5, "x"]},
    "parameters_sha256": "ab" * 32,
    "counts": {"read": 1201, "written": 1200, "unreadable": 1},
    "unreadable": ["image 17: truncated | <b>"],
    "results": results,
    "not_protected": ["Hair is left as it is."],
    "terms": "CC BY 4.0",
    **changes,
  }


def written(directory, *args, **changes):
  return card_lib.write(directory, card(*args, **changes), SECTIONS).read_text()


def saved(directory):
  return json.loads((directory / "card.json").read_text())


def rows(text):
  return [line for line in text.splitlines() if line.startswith("| ")]


@pytest.mark.parametrize("name", list(examples.ALL))
def test_both_files(tmp_path, name):
  results = examples.ALL[name]()
  text = written(tmp_path, results)
  content = saved(tmp_path)
  assert sorted(p.name for p in tmp_path.iterdir()) == ["CARD.md", "card.json"]
  assert content["results"] == results_lib.encode(results)
  assert results_lib.decode(content["results"], "card").metrics
  for key in ("counts", "unreadable", "products", "config", "terms"):
    assert content[key] == card(results)[key]
  assert "1,200 were written of 1,201 read" in text
  for said in ("CC BY 4.0", "2 March 2026", "ab" * 32, "Hair is left"):
    assert said in text
  for line in content["not_protected"]:
    assert line in text.replace("\\", "")
  assert content["not_protected"][0] == "Hair is left as it is."


def test_rows_are_as_wide_as_their_headings(tmp_path):
  for results in (make() for make in examples.ALL.values()):
    widths: list[set[int]] = []
    for line in written(tmp_path, results).splitlines():
      if not line.startswith("|"):
        widths.append(set())
      else:
        widths[-1].add(line.replace("\\|", "").count("|"))
    assert all(len(width) < 2 for width in widths)
    assert any(widths)


def test_proofs_stand_before_what_is_not_protected(tmp_path):
  """And are left out of what is said to be no proof."""
  said = "Nobody does better than 2.6 times chance"
  results = examples.images()
  proven = results._replace(header={**results.header, "proven": [said]})
  text = written(tmp_path, proven, proven=[said])
  assert f"## What is proven\n\n- {said}." in text
  assert text.index("proven") < text.index("## What is not protected")
  assert "not a proof, but for what is proven." in text
  text = written(tmp_path)
  assert "## What is proven" not in text and "not a proof. An" in text


@pytest.mark.parametrize(
  ("products", "title"),
  [
    (["image"], "# Protected images: Embedded autoencoder"),
    (["features"], "# Released features: Embedded"),
    (["image", "model"], "# Protected images and released model: Embedded"),
    (["sound_track"], "# Sound track: Embedded"),
    ([], "# Release: Embedded"),
  ],
)
def test_titles(tmp_path, products, title):
  text = written(tmp_path, products=dict.fromkeys(products, {}))
  assert text.startswith(title)


def test_products_have_their_sections(tmp_path):
  text = written(tmp_path)
  order = [
    *("# Protected images", "1,200 PNG files.", "## What was measured"),
    *("## What is not protected", "## What is missing", "## Terms"),
    *("## How to use it\n\nOpen *them*.", "## How it was made"),
  ]
  places = [text.index(part) for part in order]
  assert places == sorted(places)


def test_every_attack_on_the_mechanism_is_listed(tmp_path):
  text = written(tmp_path)
  attacks = [r for r in rows(text) if "| 0.5% |" in r and "hidden" in r]
  assert len(attacks) == 5
  assert sum("87.1%" in r for r in attacks) == 3
  assert sum("94.2%" in r and "used in loss" in r for r in attacks) == 2
  assert "498" not in text  # another mechanism's figure is none of this one's
  assert any("| Big Nose | 60.0% | 89.3% −0.7 kept" in r for r in rows(text))
  assert "**Identity is hidden from every attack that was run.**" in text


def test_features_beside_their_bounds(tmp_path):
  text = written(tmp_path, examples.features())
  (strong,) = [r for r in rows(text) if "| 1,024 | 0.71 |" in r]
  assert strong.endswith(
    "| 1,024 | 0.71 | 0.70 – 0.72 | 0.20 | 0.85 | not hidden | 0.71"
    " (0.70 – 0.73; floor 0.20; ceiling 0.85) | 0.71 | 0.12 | 14.6 dB |"
  )
  assert "\\<public\\> networks" in strong
  for bound in ("clean features", "mean image", "another photograph"):
    assert any(f"| Without protection | {bound} (" in r for r in rows(text))
  assert "Keyed" not in text and "40.2%" not in text  # another's figures
  assert any("Known pairs give" in s for s in saved(tmp_path)["not_protected"])


def test_known_pairs_are_counted_by_the_config_of_the_card(tmp_path):
  results = examples.without(examples.features(), "config")
  config = {"evaluation": {"threshold_ssim": examples.THRESHOLD}}
  text = written(tmp_path, results, config=config)
  assert "known pairs reach SSIM 0.40" in text
  assert "config" not in saved(tmp_path)["results"]


def test_bars_leave_no_column_behind(tmp_path):
  """Not even bars of two scales, above which no axis can stand."""
  rows = examples.scores()
  rows = [f._replace(floor=4.0, ceiling=examples.ceiling(9.0))
          if f.metric == "mean error" else f for f in rows]  # fmt: skip
  results = examples.model(rows)
  table = [t for t in tables.views(results) if t.title.startswith("What")][0]
  assert [c.axis for c in table.columns if c.bars] == [()]
  assert "| Value | 95% interval |" in written(tmp_path, results)


def test_a_model_says_what_its_guarantee_rests_on(tmp_path):
  text = written(tmp_path, examples.model())
  assert text.startswith("# Released model: Dp multitask\n")
  assert "private for each image: epsilon 3.00, delta 1e-05" in text
  assert (
    "| multi\\_task | 0.06400 | 2.346 | 600 | 1.000 | log\\_variances 0.3000 |"
    " 4 |" in text
  )
  assert "| Gender | accuracy | 75.0% | 74.0 – 76.0% | 60.0% | works |" in text
  open_model = written(tmp_path, examples.model(privacy=None))
  assert "**This model was trained without differential privacy" in open_model
  assert "Nothing bounds what the parameters tell" in open_model
  assert "- Nobody in the training data is protected" in open_model
  assert "guarantee rests" not in open_model


def test_what_others_measure(tmp_path):
  text = written(tmp_path, examples.stranger())
  assert "### Voice of the lips" in text
  assert (
    "| lip reader | 3.25 bits | 3.00 – 3.50 bits | 0.75 bits | 6.50 bits | not"
    " hidden |" in text
  )
  assert "mask \\<known\\>" in text


def test_few_people_and_other_crops_are_said(tmp_path):
  results = examples.images(data={"source": "x", "people": {"test": 12}})
  text = written(tmp_path, results)
  assert "Only 12 people were in the test" in text
  assert "crops need their own measurement" in text


def test_faces_framed_otherwise_are_counted(tmp_path):
  config = {"data": {"align": "landmarks"}}
  framing = {"landmarks": 1197, "box": 2, "centre": 1}
  lines = card_lib.limits(card(config=config, framing=framing), None)
  (line,) = [line for line in lines if "framed" in line]
  assert "Of 1,200 faces" in line and "not framed by their landmarks" in line
  assert "2 by a box, 1 by the central square of the image" in line
  text = written(tmp_path, config=config, framing=framing)
  assert "- faces framed: 1,197 by their landmarks, 2 by a box" in text


def test_every_framing_has_words():
  assert set(card_lib.FRAMED) == set(alignment.ALIGNMENTS)


@pytest.mark.parametrize("align", list(card_lib.FRAMED))
def test_faces_framed_as_asked_need_no_caveat(align):
  given = card(config={"data": {"align": align}}, framing={align: 1200})
  assert not any("framed" in line for line in card_lib.limits(given, None))


@pytest.mark.parametrize("results", [None, examples.images([])])
def test_nothing_measured_is_said_loudly(tmp_path, results):
  given = {**card(), "results": results}
  text = card_lib.write(tmp_path, given, SECTIONS).read_text()
  assert "nothing here shows that it protects" in text
  assert (saved(tmp_path)["results"] is None) == (results is None)
  assert "hidden" not in text


def test_features_that_were_not_attacked(tmp_path):
  given = {**card(examples.features()), "results": None}
  text = card_lib.write(tmp_path, given).read_text()
  assert "Not measured, and so not shown to be hidden: appearance," in text


def test_no_terms_are_not_free_terms(tmp_path):
  given = card()
  del given["terms"]
  assert "None were given" in card_lib.write(tmp_path, given).read_text()
  assert saved(tmp_path)["terms"] == card_lib.NO_TERMS


def test_text_is_not_markup(tmp_path):
  assert "truncated \\| \\<b\\>" in written(tmp_path)


@pytest.mark.parametrize(
  ("lost", "said"),
  [(0, "every image could be read"), (2, "2 images could not be read.")],
)
def test_what_was_lost_is_counted_where_it_has_no_name(tmp_path, lost, said):
  text = written(tmp_path, unreadable=[], counts={"unreadable": lost})
  assert said in text


def test_where_no_image_was_read_nothing_is_said_of_what_was_lost(tmp_path):
  given = card(examples.model(), counts={}, unreadable=[])
  text = card_lib.write(tmp_path, given).read_text()
  assert "missing" not in text and "could be read" not in text


def test_hash_is_of_the_content_not_of_the_order():
  one = card_lib.config_hash({"b": 1, "a": (0.5, "x")})
  two = card_lib.config_hash({"a": [0.5, "x"], "b": 1})
  golden = hashlib.sha256(b'{"a": [0.5, "x"], "b": 1}').hexdigest()
  assert one == two == golden
  assert card_lib.config_hash({"a": [0.5, "x"], "b": 2}) != golden


def test_bad_results_are_refused_before_anything_is_written(tmp_path):
  bad = examples.images([examples.attack("naive", 6)._replace(hits=-1)])
  with pytest.raises(results_lib.ResultsError):
    card_lib.write(tmp_path, card(bad))
  assert list(tmp_path.iterdir()) == []


def test_least_possible_card(tmp_path):
  assert card_lib.write(tmp_path, {}).read_text().startswith("# Release")
