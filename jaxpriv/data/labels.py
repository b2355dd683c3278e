"""labels.csv: one row per face, in columns that are understood by name.

| column | meaning |
|---|---|
| file | path below the folder; the only column that must be there |
| set | a name to choose images by |
| identity | any name; cat, dog and wild give the domain instead; -1 is nobody |
| domain | one of `records.DOMAINS` |
| gender | M or F: Male |
| age | years: Young is under 30 |
| glasses, smile | 0 or 1: Eyeglasses, Smiling |
| x0, y0, x1, y1 | face box in pixels of the upright image |
| n_points, points | "x,y;x,y;..." 5, 21, 26, 68 or 189 landmarks |

Every other column of 0 and 1 is an attribute of that name. An empty cell, or
NA, is unknown. So is -1, except that in a column without a 0 it may as well
mean no; such a column is refused. `identity` is exempt: a person may be named
"Na", or "cat" if the row's domain is human. CelebA does not define an age limit
for Young; 30 years is this project's.
"""

import csv
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from absl import logging

from jaxpriv.data import landmarks
from jaxpriv.data.records import (
  ARCFACE_LANDMARKS,
  DOMAINS,
  LANDMARKS,
  DataError,
)

Row = dict[str, str]

_KNOWN_COLUMNS = ("file", "set", "identity", "domain", "gender", "age",
                  "glasses", "smile", "x0", "y0", "x1", "y1", "n_points",
                  "points")  # fmt: skip
_BOX = ("x0", "y0", "x1", "y1")
_YOUNG_YEARS = 30
_UNKNOWN = ("", "na", "nan")


class Labels(NamedTuple):
  """The labels of N faces.

  Attributes:
    files: paths below the folder [N].
    sets: names of sets [N], "" unknown.
    identities: int32 [N], -1 unknown.
    identity_names: the person behind each number.
    attribute_names: as CelebA spells them.
    attribute_values: int8 [N, A], -1 unknown.
    domains: int32 [N].
    boxes: float32 [N, 4], NaN unknown.
    landmarks: float32 [N, 26, 2], NaN unknown.
    visibility: int8 [N, 26].
    pose: float32 [N, 3], NaN unknown; from 68 points only.
  """

  files: list[str]
  sets: list[str]
  identities: np.ndarray
  identity_names: tuple[str, ...]
  attribute_names: tuple[str, ...]
  attribute_values: np.ndarray
  domains: np.ndarray
  boxes: np.ndarray
  landmarks: np.ndarray
  visibility: np.ndarray
  pose: np.ndarray


def read_rows(path: pathlib.Path, sets: Sequence[str] = ()) -> list[Row]:
  """Reads the rows of a labels.csv that belong to the sets, or all rows.

  Raises:
    DataError: there is no column `file`, no row, or no such set.
  """
  with open(path, newline="", encoding="utf-8-sig") as file:
    reader = csv.DictReader(file)
    columns = reader.fieldnames or ()
    if "file" not in columns:
      raise DataError(
        f"{path} has no column `file`; its columns are"
        f" {', '.join(columns) or 'none'}."
      )
    if sets and "set" not in columns:
      raise DataError(
        f"data.sets={tuple(sets)} needs a column `set`, which {path} does"
        f" not have; its columns are {', '.join(columns)}."
      )
    rows = [row for row in reader if _cell(row, "file")]
  if not rows:
    raise DataError(f"{path} has a header and no rows.")
  present = sorted({_cell(row, "set") for row in rows})
  for name in sets:
    if name not in present:
      raise DataError(
        f"{path} has no set {name!r}; its sets are {', '.join(present)}."
      )
  return [row for row in rows if not sets or _cell(row, "set") in sets]


def is_framed(row: Row) -> bool:
  """Whether a row names a box or points."""
  return bool(_cell(row, "points")) or all(_cell(row, c) for c in _BOX)


def extent(row: Row) -> np.ndarray:
  """The box [4] of a framed row, or that around its points.

  Raises:
    DataError: a cell is no number.
  """
  cells = [_cell(row, column) for column in _BOX]
  if all(cells):
    return np.array(_numbers(cells, row, "labels.csv"))
  flat = _numbers(_flat(_cell(row, "points")), row, "labels.csv")
  x, y = flat[::2], flat[1::2]
  return np.array([min(x), min(y), max(x), max(y)])


def five_points(row: Row) -> np.ndarray:
  """The five points [5, 2] of a row with points of a known markup.

  Raises:
    DataError: a cell is no number.
  """
  flat = _numbers(_flat(_cell(row, "points")), row, "labels.csv")
  standard = landmarks.standard_landmarks(np.array(flat).reshape(1, -1, 2))
  assert standard is not None
  return standard[0, : len(ARCFACE_LANDMARKS)]


def is_human(row: Row) -> bool:
  """Whether a row is of a person, or may be."""
  return _domain(row) == DOMAINS[0]


def parse(rows: Sequence[Row], path: pathlib.Path) -> Labels:
  """Turns the cells of rows into arrays; errors mention `path`.

  Raises:
    DataError: a cell cannot be understood.
  """
  identities, identity_names, domains = _people(rows, path)
  attribute_names, attribute_values = _attributes(rows, path)
  points, pose = _points(rows, path)
  return Labels(
    files=[_cell(row, "file") for row in rows],
    sets=[_cell(row, "set") for row in rows],
    identities=identities,
    identity_names=identity_names,
    attribute_names=attribute_names,
    attribute_values=attribute_values,
    domains=domains,
    boxes=_boxes(rows, path),
    landmarks=points,
    visibility=landmarks.visibility_of(points, pose),
    pose=pose,
  )


