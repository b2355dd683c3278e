"""Pieces are pasted where their matrices say, and fade out."""

import math

import numpy as np
import pytest
from PIL import Image

from jaxpriv.data import pieces
from jaxpriv.data.pieces import Piece

SIDE = 16
PLAIN = dict(face=0, gain=np.ones(3), shift=np.zeros(3), shown=True)


def photograph():
  """Red grows to the right and green downwards, over 40 px."""
  ramp = np.arange(40) * 6
  pixels = np.zeros((40, 40, 3), np.uint8)
  pixels[..., 0], pixels[..., 1] = ramp[None], ramp[:, None]
  return Image.fromarray(pixels)


def piece(matrix, half=20.0, fade=0.01, **changes):
  fields = dict(PLAIN, middle=np.array([20.0, 20.0]), half=np.full(2, half))
  return Piece(matrix=np.array(matrix, float), fade=fade, **fields | changes)


def pasted(some):
  canvas = np.full((SIDE, SIDE, 3), 0.5)
  pieces.paste(canvas, some, photograph())
  return canvas


def test_pixels_go_where_the_matrix_takes_them():
  canvas = pasted(piece([[1, 0, -12], [0, 1, -10]]))
  place = np.arange(SIDE)
  # Whole pixels: column x shows column x + 12. The first and last are there.
  np.testing.assert_allclose(
    canvas[..., 0], np.tile((place + 12) * 6 / 255, (SIDE, 1)), atol=1e-6
  )
  np.testing.assert_allclose(canvas[:, 3, 1], (place + 10) * 6 / 255, atol=1e-6)


def test_a_mirror_and_a_turn():
  # x' = 28 - x: column x' shows column 27 - x', whose middle it has.
  canvas = pasted(piece([[-1, 0, 28], [0, 1, -10]]))
  np.testing.assert_allclose(
    canvas[5, :, 0], (27 - np.arange(SIDE)) * 6 / 255, atol=1e-6
  )
  np.testing.assert_allclose(canvas[5, :, 1], 15 * 6 / 255, atol=1e-6)
  # A quarter turn clockwise: the top of the photograph is at the right.
  canvas = pasted(piece([[0, -1, 28], [1, 0, -12]]))
  np.testing.assert_allclose(
    canvas[5, :, 1], (27 - np.arange(SIDE)) * 6 / 255, atol=0.002
  )
  np.testing.assert_allclose(canvas[5, :, 0], 17 * 6 / 255, atol=0.002)


def test_it_fades_out_towards_its_edge_and_that_of_the_photograph():
  matrix = [[1, 0, -12], [0, 1, -12]]  # the middle is at 8, 8
  canvas = pasted(piece(matrix, half=4.0, fade=0.5))
  shown = canvas[8, :, 2]  # 0 in the photograph, 0.5 around
  away = np.abs(np.arange(SIDE) + 0.5 - 8) / 4
  across = (away**3 + 0.125**3) ** (1 / 3)
  alpha = np.clip((1 - across) / 0.5, 0, 1)
  np.testing.assert_allclose(shown, 0.5 * (1 - alpha), atol=1e-9)
  # The photograph begins at column 4 here; its edge is two pixels wide.
  aside = dict(half=50.0, middle=np.array([5.0, 20.0]))
  canvas = pasted(piece([[1, 0, 4], [0, 1, -12]], **aside))
  np.testing.assert_allclose(canvas[8, :4, 2], 0.5)
  np.testing.assert_allclose(canvas[8, 4:8, 2], [0.375, 0.125, 0, 0])
  mirrored = pasted(piece([[-1, 0, 12], [0, 1, -12]], **aside))
  np.testing.assert_allclose(mirrored, canvas[:, ::-1], atol=1e-9)


def test_a_piece_beyond_the_picture_changes_nothing():
  for x, y in ((100, 0), (-100, 0), (0, 100), (0, -100)):
    assert (pasted(piece([[1, 0, x], [0, 1, y]])) == 0.5).all()


def test_light_is_gain_about_the_mean_and_shift():
  pixels = np.array([[[51, 51, 51], [102, 102, 102]]], np.uint8)  # 0.2, 0.4
  got = pieces.lit(pixels, np.array([2.0, 1, 0]), np.array([0.1, 0, -0.5]))
  np.testing.assert_allclose(got, [[[0.2, 0.2, 0], [0.6, 0.4, 0]]])


@pytest.mark.parametrize("seed", range(5))
def test_turns_keep_shapes(seed):
  rng = np.random.default_rng(seed)
  drawn = [pieces.turned(rng, 1.5, math.radians(15)) for _ in range(40)]
  for matrix in drawn:
    np.testing.assert_allclose(matrix.T @ matrix, 2.25 * np.eye(2), atol=1e-9)
    assert matrix[1, 1] >= 1.5 * math.cos(math.radians(15)) - 1e-9
  assert {np.sign(np.linalg.det(m)) for m in drawn} == {-1, 1}
