"""Finds all faces of photographs, small ones too, and their points.

BlazeFace sees a photograph in a square of 256 px, where a face of 10 px is
lost. Where the faces that it finds are small, or there are none, it looks again
through windows of half the side, and of a quarter.
"""

import concurrent.futures
import os
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from jaxpriv.data import alignment, images
from jaxpriv.data.records import UnreadableImageError
from jaxpriv.metrics import detection as overlaps
from jaxpriv.models.pretrained import blazeface
from jaxpriv.training import witnesses
from jaxpriv.training.witnesses import Witness

# Scores of a face that is seen in all of a photograph, `witnesses.FACE` by
# default, say little in a window, where hands and leaves fill the place of a
# face: there it takes so much at least. All 41 faces of 8 group photographs
# have more, and nothing else in them.
SURE = 0.7
# Where the largest face is smaller than this share of what was looked through,
# others may be too small to be seen.
NEAR = 0.2
FINEST = 2  # halvings of the side of a window
# In pixels of the photograph: a smaller window would only be enlarged.
_LEAST_WINDOW = 200
# Photographs are searched at no more than this, the side of eight windows.
_LONGEST = 2048
_CANDIDATES = 64  # boxes of one look that are kept, the surest ones


class Faces(NamedTuple):
  """The faces of one photograph, the surest first, in its pixels.

  Attributes:
    boxes: float64 [N, 4], x0, y0, x1, y1, from the brows to the chin.
    scores: float64 [N] in [0, 1].
    landmarks: float64 [N, 68, 2], in the order of iBUG.
  """

  boxes: np.ndarray
  scores: np.ndarray
  landmarks: np.ndarray


@jax.jit
def _look(params, pixels):
  found = blazeface.apply(params, pixels.astype(jnp.float32) / 255)
  scores, index = jax.lax.top_k(found["scores"], _CANDIDATES)
  boxes = jnp.take_along_axis(found["boxes"], index[..., None], 1)
  return boxes, scores


def windows(width: int, height: int, level: int) -> np.ndarray:
  """The squares [N, 4] that a photograph is searched through.

  Args:
    width: of the photograph in pixels.
    height: likewise.
    level: 0 for one square around all of it; at each further one the sides are
      halved, and squares lie half over each other.
  """
  side = max(width, height) / 2**level
  if not level:
    x, y = np.array([(width - side) / 2]), np.array([(height - side) / 2])
  else:
    side = min(side, width, height)
    x, y = (
      np.linspace(0, extent - side, int(np.ceil(2 * extent / side - 1 - 1e-9)))
      for extent in (width, height)
    )
  corners = np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)
  return np.concatenate([corners, corners + side], 1)


def find(
  detector: Witness,
  marker: Witness,
  photographs: Sequence[Image.Image],
  threshold: float = witnesses.FACE,
) -> list[Faces | None]:
  """The faces of each photograph; None for one that cannot be decoded.

  Args:
    detector: blazeface.
    marker: landmarks.
    photographs: of `images.open_image`; some dozens, as all are in memory.
    threshold: the score from which on a box is a face, in a look at all of a
      photograph; in windows it is that and `SURE`.
  """
  with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
    decoded = list(pool.map(_decode, photographs))
  there = [picture for picture in decoded if picture is not None]
  found = _detect(detector, [p.pixels for p in there], threshold)
  marked = _mark(marker, [p.pixels for p in there], [f[:, :4] for f in found])
  faces = (
    Faces(boxes[:, :4] * p.scale, boxes[:, 4], points * p.scale)
    for p, boxes, points in zip(there, found, marked, strict=True)
  )
  return [None if picture is None else next(faces) for picture in decoded]


class _Picture(NamedTuple):
  """A decoded photograph, and how much larger it is in its file."""

  pixels: Image.Image
  scale: float


def _decode(photograph: Image.Image) -> _Picture | None:
  width, height = images.upright_size(photograph)  # decoding may change it
  reduce = max(width, height) / _LONGEST
  try:
    pixels = images.decode(photograph, reduce)
  except UnreadableImageError:
    return None
  if max(pixels.size) > _LONGEST:
    size = (max(round(width / reduce), 1), max(round(height / reduce), 1))
    pixels = pixels.resize(size, Image.Resampling.BILINEAR, reducing_gap=2)
  return _Picture(pixels, width / pixels.width)


def _detect(detector, pictures, threshold) -> list[np.ndarray]:
  """Boxes and scores [N, 5] of each picture, the surest first."""
  size = detector.frame.size
  candidates = [np.zeros((0, 5)) for _ in pictures]
  found = list(candidates)
  searched = list(range(len(pictures)))
  for level in range(FINEST + 1):
    places = [windows(*pictures[i].size, level) for i in searched]
    owners = np.repeat(searched, [len(p) for p in places]).tolist()
    squares = np.concatenate([*places, np.zeros((0, 4))])
    limit = max(threshold, SURE) if level else threshold
    for start in range(0, len(squares), witnesses.BATCH):
      part = slice(start, start + witnesses.BATCH)
      crops = [
        alignment.warp(
          pictures[owner], alignment.square_matrix(square, size), size
        )
        for owner, square in zip(owners[part], squares[part], strict=True)
      ]
      blank = np.zeros((witnesses.BATCH - len(crops), size, size, 3), np.uint8)
      boxes, scores = map(
        np.asarray, _look(detector.params, np.concatenate([crops, blank]))
      )
      for j, owner in enumerate(owners[part]):
        square = squares[start + j]
        side = square[2] - square[0]
        seen = np.column_stack([boxes[j] * side + np.tile(square[:2], 2),
                                scores[j]])  # fmt: skip
        seen = seen[(scores[j] > limit) & np.isfinite(seen).all(1)]
        candidates[owner] = np.concatenate([candidates[owner], seen])
    for i in searched:
      found[i] = overlaps.suppress(candidates[i][:, :4], candidates[i][:, 4])
    searched = [
      i for i in searched if _needs_more(pictures[i].size, found[i], level)
    ]
    if not searched:
      break
  return found


def _needs_more(size, faces, level) -> bool:
  """Whether smaller windows may show faces that are not found yet."""
  side = max(size) / 2**level
  if side / 2 < _LEAST_WINDOW:
    return False
  sides = np.sqrt(np.maximum(faces[:, 2:4] - faces[:, :2], 0).prod(1))
  return sides.max(initial=0) < NEAR * side


def _mark(marker, pictures, boxes) -> list[np.ndarray]:
  """68 points [N, 68, 2] of the faces of each picture."""
  counts = [len(of) for of in boxes]
  if not sum(counts):
    return [np.zeros((0, 68, 2)) for _ in boxes]
  placed = witnesses.matrices(marker.frame, boxes=np.concatenate(boxes))
  owners = np.repeat(np.arange(len(pictures)), counts)
  crops = witnesses.crops(marker.frame, [pictures[i] for i in owners], placed)
  marked = witnesses.read(marker, crops)["landmarks"]
  points = alignment.transform_points(
    alignment.invert(placed), marked.astype(np.float64) * marker.frame.size
  )
  return np.split(points, np.cumsum(counts)[:-1])
