"""Pieces of photographs: how they look, and how they are pasted."""

import math
from typing import NamedTuple

import numpy as np
from PIL import Image

from jaxpriv.data import alignment

_ROUND = 3.0  # exponent of an outline: 2 is an ellipse, more is squarer


class Piece(NamedTuple):
  """A piece of a photograph, and where it is to be.

  Attributes:
    face: whose photograph it is cut out of.
    matrix: [2, 3], takes the photograph to the picture, perhaps mirrored.
    middle: [2] of the cut-out in the photograph.
    half: [2], half of its width and height.
    fade: share of these over which it fades out.
    gain: [3] by which colours are multiplied, about their mean.
    shift: [3] that is added to them, in shares of white.
    shown: False of scraps.
  """

  face: int
  matrix: np.ndarray
  middle: np.ndarray
  half: np.ndarray
  fade: float
  gain: np.ndarray
  shift: np.ndarray
  shown: bool


def paste(canvas: np.ndarray, piece: Piece, image: Image.Image) -> None:
  """Pastes a piece into a picture, as far as it is inside.

  Args:
    canvas: float64 [side, side, 3] in [0, 1], changed in place.
    piece: the piece.
    image: its photograph, of `images.upright`.
  """
  side = len(canvas)
  scale = float(alignment.matrix_scale(piece.matrix))
  middle = alignment.transform_points(piece.matrix, piece.middle[None])[0]
  reach = float(np.hypot(*piece.half)) * scale
  size = max(2 * math.ceil(reach), 1)
  corner = np.floor(middle - reach).astype(int)
  matrix = piece.matrix - np.insert(np.zeros((2, 2)), 2, corner, axis=1)
  mirrored = np.linalg.det(matrix[:, :2]) < 0
  if mirrored:  # pixels are warped by similarities alone, and then mirrored
    matrix = np.array([[-1, 0], [0, 1]]) @ matrix + [[0, 0, size], [0, 0, 0]]
  pixels = lit(alignment.warp(image, matrix, size), piece.gain, piece.shift)
  alpha = _opacity(matrix, size, piece, image.size)
  if mirrored:
    pixels, alpha = pixels[:, ::-1], alpha[:, ::-1]
  low = np.clip(corner, 0, side)
  high = np.clip(corner + size, 0, side)
  if (low >= high).any():
    return
  (x0, y0), (x1, y1) = low - corner, high - corner
  under = canvas[low[1] : high[1], low[0] : high[0]]
  under += alpha[y0:y1, x0:x1, None] * (pixels[y0:y1, x0:x1] - under)


def turned(rng: np.random.Generator, scale: float, most: float) -> np.ndarray:
  """A matrix [2, 2]: a scale, a turn of at most so much, perhaps a mirror."""
  angle = rng.uniform(-most, most)
  cos, sin = scale * math.cos(angle), scale * math.sin(angle)
  mirror = (-1, 1) if rng.integers(2) else (1, 1)
  return np.array([[cos, -sin], [sin, cos]]) * mirror


def light(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
  """Gain [3] and shift [3] of another light."""
  gain = np.exp(rng.uniform(-0.35, 0.25)) * np.ones(3)
  shift = rng.uniform(-0.15, 0.15) + rng.uniform(-0.04, 0.04, size=3)
  return gain, shift


def lit(pixels: np.ndarray, gain: np.ndarray, shift: np.ndarray) -> np.ndarray:
  """uint8 [H, W, 3] in another light: float64 in [0, 1]."""
  values = pixels / 255
  mean = values.mean()
  return np.clip((values - mean) * gain + mean + shift, 0, 1)


def _opacity(
  matrix: np.ndarray, size: int, piece: Piece, extent: tuple[int, int]
) -> np.ndarray:
  """[size, size] in [0, 1]: 1 within, 0 beyond the piece or its photograph."""
  centres = np.arange(size) + 0.5
  grid = np.stack(np.meshgrid(centres, centres), -1).reshape(-1, 2)
  points = alignment.transform_points(alignment.invert(matrix), grid)
  away = np.abs((points - piece.middle) / piece.half)
  radius = (away**_ROUND).sum(1) ** (1 / _ROUND)
  # The edge of the photograph fades out over two pixels of the picture.
  inner = np.minimum(points, np.array(extent) - points).min(1)
  edge = inner * float(alignment.matrix_scale(matrix)) / 2
  alpha = np.minimum((1 - radius) / piece.fade, edge)
  return np.clip(alpha, 0, 1).reshape(size, size)
