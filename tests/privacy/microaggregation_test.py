import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpriv.privacy import microaggregation

ROWS = 24


def test_a_face_is_in_the_group_that_it_starts():
  # So far from the origin that distances are nothing but rounding.
  points = 1e3 + 1e-3 * np.random.default_rng(22).normal(size=(ROWS, 36))
  group = np.asarray(
    microaggregation.groups(
      jnp.asarray(points, jnp.float32),
      jnp.ones(ROWS, bool),
      jnp.zeros(ROWS, jnp.int32),
      3,
    )
  )
  for number in range(ROWS // 3):
    assert group[np.flatnonzero(group >= number)[0]] == number
  assert (np.bincount(group) == 3).all()


def test_groups_stay_inside_parts():
  rng = np.random.default_rng(23)
  part = np.r_[np.zeros(7, int), np.ones(ROWS - 7, int)]
  group = np.asarray(
    microaggregation.groups(
      jnp.asarray(rng.normal(size=(ROWS, 5)), jnp.float32),
      jnp.ones(ROWS, bool),
      jnp.asarray(part, jnp.int32),
      3,
    )
  )
  for number in np.unique(group):
    assert len(set(part[group == number])) == 1
    assert 3 <= (group == number).sum() < 6


def test_majority_of_what_is_known():
  attributes = np.array(
    [[1, -1, 0], [1, -1, 1], [0, -1, 1], [-1, 1, 1], [0, 0, -1]]
  )
  segment, keep = np.array([0, 0, 0, 0, 4]), np.array([1, 1, 1, 0, 1], bool)
  got = microaggregation.majority(attributes, segment, keep)
  assert got[0].tolist() == [1, -1, 1]
  assert got[4].tolist() == [0, 0, -1]
  assert (np.asarray(got[1:4]) == -1).all()


def test_principal_components_are_those_of_a_decomposition():
  rng = np.random.default_rng(24)
  points = rng.normal(size=(9, 40))
  points -= points.mean(0)
  coordinates, axes = microaggregation.principal(
    jnp.asarray(points, jnp.float32), 3
  )
  _, values, right = np.linalg.svd(points, full_matrices=False)
  near = points @ right[:3].T @ right[:3]
  np.testing.assert_allclose(coordinates @ axes, near, atol=1e-4)
  lengths = np.linalg.norm(coordinates, axis=0)
  np.testing.assert_allclose(lengths, values[:3], rtol=1e-4)


def test_people_who_cannot_be_grouped():
  people, padding = microaggregation.people_of(4, None, None, 4)
  assert people.present.all() and not padding.any()
  with pytest.raises(ValueError, match="the set has 4"):
    microaggregation.people_of(4, None, None, 5)
  fewer = jax.jit(
    lambda i: microaggregation.people_of(4, i, None, 3)[0].fewer_than(3)
  )
  assert not fewer(np.array([3, 5, 5, 0]))
  assert fewer(np.array([3, 5, 5, 3])) and fewer(np.array([3, 5, -1, 0]))
  assert "of 1 photographs" in microaggregation.unfit(2, np.array([0, -1, 1]))
  assert "there are 2" in microaggregation.unfit(3, np.array([0, 0, 1]))
  assert not microaggregation.unfit(2, np.array([0, 0, 1]))
