"""Pasting against matrices, hand cases, and what must not change."""

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
import scipy.sparse.linalg
from hypothesis import strategies as st

from jaxpriv.data import blending


def images(rows=2, height=16, width=16, seed=0):
  rng = np.random.default_rng(seed)
  made = rng.random((2, rows, height, width, 3)).astype(np.float32)
  return tuple(map(jnp.asarray, made))


def disc(rows=2, height=16, width=16, radius=5):
  y, x = np.mgrid[:height, :width]
  near = (y - height / 2) ** 2 + (x - width / 2) ** 2 < radius**2
  return jnp.asarray(np.broadcast_to(near, (rows, height, width)), jnp.float32)


@hypothesis.given(st.integers(0, 10**6))
@hypothesis.settings(deadline=None, max_examples=20)
def test_nothing_outside_the_mask_changes(seed):
  face, photograph = images(1, 8, 8, seed)
  mask = np.random.default_rng(seed).random((1, 8, 8)) > 0.3
  mask = jnp.asarray(mask, jnp.float32)
  for pasted in (
    blending.feather(face, photograph, mask),
    blending.poisson(face, photograph, mask),
  ):
    outside = np.asarray(mask) == 0
    np.testing.assert_array_equal(
      np.asarray(pasted)[outside], np.asarray(photograph)[outside]
    )


def test_a_feathered_face_is_as_opaque_as_is_said():
  face, photograph = images()
  alpha = disc(radius=7) * 0.25
  pasted = np.asarray(blending.feather(face, photograph, alpha))
  expected = 0.25 * face[:, 8, 8] + 0.75 * photograph[:, 8, 8]
  np.testing.assert_allclose(pasted[:, 8, 8], expected, atol=1e-6)


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
    plain = blending.feather(face, photograph, mask)
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


def test_unknown_pixels_are_filled_smoothly_and_play_no_part():
  _, photograph = images(2, 32, 32)
  known = ~(disc(2, 32, 32, 9) > 0)
  filled = np.asarray(blending.fill(photograph, known))
  known = np.asarray(known)
  np.testing.assert_array_equal(filled[known], np.asarray(photograph)[known])
  other = jnp.where(known[..., None], photograph, 7.0)
  np.testing.assert_array_equal(
    blending.fill(other, jnp.asarray(known)), filled
  )
  # Far inside it is nearly the mean of all around, however noisy that is.
  assert np.abs(filled[:, 16, 16] - 0.5).max() < 0.2
  grey = jnp.full_like(photograph, 0.3)
  np.testing.assert_allclose(
    blending.fill(grey, jnp.asarray(known)), 0.3, atol=1e-6
  )


def test_where_nothing_is_known_it_is_grey():
  _, photograph = images(1, 8, 8)
  nothing = jnp.zeros((1, 8, 8), bool)
  np.testing.assert_array_equal(blending.fill(photograph, nothing), 0.5)
  with pytest.raises(ValueError, match="power of two"):
    blending.fill(photograph[:, :, :6], nothing[:, :, :6])


def test_a_ramp_is_continued():
  side = 32
  ramp = jnp.broadcast_to(jnp.linspace(0, 1, side)[:, None], (side, side, 3))
  known = ~(disc(1, side, side, 6) > 0)
  filled = np.asarray(blending.fill(ramp[None], known))[0]
  assert np.abs(filled - ramp).max() < 0.15


def test_a_sharp_face_becomes_as_soft_as_it_is_to_be():
  rng = np.random.default_rng(0)
  face = jnp.asarray(rng.random((2, 32, 32, 3)), jnp.float32)
  soft = blending.gaussian_blur(face, 2.0)
  mask = disc(2, 32, 32, 12)
  matched = blending.match_sharpness(face, soft, mask)
  np.testing.assert_allclose(matched, soft, atol=1e-5)
  # A soft face cannot be sharpened.
  np.testing.assert_array_equal(
    blending.match_sharpness(soft, face, mask), soft
  )
