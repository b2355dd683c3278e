"""The card of released features says what they are and what they give away."""

import json

import pytest

from jaxpriv.reports import card as card_lib
from jaxpriv.reports import results as results_lib
from tests.reports import examples


def card(**changes):
  return {
    "mechanism": examples.POISONING,
    "created": "2026-03-02T10:05:00+00:00",
    "version": "0.1.0",
    "config": {"seed": 3},
    "parameters_sha256": "ab" * 32,
    "counts": {"read": 1201, "written": 1200, "unreadable": 1},
    "unreadable": ["features 17: truncated | <b>"],
    "features": {
      "count": 1200,
      "layer": "conv4_1",
      "shape": [14, 14, 1024],
      "featurizer_sha256": "cd" * 32,
      "attributes": ["Big_Nose", "Smiling"],
    },
    "results": examples.feature_results(),
    "terms": "CC BY 4.0",
    **changes,
  }


def rows(text):
  return [line for line in text.splitlines() if line.startswith("| ")]


def test_what_is_released(tmp_path):
  text = card_lib.write(tmp_path, card()).read_text()
  saved = json.loads((tmp_path / "card.json").read_text())
  assert text.startswith("# Released features: Deep poisoning\n")
  assert (
    "1,200 feature maps of shape 14 × 14 × 1,024 at layer `conv4_1`, labels"
    " Big\\_Nose, Smiling. There were 1,201 photographs. No photograph is"
    " released." in text
  )
  assert "- featurizer sha256: `" + "cd" * 32 in text and "ab" * 32 in text
  assert "2 March 2026" in text and "CC BY 4.0" in text
  assert "17: truncated \\| \\<b\\>" in text
  assert saved["features"] == card()["features"]
  assert saved["results"] == examples.feature_results()


def test_no_labels(tmp_path):
  given = card()
  given["features"]["attributes"] = []
  del given["counts"]
  text = card_lib.write(tmp_path, given).read_text()
  assert "at layer `conv4_1`, without labels. No photograph" in text


def test_every_attack_on_the_mechanism_stands_beside_the_bounds(tmp_path):
  text = card_lib.write(tmp_path, card()).read_text()
  found = rows(text)
  (strong,) = [r for r in found if "| 1,024 | 0.71 |" in r]
  assert strong.endswith(
    "| 31.2% | 28.4 – 34.1% | 87.1% | 0.5% | hidden | 82.2% | 81.0 – 83.4% |"
    " 93.1% | 5,107 / 6,000 | rebuilt |"
  )
  assert "\\<public\\> networks" in strong
  (unread,) = [r for r in found if "| 256 | 0.31 |" in r]
  assert unread.endswith("| 0.123 | 14.6" + " | –" * 9 + " | rebuilt |")
  for bound in ("clean features", "mean image", "another photograph"):
    (row,) = [r for r in found if r.startswith(f"| {bound} |")]
    assert row.endswith("| bound |")
  assert "| 0.40 | 1,024 | 16,384 | 0.80 | 0.85 | 0.20 | reached |" in found
  assert any("| Identity | 121 / 1,000 | 12.1% |" in r for r in found)
  assert any("| decider | 89.3% |" in r for r in found)
  assert any("Unprotected features | Change" in r for r in found)
  assert "Keyed" not in text and "40.2%" not in text  # Another's figures.
  widths = [r.count(" | ") for r in found if "known pairs" in r]
  assert len(set(widths)) == 1


def test_what_is_not_protected_is_said_first(tmp_path):
  text = card_lib.write(tmp_path, card()).read_text()
  saved = json.loads((tmp_path / "card.json").read_text())
  assert "secrecy of a deterministic map" in saved["not_protected"][0]
  for line in saved["not_protected"]:
    assert line in text.replace("\\", "")
  assert "**Photographs can be rebuilt from the released features" in text


def test_a_null_curve_reads_as_not_reached(tmp_path):
  given = examples.feature_results()
  given["curves"] = [examples.curve([[16, 0.19]], None)]
  text = card_lib.write(tmp_path, card(results=given)).read_text()
  assert "| 0.40 | not reached | 16,384 | 0.19 |" in text


def test_nothing_measured_is_said_loudly(tmp_path):
  text = card_lib.write(tmp_path, card(results={})).read_text()
  assert "nothing here shows that it protects" in text
  assert "How many are enough was not measured" in text
  assert "identity among it, was not measured" in text


def test_only_leakage_was_measured(tmp_path):
  given = examples.feature_results()
  del given["reconstruction"], given["curves"]
  text = card_lib.write(tmp_path, card(results=given)).read_text()
  assert "was not measured.**" in text and "| leaks |" in text


def test_bad_results_are_refused_before_anything_is_written(tmp_path):
  bad = examples.feature_results()
  bad["curves"][0]["largest"] = 1
  with pytest.raises(results_lib.ResultsError, match="row 0 of curves"):
    card_lib.write(tmp_path, card(results=bad))
  assert list(tmp_path.iterdir()) == []


def test_precision_is_that_of_the_mechanism(tmp_path):
  text = card_lib.write(tmp_path, card()).read_text()
  assert "| decider | 6 kept | 91.2% | 89.1 – 93.3% | 93.4% | 48.2% |" in text
  assert "50.7%" not in text


@pytest.mark.parametrize(("lost", "said"), [
  (0, "every image could be read"), (1, "1 image could not be read."),
])  # fmt: skip
def test_what_was_lost_is_counted(tmp_path, lost, said):
  given = card(unreadable=[])
  given["counts"]["unreadable"] = lost
  assert said in card_lib.write(tmp_path, given).read_text()
