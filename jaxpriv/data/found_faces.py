"""Faces that a detector found, in the place of boxes that nobody has drawn.

A found face is a row of labels.csv with a file, a box and points, and a score.
A file in which none was found has one row without a box, as an empty picture
has it in `jaxpriv.data.scenes`.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxpriv.data import labels
from jaxpriv.data.labels import Row

COLUMNS = ("file", "x0", "y0", "x1", "y1", "n_points", "points", "score")
# Cells of a row that hold for every face of its photograph.
_KEPT = ("file", "set", "domain")
_GEOMETRY = ("x0", "y0", "x1", "y1", "n_points", "points")

# File -> its faces in any order. A file that is not in it was not looked at, or
# cannot be read.
Found = Mapping[str, Sequence[Row]]


class Completed(NamedTuple):
  """Rows of labels in which found faces have been filled in.

  Attributes:
    rows: one for each face; files without a face are gone.
    found: bool [N], whose box and points are those of a detector.
    others: how many are faces beside the largest of a row's photograph.
    faceless: files with a row that is gone.
  """

  rows: list[Row]
  found: np.ndarray
  others: int
  faceless: tuple[str, ...]


def by_file(faces: Iterable[Row]) -> dict[str, list[Row]]:
  """Rows of found faces as `Found`."""
  found: dict[str, list[Row]] = {}
  for face in faces:
    of_file = found.setdefault(face["file"], [])
    if labels.is_framed(face):
      of_file.append(face)
  return found


def wanting(rows: Sequence[Row]) -> list[str]:
  """Files to look at: those with one row of a person without box and points.

  Where several rows of one file have neither, nothing tells whose face is
  whose, and they stay as they are.
  """
  counts: dict[str, int] = {}
  for row in rows:
    if not labels.is_framed(row) and labels.is_human(row):
      counts[row["file"]] = counts.get(row["file"], 0) + 1
  return [file for file, count in counts.items() if count == 1]


def complete(rows: Sequence[Row], found: Found) -> Completed:
  """Gives rows without box and points those of the faces of their files.

  The largest face of a photograph is that of its row, and so of its person. The
  others are rows of their own, of nobody known and without attributes. Faces
  that are labelled already are left to their labels.
  """
  looked_at = found.keys() & set(wanting(rows))
  labelled: dict[str, list[np.ndarray]] = {}
  for row in rows:
    if row["file"] in looked_at and labels.is_framed(row):
      labelled.setdefault(row["file"], []).append(labels.extent(row))
  result: list[Row] = []
  marks: list[bool] = []
  faceless, others = [], 0
  for row in rows:
    file = row["file"]
    if file not in looked_at or labels.is_framed(row):
      result.append(row)
      marks.append(False)
      continue
    faces = [
      face
      for face in largest_first(found[file])
      if not any(_is_within(face, box) for box in labelled.get(file, ()))
    ]
    for i, face in enumerate(faces):
      own = row if i == 0 else {key: row.get(key, "") for key in _KEPT}
      geometry = {key: face[key] for key in _GEOMETRY}
      result.append({**dict.fromkeys(row, ""), **own, **geometry})
      marks.append(True)
    if not faces:
      faceless.append(file)
    others += max(len(faces) - 1, 0)
  return Completed(result, np.array(marks, bool), others, tuple(faceless))


def largest_first(faces: Sequence[Row]) -> list[Row]:
  """Framed rows by the area of their boxes."""

  def area(face):
    x0, y0, x1, y1 = labels.extent(face)
    return (x1 - x0) * (y1 - y0)

  return sorted(faces, key=area, reverse=True)


def _is_within(face: Row, box: np.ndarray) -> bool:
  """Whether the middle of a found face lies in a box that is labelled."""
  middle = labels.extent(face).reshape(2, 2).mean(0)
  return bool((box[:2] <= middle).all() and (middle <= box[2:]).all())
