"""PNG grids of images, for looking at what a method makes."""

import io
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from PIL import Image

from jaxpriv import files


def to_uint8(images: np.ndarray) -> np.ndarray:
  """Maps float images in [0, 1] to uint8, nan to black; uint8 unchanged."""
  images = np.asarray(images)
  if images.dtype == np.uint8:
    return images
  images = np.nan_to_num(images.astype(np.float32), nan=0.0)
  return np.round(np.clip(images, 0, 1) * 255).astype(np.uint8)


def grid(
  columns: Mapping[str, np.ndarray], max_rows: int = 16, gap: int = 2
) -> np.ndarray:
  """Lays image batches side by side: an example a column, a key a row.

  Args:
    columns: name -> [N, H, W, 3]; all of one size.
    max_rows: at most so many examples.
    gap: white pixels between images.

  Returns:
    uint8 [rows, columns, 3].
  """
  strips = []
  for images in columns.values():
    images = to_uint8(images[:max_rows])
    edges = ((0, 0), (0, gap), (0, gap), (0, 0))
    images = np.pad(images, edges, constant_values=255)
    strips.append(np.concatenate(list(images), axis=1))
  return np.concatenate(strips, axis=0)


def png_bytes(image: np.ndarray) -> bytes:
  buffer = io.BytesIO()
  Image.fromarray(to_uint8(image)).save(buffer, format="png")
  return buffer.getvalue()


def save_png(path: epath.PathLike, image: np.ndarray) -> None:
  files.atomic_write(path, png_bytes(image))


def save_grid(
  path: epath.PathLike, columns: Mapping[str, np.ndarray], max_rows: int = 16
) -> None:
  save_png(path, grid(columns, max_rows))


def dotted(
  images: jax.Array, points: jax.Array, radius: float = 1.5
) -> jax.Array:
  """Images [B, S, S, 3] with green dots on them.

  Edges of dots are blended over a pixel, so that the picture changes as little
  as a point does.

  Args:
    images: in [0, 1].
    points: [B, K, 2], x and y from the middle, as shares of the side; NaN is
      not drawn.
    radius: of a dot, in pixels.
  """
  side = images.shape[1]
  place = (jnp.arange(side, dtype=jnp.float32) + 0.5) / side - 0.5
  x = place[None, None] - points[..., 0, None]
  y = place[None, None] - points[..., 1, None]
  apart = jnp.square(x)[:, :, None, :] + jnp.square(y)[:, :, :, None]
  nearest = side * jnp.sqrt(jnp.nan_to_num(apart, nan=jnp.inf).min(1))
  dot = jnp.clip(radius + 0.5 - nearest, 0, 1)[..., None]
  return images + dot * (jnp.array([0.1, 1.0, 0.2]) - images)
