"""A folder of images, with labels.csv or one sub-folder per person.

labels.csv has one row per face and needs only the column `file`; understood are

| column | meaning |
|---|---|
| file | path below the folder |
| set | a name to choose images by |
| identity | any name; cat, dog and wild give the domain instead |
| gender | M or F: Male |
| age | years: Young is under 30 |
| glasses, smile | 0 or 1: Eyeglasses, Smiling |
| x0, y0, x1, y1 | face box in pixels of the upright image |
| n_points, points | "x,y;x,y;..." 5, 21, 26, 68 or 189 landmarks |

and every other column of 0 and 1 is an attribute of that name. An empty cell
(or NA) is unknown. CelebA draws no line for Young; 30 years is this project's.

A face without a box takes the median relative box of the faces of its set whose
images have the same size; failing that, the whole image. Sets mark boxes
differently (brows to chin, hair to neck), so how a box is to be framed is
measured on the faces of the set that have both box and points.
"""

import csv
import os
import pathlib
from collections.abc import Sequence

import numpy as np
from absl import logging

from jaxpriv.data import alignment, images, landmarks
from jaxpriv.data.records import ARCFACE_LANDMARKS, DOMAINS, DataError, Record
from jaxpriv.data.records import LANDMARKS, UnreadableImageError, record

_KNOWN_COLUMNS = frozenset(
  "file set identity gender age glasses smile x0 y0 x1 y1 n_points points"
  " domain".split()
)
_BOX = ("x0", "y0", "x1", "y1")
_YOUNG_YEARS = 30
_UNKNOWN = ("", "na", "nan")
_MIN_MEASURED = 5  # faces that a median is trusted from


