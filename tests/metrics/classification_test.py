import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxpriv.metrics import classification, statistics


def test_by_hand():
  predicted = np.array([1, 1, 0, 1, 0, 1])
  labels = np.array([1, 0, 0, -1, 1, 1], np.int8)
  people = np.array([0, 0, 1, 1, 2, 2])
  got = classification.accuracy(predicted, labels, people)
  assert (got.hits, got.total, got.rate) == (3, 5, 0.6)
  expected = statistics.grouped_proportion([1, 0, 1, 0, 1], [0, 0, 1, 2, 2])
  assert (got.low, got.high) == expected[-2:]
  assert got.majority == 3 / 5
  json.dumps(got._asdict(), allow_nan=False)


def test_minus_one_is_never_a_hit():
  # A prediction of "unknown" must not count as right for an unknown label.
  got = classification.accuracy(
    np.array([-1, -1, 1]), np.array([-1, -1, 0]), np.arange(3)
  )
  assert (got.hits, got.total) == (0, 1)


@given(hnp.arrays(np.int8, st.integers(1, 40), elements=st.integers(-1, 3)))
def test_a_constant_scores_majority_and_chance(labels):
  if (labels < 0).all():
    labels[0] = 0
  labelled = labels[labels >= 0]
  most = np.bincount(labelled).argmax()
  got = classification.accuracy(np.full(len(labels), most), labels, labels)
  assert got.rate == pytest.approx(got.majority)


def test_booleans_are_classes():
  got = classification.accuracy(
    np.array([True, False]), np.array([1, 1]), np.zeros(2)
  )
  assert got.hits == 1


@pytest.mark.parametrize(
  "predicted, labels, message",
  [
    (np.zeros(3, int), np.full(3, -1), "no label is known"),
    (np.zeros((3, 2), int), np.zeros((3, 2), int), "one attribute"),
    (np.zeros(3), np.zeros(3, int), "not scores"),
  ],
)
def test_rejects(predicted, labels, message):
  with pytest.raises(ValueError, match=message):
    classification.accuracy(predicted, labels, np.arange(len(labels)))


def test_area_under_the_curve_counts_pairs():
  rng = np.random.default_rng(0)
  scores, labels = rng.integers(0, 6, 60), rng.integers(-1, 2, 60)
  pairs = [
    1.0 if a > b else 0.5 if a == b else 0.0
    for a in scores[labels == 1]
    for b in scores[labels == 0]
  ]
  got = classification.area_under_curve(scores, labels)
  assert got == pytest.approx(np.mean(pairs))
  assert classification.area_under_curve(np.zeros(60), labels) == 0.5
  with pytest.raises(ValueError, match="labels of 0 and of 1"):
    classification.area_under_curve(scores, np.ones(60))


def precision_at_thresholds(scores, labels):
  """Average precision by its definition, threshold by threshold."""
  labelled = [(s, y) for s, y in zip(scores, labels, strict=True) if y >= 0]
  positives = sum(y for _, y in labelled)
  area = before = 0
  for threshold in sorted({s for s, _ in labelled}, reverse=True):
    hits = [y for s, y in labelled if s >= threshold]
    area += (sum(hits) - before) / positives * sum(hits) / len(hits)
    before = sum(hits)
  return area


@given(
  hnp.arrays(np.int8, 25, elements=st.integers(-1, 1)),
  hnp.arrays(np.int8, 25, elements=st.integers(-3, 3)),
)
def test_average_precision_is_its_definition(labels, scores):
  labels[0] = 1
  scores = scores.astype(np.float32)
  got = classification.average_precision(scores, labels)
  assert got == pytest.approx(precision_at_thresholds(scores, labels))
  order = np.random.default_rng(0).permutation(25)
  again = classification.average_precision(scores[order], labels[order])
  assert again == pytest.approx(got)  # even among equals


def test_average_precision_by_hand():
  scores, labels = np.array([0.9, 0.8, 0.7, 0.1]), np.array([1, 0, 1, -1])
  got = classification.average_precision(scores, labels)
  assert got == pytest.approx((1 + 2 / 3) / 2)
  constant = classification.average_precision(np.zeros(4), labels)
  assert constant == pytest.approx(2 / 3)
  with pytest.raises(ValueError, match="without a positive"):
    classification.average_precision(scores, np.array([0, 0, -1, -1]))
