"""Splits by person: disjoint, complete, stable, and an error when empty."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from jaxpriv.data.records import DataError
from jaxpriv.data.splits import split_groups

SHARES = dict(train=0.6, validation=0.15, test=0.25)


@hypothesis.given(
  identities=st.lists(st.integers(-1, 60), min_size=1, max_size=200),
  seed=st.integers(0, 100),
)
@hypothesis.settings(deadline=None)
def test_splits_part_the_people(identities, seed):
  identities = np.array(identities + list(range(20)) + [-1])
  splits = split_groups(identities, SHARES, seed)
  assert list(splits) == list(SHARES)
  together = np.sort(np.concatenate(list(splits.values())))
  np.testing.assert_array_equal(together, np.arange(len(identities)))
  people = [set(identities[i]) - {-1} for i in splits.values()]
  count = len(set(identities) - {-1})
  for mine, share in zip(people, SHARES.values()):
    assert abs(len(mine) - share * count) < 1.01
    assert not any(mine & other for other in people if other is not mine)
  later = np.concatenate([splits["validation"], splits["test"]])
  assert (identities[later] >= 0).all()


@hypothesis.given(seed=st.integers(0, 1000))
@hypothesis.settings(deadline=None, max_examples=20)
def test_a_person_is_dealt_whatever_the_order_of_images(seed):
  rng = np.random.default_rng(seed)
  identities = rng.integers(0, 30, 300)
  order = rng.permutation(300)
  first = split_groups(identities, SHARES, seed)
  second = split_groups(identities[order], SHARES, seed)
  for name in SHARES:
    assert set(identities[first[name]]) == set(identities[order][second[name]])


@hypothesis.given(seed=st.integers(0, 1000), newcomer=st.text(min_size=1))
@hypothesis.settings(deadline=None, max_examples=20)
def test_names_keep_people_where_they_are(seed, newcomer):
  def dealt(people):
    splits = split_groups(np.arange(len(people)), SHARES, seed, people)
    return {name: {people[i] for i in rows} for name, rows in splits.items()}

  # A new name that sorts first changes everybody else's number.
  people = [f"person {i}" for i in range(40)]
  before, after = dealt(people), dealt([newcomer, *people])
  for name in SHARES:
    assert len(before[name] - after[name]) <= 1  # over a cut


def test_the_seed_deals_anew():
  identities = np.arange(100)
  tests = [
    tuple(split_groups(identities, SHARES, seed)["test"]) for seed in range(5)
  ]
  assert len(set(tests)) == 5


def test_a_split_without_people_is_an_error():
  with pytest.raises(DataError, match="'test'.*nobody.*only 2 people"):
    split_groups(np.array([4, 4, 7]), dict(train=0.9, test=0.1), 0)
  with pytest.raises(DataError, match="'train'.*only 0 people"):
    split_groups(np.array([-1, -1]), dict(train=0.5, test=0.5), 0)


@pytest.mark.parametrize("shares", [dict(a=0.5, b=0.4), dict(a=1.5, b=-0.5)])
def test_shares_must_make_a_whole(shares):
  with pytest.raises(DataError, match="sum to 1"):
    split_groups(np.arange(9), shares, 0)


def test_a_name_may_hold_bytes_that_are_no_text():
  names = ["ann", "b\udce9la", "c\udcff"]
  parts = split_groups(np.arange(3), dict(train=0.4, test=0.6), 0, names)
  assert sorted(np.concatenate(list(parts.values()))) == [0, 1, 2]
