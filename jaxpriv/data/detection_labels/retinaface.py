"""`label.txt` of RetinaFace: landmarks for the faces of WIDER.

A line `# event/name.jpg` for each picture, then one of 20 numbers for each of
its faces: x y w h, x y flag for each of five points, and a quality. The flag is
0 for a point that is seen, 1 for a hidden one and -1 for one that is not
annotated, whose x and y are -1, too. Lines of x y w h alone (val, whose points
were never published) and of 19 numbers (no quality) are read as well. Deng et
al., "RetinaFace: Single-Shot Multi-Level Face Localisation in the Wild", CVPR
2020.

SCRFD's `labelv2.txt` looks alike: `# event/name.jpg width height`, and lines of
x0 y0 x1 y1, corners. It is read where the two numbers are there; the fifth of
five numbers is 1 for a face to be ignored.
"""

import os
import pathlib
import re
from collections.abc import Iterator, Sequence

import numpy as np

from jaxpriv import files
from jaxpriv.data.detection_labels import text
from jaxpriv.data.detection_labels.annotations import (
  NUM_POINTS,
  Annotation,
  Face,
  annotation,
  faces,
  relative,
)
from jaxpriv.data.detection_labels.sets import distinct
from jaxpriv.data.records import DataError

_SIZED = re.compile(r"(.*\.\w+)\s+([0-9]{1,6})\s+([0-9]{1,6})")
_POINTS_END = 4 + 3 * NUM_POINTS
_VISIBLE_OF_FLAG: dict[float, int] = {0: 1, 1: 0, -1: -1}
_FLAG_OF_VISIBLE: dict[float, int] = {1: 0, 0: 1, -1: 0}
_UNKNOWN = (np.nan, np.nan)


def read(path: str | os.PathLike) -> list[Annotation]:
  """Reads the annotations in the order of the file.

  Raises:
    DataError: it is no such file; the message names the line.
  """
  return distinct(_annotations(pathlib.Path(path)))


def _annotations(place: pathlib.Path) -> Iterator[tuple[str, Annotation]]:
  parts: list[tuple[int, str, list[tuple[int, str]]]] = []
  for number, line in text.read_lines(place):
    if line.startswith("#"):
      parts.append((number, line[1:].strip(), []))
    elif not parts:
      raise DataError(
        f"{place}, line {number}: a line `# path` is to come before the first"
        f" face, not {line[:60]!r}."
      )
    else:
      parts[-1][2].append((number, line))
  for number, name, rows in parts:
    where = f"{place}, line {number}"
    sized = _SIZED.fullmatch(name)
    size = (int(sized[2]), int(sized[3])) if sized else None
    places = [f"{place}, line {at}" for at, _ in rows]
    yield (
      where,
      annotation(
        relative(sized[1] if sized else name, where),
        [
          _face(line, at, corners=bool(size))
          for at, (_, line) in zip(places, rows, strict=True)
        ],
        size,
        where=places.__getitem__,
      ),
    )


def _face(line: str, where: str, corners: bool) -> Face:
  values = text.numbers(line, where)
  lengths = (4, 5, _POINTS_END, 20) if corners else (4, _POINTS_END, 20)
  if len(values) not in lengths:
    raise DataError(
      f"{where}: {len(values)} numbers; a face has 4 (x y w h) or 20 (and x y"
      " flag of five points, and a quality)."
    )
  x, y, w, h = values[:4]
  box = (x, y, w, h) if corners else (x, y, x + w, y + h)
  if len(values) == 4:
    return Face(box)
  if len(values) == 5:
    return Face(box, attributes={"invalid": values[4]})
  points, visible = [], []
  for i in range(4, _POINTS_END, 3):
    *point, flag = values[i : i + 3]
    if flag not in _VISIBLE_OF_FLAG:
      raise DataError(
        f"{where}: the flag of a point is {text.number(flag)}; it is to be 0"
        " (seen), 1 (hidden) or -1 (not annotated)."
      )
    known = flag >= 0 and point != [-1, -1]
    points.append(point if known else _UNKNOWN)
    visible.append(_VISIBLE_OF_FLAG[flag] if known else -1)
  quality = values[-1] if len(values) == 20 and values[-1] >= 0 else np.nan
  return Face(box, points, visible, quality=quality)


def write(path: str | os.PathLike, annotations: Sequence[Annotation]) -> None:
  """Writes 20 numbers for each face, which programs that train count on.

  Raises:
    DataError: a path ends in two numbers, and would be taken for SCRFD's.
  """
  lines = []
  for one in annotations:
    if _SIZED.fullmatch(one.file):
      raise DataError(
        f"{path}: the picture {one.file!r} has a name that ends like a width"
        " and a height. Rename it."
      )
    lines.append(f"# {one.file}")
    for face in faces(one):
      x0, y0, x1, y1 = face.box
      values = [x0, y0, x1 - x0, y1 - y0]
      for (x, y), visible in zip(face.points, face.visible, strict=True):
        known = not np.isnan(x)
        values += [x, y, _FLAG_OF_VISIBLE[visible]] if known else [-1, -1, -1]
      values.append(-1 if np.isnan(face.quality) else face.quality)
      lines.append(" ".join(map(text.number, values)))
  files.atomic_write(path, "\n".join(lines) + "\n")
