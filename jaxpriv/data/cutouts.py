"""Faces that can be cut out of labelled photographs, and places to put them.

Data sets draw boxes in other ways, and an overlap of one half decides whether a
face counts as found: all boxes here are tight, from the brows to the chin
(`alignment.TIGHT_BOX`), as those of detectors are. Boxes of a set that are
framed so are kept. Those of other sets, such as from hair to neck, are made of
the five points, or of the box by what is usual in their set.
"""

import collections
import fnmatch
import hashlib
import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from absl import logging

from jaxpriv.data import alignment, folder, images, labels, tree
from jaxpriv.data.records import (
  ARCFACE_LANDMARKS,
  DOMAINS,
  DataError,
  UnreadableImageError,
)

# How far the framing of a set's boxes may be from `TIGHT_BOX`. Detectors' boxes
# differ by up to 0.1; boxes from hair to neck by 0.2 and 0.45.
_NEAR = alignment.Framing(x=0.1, y=0.12, side=0.2)
_MOST_OUTSIDE = 0.1  # share of a box that may lie outside its photograph
_LEAST_SIDE = 16  # pixels of a background


class Face(NamedTuple):
  """A face in a photograph that shows no other labelled one.

  Attributes:
    file: path of the photograph.
    size: its width and height.
    box: float64 [4], x0, y0, x1, y1, tight.
    five: float64 [5, 2], `ARCFACE_LANDMARKS`, NaN unknown.
    person: "" is nobody known.
    male: 1, 0, or -1 unknown.
  """

  file: str
  size: tuple[int, int]
  box: np.ndarray
  five: np.ndarray
  person: str = ""
  male: int = -1

  @property
  def owner(self) -> str:
    """Who is in the photograph; a name of its own where nobody knows."""
    return f"n {self.person}" if self.person else f"f {self.file}"

  @property
  def side(self) -> float:
    """sqrt(width * height) of the box in pixels."""
    return float(np.sqrt((self.box[2:] - self.box[:2]).prod()))


def faces(path: str | os.PathLike, sets: Sequence[str] = ()) -> list[Face]:
  """The people's faces of a folder that have a box or points.

  A photograph with several labelled faces gives none: one would come along
  where another is cut out. The log says how many are not used, and why.

  Args:
    path: a folder with labels.csv.
    sets: keep only rows whose `set` is one of these; all when empty.

  Raises:
    DataError: there is no such folder or set, or no face can be used.
  """
  top = folder.existing(path)
  rows = folder.listing(top, sets).rows
  table = labels.parse(rows, top / tree.TABLE)
  five = _trusted(table.landmarks[:, : len(ARCFACE_LANDMARKS)])
  boxes = tight_boxes(table.boxes, five, table.sets)
  shown = collections.Counter(
    table.files[i] for i, row in enumerate(rows) if labels.is_framed(row)
  )
  found, unused = [], collections.Counter[str]()
  for i, name in enumerate(table.files):
    if table.domains[i] != DOMAINS.index("human"):
      unused["of animals"] += 1
    elif i in table.faults or not np.isfinite(boxes[i]).all():
      unused["without a box or points of a face"] += 1
    elif shown[name] > 1:
      unused["beside others in one photograph"] += 1
    else:
      size = _size(top / name)
      if _outside(boxes[i], size) > _MOST_OUTSIDE:
        unused["outside of their photographs, or these unreadable"] += 1
        continue
      person = int(table.identities[i])
      known = table.identity_names[person] if person >= 0 else ""
      male = _column(table, i, "Male")
      found.append(Face(str(top / name), size, boxes[i], five[i], known, male))
  for reason, number in unused.items():
    logging.info("%s: %d faces are not used: %s", path, number, reason)
  if not found:
    raise DataError(
      f"no face can be cut out of the photographs of {path}: labels.csv must"
      " name a box (x0, y0, x1, y1) or points, and one face a photograph"
    )
  return found


def of_people(found: Sequence[Face], low: float, high: float) -> list[Face]:
  """The faces of some of the people, in an order by a hash of their names.

  Two shares that do not overlap have nobody in common. Photographs of nobody
  known are dealt as if each were of a person of its own.

  Args:
    found: all faces.
    low: from this share of the people, 0 to 1.
    high: to this one.

  Raises:
    DataError: nobody is among them.
  """
  rank = lambda text: hashlib.blake2b(text.encode("utf-8", "surrogateescape"))
  people = sorted(
    {face.owner for face in found}, key=lambda n: (rank(n).digest(), n)
  )
  start, stop = (round(share * len(people)) for share in (low, high))
  chosen = set(people[start:stop])
  if not chosen:
    raise DataError(
      f"from {low:g} to {high:g} of {len(people)} people there is nobody: take"
      " a larger share"
    )
  return [face for face in found if face.owner in chosen]


