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

Every other column of 0 and 1 is an attribute of that name; true and false, yes
and no, 1.0 and 0.0 will do. A column with other words is left out, with a
warning. An empty cell is unknown, and so are NA, NaN, None and whatever else R
and pandas write for it. So is -1, except that in a column without a 0 it may as
well mean no; such a column is refused. A person may be named "Na" or "none",
but not "NA" or "None", and "cat" if the row's domain is human. CelebA does not
define an age limit for Young; 30 years is this project's.

A box or points that cannot be right make a face unusable; see `Labels.faults`.
"""

import codecs
import csv
import io
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
from jaxpriv.data.tree import normal

Row = dict[str, str]

_KNOWN_COLUMNS = ("file", "set", "identity", "domain", "gender", "age",
                  "glasses", "smile", "x0", "y0", "x1", "y1", "n_points",
                  "points")  # fmt: skip
_BOX = ("x0", "y0", "x1", "y1")
_PLACE = (*_BOX, "points")
_YOUNG_YEARS = 30
# As pandas and R write a missing value, in small letters.
_UNKNOWN = frozenset(
  ("", "na", "n/a", "#n/a", "#n/a n/a", "#na", "nan", "-nan", "none", "null")
  + ("<na>", "nat", "-1.#ind", "1.#ind", "-1.#qnan", "1.#qnan")
)
# The same for a name, which may be a word: spelled as these programs do.
_NOBODY = frozenset(
  ("", "-1", "-1.0", "NA", "N/A", "n/a", "#N/A", "#N/A N/A", "#NA", "NaN")
  + ("nan", "-NaN", "-nan", "None", "NULL", "null", "<NA>", "NaT")
)
_YES = frozenset(("1", "1.0", "true", "t", "yes", "y"))
_NO = frozenset(("0", "0.0", "-0.0", "false", "f", "no", "n"))
_LARGEST = 1e6  # pixels: no photograph is so large
# A byte order mark tells the encoding.
_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16",
          codecs.BOM_UTF16_BE: "utf-16"}  # fmt: skip


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
    faults: row -> what is wrong with its box or points, where nothing can be
      made of them.
    told: bool [N], whether a row says anything of where a face is, be it wrong
      or of no use.
    left_out: column -> why it is no attribute.
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
  faults: dict[int, str]
  told: np.ndarray
  left_out: dict[str, str]


def read_table(path: pathlib.Path) -> list[Row]:
  """Reads all rows of a labels.csv that name a file.

  Commas separate cells, or semicolons or tabs where the header has no comma.

  Raises:
    DataError: it is no such table, or is not encoded as UTF-8, or has no row.
  """
  try:
    data = path.read_bytes()
  except OSError as error:
    raise DataError(f"{path} cannot be read: {error.strerror}.") from error
  encoding = next((e for mark, e in _MARKS.items() if data.startswith(mark)),
                  "utf-8")  # fmt: skip
  try:
    text = data.decode(encoding)
  except UnicodeDecodeError as error:
    line = data.count(b"\n", 0, error.start) + 1
    raise DataError(
      f"{path}, line {line}: byte 0x{data[error.start]:02x} is not {encoding}"
      " text. Save the table as UTF-8."
    ) from error
  if "\0" in text:
    raise DataError(f"{path} is no table of text: it holds zero bytes.")
  stream = io.StringIO(text, newline="")
  header = stream.readline()
  stream.seek(0)
  separator = next((c for c in ",;\t" if c in header), ",")
  reader = csv.reader(stream, delimiter=separator, strict=True)
  try:
    columns = [cell.strip() for cell in next(reader, [])]
    _check_columns(columns, path)
    rows = []
    for cells in reader:
      if any(cell.strip() for cell in cells[len(columns) :]):
        raise DataError(
          f"{path}, line {reader.line_num}: a row of {len(cells)} cells, and"
          f" the header has {len(columns)}. Put cells that hold a"
          f" {'comma' if separator == ',' else 'separator'} in quotes."
        )
      cells += [""] * (len(columns) - len(cells))
      rows.append(dict(zip(columns, cells)))
  except csv.Error as error:
    raise DataError(f"{path}, line {reader.line_num}: {error}.") from error
  rows = [row for row in rows if _cell(row, "file")]
  if not rows:
    raise DataError(f"{path} has a header and no rows.")
  return rows


def _check_columns(columns: Sequence[str], path: pathlib.Path) -> None:
  if "file" not in columns:
    raise DataError(
      f"{path} has no column `file`; its columns are"
      f" {', '.join(columns) or 'none'}."
    )
  twice = sorted({name for name in columns if name and columns.count(name) > 1})
  if twice:
    raise DataError(f"{path} has two columns of one name: {', '.join(twice)}.")


def of_sets(
  rows: Sequence[Row], sets: Sequence[str], path: pathlib.Path
) -> list[Row]:
  """The rows that belong to the sets, or all rows.

  Raises:
    DataError: there is no column `set`, or no such set.
  """
  if sets and "set" not in rows[0]:
    raise DataError(
      f"data.sets={tuple(sets)} needs a column `set`, which {path} does"
      f" not have; its columns are {', '.join(rows[0])}."
    )
  present = sorted({_cell(row, "set") for row in rows})
  for name in sets:
    if name not in present:
      raise DataError(
        f"{path} has no set {name!r}; its sets are {', '.join(present)}."
      )
  return [row for row in rows if not sets or _cell(row, "set") in sets]


def read_rows(path: pathlib.Path, sets: Sequence[str] = ()) -> list[Row]:
  """Reads the rows of a labels.csv that belong to the sets, or all rows.

  Raises:
    DataError: see `read_table` and `of_sets`.
  """
  return of_sets(read_table(path), sets, path)


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
  attribute_names, attribute_values, left_out = _attributes(rows, path)
  faults: dict[int, str] = {}
  boxes = _boxes(rows, path, faults)
  points, pose = _points(rows, path, faults)
  return Labels(
    files=[_cell(row, "file") for row in rows],
    sets=[_cell(row, "set") for row in rows],
    identities=identities,
    identity_names=identity_names,
    attribute_names=attribute_names,
    attribute_values=attribute_values,
    domains=domains,
    boxes=boxes,
    landmarks=points,
    visibility=landmarks.visibility_of(points, pose),
    pose=pose,
    faults=faults,
    told=np.array(
      [any(_cell(row, column) for column in _PLACE) for row in rows], bool
    ),
    left_out=left_out,
  )


def _cell(row: Row, column: str) -> str:
  """A cell without surrounding space, "" where it says unknown."""
  value = (row.get(column) or "").strip()
  return "" if value.lower() in _UNKNOWN else value


def _people(rows, path):
  domains = [_domain(row) for row in rows]
  for domain in domains:
    if domain not in DOMAINS:
      raise DataError(
        f"{path}, column domain: {domain!r} is not one of {', '.join(DOMAINS)}."
      )
  names = [_person(row) for row in rows]
  names = [
    "" if name in DOMAINS and _cell(row, "domain") != DOMAINS[0] else name
    for name, row in zip(names, rows)
  ]
  people = tuple(sorted(set(names) - {""}))
  number = {name: i for i, name in enumerate(people)} | {"": -1}
  identities = np.array([number[name] for name in names], np.int32)
  return identities, people, np.array([*map(DOMAINS.index, domains)], np.int32)


def _person(row: Row) -> str:
  """The name of a row's person, in one Unicode form; "" for nobody."""
  name = normal((row.get("identity") or "").strip())
  if name in _NOBODY:
    return ""
  # A column of numbers with gaps comes out of pandas as 1.0, 2.0.
  whole = name.removesuffix(".0")
  return whole if whole.isdecimal() else name