class FolderSource:
  """Faces of a folder; see the module docstring. One record per labelled face.

  Attributes:
    attribute_names: as CelebA spells them.
    attribute_values: int8 [N, A], -1 unknown.
    identities: int32 [N].
    identity_names: the person behind each number of `identities`.
    files: path of each record relative to the folder.
  """

  def __init__(self, path: str | os.PathLike, sets: Sequence[str] = ()):
    """Reads labels.csv or the folder's tree, no images.

    Args:
      path: the folder.
      sets: keep only rows whose `set` is one of these; all when empty.

    Raises:
      DataError: the folder or labels.csv is missing, empty or malformed, or a
        set is unknown; the message says which and what to do.
    """
    self.path = pathlib.Path(path).expanduser()
    if not self.path.is_dir():
      raise DataError(f"There is no folder {self.path}; check data.path.")
    labels = self.path / "labels.csv"
    rows = _read_rows(labels) if labels.is_file() else self._tree_rows(sets)
    rows = _select_sets(rows, sets, labels)
    self.files = [row["file"] for row in rows]
    self._read_identities(rows)
    self.attribute_names, self.attribute_values = _attributes(rows, labels)
    self._read_geometry(rows, labels)

  def __len__(self) -> int:
    return len(self.files)

  def __getitem__(self, index: int) -> Record:
    photograph = self.photograph(index)
    pixels = images.decode(photograph.image, name=photograph.name)
    return dict(photograph.fields, image=np.asarray(pixels))

  def describe(self, index: int) -> str:
    return str(self.path / self.files[index])

  def photograph(self, index: int) -> alignment.Photograph:
    """Record `index` with its image opened but not decoded."""
    name = self.describe(index)
    image = images.open_image(name)
    fields = record(
      None,
      identity=self.identities[index],
      attributes=self.attribute_values[index],
      landmarks=self._landmarks[index],
      visibility=self._visibility[index],
      pose=self._pose[index],
      box=self._boxes[index],
      domain=self._domains[index],
    )
    return alignment.Photograph(image, fields, self._square(index, image), name)

  def _square(self, index: int, image) -> np.ndarray:
    """The crop of a face by its own box or by the median box of its set."""
    set_name = self._sets[index]
    framing = self._framings.get(set_name, alignment.TIGHT_BOX)
    box = self._boxes[index]
    if not np.isfinite(box).all():
      width, height = images.upright_size(image)
      median = self._median_boxes(set_name).get((width, height))
      if median is None:
        return np.full(4, np.nan)
      box = median
    return alignment.squares_of_boxes(box, framing)

  def _tree_rows(self, sets: Sequence[str]) -> list[dict[str, str]]:
    if sets:
      raise DataError(
        f"data.sets={tuple(sets)} needs a `set` column, but {self.path} has"
        " no labels.csv."
      )
    files = sorted(
      file.relative_to(self.path)
      for file in self.path.rglob("*")
      if file.suffix.lower() in images.EXTENSIONS and file.is_file()
    )
    if not files:
      raise DataError(
        f"{self.path} holds neither labels.csv nor images"
        f" ({', '.join(images.EXTENSIONS)}), also not in its sub-folders."
      )
    return [
      dict(file=str(f), identity=f.parts[0] if len(f.parts) > 1 else "")
      for f in files
    ]

  def _read_identities(self, rows):
    names = [_cell(row, "identity") for row in rows]
    domains = [
      _cell(row, "domain") or (name if name in DOMAINS else "human")
      for row, name in zip(rows, names)
    ]
    unknown = sorted(set(domains) - set(DOMAINS))
    if unknown:
      raise DataError(
        f"{self.path / 'labels.csv'}: column domain holds {unknown[0]!r};"
        f" it must be one of {', '.join(DOMAINS)}."
      )
    self._domains = np.array([DOMAINS.index(d) for d in domains], np.int32)
    names = ["" if n == "-1" or n in DOMAINS else n for n in names]
    self.identity_names = tuple(sorted(set(names) - {""}))
    number = {name: i for i, name in enumerate(self.identity_names)} | {"": -1}
    self.identities = np.array([number[name] for name in names], np.int32)

  def _read_geometry(self, rows, labels):
    count, points = len(rows), len(LANDMARKS)
    self._sets = [_cell(row, "set") for row in rows]
    self._boxes = _boxes(rows, labels)
    self._landmarks = np.full((count, points, 2), np.nan, np.float32)
    self._pose = np.full((count, 3), np.nan, np.float32)
    for where, drawn in _points_by_markup(rows, labels).values():
      standard = landmarks.standard_landmarks(drawn)
      if standard is None:
        logging.warning(
            "%s: %d rows have %d points, a markup that is not known; their"
            " points are ignored.", labels, len(where), drawn.shape[1])  # fmt: skip
        continue
      self._landmarks[where] = standard
      if drawn.shape[1] == 68:
        self._pose[where] = landmarks.pose_of_68(drawn)
    self._visibility = landmarks.visibility_of(self._landmarks, self._pose)
    self._framings = self._measure_framings()
    self._medians = {}

  def _measure_framings(self) -> dict[str, alignment.Framing]:
    five = self._landmarks[:, : len(ARCFACE_LANDMARKS)]
    known = np.isfinite(five).all((1, 2)) & np.isfinite(self._boxes).all(1)
    names = np.array(self._sets)
    framings = {}
    for name in sorted(set(self._sets)):
      faces = known & (names == name)
      if faces.sum() >= _MIN_MEASURED:
        framings[name] = alignment.measure_framing(
          self._boxes[faces], five[faces]
        )
    return framings

  def _median_boxes(self, set_name: str) -> dict[tuple[int, int], np.ndarray]:
    """Image size -> median box of the faces of a set that have one."""
    if set_name not in self._medians:
      boxes = {}
      for index, name in enumerate(self._sets):
        if name == set_name and np.isfinite(self._boxes[index]).all():
          try:
            image = images.open_image(self.describe(index))
          except UnreadableImageError:
            continue
          boxes.setdefault(images.upright_size(image), []).append(
            self._boxes[index]
          )
      self._medians[set_name] = {
        size: np.median(same, axis=0) for size, same in boxes.items()
      }
    return self._medians[set_name]


