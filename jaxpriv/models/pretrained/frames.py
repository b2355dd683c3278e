"""How each network wants to see a face: crop, size, channels, mean, scale.

A recogniser reads a face right only in the frame that it was trained with: the
same photographs give dlib's network 23 or 76 per cent of the people.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

Points = tuple[tuple[float, float], ...]

# Eyes, nose and corners of the mouth, left and right as seen in the image, in
# the square of 112 px that ArcFace was trained on; in shares of its side.
ARCFACE: Points = tuple(
  (x / 112, y / 112)
  for x, y in (
    (38.2946, 51.6963),
    (73.5318, 51.5014),
    (56.0252, 71.7366),
    (41.5493, 92.3655),
    (70.7299, 92.2041),
  )
)


class Frame(NamedTuple):
  """The square of a photograph that a network reads, and its numbers.

  The square is found by landmarks or by the box of a face (of `blazeface`), or
  is the whole photograph between black bars: `points` and `box` are then empty.

  Attributes:
    size: side in pixels.
    points: where the five landmarks of `ARCFACE` lie, in shares of the side.
    box: centre of the square minus centre of the box, in box widths and
      heights, and side over sqrt(width * height) of the box.
    channels: "RGB" or "BGR".
    mean: taken from values in [0, 255], in the order of `channels`.
    scale: what the difference is multiplied by.
  """

  size: int
  points: Points = ()
  box: tuple[float, float, float] | tuple[()] = ()
  channels: str = "RGB"
  mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
  scale: float = 1.0


def widened(points: Points, margin: float) -> Points:
  """The points in a square with `margin`, a share of its side, added around."""
  side = 1 + 2 * margin
  return tuple(((x + margin) / side, (y + margin) / side) for x, y in points)


def normalise(frame: Frame, images: jax.Array) -> jax.Array:
  """Images [B, S, S, 3], RGB in [0, 1] -> what the network computes with."""
  if frame.channels == "BGR":
    images = images[..., ::-1]
  mean = jnp.asarray(frame.mean, images.dtype)
  return (images * 255 - mean) * frame.scale


def from_aligned(
  frame: Frame, images: jax.Array, points: Points = ARCFACE
) -> jax.Array:
  """Brings faces that are all framed in one way into the frame of a network.

  Released images have no landmarks of their own, but their points lie on a
  template. Where the network wants to see more than there is, the border is
  repeated.

  Args:
    frame: of the network; one without points takes the images as they are.
    images: [B, S, S, 3].
    points: where their five points lie, in shares of the side.

  Returns:
    [B, size, size, 3]
  """
  scale, shift = _from_points(frame, points)
  rows, columns = (
    jnp.asarray(
      _resampling(images.shape[1], frame.size, scale, s), images.dtype
    )
    for s in (shift[1], shift[0])
  )
  return jnp.einsum("ih,bhwc,jw->bijc", rows, images, columns)


def _from_points(frame: Frame, points: Points) -> tuple[float, np.ndarray]:
  """Scale and shift (x, y), least squares, from images to a frame."""
  if not frame.points:
    return 1.0, np.zeros(2)
  source, target = np.array(points), np.array(frame.points)
  centred = source - source.mean(0)
  scale = (centred * (target - target.mean(0))).sum() / (centred**2).sum()
  return float(scale), target.mean(0) - scale * source.mean(0)


def _resampling(
  length: int, size: int, scale: float, shift: float
) -> np.ndarray:
  """Weights [size, length] of bilinear resampling that repeats the border.

  The triangle is as wide as an output pixel where that is the larger, or fine
  detail would alias.
  """
  centres = ((np.arange(size) + 0.5) / size - shift) / scale * length - 0.5
  width = max(1.0, length / (scale * size))
  reach = int(np.ceil(width))
  around = np.floor(centres)[:, None] + np.arange(-reach, reach + 2)
  weights = np.clip(1 - np.abs(around - centres[:, None]) / width, 0, None)
  weights /= weights.sum(1, keepdims=True)
  result = np.zeros((size, length))
  columns = np.clip(around, 0, length - 1).astype(int)
  np.add.at(result, (np.arange(size)[:, None], columns), weights)
  return result
