"""labels.csv of a folder of scenes; its columns are in `jaxpriv.data.labels`.

A row a face, and one without a box for a picture of none. What WIDER says in
levels is in columns of 0 and 1, `COLUMNS`; those that nothing is known of are
left out. So are the settings: a face that counts has 1 in `easy`.
"""

import csv
import io
import os
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np

from jaxpriv import files
from jaxpriv.data import labels
from jaxpriv.data.detection_labels import text
from jaxpriv.data.detection_labels.annotations import (
  ATTRIBUTES,
  NUM_POINTS,
  SETTINGS,
  Annotation,
  Face,
  annotation,
  faces,
  relative,
)
from jaxpriv.data.detection_labels.sets import check_set
from jaxpriv.data.records import DataError

# Column -> the attribute, and the level from which on it is 1.
COLUMNS = {
  "blurred": ("blur", 1),
  "heavily_blurred": ("blur", 2),
  "exaggerated_expression": ("expression", 1),
  "extreme_illumination": ("illumination", 1),
  "invalid": ("invalid", 1),
  "occluded": ("occlusion", 1),
  "heavily_occluded": ("occlusion", 2),
  "atypical_pose": ("pose", 1),
}
_BOX = ("x0", "y0", "x1", "y1")
_POINTS = ("n_points", "points")


def usable(of: Annotation) -> np.ndarray:
  """bool [N]: faces whose boxes a folder of scenes takes."""
  boxes = np.round(of.boxes, 6)  # as they are written
  sides = boxes[:, 2:] - boxes[:, :2]
  return of.valid & (sides > 0).all(1) & (sides > 1).any(1)


def to_labels_csv(
  annotations: Sequence[Annotation], path: str | os.PathLike
) -> int:
  """Writes labels.csv; returns how many faces are left out, see `usable`.

  Put it into the folder of the pictures, under the name labels.csv.

  Raises:
    DataError: there is no picture, or one comes twice.
  """
  check_set(annotations, path)
  uses = [usable(one) for one in annotations]
  pairs = [*zip(annotations, uses, strict=True)]
  known = [
    name
    for name in ATTRIBUTES
    if any((one.attributes[name][use] >= 0).any() for one, use in pairs)
  ]
  columns = [name for name, (of, _) in COLUMNS.items() if of in known]
  columns += [
    name for name in SETTINGS if any(name in one.keep for one in annotations)
  ]
  if any(np.isfinite(one.landmarks[use]).any() for one, use in pairs):
    columns += _POINTS
  stream = io.StringIO(newline="")
  table = csv.DictWriter(
    stream, ("file", *_BOX, *columns), restval="", extrasaction="ignore"
  )
  table.writeheader()
  for one, use in pairs:
    rows = [face for face, of in zip(faces(one), use, strict=True) if of]
    table.writerows({"file": one.file, **_cells(face)} for face in rows)
    if not rows:
      table.writerow({"file": one.file})
  files.atomic_write(path, stream.getvalue())
  return sum(int((~use).sum()) for use in uses)


def _cells(face: Face) -> dict[str, str]:
  cells = dict(zip(_BOX, map(text.number, face.box), strict=True))
  for column, (attribute, level) in COLUMNS.items():
    value = face.attributes[attribute]
    cells[column] = "" if value < 0 else str(int(value >= level))
  cells |= {name: str(int(value)) for name, value in face.keep.items()}
  if not np.isnan(face.points).all():
    cells["n_points"] = str(NUM_POINTS)
    cells["points"] = ";".join(
      "nan,nan" if np.isnan(x) else f"{text.number(x)},{text.number(y)}"
      for x, y in face.points
    )
  return cells


def write(path: str | os.PathLike, annotations: Sequence[Annotation]) -> None:
  """Writes labels.csv; see `to_labels_csv`."""
  to_labels_csv(annotations, path)


def read(path: str | os.PathLike) -> list[Annotation]:
  """Reads labels.csv, or that of a folder, in the order of the pictures.

  Columns that are of no detection set, such as identities, are passed over. Of
  other markups the five points are made as of any labels.csv.

  Raises:
    DataError: see `labels.read_table`; or a face has points and no box, or a
      box that cannot be right.
  """
  place = pathlib.Path(path)
  if place.is_dir():
    place /= "labels.csv"
  rows = labels.read_table(place)
  table = labels.parse(rows, place)
  if table.faults:
    at, fault = next(iter(table.faults.items()))
    raise DataError(f"{place}, {table.files[at]}: {fault}.")
  values = dict(
    zip(table.attribute_names, table.attribute_values.T, strict=True)
  )
  known = [name for name in SETTINGS if name in values]
  pictures: dict[str, list[Face]] = {}
  for i, row in enumerate(rows):
    of = pictures.setdefault(relative(table.files[i], str(place)), [])
    if not labels.is_framed(row):
      continue
    if np.isnan(table.boxes[i]).any():
      raise DataError(
        f"{place}, {table.files[i]}: a face has points and no box; x0, y0, x1"
        " and y1 are needed."
      )
    of.append(
      Face(
        labels.extent(row).tolist(),
        _five(row) or table.landmarks[i, :NUM_POINTS].tolist(),
        table.visibility[i, :NUM_POINTS].tolist(),
        dict(_attributes(values, i)),
        {name: bool(values[name][i] == 1) for name in known},
      )
    )
  return [annotation(file, of, keep=known) for file, of in pictures.items()]


def _five(row: labels.Row) -> list[list[float]]:
  """The points of a row that has five, in full precision; or none."""
  flat = (row.get("points") or "").replace(";", ",").split(",")
  if len(flat) != 2 * NUM_POINTS:
    return []
  return np.array([*map(float, flat)]).reshape(NUM_POINTS, 2).tolist()


def _attributes(values: dict[str, np.ndarray], i: int) -> Iterator:
  """Name and level of the attributes of face i that all columns tell of."""
  for name in ATTRIBUTES:
    columns = [column for column, (of, _) in COLUMNS.items() if of == name]
    if all(column in values and values[column][i] >= 0 for column in columns):
      yield name, sum(int(values[column][i]) for column in columns)
