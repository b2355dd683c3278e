"""Masks that hide a part of every image: read, measured and checked.

There is one polarity: a mask says what to keep. It is bool [side, side], and 1
is visible. Pictures of masks and strokes of a brush mean holes or kept pixels,
as whoever brings them says: `HOLES` or `KEPT`. Random masks are `data.strokes`.
"""

import os
import pathlib
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from jaxpriv import files
from jaxpriv.data import images, tree
from jaxpriv.data.records import DataError, UnreadableImageError
from jaxpriv.errors import SettingError

HOLES = "holes"
KEPT = "kept"

# Hidden ratios by which Liu et al., "Image Inpainting for Irregular Holes Using
# Partial Convolutions", ECCV 2018, sort masks: above the first, up to the last.
BUCKETS = (
  (0.01, 0.1),
  (0.1, 0.2),
  (0.2, 0.3),
  (0.3, 0.4),
  (0.4, 0.5),
  (0.5, 0.6),
)


class Folder(NamedTuple):
  """Masks that were read.

  Attributes:
    keep: bool [N, side, side].
    names: of the files, below the folder.
    hidden: [N], hidden ratios.
    bucket: [N], indices into `BUCKETS`, -1 for ratios outside all of them.
    left_out: files that are no pictures -> why.
  """

  keep: np.ndarray
  names: tuple[str, ...]
  hidden: np.ndarray
  bucket: np.ndarray
  left_out: Mapping[str, str]


def is_kept(drawn: str) -> bool:
  """Whether strokes or white pixels are what stays visible.

  Raises:
    SettingError: they are neither `HOLES` nor `KEPT`.
  """
  if drawn not in (HOLES, KEPT):
    raise SettingError(f"{drawn!r} is neither {HOLES!r} nor {KEPT!r}")
  return drawn == KEPT


def hidden_ratio(keep: jax.Array) -> jax.Array:
  """The share of pixels that are hidden, [..., H, W] -> [...], float32."""
  return 1 - jnp.mean(keep, axis=(-2, -1), dtype=jnp.float32)


def _hidden(keep: np.ndarray) -> np.ndarray:
  """As `hidden_ratio`, float64: exact where a ratio is the end of a bucket."""
  return np.logical_not(keep).mean((-2, -1))


def buckets_of(hidden: np.ndarray) -> np.ndarray:
  """The buckets that ratios [...] are in: indices into `BUCKETS`, or -1."""
  edges = [BUCKETS[0][0], *(high for _, high in BUCKETS)]
  found = np.searchsorted(edges, hidden) - 1
  return np.where(found < len(BUCKETS), found, -1)


def check_mask(keep: np.ndarray, side: int, name: str = "the mask") -> None:
  """Refuses a mask that does not fit, or that does nothing or too much.

  Args:
    keep: 1 is visible.
    side: of the images it is for.
    name: names it in errors.

  Raises:
    DataError: what is wrong, and what to do.
  """
  keep = np.asarray(keep)
  if keep.shape != (side, side):
    shape = " x ".join(map(str, keep.shape))
    raise DataError(
      f"{name} is {shape} and the images are {side} x {side} pixels: draw it at"
      " their size, or read its picture, which is then resized."
    )
  if not ((keep == 0) | (keep == 1)).all():
    raise DataError(
      f"{name} holds other values than 0 (hidden) and 1 (visible): compare it"
      " with a threshold first."
    )
  for value, what in ((0, "hides every pixel"), (1, "hides no pixel")):
    if (keep == value).all():
      raise DataError(
        f"{name} {what}: choose another one. (In a picture of a mask black is 0"
        " and white 255; what is darker than half of that is black.)"
      )


def read_picture(
  path: str | os.PathLike, side: int, *, white: str, name: str = ""
) -> np.ndarray:
  """Reads the picture of a mask: what is brighter than half of white is white.

  Args:
    path: of a square picture.
    side: the nearest pixels are taken of a picture of another size.
    white: what white pixels are: `HOLES` or `KEPT`.
    name: names it in errors.

  Returns:
    bool [side, side], 1 is visible.

  Raises:
    DataError: it is not square, or `check_mask` refuses it.
    UnreadableImageError: it cannot be read.
  """
  name = name or str(path)
  picture = images.decode(images.open_image(path, name), name=name).convert("L")
  if picture.width != picture.height:
    raise DataError(
      f"{name} is {picture.width} x {picture.height} pixels: cut it to a square"
      " as the images are."
    )
  resized = picture.resize((side, side), Image.Resampling.NEAREST)
  keep = (np.asarray(resized) > 127) == is_kept(white)
  check_mask(keep, side, name)
  return keep


def read_folder(path: str | os.PathLike, side: int, *, white: str) -> Folder:
  """Reads a folder of pictures of masks, as `read_picture` does.

  Their hidden ratios are counted, not taken from names. Memory is side * side
  bytes a mask.

  Args:
    path: of the folder; folders in it are read, too.
    side: of the images that the masks are for.
    white: `HOLES`, as in the test set of Liu et al., or `KEPT`, as in their
      training set.

  Raises:
    DataError: there is no picture, or one of them will not do; it is named.
  """
  place = pathlib.Path(files.expanded(path))
  found = tree.walk(place)
  if not found.photographs:
    raise DataError(
      f"{place} holds no picture: give a folder with one picture a mask, black"
      " and white, such as PNG files."
    )
  keep = np.empty((len(found.photographs), side, side), bool)
  for i, name in enumerate(found.photographs):
    try:
      keep[i] = read_picture(place / name, side, white=white)
    except UnreadableImageError as error:
      raise DataError(
        f"{error}. Replace this file, or move it out of the folder of masks."
      ) from error
  hidden = _hidden(keep)
  names = tuple(found.photographs)
  return Folder(keep, names, hidden, buckets_of(hidden), found.others)