def tight_boxes(
  boxes: np.ndarray, five: np.ndarray, sets: Sequence[str]
) -> np.ndarray:
  """Boxes from the brows to the chin.

  Args:
    boxes: [N, 4] as they are labelled, NaN unknown.
    five: [N, 5, 2], NaN unknown.
    sets: [N], the set that each is of. Its boxes are taken for tight unless
      five or more of its faces have points, too, and say otherwise.

  Returns:
    float64 [N, 4], NaN where neither box nor points are known.
  """
  tight = np.array(boxes, np.float64)
  pointed, boxed = np.isfinite(five).all((1, 2)), np.isfinite(tight).all(1)
  framings = folder.measure_framings(boxes, five, sets)
  for name in set(sets):
    framing = framings.get(name, alignment.TIGHT_BOX)
    apart = np.abs(np.subtract(framing, alignment.TIGHT_BOX))
    mine = np.array([of == name for of in sets])
    kept = boxed & bool((apart <= _NEAR).all())
    of_points = mine & pointed & ~kept
    if of_points.any():
      tight[of_points] = _of_points(five[of_points])
    of_box = mine & boxed & ~pointed & ~kept
    tight[of_box] = _of_squares(
      alignment.squares_of_boxes(tight[of_box], framing)
    )
  return tight


def _of_points(five: np.ndarray) -> np.ndarray:
  """The boxes [N, 4] that faces with points [N, 5, 2] usually have."""
  template = np.broadcast_to(alignment.arcface_template(1), five.shape)
  inverse = alignment.invert(alignment.similarity(five, template))
  usual = alignment.TIGHT_BOX
  middle = 0.5 - np.array([usual.x, usual.y]) / usual.side
  middles = np.tile(middle, (len(five), 1, 1))
  centre = alignment.transform_points(inverse, middles)[:, 0]
  half = alignment.matrix_scale(inverse)[:, None] / usual.side / 2
  return np.concatenate([centre - half, centre + half], 1)


def _of_squares(squares: np.ndarray) -> np.ndarray:
  """The boxes in squares [N, 4] that frame faces as the template does."""
  usual, side = alignment.TIGHT_BOX, squares[:, 2:] - squares[:, :2]
  side = side / usual.side
  centre = (squares[:, :2] + squares[:, 2:]) / 2 - side * (usual.x, usual.y)
  return np.concatenate([centre - side / 2, centre + side / 2], 1)


def _trusted(five: np.ndarray) -> np.ndarray:
  """Points [N, 5, 2], NaN where they cannot be those of a face."""
  five = np.array(five, np.float64)
  there = alignment.are_distinct(five)
  there[there] = alignment.misfit(five[there]) <= alignment.LARGEST_MISFIT
  five[~there] = np.nan
  return five


def _column(table: labels.Labels, row: int, name: str) -> int:
  if name not in table.attribute_names:
    return -1
  return int(table.attribute_values[row, table.attribute_names.index(name)])


def _size(path: str | os.PathLike) -> tuple[int, int]:
  """Width and height; (0, 0) of what is no image."""
  try:
    return images.upright_size(images.open_image(path))
  except UnreadableImageError as error:
    logging.warning("%s", error)
    return 0, 0


def _outside(box: np.ndarray, size: tuple[int, int]) -> float:
  """The share of a box that is not in a photograph."""
  inside = np.clip(box, 0, size * 2)
  area = (inside[2:] - inside[:2]).prod() / (box[2:] - box[:2]).prod()
  return float(1 - area)


def backgrounds(
  path: str | os.PathLike,
  sets: Sequence[str] = (),
  patterns: Sequence[str] = (),
) -> list[str]:
  """Paths of photographs that show nobody, sorted.

  Nobody looks for faces in them: that they show none is for the caller to know.

  Args:
    path: a folder.
    sets: keep only rows of labels.csv whose `set` is one of these.
    patterns: of paths below the folder, such as "*/rainbow_*"; one must fit.

  Raises:
    DataError: there is none, or one is no image, too small, or has a row with a
      box or points of a person.
  """
  top = folder.existing(path)
  fits = lambda name: (
    not patterns
    or any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
  )
  rows = [r for r in folder.listing(top, sets).rows if fits(r["file"])]
  for row in rows:
    if labels.is_framed(row) and labels.is_human(row):
      raise DataError(
        f"{top / row['file']} has the box or points of a person, and"
        " backgrounds must show nobody: choose others, by set or by pattern"
      )
  found = sorted({str(top / row["file"]) for row in rows})
  if not found:
    raise DataError(
      f"no photograph of {path} is called like"
      f" {', '.join(patterns) or 'one'}: backgrounds are needed"
    )
  for name in found:
    if min(_size(name)) < _LEAST_SIDE:
      raise DataError(
        f"{name} cannot be a background: it is no image, or has less than"
        f" {_LEAST_SIDE} pixels on a side"
      )
  return found