def _cell(row: Row, column: str) -> str:
  """A cell without surrounding space, "" where it says unknown."""
  value = (row.get(column) or "").strip()
  return "" if value.lower() in _UNKNOWN else value


def _people(rows, path):
  names = [(row.get("identity") or "").strip() for row in rows]
  explicit = [_cell(row, "domain") for row in rows]
  domains = [_domain(row) for row in rows]
  for domain in domains:
    if domain not in DOMAINS:
      raise DataError(
        f"{path}, column domain: {domain!r} is not one of {', '.join(DOMAINS)}."
      )
  names = [
    "" if name == "-1" or (name in DOMAINS and domain != DOMAINS[0]) else name
    for name, domain in zip(names, explicit)
  ]
  people = tuple(sorted(set(names) - {""}))
  number = {name: i for i, name in enumerate(people)} | {"": -1}
  identities = np.array([number[name] for name in names], np.int32)
  return identities, people, np.array([*map(DOMAINS.index, domains)], np.int32)


def _domain(row: Row) -> str:
  name = (row.get("identity") or "").strip()
  return _cell(row, "domain") or (name if name in DOMAINS else DOMAINS[0])


def _attributes(rows, path) -> tuple[tuple[str, ...], np.ndarray]:
  readers = {
    "gender": ("Male", _male),
    "glasses": ("Eyeglasses", _binary),
    "smile": ("Smiling", _binary),
    "age": ("Young", _young),
  }
  extra = [c for c in rows[0] if c and c not in _KNOWN_COLUMNS]
  readers |= {column: (column, _binary) for column in extra}
  names, columns = [], []
  for column, (name, read) in readers.items():
    if column not in rows[0]:
      continue
    cells = [_cell(row, column) for row in rows]
    try:
      columns.append([read(cell) for cell in cells])
      names.append(name)
    except ValueError as error:
      if column not in extra:
        raise DataError(f"{path}, column {column}: {error}.") from error
      logging.info("%s: column %s is no attribute: %s", path, column, error)
      continue
    # CelebA's own tables write -1 for no: read as unknown, every no would be
    # lost.
    if read is _binary and "-1" in cells and "0" not in cells:
      raise DataError(
        f"{path}, column {column}: it holds -1 and no 0. Write 0 where -1 says"
        " no, and leave the cell empty where it says unknown."
      )
  values = np.array(columns, np.int8).reshape(len(names), len(rows)).T
  return tuple(names), values


def _binary(cell: str) -> int:
  if cell not in ("", "-1", "0", "1"):
    raise ValueError(f"{cell!r} is not 0, 1 or empty")
  return int(cell or -1)


def _male(cell: str) -> int:
  values = {"": -1, "m": 1, "male": 1, "f": 0, "female": 0}
  if cell.lower() not in values:
    raise ValueError(f"{cell!r} is not M, F or empty")
  return values[cell.lower()]


def _young(cell: str) -> int:
  try:
    years = float(cell or "nan")
  except ValueError:
    years = -1
  if years < 0:
    raise ValueError(f"{cell!r} is not a number of years")
  return int(years < _YOUNG_YEARS) if cell else -1


def _boxes(rows, path) -> np.ndarray:
  boxes = np.full((len(rows), 4), np.nan, np.float32)
  for i, row in enumerate(rows):
    cells = [_cell(row, column) for column in _BOX]
    if not all(cells):
      continue
    boxes[i] = _numbers(cells, row, path)
    if not (boxes[i, :2] < boxes[i, 2:]).all():
      raise DataError(
        f"{path}, {row['file']}: the box {', '.join(cells)} is empty; x0 < x1"
        " and y0 < y1 are needed."
      )
  return boxes


def _points(rows, path) -> tuple[np.ndarray, np.ndarray]:
  """Standard landmarks [N, 26, 2] and pose [N, 3] of whatever is marked."""
  points = np.full((len(rows), len(LANDMARKS), 2), np.nan, np.float32)
  pose = np.full((len(rows), 3), np.nan, np.float32)
  for count, (where, drawn) in _points_by_markup(rows, path).items():
    standard = landmarks.standard_landmarks(drawn)
    if standard is None:
      logging.warning(
        "%s: %d rows have %d points, which is no known markup; their points"
        " are ignored.",
        path,
        len(where),
        count,
      )
      continue
    points[where] = standard
    if count == 68:
      pose[where] = landmarks.pose_of_68(drawn)
  return points, pose


def _points_by_markup(rows, path):
  """Number of points -> (rows [M], points [M, K, 2])."""
  groups: dict[int, tuple[list, list]] = {}
  for i, row in enumerate(rows):
    cell = _cell(row, "points")
    if not cell:
      continue
    flat = _numbers(_flat(cell), row, path)
    if len(flat) % 2:
      raise DataError(
        f"{path}, {row['file']}: the column points holds {len(flat)} numbers;"
        ' pairs "x,y;x,y" are needed.'
      )
    where, drawn = groups.setdefault(len(flat) // 2, ([], []))
    where.append(i)
    drawn.append(flat)
  return {
    count: (where, np.array(drawn).reshape(-1, count, 2))
    for count, (where, drawn) in groups.items()
  }


def _flat(points: str) -> list[str]:
  return points.replace(";", ",").split(",")


def _numbers(cells, row, path) -> list[float]:
  try:
    return [float(cell) for cell in cells]
  except ValueError as error:
    raise DataError(f"{path}, {row['file']}: {error}.") from error
