import numpy as np
import pytest

from jaxpriv.metrics import attributes


def test_attributes_taken_together_are_counted_and_balanced():
  labels = np.array([[1, -1, 0], [1, 1, -1], [0, 1, -1], [1, 0, -1]])
  read = np.array([[1, 1, 1], [0, 1, 0], [1, 1, 0], [1, 1, 0]])
  found = attributes.together(read, labels, np.arange(4))
  assert (found.hits, found.total, found.rate) == (4, 8, 0.5)
  assert found.majority == (3 + 2 + 1) / 8
  # 2 of 3 and 0 of 1; 2 of 2 and 0 of 1; the third does not vary.
  assert found.balanced.value == pytest.approx((2 / 3 + 0 + 1 + 0) / 4)
  assert attributes.together(labels, labels, np.arange(4)).balanced.value == 1
  assert (found.balanced.low, found.balanced.high) == (0, 1)  # of four people
  nothing = np.full((2, 2), -1)
  one = np.array([[1, 0], [1, 0]])
  for labels in (nothing, one):
    args = (np.zeros((2, 2), int), labels, np.arange(2))
    assert attributes.together(*args) is None


def test_whoever_sees_nothing_is_at_a_half_whichever_way_they_err():
  rng = np.random.default_rng(0)
  labels = (rng.random((4000, 3)) < 0.8).astype(int)
  people = np.arange(4000) // 2
  for bias in (0.0, 0.2, 1.0):
    read = (rng.random(labels.shape) < bias).astype(int)
    found = attributes.together(read, labels, people)
    assert found.balanced.low - 0.01 <= 0.5 <= found.balanced.high + 0.01
    assert abs(found.rate - (0.8 * bias + 0.2 * (1 - bias))) < 0.02
  # One of three read, by one who else says no: the rate is below the majority.
  read = np.zeros_like(labels)
  read[:, 0] = labels[:, 0]
  found = attributes.together(read, labels, people)
  assert found.rate < found.majority
  assert found.balanced.value == pytest.approx(2 / 3)
  assert found.balanced.low > 0.6


def test_the_interval_of_attributes_is_over_people():
  rng = np.random.default_rng(0)
  labels = rng.integers(0, 2, (30, 4))
  read = np.where(rng.random(labels.shape) < 0.8, labels, 1 - labels)
  width = lambda row: row.balanced.high - row.balanced.low
  one = attributes.together(read, labels, np.arange(30))
  rows = np.repeat(np.arange(30), 20)
  many = attributes.together(read[rows], labels[rows], rows)
  assert many.balanced.value == pytest.approx(one.balanced.value)
  assert width(many) == pytest.approx(width(one))
  apart = attributes.together(read[rows], labels[rows], np.arange(600))
  assert width(apart) < width(one) / 3


def test_mean_average_precision_is_over_attributes_that_vary():
  rng = np.random.default_rng(0)
  labels = rng.integers(0, 2, (60, 3))
  labels[:, 2] = 1
  people = np.repeat(np.arange(20), 3)
  sure = np.stack([1 - labels, labels], axis=-1).astype(np.float32)
  unsure = sure.copy()
  unsure[:, 0] = 0
  got = attributes.mean_average_precision(unsure, labels, people)
  best = attributes.mean_average_precision(sure, labels, people)
  share = labels[:, :2].mean(0)
  assert got.varied == 2 and best.figures.value == 1
  released = got.figures
  np.testing.assert_allclose(released.value, (share[0] + 1) / 2)
  np.testing.assert_allclose(got.constant, share.mean())
  assert released.low < released.value < released.high < 1


def test_attributes_that_do_not_vary_have_no_precision():
  labels = np.array([[1, 0], [1, -1]])
  logits = np.zeros((2, 2, 2))
  people = np.arange(2)
  assert attributes.mean_average_precision(logits, labels, people) is None


def test_the_interval_is_over_people():
  """Copies of a photograph say nothing new of whoever is on it."""
  rng = np.random.default_rng(1)
  labels = rng.integers(0, 2, (40, 2))
  logits = rng.normal(size=(40, 2, 2)).astype(np.float32)
  people = np.arange(40)
  one = attributes.mean_average_precision(logits, labels, people)
  rows = np.repeat(np.arange(40), 5)
  five = attributes.mean_average_precision(
    logits[rows], labels[rows], people[rows]
  )
  assert abs(five.figures.value - one.figures.value) < 0.03
  width = lambda row: row.figures.high - row.figures.low
  assert width(five) > 0.8 * width(one)


def test_area_under_the_curve_by_people():
  """Copies of a person's photograph make the interval no narrower."""
  rng = np.random.default_rng(0)
  labels = rng.integers(0, 2, 60)
  scores = labels + rng.normal(size=60)
  one = attributes.area_under_curve(scores, labels, np.arange(60))
  ten = attributes.area_under_curve(
    np.repeat(scores, 10), np.repeat(labels, 10), np.repeat(np.arange(60), 10)
  )
  assert one == ten
  assert 0.6 < one.low < one.value < one.high < 0.95
  few = attributes.area_under_curve(scores[:5], np.arange(5) % 2, np.arange(5))
  assert (few.low, few.high) == (0, 1)
  assert attributes.area_under_curve(scores, labels * 0, labels) is None


def test_a_threshold_balances_both_labels():
  labels = np.array([0, 0, 0, 0, 1, 1, -1])
  scores = np.array([0.1, 0.2, 0.3, 0.8, 0.6, 0.9, 0.0])
  assert attributes.threshold(scores, labels) == pytest.approx(0.45)
  assert attributes.threshold(scores, np.zeros(7)) == 0
  assert attributes.threshold(np.full(7, np.nan), labels) == 0
