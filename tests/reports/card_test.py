"""A release says what was measured, what is missing and what is not claimed."""

import hashlib
import json

import pytest

from jaxpriv.reports import card as card_lib
from jaxpriv.reports import results as results_lib
from tests.reports import examples


def card(**changes):
  return {
    "mechanism": examples.MECHANISM,
    "created": "2026-03-02T10:05:00+00:00",
    "version": "0.1.0",
    "config": {"b": 1, "a": [0.5, "x"]},
    "parameters_sha256": "ab" * 32,
    "counts": {"read": 1201, "written": 1200, "unreadable": 1},
    "unreadable": ["image 17: truncated | <b>"],
    "results": examples.results(),
    "not_protected": ["Hair is left as it is."],
    "terms": "CC BY 4.0",
    **changes,
  }


def test_both_files(tmp_path):
  path = card_lib.write(tmp_path, card())
  text = path.read_text()
  saved = json.loads((tmp_path / "card.json").read_text())
  assert sorted(p.name for p in tmp_path.iterdir()) == ["CARD.md", "card.json"]
  assert saved["results"] == examples.results()
  assert saved["counts"] == card()["counts"]
  assert saved["unreadable"] == card()["unreadable"]
  assert "1,200 images were written of 1,201 read" in text
  assert "CC BY 4.0" in text
  assert "2 March 2026" in text
  assert "ab" * 32 in text


def test_every_attack_on_the_mechanism_is_listed(tmp_path):
  text = card_lib.write(tmp_path, card()).read_text()
  rows = [line for line in text.splitlines() if line.startswith("| ")]
  attacks = [r for r in rows if "| 0.5% |" in r]
  assert len(attacks) == 3
  assert sum("87.1%" in r for r in attacks) == 2
  assert sum("94.2%" in r and "used in the loss" in r for r in attacks) == 1
  assert "498" not in text  # Another mechanism's figure is none of this one's.
  assert "| Big Nose | fresh VGG | 89.3% |" in text


def test_limits_are_in_both(tmp_path):
  text = card_lib.write(tmp_path, card()).read_text()
  saved = json.loads((tmp_path / "card.json").read_text())
  assert saved["not_protected"][0] == "Hair is left as it is."
  assert len(saved["not_protected"]) > 3
  for line in saved["not_protected"]:
    assert line in text.replace("\\", "")


def test_few_people_and_other_crops_are_said(tmp_path):
  given = examples.results()
  given["data"]["people"]["test"] = 12
  text = card_lib.write(tmp_path, card(results=given)).read_text()
  assert "Only 12 people were in the test" in text
  assert "crops need their own measurement" in text


def test_faces_framed_otherwise_are_counted():
  config = {"data": {"align": "landmarks"}}
  framing = {"landmarks": 1197, "box": 2, "centre": 1}
  said = card_lib.limits(card(config=config, framing=framing))
  (line,) = [line for line in said if "framed" in line]
  assert "Of 1,200 faces" in line and "not framed by their landmarks" in line
  assert "2 by a box, 1 by the central square of the image" in line
  given = card(config=config, framing=framing, not_protected=[])
  assert "1,197 by their landmarks" in card_lib.markdown(given)


@pytest.mark.parametrize("align", ["landmarks", "box", "centre", "whole"])
def test_faces_framed_as_asked_need_no_caveat(align):
  given = card(config={"data": {"align": align}}, framing={align: 1200})
  assert not any("framed" in line for line in card_lib.limits(given))


def test_nothing_measured_is_said_loudly(tmp_path):
  text = card_lib.write(tmp_path, card(results={})).read_text()
  assert "nothing here shows that it protects" in text


def test_no_terms_are_not_free_terms(tmp_path):
  given = card()
  del given["terms"]
  assert "None were given" in card_lib.write(tmp_path, given).read_text()


def test_text_is_not_markup(tmp_path):
  text = card_lib.write(tmp_path, card()).read_text()
  assert "truncated \\| \\<b\\>" in text


def test_hash_is_of_the_content_not_of_the_order():
  one = card_lib.config_hash({"b": 1, "a": (0.5, "x")})
  two = card_lib.config_hash({"a": [0.5, "x"], "b": 1})
  golden = hashlib.sha256(b'{"a": [0.5, "x"], "b": 1}').hexdigest()
  assert one == two == golden
  assert card_lib.config_hash({"a": [0.5, "x"], "b": 2}) != golden


def test_bad_results_are_refused_before_anything_is_written(tmp_path):
  bad = examples.results()
  bad["identification"][0]["hits"] = -1
  with pytest.raises(results_lib.ResultsError):
    card_lib.write(tmp_path, card(results=bad))
  assert list(tmp_path.iterdir()) == []


def test_least_possible_card(tmp_path):
  assert card_lib.write(tmp_path, {}).read_text().startswith("# Protected")
