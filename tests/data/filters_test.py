"""A blur repeats borders, and is that of its sigma."""

import numpy as np
from scipy.ndimage import gaussian_filter

from jaxpriv.data import filters


def images(seed, *shape):
  return np.random.default_rng(seed).random(shape).astype(np.float32)


def test_blur_equals_scipy():
  x = images(2, 3, 32, 40, 3)
  expected = gaussian_filter(
    x.astype(float), (0, 2.0, 2.0, 0), mode="nearest", truncate=3.0
  )
  got = np.asarray(filters.gaussian_blur(x, 2.0))
  np.testing.assert_allclose(got, expected, atol=1e-5)
  assert got.shape == x.shape


def test_blur_wider_than_the_image_is_flat():
  got = np.asarray(filters.gaussian_blur(images(3, 2, 16, 16, 3), 40.0))
  assert got.shape == (2, 16, 16, 3)
  assert got.std((1, 2)).max() < 0.05
  white = filters.gaussian_blur(np.ones((1, 16, 16, 3), np.float32), 5.0)
  np.testing.assert_allclose(white, 1, atol=1e-5)


def test_a_blur_that_is_cut_sees_no_further():
  x = np.zeros((1, 9, 9, 1), np.float32)
  x[0, 4, 4] = 1
  got = np.asarray(filters.gaussian_blur(x, 2.0, radius=1))[0, ..., 0]
  assert (got > 0).sum() == 9 and (got[3:6, 3:6] > 0).all()
