"""Attackers of features where it is known what they must find."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxpriv.attacks import inversion
from jaxpriv.attacks import scene as scene_lib
from jaxpriv.training import published
from tests.metrics.image_test import pictures


def photographs(count=6, side=24, seed=0):
  x = pictures(seed, count, side, side, 3)
  return np.round((x - x.min()) / np.ptp(x) * 255).astype(np.uint8)


def test_the_white_box_search_finds_the_photograph_without_its_key(mesh):
  images = photographs(3, 16).astype(np.float32) / 255
  mixing = np.linalg.qr(np.random.default_rng(0).normal(size=(768, 768)))[0]
  mixing = jnp.asarray(mixing, jnp.float32)

  def release(mixing, x, key):
    mixed = (x.reshape(len(x), -1) @ mixing).reshape(len(x), 16, 16, 3)
    keyed = mixed * (1 + key[:, None, None])
    return jnp.concatenate([keyed, 0.3 * mixed], axis=-1)

  secret = np.array([[0.5, 0.0, -0.5]] * 3, np.float32)
  features_of = np.asarray(release(mixing, jnp.asarray(images), secret))
  start = np.full((3, 16, 16, 3), 0.5, np.float32)
  search = lambda code, release: inversion.search(
    release, mixing, mesh, features_of, start, code, steps=300, smoothness=1e-4
  )
  found = search(3, release)
  before = np.abs(images - start).mean()
  assert np.abs(images - found).mean() < before / 5
  assert found.min() >= 0 and found.max() <= 1
  unkeyed = search(0, lambda *a: release(*a[:2], jnp.zeros((len(a[1]), 3))))
  assert np.abs(images - unkeyed).mean() > before / 2


def test_smoothness_is_that_which_shows_most_of_ones_own_photographs():
  images = photographs(4, 16)
  x = images.astype(np.float32) / 255
  features_of = np.arange(4, dtype=np.float32).reshape(4, 1, 1, 1)
  noise = np.random.default_rng(0).normal(size=x.shape).astype(np.float32)

  def search(start, features, smoothness, best=0.2):
    """Misses the image by as much as the smoothness misses the best one."""
    which = features.ravel().astype(int)
    np.testing.assert_array_equal(start, noise[which])
    off = np.abs(np.log(smoothness / best))[:, None, None, None]
    return x[which] + 0.1 * off * noise[which]

  choose = lambda search, start: inversion.smoothest(
    search, images, features_of, start
  )
  assert choose(search, noise) == 0.2
  worst = lambda *a: search(*a, best=2e-3)
  assert choose(worst, noise) == 0.002
  spoil = lambda start, features, smoothness: 0 * start
  assert choose(spoil, x) is None


def test_each_photograph_may_have_its_own_smoothness(mesh):
  images = photographs(2, 16).astype(np.float32) / 255
  search = lambda some, smoothness: inversion.search(
    lambda states, x, key: x, {}, mesh, images[some],
    np.full((len(images[some]), 16, 16, 3), 0.5, np.float32),
    smoothness=smoothness, steps=50,
  )  # fmt: skip
  both = search(slice(0, 2), np.array([0.0, 2.0]))
  np.testing.assert_allclose(both[:1], search(slice(0, 1), 0.0), atol=1e-4)
  np.testing.assert_allclose(both[1:], search(slice(1, 2), 2.0), atol=1e-4)
  rough = np.abs(np.diff(both, axis=1)).mean((1, 2, 3))
  assert rough[1] < rough[0] / 2


def test_links_are_found_where_the_same_comes_twice():
  rng = np.random.default_rng(0)
  x = rng.normal(size=(50, 4, 4, 3)).astype(np.float32)
  assert inversion.linked(x, x).hits == 50
  assert inversion.linked(x, x + 0.1 * rng.normal(size=x.shape)).hits == 50
  other = rng.normal(size=x.shape)
  assert inversion.linked(x, other).hits < 8


def test_strangers_are_never_the_person():
  identities = np.array([3, 1, 3, 7, 1, 3, 2, 9, 9])
  other = scene_lib.strangers(identities)
  assert sorted(other) == list(range(9))
  assert np.all(identities[other] != identities)


def test_what_float16_cannot_hold_is_not_released():
  x = np.ones((2, 4, 4, 3), np.float32)
  assert published.features(x).dtype == np.float16
  for bad in (1e6, np.nan, np.inf):
    x[1, 0, 0, 0] = bad
    with pytest.raises(ValueError, match="not finite, or too large"):
      published.features(x)
