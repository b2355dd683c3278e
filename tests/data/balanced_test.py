"""Each kind is drawn as often as any other, at any step."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxpriv.data import dataset, memory
from jaxpriv.data.balanced import BalancedDraw
from jaxpriv.data.procedural import ProceduralFaces
from jaxpriv.data.records import DataError

RECORDS = np.arange(100, 130)
KINDS = np.array([0] * 24 + [2] * 5 + [7])


def test_rare_kinds_come_as_often_as_common_ones():
  draw = BalancedDraw(RECORDS, KINDS, 8, seed=1)
  drawn = np.concatenate([draw(step) for step in range(30)])
  counts = np.bincount(KINDS[drawn - 100], minlength=8)
  assert counts[[0, 2, 7]].tolist() == [80, 80, 80]
  # An epoch of a kind has each of its records once, in an order of its own.
  common = drawn[KINDS[drawn - 100] == 0]
  first, second = common[:24], common[24:48]
  assert sorted(first) == sorted(second) == list(range(100, 124))
  assert first.tolist() != second.tolist()


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 9), st.integers(0, 50), st.integers(0, 3))
def test_a_batch_is_a_function_of_seed_and_step(rows, step, seed):
  one, other = (BalancedDraw(RECORDS, KINDS, rows, seed) for _ in range(2))
  one(3)
  drawn = one(step)
  np.testing.assert_array_equal(drawn, other(step))
  assert drawn.shape == (rows,) and np.isin(drawn, RECORDS).all()
  counts = np.bincount(KINDS[drawn - 100], minlength=8)[[0, 2, 7]]
  assert np.ptp(counts) <= 1


def data():
  source = ProceduralFaces(9, 2, 32, domain="human,cat")
  return dataset.split_data(source, dict(train=0.5, attack=0.25, test=0.25), 0)


@pytest.mark.parametrize("cached", [False, True])
def test_batches_of_data_are_balanced_by_a_field(cached):
  made = data()
  if cached:
    made = made._replace(source=memory.in_memory(made.source))
  many = made.batches(
    "train", batch_size=6, seed=0, first_step=2, balance="domain"
  )
  for _ in range(3):
    batch = next(many)
    assert np.bincount(batch["domain"]).tolist() == [3, 3]
    assert not batch["padding"].any()


def test_a_field_that_comes_with_images_balances_nothing():
  made = data()
  kept = made._replace(source=memory.in_memory(made.source))
  for field, message in (
    ("landmarks", "which is no kind: it is float32 .26, 2."),
    ("gender", "gender: no such field"),
  ):
    with pytest.raises(DataError, match=message):
      kept.kinds("train", field)
  made.source.points = {}
  with pytest.raises(DataError, match="config.data.cache=True"):
    made.batches("train", batch_size=6, seed=0, first_step=0, balance="domain")
