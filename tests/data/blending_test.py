"""Pasting against matrices, hand cases, and what must not change."""

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
import scipy.sparse.linalg
from hypothesis import strategies as st
from scipy import ndimage

from jaxpriv.data import blending


def images(rows=2, height=16, width=16, seed=0):
  rng = np.random.default_rng(seed)
  made = rng.random((2, rows, height, width, 3)).astype(np.float32)
  return tuple(map(jnp.asarray, made))


def disc(rows=2, height=16, width=16, radius=5):
  y, x = np.mgrid[:height, :width]
  near = (y - height / 2) ** 2 + (x - width / 2) ** 2 < radius**2
  return jnp.asarray(np.broadcast_to(near, (rows, height, width)), jnp.float32)


@pytest.mark.parametrize("radius", [0, 1, 3])
def test_a_softened_mask_is_the_mean_of_an_eroded_one(radius):
  mask = np.random.default_rng(1).random((2, 14, 11)) > 0.1
  size = 2 * radius + 1
  expected = []
  for one in mask.astype(float):
    wide = np.pad(one, 2 * radius, mode="edge")
    low = ndimage.minimum_filter(wide, size)
    mean = ndimage.uniform_filter(low, size)
    cut = slice(2 * radius, -2 * radius or None)
    expected.append(mean[cut, cut])
  got = blending.soften(jnp.asarray(mask, jnp.float32), radius)
  np.testing.assert_allclose(got, expected, atol=1e-6)


@hypothesis.given(st.integers(0, 10**6), st.integers(0, 3))
@hypothesis.settings(deadline=None, max_examples=20)
def test_nothing_outside_the_mask_changes(seed, radius):
  face, photograph = images(1, 8, 8, seed)
  mask = np.random.default_rng(seed).random((1, 8, 8)) > 0.3
  mask = jnp.asarray(mask, jnp.float32)
  for pasted in (
    blending.feather(face, photograph, mask, radius),
    blending.poisson(face, photograph, mask),
  ):
    outside = np.asarray(mask) == 0
    np.testing.assert_array_equal(
      np.asarray(pasted)[outside], np.asarray(photograph)[outside]
    )


def test_deep_inside_a_feathered_face_is_the_face():
  face, photograph = images()
  mask = disc(radius=7)
  pasted = np.asarray(blending.feather(face, photograph, mask, 1))
  np.testing.assert_allclose(pasted[:, 8, 8], face[:, 8, 8], atol=1e-6)
  edge = np.asarray(mask - blending.soften(mask, 1))
  assert edge.min() >= 0 and edge.max() > 0.85


@pytest.mark.parametrize("levels", [0, 1, 3])
def test_bands_of_one_image_make_that_image(levels):
  face, photograph = images()
  mask = disc()
  same = blending.multi_band(photograph, photograph, mask, levels)
  np.testing.assert_allclose(same, photograph, atol=1e-6)
  ones = jnp.ones_like(mask)
  whole = blending.multi_band(face, photograph, ones, levels)
  np.testing.assert_allclose(whole, face, atol=1e-6)
  if not levels:
    pasted = blending.multi_band(face, photograph, mask, 0)
    plain = blending.feather(face, photograph, mask, 0)
    np.testing.assert_allclose(pasted, plain, atol=1e-6)


def test_coarse_bands_are_joined_over_a_wider_rim():
  """A step of brightness becomes a ramp; a texture ends where the mask does."""
  side = 64
  half = jnp.asarray(np.arange(side) < side // 2, jnp.float32)
  mask = jnp.broadcast_to(half, (1, side, side))
  bright = jnp.ones((1, side, side, 3))
  step = blending.multi_band(bright, 0 * bright, mask, 4)[0, side // 2, :, 0]
  assert ((step > 0.05) & (step < 0.95)).sum() > 12
  stripes = jnp.broadcast_to(
    (jnp.arange(side) % 2)[:, None, None], bright.shape
  )
  mixed = blending.multi_band(
    jnp.asarray(stripes, jnp.float32), 0 * bright, mask, 4
  )
  contrast = jnp.abs(jnp.diff(mixed[0, :, :, 0], axis=0)).mean(0)
  assert contrast[: side // 2 - 3].min() > 0.8
  assert contrast[side // 2 + 3 :].max() < 0.2


def test_sides_that_cannot_be_halved_are_refused():
  face, photograph = images(1, 12, 16)
  with pytest.raises(
    ValueError, match="12 x 16 pixels cannot be halved 3 times"
  ):
    blending.multi_band(face, photograph, disc(1, 12, 16), 3)


def solved(face, photograph, mask):
  """The same by a sparse matrix in float64, one pixel after the other."""
  height, width = mask.shape
  pixels = [
    (y, x)
    for y in range(1, height - 1)
    for x in range(1, width - 1)
    if mask[y, x]
  ]
  number = {pixel: i for i, pixel in enumerate(pixels)}
  matrix = scipy.sparse.lil_matrix((len(pixels), len(pixels)))
  right = np.zeros((len(pixels), 3))
  for (y, x), i in number.items():
    matrix[i, i] = 4
    for pixel in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
      right[i] += face[y, x] - face[pixel]
      if pixel in number:
        matrix[i, number[pixel]] = -1
      else:
        right[i] += photograph[pixel]
  values = scipy.sparse.linalg.spsolve(matrix.tocsr(), right)
  expected = photograph.copy()
  for (y, x), i in number.items():
    expected[y, x] = values[i]
  return expected


def test_poisson_solves_the_equations_of_the_paper():
  face, photograph = images(2, 14, 18)
  masks = np.stack([
    np.asarray(disc(1, 14, 18, 5)[0]),
    np.random.default_rng(0).random((14, 18)) > 0.4,
  ])  # fmt: skip
  got = blending.poisson(face, photograph, jnp.asarray(masks, jnp.float32))
  for i in range(2):
    arrays = [np.asarray(x[i], np.float64) for x in (face, photograph)]
    expected = solved(*arrays, masks[i] > 0.5)
    np.testing.assert_allclose(got[i], expected, atol=2e-4)


def test_a_face_that_differs_by_a_constant_vanishes():
  _, photograph = images()
  pasted = jax.jit(blending.poisson)(photograph + 0.3, photograph, disc())
  np.testing.assert_allclose(pasted, photograph, atol=1e-4)


def test_colours_become_those_of_what_is_covered():
  face, photograph = images()
  face, mask = 0.2 + 0.5 * face, disc()
  matched = np.asarray(blending.match_colour(face, photograph, mask))
  there = np.asarray(mask) > 0
  for i in range(2):
    mine, theirs = matched[i][there[i]], np.asarray(photograph)[i][there[i]]
    np.testing.assert_allclose(mine.mean(0), theirs.mean(0), atol=1e-5)
    np.testing.assert_allclose(mine.std(0), theirs.std(0), rtol=1e-3)
  nowhere = blending.match_colour(face, photograph, 0 * mask)
  np.testing.assert_array_equal(nowhere, face)
  flat = blending.match_colour(0 * face + 0.4, photograph, mask)
  assert np.isfinite(flat).all() and float(flat[0].std((0, 1)).max()) < 1e-4