def _read_rows(labels: pathlib.Path) -> list[dict[str, str]]:
  with open(labels, newline="", encoding="utf-8-sig") as file:
    reader = csv.DictReader(file)
    if "file" not in (reader.fieldnames or ()):
      raise DataError(
        f"{labels} has no column `file`; it has"
        f" {', '.join(reader.fieldnames or ('nothing',))}."
      )
    rows = [row for row in reader if (row["file"] or "").strip()]
  if not rows:
    raise DataError(f"{labels} has a header and no rows.")
  return rows


def _select_sets(rows, sets, labels):
  if not sets:
    return rows
  if "set" not in rows[0]:
    raise DataError(
      f"data.sets={tuple(sets)} needs a column `set`, which {labels} has not."
    )
  present = sorted({_cell(row, "set") for row in rows})
  for name in sets:
    if name not in present:
      raise DataError(
        f"{labels} has no set {name!r}; its sets are {', '.join(present)}."
      )
  return [row for row in rows if _cell(row, "set") in sets]


def _cell(row: dict[str, str], column: str) -> str:
  """A cell without surrounding space, "" where it says unknown."""
  value = (row.get(column) or "").strip()
  return "" if value.lower() in _UNKNOWN else value


def _attributes(rows, labels) -> tuple[tuple[str, ...], np.ndarray]:
  readers = {"gender": ("Male", _male), "glasses": ("Eyeglasses", _binary),
             "smile": ("Smiling", _binary), "age": ("Young", _young)}  # fmt: skip
  extra = [c for c in rows[0] if c and c not in _KNOWN_COLUMNS]
  readers |= {column: (column, _binary) for column in extra}
  names, columns = [], []
  for column, (name, read) in readers.items():
    if column not in rows[0]:
      continue
    try:
      columns.append([read(_cell(row, column)) for row in rows])
      names.append(name)
    except ValueError as error:
      if column not in extra:
        raise DataError(f"{labels}, column {column}: {error}") from error
      logging.info("%s: column %s is not an attribute: %s", labels, column,
                   error)  # fmt: skip
  values = np.array(columns, np.int8).reshape(len(names), len(rows)).T
  return tuple(names), values


def _binary(cell: str) -> int:
  if cell not in ("", "-1", "0", "1"):
    raise ValueError(f"{cell!r} is not 0, 1 or empty")
  return int(cell or -1)


def _male(cell: str) -> int:
  known = {"": -1, "m": 1, "male": 1, "f": 0, "female": 0}
  if cell.lower() not in known:
    raise ValueError(f"{cell!r} is not M, F or empty")
  return known[cell.lower()]


def _young(cell: str) -> int:
  try:
    return int(float(cell) < _YOUNG_YEARS) if cell else -1
  except ValueError:
    raise ValueError(f"{cell!r} is not a number of years") from None


def _boxes(rows, labels) -> np.ndarray:
  boxes = np.full((len(rows), 4), np.nan, np.float32)
  for i, row in enumerate(rows):
    cells = [_cell(row, c) for c in _BOX]
    if all(cells):
      boxes[i] = _numbers(cells, row, labels)
      if not (boxes[i, :2] < boxes[i, 2:]).all():
        raise DataError(
          f"{labels}, {row['file']}: the box {', '.join(cells)} is empty;"
          " x0 < x1 and y0 < y1 are needed."
        )
  return boxes


def _points_by_markup(rows, labels):
  """Number of points -> (rows [M], points [M, K, 2])."""
  groups = {}
  for i, row in enumerate(rows):
    cell = _cell(row, "points")
    if cell:
      cells = cell.replace(";", ",").split(",")
      points = np.array(_numbers(cells, row, labels)).reshape(-1, 2)
      where, drawn = groups.setdefault(len(points), ([], []))
      where.append(i)
      drawn.append(points)
  return {k: (w, np.array(d)) for k, (w, d) in groups.items()}


def _numbers(cells, row, labels) -> list[float]:
  try:
    return [float(cell) for cell in cells]
  except ValueError as error:
    raise DataError(f"{labels}, {row['file']}: {error}") from error
