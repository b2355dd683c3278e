"""Puts framed faces back into the photographs that they were cut from.

A face is framed by a matrix that takes pixels of the photograph to pixels of a
square crop (`jaxpriv.data.alignment`). Here the crop, changed meanwhile, goes
back: it covers a rounded square, the crop without its corners, or, of a head,
an egg that is as high as the crop, and is blended within that.

Pixels under a face play no part in what comes in its place: they are unknown
from the beginning, and blending sees smooth colours there that surrounding
pixels give (`blending.fill`). So a photograph with its faces replaced depends
on the originals through the changed crops alone, unless `match` is asked for:
then the mean and spread of their colours, and their sharpness, pass.

Points are (x, y) in pixels; the centre of the first pixel is (0.5, 0.5).
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxpriv.data import alignment, blending

BLENDS = ("feather", "multi_band", "poisson")
# |x / width|^power + |y|^power <= 1 is covered: 93% of the crop of a face, 64%
# of that of a head.
_WIDTH, _POWER = {"head": 0.75}, {"head": 2.5}
_FADE = 0.12  # it fades out over so much of its radius
# Around a face there must be something to blend with: a share of its side.
_RIM = 0.06
_SMALLEST, _LARGEST = 16, 8192
# Regions that may stay visible: centre and half axes, in shares of the side of
# ArcFace's template.
_EYE, _MOUTH = (0.15, 0.085), (0.20, 0.10)


class Window(NamedTuple):
  """A square of whole pixels of a photograph, partly outside of it perhaps."""

  x: int
  y: int
  side: int  # a power of two


def window(matrix: np.ndarray, size: int) -> Window:
  """The window around a face.

  Args:
    matrix: [2, 3], takes the photograph to the crop.
    size: side of the crop.

  Raises:
    ValueError: the face is larger than can be pasted.
  """
  corners = np.array([[0, 0], [size, 0], [0, size], [size, size]], float)
  placed = alignment.transform_points(alignment.invert(matrix), corners)
  low, high = placed.min(0), placed.max(0)
  rim = _RIM * (high - low).max() + 1
  needed = (high - low).max() + 2 * rim
  side = max(_SMALLEST, 2 ** int(np.ceil(np.log2(needed))))
  if side > _LARGEST:
    raise ValueError(
      f"a face of {needed:.0f} pixels is larger than {_LARGEST}, the most that"
      " can be pasted"
    )
  x, y = np.round((low + high - side) / 2).astype(int).tolist()
  return Window(x, y, side)


def cut(pixels: np.ndarray, place: Window) -> np.ndarray:
  """Pixels [side, side, ...] of [H, W, ...]; edges go on beyond the image."""
  rows, columns = (
    np.clip(np.arange(start, start + place.side), 0, extent - 1)
    for start, extent in zip((place.y, place.x), pixels.shape, strict=False)
  )
  return pixels[rows[:, None], columns]


def inside(shape: Sequence[int], place: Window) -> np.ndarray:
  """True for pixels of a window that are in the image: bool [side, side].

  Args:
    shape: of the image, [H, W, ...].
    place: the window.
  """
  rows, columns = (
    (np.arange(start, start + place.side) >= 0)
    & (np.arange(start, start + place.side) < extent)
    for start, extent in zip((place.y, place.x), shape, strict=False)
  )
  return rows[:, None] & columns


def put(pixels: np.ndarray, place: Window, patch: np.ndarray) -> None:
  """Writes [side, side, ...] into [H, W, ...], as far as it is inside."""
  height, width = pixels.shape[:2]
  top, left = max(place.y, 0), max(place.x, 0)
  bottom = min(place.y + place.side, height)
  right = min(place.x + place.side, width)
  if top < bottom and left < right:
    pixels[top:bottom, left:right] = patch[
      top - place.y : bottom - place.y, left - place.x : right - place.x
    ]


def opacity(
  matrix: np.ndarray,
  size: int,
  place: Window,
  align: str = "landmarks",
  visible: Sequence[str] = (),
) -> np.ndarray:
  """How opaque a face is over each pixel of a window: float32 [side, side].

  It is 1 but near the edge of what is covered, and 0 outside of that.

  Args:
    matrix: [2, 3], takes the photograph to the crop.
    size: side of the crop.
    place: the window.
    align: how the face was framed.
    visible: of "eyes" and "mouth": these stay as they are in the photograph,
      about where the template of aligned faces has them.
  """
  centres = np.arange(place.side) + 0.5
  grid = np.stack(np.meshgrid(centres + place.x, centres + place.y), -1)
  points = alignment.transform_points(matrix, grid.reshape(-1, 2)) / size
  power = _POWER.get(align, 4.0)
  x, y = np.abs(2 * points - 1).T
  radius = ((x / _WIDTH.get(align, 1.0)) ** power + y**power) ** (1 / power)
  alpha = (1 - radius) / _FADE
  for middle, axes in _regions(align, visible):
    away = np.sqrt((((points - middle) / axes) ** 2).sum(1))
    alpha = np.minimum(alpha, (away - 1) / _FADE)
  alpha = np.clip(alpha, 0, 1).astype(np.float32)
  return alpha.reshape(place.side, place.side)


def _regions(align, visible):
  points = alignment.template(1, align)
  scale = np.ptp(points[:, 0]) / np.ptp(alignment.arcface_template(1)[:, 0])
  if "eyes" in visible:
    yield points[0], scale * np.array(_EYE)
    yield points[1], scale * np.array(_EYE)
  if "mouth" in visible:
    yield points[3:].mean(0), scale * np.array(_MOUTH)


@functools.partial(jax.jit, static_argnames=("blend", "match"))
def paste(
  faces: jax.Array,
  matrices: jax.Array,
  patches: jax.Array,
  known: jax.Array,
  alpha: jax.Array,
  blend: str = "feather",
  match: bool = False,
) -> jax.Array:
  """Windows of photographs with faces in them, on the device.

  Args:
    faces: float32 [B, size, size, 3], the changed crops; with a fourth channel
      they are colours times opacity and opacity, and surroundings show through.
    matrices: float32 [B, 2, 3], take pixels of a window to those of its crop.
    patches: float32 [B, S, S, 3], the windows of the photographs, S a power of
      two.
    known: bool [B, S, S], pixels of the windows that may be looked at; not
      those under this face, nor under others that are still to be replaced.
    alpha: float32 [B, S, S], as `opacity` gives it.
    blend: one of `BLENDS`.
    match: give faces the colours and the sharpness of what they cover.

  Returns:
    [B, S, S, 3] in [0, 1]: `patches` where alpha is 0.
  """
  new = warp(faces, matrices, patches.shape[1])
  covered = alpha > 0
  around = blending.fill(patches, known & ~covered)
  if faces.shape[3] == 4:
    new = new[..., :3] + (1 - new[..., 3:]) * around
  if match:
    new = blending.match_sharpness(new, patches, alpha)
    new = blending.match_colour(new, patches, alpha)
  if blend == "multi_band":
    levels = min(4, patches.shape[1].bit_length() - 3)
    inner = (alpha > 0.5).astype(new.dtype)
    joined = blending.multi_band(new, around, inner, levels)
  else:
    if blend == "poisson":
      new = blending.poisson(new, around, covered.astype(new.dtype))
    joined = blending.feather(new, around, alpha)
  joined = jnp.where(covered[..., None], joined, patches)
  return jnp.clip(joined, 0, 1)


def warp(faces: jax.Array, matrices: jax.Array, side: int) -> jax.Array:
  """Crops [B, size, size, C] as windows [B, side, side, C] see them.

  Where a crop has more pixels than the window shows it is blurred before.

  Args:
    faces: the crops; beyond them their edges go on.
    matrices: [B, 2, 3], take pixels of a window to those of its crop.
    side: of the windows.
  """
  size = faces.shape[1]
  scale = jnp.hypot(matrices[:, 0, 0], matrices[:, 1, 0])
  faces = _blurred(faces, jnp.sqrt(jnp.maximum(scale**2 - 1, 0)) / 2)
  centres = jnp.arange(side, dtype=jnp.float32) + 0.5
  x, y = jnp.meshgrid(centres, centres)
  grid = jnp.stack([x, y, jnp.ones_like(x)])
  places = jnp.einsum("bij,jhw->bihw", matrices, grid, precision="highest")
  u, v = places[:, 0] - 0.5, places[:, 1] - 0.5
  left, top = jnp.floor(u), jnp.floor(v)
  right, below = (u - left)[..., None], (v - top)[..., None]

  def at(row, column):
    row = jnp.clip(row.astype(jnp.int32), 0, size - 1)
    column = jnp.clip(column.astype(jnp.int32), 0, size - 1)
    return jax.vmap(lambda face, i, j: face[i, j])(faces, row, column)

  upper = (1 - right) * at(top, left) + right * at(top, left + 1)
  lower = (1 - right) * at(top + 1, left) + right * at(top + 1, left + 1)
  return (1 - below) * upper + below * lower


def _blurred(faces: jax.Array, sigma: jax.Array) -> jax.Array:
  """Gaussian blur by sigma [B] pixels, as products with matrices; 0 is none."""
  place = jnp.arange(faces.shape[1], dtype=jnp.float32)
  apart = jnp.square(place[:, None] - place)
  # The nearest pixel alone has a weight where sigma is 0.
  spread = jnp.maximum(sigma, 1e-3)[:, None, None]
  weights = jnp.exp(-apart / (2 * spread**2))
  weights /= weights.sum(-1, keepdims=True)
  return jnp.einsum(
    "bij,bjkc,blk->bilc", weights, faces, weights, precision="highest"
  )


def rounds(places: Sequence[Window]) -> list[list[int]]:
  """Faces of one photograph in the order of pasting.

  Smaller faces come first, as nearer ones cover them.

  Args:
    places: the windows of the faces.

  Returns:
    numbers of faces; within a round no two windows lie over each other.
  """
  order = sorted(range(len(places)), key=lambda i: places[i].side)
  of: dict[int, int] = {}
  for i in order:
    before = [of[j] for j in of if _overlap(places[i], places[j])]
    of[i] = max(before, default=-1) + 1
  return [
    [i for i in order if of[i] == number]
    for number in range(max(of.values(), default=-1) + 1)
  ]


def _overlap(a: Window, b: Window) -> bool:
  across = a.x < b.x + b.side and b.x < a.x + a.side
  return across and a.y < b.y + b.side and b.y < a.y + a.side
