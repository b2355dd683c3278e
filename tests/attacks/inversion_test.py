"""Attackers of features where it is known what they must find."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpriv.attacks import inversion, reconstruction
from jaxpriv.metrics import image as image_metrics
from jaxpriv.training import published
from tests.metrics.image_test import pictures


def photographs(count=6, side=24, seed=0):
  x = pictures(seed, count, side, side, 3)
  return np.round((x - x.min()) / np.ptp(x) * 255).astype(np.uint8)


def convolved(x, kernel):
  padding = ((1, 1), (1, 1))
  return np.asarray(
    jax.lax.conv_general_dilated(
      jnp.asarray(x), jnp.asarray(kernel), (1, 1), padding,
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
  )  # fmt: skip


def test_least_squares_undoes_what_a_linear_module_does():
  rng = np.random.default_rng(0)
  released = rng.normal(size=(20, 8, 8, 6)).astype(np.float32)
  kernel = rng.normal(size=(3, 3, 6, 5)).astype(np.float32)
  clean = convolved(released, kernel) + 0.7
  found = inversion.least_squares(released[:4], clean[:4], (3,), (1e-8,))
  # One pair has 64 positions, for 55 unknowns a channel: four are plenty.
  np.testing.assert_allclose(found(released[4:]), clean[4:], atol=0.05)
  # float16, as everything that is published.
  assert found(released).dtype == np.float16
  blind = inversion.least_squares(released[:4], clean[:4], (1,))
  error = np.abs(blind(released[4:]) - clean[4:]).mean()
  assert error > 0.5  # what stands beside a position is not seen


def test_least_squares_look_as_far_as_the_pairs_suffice_for():
  rng = np.random.default_rng(1)
  released = rng.normal(size=(40, 8, 8, 16)).astype(np.float32)
  kernel = 0.1 * rng.normal(size=(3, 3, 16, 4)).astype(np.float32)
  kernel[1, 1] += rng.normal(size=(16, 4))
  noise = 0.1 * rng.normal(size=(40, 8, 8, 4))
  clean = (convolved(released, kernel) + noise).astype(np.float32)

  def error(found):
    return np.square(np.float32(found(released[20:])) - clean[20:]).mean()

  # One pair has 64 positions, for 17 unknowns or 145.
  few, many = (
    inversion.least_squares(released[:n], clean[:n]) for n in (1, 20)
  )
  assert (few.window, many.window) == (1, 3)
  for n, chosen in ((1, few), (20, many)):
    others = [
      error(inversion.least_squares(released[:n], clean[:n], (w,), (r,)))
      for w in (1, 3) for r in (1e-6, 1e-4, 1e-2)
    ]  # fmt: skip
    assert error(chosen) <= 1.05 * min(others)


def test_the_error_of_a_map_is_what_it_misses():
  rng = np.random.default_rng(2)
  z = rng.normal(size=(3, 4, 4, 2)).astype(np.float32)
  y = rng.normal(size=(3, 4, 4, 3)).astype(np.float32)
  moments = inversion._moments(z, y, 1, 1, 4)
  weight = rng.normal(size=(3, 3))
  rows = np.concatenate([z[:, 1:].reshape(-1, 2), np.ones((36, 1))], axis=1)
  missed = np.square(rows @ weight - y[:, 1:].reshape(-1, 3)).sum()
  np.testing.assert_allclose(moments.error(weight), missed, rtol=1e-5)


def test_likeness_of_a_photograph_with_itself_and_of_its_negative():
  images = photographs()
  same = images.astype(np.float32) / 255
  people = np.arange(6) // 2
  row = inversion.likeness(images, same, people)
  assert row["L1"].value == 0 and row["L1"].total == 6
  assert "PSNR" not in row  # which is infinite
  assert row["SSIM"].value == pytest.approx(1, abs=1e-5)
  row = inversion.likeness(images, 1 - same, people)
  assert row["SSIM"].value < -0.5
  assert row["|SSIM|"].value > 0.5
  assert row["aligned SSIM"].value == pytest.approx(1, abs=1e-3)
  assert row["SSIM"].low <= row["SSIM"].value <= row["SSIM"].high


def test_likeness_is_of_each_image_and_its_intervals_of_people():
  images = photographs(40)
  rng = np.random.default_rng(1)
  noisy = np.clip(images / 255 + 0.2 * rng.normal(size=images.shape), 0, 1)
  noisy = noisy.astype(np.float32)
  row = inversion.likeness(images, noisy, np.arange(40))
  each = image_metrics.ssim(images.astype(np.float32) / 255, noisy)
  np.testing.assert_allclose(row["SSIM"].value, np.mean(each), rtol=1e-5)
  fewer = inversion.likeness(images, noisy, np.arange(40) // 20)
  width = lambda row: row["SSIM"].high - row["SSIM"].low
  assert width(row) > 0 and width(fewer) != pytest.approx(width(row))


def test_the_white_box_search_finds_the_photograph_without_its_key():
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
    release, mixing, features_of, start, code, steps=300, smoothness=1e-4
  )
  found = search(3, release)
  before = np.abs(images - start).mean()
  assert np.abs(images - found).mean() < before / 5
  assert found.min() >= 0 and found.max() <= 1
  unkeyed = search(0, lambda *a: release(*a[:2], jnp.zeros((3, 3))))
  assert np.abs(images - unkeyed).mean() > before / 2


def test_smoothness_is_that_which_shows_most_of_ones_own_photographs():
  images = photographs(4, 16)
  x = images.astype(np.float32) / 255
  features_of = np.arange(4, dtype=np.float32).reshape(4, 1, 1, 1)
  noise = np.random.default_rng(0).normal(size=x.shape).astype(np.float32)

  def search(start, features, smoothness, best=0.2):
    """As far off as the smoothness is from the best."""
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


def test_each_photograph_may_have_its_own_smoothness():
  images = photographs(2, 16).astype(np.float32) / 255
  search = lambda some, smoothness: inversion.search(
    lambda states, x, key: x, {}, images[some],
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
  other = reconstruction.strangers(identities)
  assert sorted(other) == list(range(9))
  assert np.all(identities[other] != identities)


def test_what_float16_cannot_hold_is_not_released():
  x = np.ones((2, 4, 4, 3), np.float32)
  assert published.features(x).dtype == np.float16
  for bad in (1e6, np.nan, np.inf):
    x[1, 0, 0, 0] = bad
    with pytest.raises(ValueError, match="not finite, or too large"):
      published.features(x)