def _domain(row: Row) -> str:
  name = _person(row)
  return _cell(row, "domain") or (name if name in DOMAINS else DOMAINS[0])


def _attributes(rows, path):
  """Names [A], values int8 [N, A], and the columns that are left out."""
  readers = {
    "gender": ("Male", _male),
    "glasses": ("Eyeglasses", _binary),
    "smile": ("Smiling", _binary),
    "age": ("Young", _young),
  }
  extra = [c for c in rows[0] if c and c not in _KNOWN_COLUMNS]
  readers |= {column: (column, _binary) for column in extra}
  names: list[str] = []
  columns, left_out = [], {}
  for column, (name, read) in readers.items():
    if column not in rows[0]:
      continue
    if name in names:
      raise DataError(f"{path} says {name} in two columns: keep one of them.")
    values, wrong = [], ""
    for row in rows:
      try:
        values.append(read(_cell(row, column)))
      except ValueError as error:
        wrong = wrong or f"{error}, in the row of {row['file']}"
    if wrong and column not in extra:
      raise DataError(f"{path}, column {column}: {wrong}.")
    if wrong:
      left_out[column] = wrong
      logging.warning(
        "%s: column %s is left out, as it is no attribute: %s",
        path,
        column,
        wrong,
      )
      continue
    names.append(name)
    columns.append(values)
    # CelebA's own tables write -1 for no: read as unknown, every no would be
    # lost.
    minus = any(_cell(row, column) in ("-1", "-1.0") for row in rows)
    if read is _binary and minus and 0 not in values:
      raise DataError(
        f"{path}, column {column}: it holds -1 and no 0. Write 0 where -1"
        " says no, and leave the cell empty where it says unknown."
      )
  table = np.array(columns, np.int8).reshape(len(names), len(rows)).T
  return tuple(names), table, left_out


