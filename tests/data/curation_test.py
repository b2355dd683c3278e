"""Images are chosen by class, and who is short is told."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxpriv.data import curation

IMAGES = np.zeros((8, 2, 2, 3), np.float32)
CLASSES = np.array(
  [[0, 0], [1, 2], [0, 0], [-1, 0], [0, 0], [1, 2], [0, 1], [1, -1]]
)


def test_the_first_of_each_class_are_chosen_and_who_is_short_is_told():
  wanted = {(0, 0): 2, (1, 2): 3, (1, 0): 1, (0, 1): 0}
  chosen = curation.curate(IMAGES, wanted, lambda images: CLASSES)
  np.testing.assert_array_equal(chosen.indices, [0, 1, 2, 5])
  np.testing.assert_array_equal(chosen.classes, CLASSES[[0, 1, 2, 5]])
  assert chosen.candidates == {(0, 0): 3, (1, 2): 2, (1, 0): 0, (0, 1): 1}
  assert chosen.counts == {(0, 0): 2, (1, 2): 2, (1, 0): 0, (0, 1): 0}
  assert chosen.short == {(1, 2): 1, (1, 0): 1}
  assert chosen.unknown == 2
  assert chosen.told() == "Too few candidates of 1 2: 2 of 3; 1 0: 0 of 1."
  names = (("woman", "man"), ("light", "tan", "dark"))
  assert "man dark: 2 of 3; man light: 0 of 1" in chosen.told(names)


def test_nobody_is_short_where_all_are_there():
  chosen = curation.curate(IMAGES, {(0, 0): 3}, lambda images: CLASSES)
  assert chosen.short == {} and chosen.told() == ""


def test_unknown_is_no_class():
  chosen = curation.curate(IMAGES, {(-1, 0): 1}, lambda images: CLASSES)
  assert len(chosen.indices) == 0 and chosen.short == {(-1, 0): 1}


@settings(max_examples=50, deadline=None)
@given(
  st.lists(st.tuples(st.integers(-1, 1), st.integers(-1, 2)), max_size=40),
  st.integers(0, 30),
)
def test_a_choice_is_as_balanced_as_candidates_allow(read, total):
  classes = np.array(read, int).reshape(-1, 2)
  wanted = curation.balanced(total, (2, 3))
  assert sum(wanted.values()) == total
  assert max(wanted.values()) - min(wanted.values()) <= 1
  chosen = curation.curate(np.zeros(len(classes)), wanted, lambda _: classes)
  assert len(set(chosen.indices.tolist())) == len(chosen.indices)
  assert len(chosen.indices) + sum(chosen.short.values()) == total
  for kind, count in wanted.items():
    there = read.count(kind)
    assert chosen.candidates[kind] == there
    assert chosen.counts[kind] == min(count, there)
    assert [tuple(c) for c in chosen.classes.tolist()].count(kind) == min(
      count, there
    )


@pytest.mark.parametrize(
  "read",
  [CLASSES[:, 0], CLASSES[:4], CLASSES.astype(float), CLASSES[:, [0, 1, 1]]],
)
def test_what_is_not_a_class_of_each_image_is_refused(read):
  with pytest.raises(ValueError, match="for 8 images"):
    curation.curate(IMAGES, {(0, 0): 1}, lambda images: read)


def test_fewer_than_none_are_refused():
  with pytest.raises(ValueError, match="fewer than none"):
    curation.curate(IMAGES, {(0, 0): -1}, lambda images: CLASSES)
  for total, levels in ((-1, (2,)), (3, (2, 0))):
    with pytest.raises(ValueError, match="give 0 or more images"):
      curation.balanced(total, levels)
