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

from jaxpriv.data import alignment, images, landmarks
from jaxpriv.data.records import ARCFACE_LANDMARKS, UnreadableImageError
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
# How far apart the networks may see eyes, nose and mouth, in sides of the box.
AGREE = 0.2
FINEST = 2  # halvings of the side of a window
# In pixels of the photograph: a smaller window would only be enlarged.
_LEAST_WINDOW = 200
# Photographs are searched at no more than this, the side of eight windows.
_LONGEST = 2048
_CANDIDATES = 64  # boxes of one look that are kept, the surest ones
_POINTS = 4  # of BlazeFace that both networks find: eyes, nose, mouth


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
  points = found["points"][:, :, :_POINTS].reshape(*found["scores"].shape, -1)
  places = jnp.concatenate([found["boxes"], points], -1)
  return jnp.take_along_axis(places, index[..., None], 1), scores


def windows(size: tuple[int, int], level: int) -> np.ndarray:
  """The squares [N, 4] that a photograph is searched through.

  Args:
    size: width and height of the photograph in pixels.
    level: 0 for one square around all of it; at each further one the sides are
      halved, and squares lie half over each other.
  """
  width, height = size
  side = max(size) / 2**level
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
  faces = iter(
    [
      _agreed(Faces(f[:, :4], f[:, 4], points), f[:, 5:], p.scale)
      for p, f, points in zip(there, found, marked, strict=True)
    ]
  )
  return [None if picture is None else next(faces) for picture in decoded]


def _agreed(faces: Faces, points: np.ndarray, scale: float) -> Faces:
  """Faces in whose points [N, 8] both networks agree, larger by a factor."""
  sides = np.sqrt((faces.boxes[:, 2:] - faces.boxes[:, :2]).prod(1))
  theirs = landmarks.standard_landmarks(faces.landmarks)
  assert theirs is not None
  five = theirs[:, : len(ARCFACE_LANDMARKS)]
  theirs = np.concatenate([theirs[:, :3], theirs[:, 3:5].mean(1)[:, None]], 1)
  apart = np.linalg.norm(points.reshape(-1, _POINTS, 2) - theirs, axis=-1)
  kept = apart.mean(1) < AGREE * sides
  # Two networks may agree that an eye behind glasses is a face.
  kept[kept] = alignment.misfit(five[kept]) <= alignment.LARGEST_MISFIT
  return Faces(
    faces.boxes[kept] * scale,
    faces.scores[kept],
    faces.landmarks[kept] * scale,
  )


class _Picture(NamedTuple):
  """A decoded photograph, and how much larger it is in its file."""

  pixels: Image.Image
  scale: float


def _decode(photograph: Image.Image) -> _Picture | None:
  width, height = images.upright_size(photograph)  # decoding may change it
  reduce = max(width, height) / _LONGEST
  try:
    pixels = images.upright(photograph, reduce)
  except UnreadableImageError:
    return None
  if max(pixels.size) > _LONGEST:
    size = (max(round(width / reduce), 1), max(round(height / reduce), 1))
    pixels = pixels.resize(size, Image.Resampling.BILINEAR, reducing_gap=2)
  return _Picture(pixels, width / pixels.width)


def _detect(detector, pictures, threshold) -> list[np.ndarray]:
  """Boxes, scores and points [N, 13] of each picture, the surest first."""
  size = detector.frame.size
  candidates = [np.zeros((0, 5 + 2 * _POINTS)) for _ in pictures]
  found = list(candidates)
  searched = list(range(len(pictures)))
  for level in range(FINEST + 1):
    if not searched:
      break
    places = [windows(pictures[i].size, level) for i in searched]
    owners = np.repeat(searched, [len(of) for of in places]).tolist()
    squares = np.concatenate(places)
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
      seen, scores = map(
        np.asarray, _look(detector.params, np.concatenate([crops, blank]))
      )
      for j, owner in enumerate(owners[part]):
        square = squares[start + j]
        corner, side = square[:2], square[2] - square[0]
        places = seen[j] * side + np.tile(corner, 2 + _POINTS)
        rows = np.insert(places, 4, scores[j], axis=1)
        rows = rows[(scores[j] > limit) & np.isfinite(rows).all(1)]
        candidates[owner] = np.concatenate([candidates[owner], rows])
    for i in searched:
      found[i] = _suppress(candidates[i])
    searched = [
      i for i in searched if _needs_more(pictures[i].size, found[i], level)
    ]
  return found


def _suppress(candidates: np.ndarray) -> np.ndarray:
  """One row of many that are of one face; points are those of the surest."""
  boxes, scores = candidates[:, :4], candidates[:, 4]
  merged = overlaps.suppress(boxes, scores)
  surest = [
    np.argmin(np.where(scores == face[4], abs(boxes - face[:4]).sum(1), np.inf))
    for face in merged
  ]
  points = candidates[np.array(surest, int), 5:]
  return np.concatenate([merged, points], 1)


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
