"""`wider_face_train_bbx_gt.txt` and its like of val, of WIDER FACE.

Three parts for each picture: its path, the number of its faces, and a line for
each: x y w h blur expression illumination invalid occlusion pose. A number of 0
is followed by one line of zeros all the same. Lines of x y w h alone are read,
too, and so is -1 for an unknown attribute; see Yang et al., "WIDER FACE: A Face
Detection Benchmark", CVPR 2016, and the readme of its annotations.
"""

import os
import pathlib
import re
from collections.abc import Iterator, Sequence

import numpy as np

from jaxpriv import files
from jaxpriv.data.detection_labels import text
from jaxpriv.data.detection_labels.annotations import (
  ATTRIBUTES,
  Annotation,
  Face,
  annotation,
  faces,
  relative,
)
from jaxpriv.data.detection_labels.sets import distinct
from jaxpriv.data.records import DataError

_COUNT = re.compile("[0-9]{1,9}")
_NO_FACE = " ".join("0" * (4 + len(ATTRIBUTES)))


def read(path: str | os.PathLike) -> list[Annotation]:
  """Reads the annotations in the order of the file.

  Raises:
    DataError: it is no such file; the message names the line.
  """
  return distinct(_annotations(pathlib.Path(path)))


def _annotations(place: pathlib.Path) -> Iterator[tuple[str, Annotation]]:
  lines = text.read_lines(place)
  position = 0
  while position < len(lines):
    number, name = lines[position]
    where = f"{place}, line {number}"
    if text.is_numeric(name):
      raise DataError(
        f"{where}: a path of a picture is to come here, not {name[:60]!r}. The"
        " number of faces before it may be too small."
      )
    count, position = _count(place, lines, position + 1)
    rows, position = _rows(place, lines, position, count, number)
    places = [f"{place}, line {at}" for at, _ in rows]
    yield (
      where,
      annotation(
        relative(name, where),
        [_face(line, at) for at, (_, line) in zip(places, rows, strict=True)],
        where=places.__getitem__,
      ),
    )


def _count(place, lines, position) -> tuple[int, int]:
  if position == len(lines):
    raise DataError(
      f"{place} ends after line {lines[-1][0]}, the path of a picture: the"
      " number of its faces is missing."
    )
  number, line = lines[position]
  if not _COUNT.fullmatch(line):
    raise DataError(
      f"{place}, line {number}: the number of faces is to come after a path,"
      f" not {line[:60]!r}."
    )
  return int(line), position + 1


def _rows(place, lines, position, count, named):
  """The lines of faces of a picture, and the position after them."""
  if not count:
    if position < len(lines) and text.is_numeric(lines[position][1]):
      number, line = lines[position]
      if any(text.numbers(line, f"{place}, line {number}")):
        raise DataError(
          f"{place}, line {number}: a face, of a picture that has 0 of them"
          f" (line {named})."
        )
      position += 1
    return [], position
  rows = lines[position : position + count]
  for i, (number, line) in enumerate(rows):
    if _is_next(lines, position + i):
      raise DataError(
        f"{place}, line {number}: {line[:60]!r} comes after {i} of the {count}"
        f" faces of line {named}."
      )
  if len(rows) < count:
    raise DataError(
      f"{place} ends after {len(rows)} of the {count} faces of line {named}."
    )
  return rows, position + count


def _is_next(lines, position) -> bool:
  """Whether the next picture begins here: a path, and then a number."""
  after = lines[position + 1][1] if position + 1 < len(lines) else ""
  path = not text.is_numeric(lines[position][1])
  return path and _COUNT.fullmatch(after) is not None


def _face(line: str, where: str) -> Face:
  values = text.numbers(line, where)
  if len(values) not in (4, 4 + len(ATTRIBUTES)):
    raise DataError(
      f"{where}: {len(values)} numbers; a face has 4 (x y w h) or 10 (and blur,"
      " expression, illumination, invalid, occlusion, pose)."
    )
  x, y, w, h = values[:4]
  attributes = dict(zip(ATTRIBUTES, values[4:], strict=False))
  return Face((x, y, x + w, y + h), attributes=attributes)


def write(path: str | os.PathLike, annotations: Sequence[Annotation]) -> None:
  """Writes a file, corners rounded to whole pixels.

  Raises:
    DataError: a path is of numbers only, and could not be told from a face.
  """
  lines = []
  for one in annotations:
    if text.is_numeric(one.file):
      raise DataError(
        f"{path}: the picture {one.file!r} has a name of numbers only, which"
        " this format cannot tell from a face. Rename it."
      )
    lines += [one.file, str(len(one.boxes))]
    for face in faces(one):
      x0, y0, x1, y1 = np.rint(face.box).astype(int).tolist()
      known = [max(face.attributes[name], 0) for name in ATTRIBUTES]
      lines.append(" ".join(map(str, [x0, y0, x1 - x0, y1 - y0, *known])))
    if not len(one.boxes):
      lines.append(_NO_FACE)
  files.atomic_write(path, "\n".join(lines) + "\n")
