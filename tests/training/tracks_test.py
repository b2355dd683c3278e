"""Faces of frames are linked by where they are."""

import numpy as np

from jaxpriv.training import tracks


def box(x, y, side=10):
  return [x, y, x + side, y + side]


def test_people_keep_their_numbers_as_they_move():
  frames = [
    np.array([box(0, 0), box(50, 0)]),
    np.array([box(48, 1), box(2, 1)]),  # in another order
    np.array([box(4, 2), box(46, 2), box(90, 90)]),
  ]
  linked = tracks.link(frames, first=7)
  assert [of.tolist() for of in linked] == [[7, 8], [8, 7], [7, 8, 9]]
  assert all(of.dtype == np.int32 for of in linked)


def test_the_nearest_is_linked_first_and_nobody_twice():
  linked = tracks.link(
    [np.array([box(0, 0)]), np.array([box(3, 0), box(1, 0)])]
  )
  assert linked[1].tolist() == [1, 0]
  merged = tracks.link(
    [np.array([box(0, 0), box(4, 0)]), np.array([box(3, 0)])]
  )
  assert merged[1].tolist() == [1]


def test_who_is_missing_for_some_frames_is_the_same_person():
  here, none = np.array([box(0, 0)]), np.zeros((0, 4))
  for away, number in (1, 0), (tracks.AWAY, 0), (tracks.AWAY + 1, 1):
    linked = tracks.link([here, *[none] * away, here])
    assert linked[-1].tolist() == [number], away
  other = np.array([box(50, 50)])
  linked = tracks.link([np.concatenate([here, other]), other, here])
  assert [of.tolist() for of in linked] == [[0, 1], [1], [0]]


def test_who_is_nearer_keeps_the_number_of_who_was_just_seen():
  """Somebody walks to where another one was lost."""
  frames = [[box(0, 0), box(9, 0)], [box(5, 0)], [box(3, 0), box(9, 0)]]
  linked = tracks.link([np.array(of) for of in frames])
  assert [of.tolist() for of in linked] == [[0, 1], [1], [1, 2]]


def test_of_equal_overlaps_that_of_who_was_just_seen_counts():
  frames = [[box(0, 0), box(8, 0)], [box(8, 0)], [box(4, 0)]]
  linked = tracks.link([np.array(of) for of in frames])
  assert linked[2].tolist() == [1]


def test_who_is_elsewhere_is_somebody_new():
  far = tracks.link([np.array([box(0, 0)]), np.array([box(8, 0)])])
  assert far[1].tolist() == [1]  # too little overlap
  assert tracks.link([]) == []
