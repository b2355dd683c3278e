"""Square regions of photographs, sampled around faces and elsewhere, and cut.

A region is (x, y, side), centre and side in pixels, as landmarks are. For
detection by region classification (Girshick et al., R-CNN, CVPR 2014) regions
are labelled by their overlap with the box of the face.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jaxpriv.data import landmarks
from jaxpriv.data.records import AFLW_LANDMARKS


def square_of(box: jax.Array) -> jax.Array:
  """The square of the centre and area of boxes [..., 4], as regions [..., 3].

  Unknown boxes (NaN) stay so.
  """
  low, high = box[..., :2], box[..., 2:]
  side = jnp.sqrt(jnp.prod(high - low, -1, keepdims=True))
  return jnp.concatenate([(low + high) / 2, side], -1)


def box_of(region: jax.Array) -> jax.Array:
  """Regions [..., 3] as boxes x0, y0, x1, y1 [..., 4]."""
  centre, half = region[..., :2], region[..., 2:] / 2
  return jnp.concatenate([centre - half, centre + half], -1)


def draw(
  key: jax.Array, box: jax.Array, size: int, near: int, anywhere: int
) -> jax.Array:
  """Random regions of one photograph, [near + anywhere, 3].

  Args:
    key: the key of the photograph.
    box: the box of its face [4]; if it is unknown all regions are anywhere.
    size: side of the photograph in pixels.
    near: regions moved from the face by at most a fifth, and grown or shrunk by
      at most a quarter.
    anywhere: regions of a quarter of the photograph and up.
  """
  shift, scale, centre, side = jax.random.split(key, 4)
  face = square_of(box)
  moved = jax.random.uniform(shift, (near, 2), minval=-0.2, maxval=0.2)
  grown = jnp.exp(
    jax.random.uniform(scale, (near, 1), minval=-0.25, maxval=0.25)
  )
  around = jnp.concatenate([face[:2] + moved * face[2], grown * face[2]], -1)
  count = near + anywhere
  low, high = np.log(0.25), np.log(1.1)
  sides = size * jnp.exp(
    jax.random.uniform(side, (count, 1), minval=low, maxval=high)
  )
  centres = jax.random.uniform(centre, (count, 2), maxval=size)
  other = jnp.concatenate([centres, sides], -1)
  around = jnp.where(jnp.isfinite(around), around, other[:near])
  return jnp.concatenate([around, other[near:]])


def cut(image: jax.Array, regions: jax.Array, side: int) -> jax.Array:
  """Resizes regions [R, 3] of image [H, W, 3] to [R, side, side, 3].

  Bilinear, averaging where pixels are skipped; outside, the border repeats.
  """
  rows = _weights(image.shape[0], regions[:, 1], regions[:, 2], side)
  columns = _weights(image.shape[1], regions[:, 0], regions[:, 2], side)
  # Rows first: whole lines of pixels are then multiplied, as they lie.
  lines = jnp.einsum("ryh,hwc->rywc", rows, image)
  return jnp.einsum("rxw,rywc->ryxc", columns, lines)


def _weights(size, centre, length, side):
  """Weights [R, side, size] of input pixels for each output pixel."""
  step = (length / side)[:, None, None]
  middle = jnp.arange(side, dtype=jnp.float32)[:, None] - (side - 1) / 2
  position = centre[:, None, None] + middle * step
  pixel = jnp.arange(size, dtype=jnp.float32)
  position = jnp.clip(position, 0, size - 1)
  # The tent is as wide as the distance between outputs, where that is above 1.
  width = jnp.maximum(step, 1)
  weights = jnp.maximum(0, 1 - jnp.abs(position - pixel) / width)
  # A product: for a sum, XLA on CPUs writes all that weights are made of to
  # memory first, a fifth of the time of a cut.
  total = jnp.matmul(weights, jnp.ones((size, 1)), precision="highest")
  return weights / jnp.maximum(total, 1e-6)


# AFLW's points as they are numbered in a mirror image.
MIRRORED = landmarks.mirrored(AFLW_LANDMARKS)
