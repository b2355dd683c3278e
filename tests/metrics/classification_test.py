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
  got = classification.accuracy(predicted, labels)
  assert (got.hits, got.total, got.rate) == (3, 5, 0.6)
  assert (got.low, got.high) == statistics.wilson_interval(3, 5)
  assert got.majority == 3 / 5
  assert got.balanced == pytest.approx((2 / 3 + 1 / 2) / 2)
  json.dumps(got._asdict(), allow_nan=False)


def test_minus_one_is_never_a_hit():
  # A predictor that answers "unknown" must not be right about the unknown.
  got = classification.accuracy(np.array([-1, -1, 1]), np.array([-1, -1, 0]))
  assert (got.hits, got.total) == (0, 1)


@given(hnp.arrays(np.int8, st.integers(1, 40), elements=st.integers(-1, 3)))
def test_a_constant_scores_majority_and_chance(labels):
  if (labels < 0).all():
    labels[0] = 0
  known = labels[labels >= 0]
  most = np.bincount(known).argmax()
  got = classification.accuracy(np.full(len(labels), most), labels)
  assert got.rate == pytest.approx(got.majority)
  assert got.balanced == pytest.approx(1 / len(set(known.tolist())))


def test_booleans_are_classes():
  got = classification.accuracy(np.array([True, False]), np.array([1, 1]))
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
    classification.accuracy(predicted, labels)