def _binary(cell: str) -> int:
  word = cell.lower()
  if word in _YES or word in _NO:
    return int(word in _YES)
  if word not in ("", "-1", "-1.0"):
    raise ValueError(f"{cell!r} is not 0, 1 or empty")
  return -1


def _male(cell: str) -> int:
  values = {"": -1, "m": 1, "male": 1, "f": 0, "female": 0}
  if cell.lower() not in values:
    raise ValueError(f"{cell!r} is not M, F or empty")
  return values[cell.lower()]


def _young(cell: str) -> int:
  if not cell:
    return -1
  try:
    years = float(cell)
  except ValueError:
    years = -1.0
  if not 0 <= years < np.inf:
    raise ValueError(f"{cell!r} is not a number of years")
  return int(years < _YOUNG_YEARS)


def _boxes(rows, path, faults) -> np.ndarray:
  boxes = np.full((len(rows), 4), np.nan, np.float32)
  for i, row in enumerate(rows):
    cells = [_cell(row, column) for column in _BOX]
    if not all(cells):
      continue
    box = np.array(_numbers(cells, row, path))
    if not (np.abs(box) < _LARGEST).all():
      faults[i] = f"the box {', '.join(cells)} is not of pixels"
    elif not (box[:2] < box[2:]).all():
      faults[i] = f"the box {', '.join(cells)} is empty: x0 < x1 and y0 < y1"
    elif (box[2:] - box[:2]).max() <= 1:
      faults[i] = (
        f"the box {', '.join(cells)} is of one pixel at most: pixels are"
        " needed, not shares of the side"
      )
    else:
      boxes[i] = box
  return boxes


def _points(rows, path, faults) -> tuple[np.ndarray, np.ndarray]:
  """Standard landmarks [N, 26, 2] and pose [N, 3] of whatever is marked."""
  points = np.full((len(rows), len(LANDMARKS), 2), np.nan, np.float32)
  pose = np.full((len(rows), 3), np.nan, np.float32)
  for count, (where, drawn) in _points_by_markup(rows, path, faults).items():
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


def _points_by_markup(rows, path, faults):
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
    if np.abs(np.nan_to_num(flat, posinf=np.inf)).max() >= _LARGEST:
      faults[i] = "its points are not of pixels"
      continue
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
