import numpy as np
import pytest

from jaxpriv.attacks import attribute_inference
from jaxpriv.metrics import finding
from jaxpriv.training import mechanism

NAMES = ("Male", "Smiling", "Young", "Big_Nose")
LABELS = np.array([[1, -1, -1, 0], [0, 1, -1, 1], [1, 1, -1, 0], [1, 0, -1, 1]])
SCORES = np.array(
  [
    [1, 1, 0, np.nan],
    [1, 3, 0, np.nan],
    [1, -1, 0, np.nan],
    [-1, -2, 0, np.nan],
  ]
)


def target(*kept):
  return mechanism.Target("m", None, None, ("image",), kept=kept)


def test_scores_count_known_labels_and_leave_unknown_attributes_out():
  scores = attribute_inference.score(SCORES, LABELS, NAMES, np.arange(4))
  assert list(scores) == ["Male", "Smiling"]  # the last one is not read
  male, smiling = (score.accuracy for score in scores.values())
  assert (male.hits, male.total, male.majority) == (2, 4, 0.75)
  assert (smiling.hits, smiling.total) == (2, 3)
  assert scores["Male"].area.value == pytest.approx(1 / 3)
  assert scores["Smiling"].area.value == 1


def test_kept_attributes_are_judged_by_accuracy_and_hidden_ones_by_area():
  scores = attribute_inference.score(SCORES, LABELS, NAMES, np.arange(4))
  male, told, smiling = attribute_inference.findings(
    target("Male"), "fresh FSN", scores, scores
  )
  assert (male.claim, male.wanted) == ("attribute Male", "kept")
  assert male.ceiling.value == male.value == 0.5 and male.floor == 0.75
  assert male.by == "fresh FSN"
  assert (told.metric, told.wanted) == ("accuracy", "told")
  assert (smiling.claim, smiling.wanted) == ("attribute Smiling", "hidden")
  assert (smiling.metric, smiling.floor, smiling.value) == ("AUC", 0.5, 1)
  rows = attribute_inference.findings(
    target("Male"), "age_gender", scores, scores, learned=False
  )
  assert [row.wanted for row in rows] == ["told", "told", "hidden"]


def test_a_rare_attribute_that_is_told_is_no_secret():
  """By accuracy no one does better than saying no."""
  rng = np.random.default_rng(0)
  labels = (np.arange(400) % 5 == 0).astype(int)[:, None]
  people = np.arange(400)
  read = labels + rng.normal(size=(400, 1)) - 3
  scores = attribute_inference.score(read, labels, ("Bald",), people)
  told, judged = attribute_inference.findings(target(), "x", scores, scores)
  assert told.value <= told.floor + 0.01
  assert judged.value > 0.7 and finding.judge(judged).level == finding.BAD
