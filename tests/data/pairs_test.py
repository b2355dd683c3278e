"""Pairs are drawn in folds of their own people, and read from lists."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxpriv.data import pairs
from jaxpriv.data.records import DataError


@given(
  counts=st.lists(st.integers(1, 6), min_size=12, max_size=30),
  folds=st.integers(2, 4),
  most=st.integers(2, 40),
  seed=st.integers(0, 5),
)
def test_folds_share_nobody_and_have_both_kinds_alike(
  counts, folds, most, seed
):
  identities = np.repeat(np.arange(len(counts)), counts)
  identities = np.append(identities, [-1, -1])  # unknown people
  if sum(c > 1 for c in counts) < 2 * folds:
    with pytest.raises(DataError, match="people with two photographs"):
      pairs.draw(identities, folds, most, seed)
    return
  drawn = pairs.draw(identities, folds, most, seed)
  left, right = identities[drawn.left], identities[drawn.right]
  assert (drawn.left != drawn.right).all() and (left >= 0).all()
  np.testing.assert_array_equal(left == right, drawn.same)
  assert (np.diff(drawn.fold) >= 0).all() and drawn.fold.max() == folds - 1
  people = [
    {*left[drawn.fold == f], *right[drawn.fold == f]} for f in range(folds)
  ]
  assert len(set.union(*people)) == sum(map(len, people))
  for fold in range(folds):
    same = drawn.same[drawn.fold == fold]
    assert 1 <= same.sum() == (~same).sum() <= most // 2
  ends = {tuple(sorted(pair)) for pair in zip(drawn.left, drawn.right)}
  assert len(ends) == len(drawn.left)  # none twice


def test_draws_depend_on_the_seed_alone():
  identities = np.repeat(np.arange(20), 4)
  one, two, other = (pairs.draw(identities, seed=s, folds=5) for s in (1, 1, 2))
  assert all(np.array_equal(a, b) for a, b in zip(one, two))
  assert not np.array_equal(one.left, other.left)


LIST = """2\t1
Ann_Aye\t1\t4
Ann_Aye\t2\tBen_Bee\t1
Ben_Bee\t1\t2
Cy_Cee\t1\tBen_Bee\t2
"""
NAMES = [
  "/x/Ann_Aye/Ann_Aye_0001.jpg", "Ann_Aye_0002.png", "b/Ben_Bee_0001.jpg",
  "/x/Ann_Aye/Ann_Aye_0004.jpg", "b/Ben_Bee_0002.jpg",
]  # fmt: skip


def test_reads_pairs_and_counts_those_that_are_not_there(tmp_path):
  path = tmp_path / "pairs.txt"
  path.write_text(LIST)
  read, absent = pairs.read(path, NAMES)
  assert absent == 1  # Cy_Cee
  assert read.left.tolist() == [0, 1, 2] and read.right.tolist() == [3, 2, 4]
  assert read.same.tolist() == [True, False, True]
  assert read.fold.tolist() == [0, 0, 1]


@pytest.mark.parametrize(
  "text, message",
  [
    ("", "first line is to be two numbers"),
    ("a b\n", "first line is to be two numbers"),
    ("2 1\nAnn 1 2\n", r"are 4 lines, and there are 1"),
    ("1 1\nAnn 1 2\nAnn one Ben 1\n", "line 3: 'Ann one Ben 1' is neither"),
    ("1 1\nAnn 1 2\nAnn 1 Ben 1\n", r"none of its 2 pairs .* Ann_0001.jpg"),
  ],
)
def test_files_that_are_no_list_of_pairs(tmp_path, text, message):
  path = tmp_path / "pairs.txt"
  path.write_text(text)
  with pytest.raises(DataError, match=message):
    pairs.read(path, NAMES)


def test_a_file_that_is_not_there(tmp_path):
  with pytest.raises(DataError, match="cannot be read as pairs"):
    pairs.read(tmp_path / "no.txt", NAMES)
