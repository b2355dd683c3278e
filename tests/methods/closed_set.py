"""Checks of releases in which k people share one image."""

import numpy as np


def members(released):
  """Lists of rows that were released as the same image, to the bit."""
  flat = np.asarray(released).reshape(len(released), -1)
  _, group = np.unique(flat, axis=0, return_inverse=True)
  return [np.flatnonzero(group == g) for g in range(group.max() + 1)]


def best_rank1(released, owner):
  """Rank-1 over people of the best function of a released image there is.

  A recogniser, whatever it knows, gives one answer to one image. The best one
  answers each distinct image with the person whose share in it is largest.
  """
  share = 1 / np.bincount(owner)[owner]
  total = 0.0
  for rows in members(released):
    total += np.bincount(owner[rows], share[rows]).max()
  return total / len(np.unique(owner))


def assert_hidden(released, owner, k):
  """At least k people share an image, each has one, rank-1 is at most 1/k."""
  for rows in members(released):
    assert len(set(owner[rows])) >= k
  for person in np.unique(owner):
    assert len(members(released[owner == person])) == 1
  assert best_rank1(released, owner) <= 1 / k + 1e-9
