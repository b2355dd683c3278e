"""PNG grids of images, for looking at what a method makes."""

import io
from collections.abc import Mapping

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
