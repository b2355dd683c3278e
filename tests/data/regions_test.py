"""Regions against formulas in NumPy, and properties of random ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxpriv.data import regions
from jaxpriv.data.records import AFLW_LANDMARKS
from jaxpriv.metrics import detection


def test_squares_and_boxes():
  box = np.array([[10.0, 20, 26, 56]])
  np.testing.assert_allclose(regions.square_of(box), [[18, 38, 24]])
  np.testing.assert_allclose(
    regions.box_of(jnp.array([18.0, 38, 24])), [6, 26, 30, 50]
  )


def test_drawn_regions_are_where_they_should_be():
  box = jnp.array([20.0, 22, 56, 60])
  face = np.asarray(regions.square_of(box))
  keys = jax.random.split(jax.random.key(0), 500)
  drawn = jax.vmap(lambda k: regions.draw(k, box, 64, 2, 3))(keys)
  assert drawn.shape == (500, 5, 3)
  near, other = np.asarray(drawn[:, :2]), np.asarray(drawn[:, 2:])
  shift = (near[..., :2] - face[:2]) / face[2]
  assert 0.19 < np.abs(shift).max() <= 0.2
  scale = near[..., 2] / face[2]
  assert np.exp(-0.25) <= scale.min() < 0.8 and 1.25 < scale.max() < 1.285
  # Three in four near regions overlap the face by half, one in ten of the rest.
  shows = np.asarray(detection.iou(regions.box_of(drawn), box)) >= 0.5
  assert shows[:, :2].mean() > 0.75 and 0.02 < shows[:, 2:].mean() < 0.3
  assert (other[..., 2] >= 16 - 1e-3).all()
  # All regions differ.
  assert len(np.unique(np.asarray(drawn).reshape(-1, 3), axis=0)) == 2500


def test_without_a_box_regions_are_anywhere():
  drawn = regions.draw(jax.random.key(0), jnp.full(4, jnp.nan), 64, 2, 1)
  assert np.isfinite(drawn).all()


def test_whole_pixels_are_cut_out_as_they_are():
  image = np.random.default_rng(0).random((40, 50, 3)).astype(np.float32)
  # Pixel i lies at i: a square of pixels 10..17 has its centre at 13.5.
  region = jnp.array([[13.5, 23.5, 8.0]])
  cut = regions.cut(image, region, 8)
  np.testing.assert_allclose(cut[0], image[20:28, 10:18], atol=1e-5)


def test_shrinking_averages_as_pillow_does():
  image = np.random.default_rng(0).random((64, 64)).astype(np.float32)
  stacked = np.repeat(image[..., None], 3, -1)
  pixels = regions.cut(stacked, jnp.array([[31.5, 31.5, 64.0]]), 16)[0, ..., 0]
  resized = Image.fromarray(image).resize((16, 16), Image.Resampling.BILINEAR)
  inner = (slice(1, -1),) * 2  # at the border Pillow leaves weights out
  np.testing.assert_allclose(
    np.asarray(pixels)[inner], np.asarray(resized)[inner], atol=1e-5
  )


def test_outside_the_border_repeats():
  image = np.zeros((20, 20, 3), np.float32)
  image[:, -1] = 1
  cut = regions.cut(image, jnp.array([[29.5, 9.5, 10.0]]), 10)
  np.testing.assert_allclose(cut, 1, atol=1e-6)


@pytest.mark.parametrize(
  "name,other",
  [
    ("left_brow_left", "right_brow_right"),
    ("left_eye_right", "right_eye_left"),
    ("mouth_left", "mouth_right"),
    ("left_ear", "right_ear"),
    ("chin_center", "chin_center"),
  ],
)
def test_points_change_sides_in_a_mirror(name, other):
  index = AFLW_LANDMARKS.index
  assert regions.MIRRORED[index(name)] == index(other)
  assert (regions.MIRRORED[regions.MIRRORED] == np.arange(21)).all()
