"""Images are chosen by class, and who is short is told."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxpriv.data import curation
from jaxpriv.data.curation import Curator

CLASSES = np.array(
  [[0, 0], [1, 2], [0, 0], [-1, 0], [0, 0], [1, 2], [0, 1], [1, -1]]
)


def test_the_first_of_each_class_are_taken_and_who_is_short_is_told():
  curator = Curator({(0, 0): 2, (1, 2): 3, (1, 0): 1, (0, 1): 0})
  first, rest = curator.take(CLASSES[:3]), curator.take(CLASSES[3:])
  assert np.flatnonzero(np.r_[first, rest]).tolist() == [0, 1, 2, 5]
  assert curator.candidates == {(0, 0): 3, (1, 2): 2, (1, 0): 0, (0, 1): 1}
  assert curator.counts == {(0, 0): 2, (1, 2): 2, (1, 0): 0, (0, 1): 0}
  assert curator.short == {(1, 2): 1, (1, 0): 1}
  assert curator.unknown == 2
  assert curator.told() == "Too few candidates of 1 2: 2 of 3; 1 0: 0 of 1."
  names = (("woman", "man"), ("light", "tan", "dark"))
  assert "man dark: 2 of 3; man light: 0 of 1" in curator.told(names)


def test_nobody_is_short_where_all_are_there():
  curator = Curator({(0, 0): 3})
  curator.take(CLASSES)
  assert curator.short == {} and curator.told() == ""


def test_unknown_is_no_class():
  curator = Curator({(-1, 0): 1})
  assert not curator.take(CLASSES).any()
  assert curator.short == {(-1, 0): 1}


@settings(max_examples=50, deadline=None)
@given(
  st.lists(st.tuples(st.integers(-1, 1), st.integers(-1, 2)), max_size=40),
  st.integers(0, 30),
  st.integers(1, 7),
)
def test_a_choice_is_as_balanced_as_candidates_allow(read, total, at_once):
  classes = np.array(read, int).reshape(-1, 2)
  wanted = curation.balanced(total, (2, 3))
  assert sum(wanted.values()) == total
  assert max(wanted.values()) - min(wanted.values()) <= 1
  # What is left over is shared by both genders and all skins.
  for column, level in enumerate((2, 3)):
    margins = [
      sum(n for kind, n in wanted.items() if kind[column] == value)
      for value in range(level)
    ]
    assert max(margins) - min(margins) <= 1
  curator, taken = Curator(wanted), []
  for start in range(0, len(classes), at_once):
    taken += curator.take(classes[start : start + at_once]).tolist()
  assert sum(taken) + sum(curator.short.values()) == total
  chosen = [kind for kind, one in zip(read, taken, strict=True) if one]
  for kind, count in wanted.items():
    assert curator.candidates[kind] == read.count(kind)
    assert curator.counts[kind] == min(count, read.count(kind))
    assert chosen.count(kind) == curator.counts[kind]


@pytest.mark.parametrize(
  "read", [CLASSES[:, 0], CLASSES.astype(float), CLASSES[:, [0, 1, 1]]]
)
def test_what_is_not_a_class_of_each_image_is_refused(read):
  with pytest.raises(ValueError, match=r"give integers \[images, 2\]"):
    Curator({(0, 0): 1}).take(read)


def test_fewer_than_none_are_refused():
  with pytest.raises(ValueError, match="fewer than none"):
    Curator({(0, 0): -1})
  with pytest.raises(ValueError, match="as many numbers each"):
    Curator({(0, 0): 1, (0,): 1})
  for total, levels in ((-1, (2,)), (3, (2, 0))):
    with pytest.raises(ValueError, match="give 0 or more images"):
      curation.balanced(total, levels)
