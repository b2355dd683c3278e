"""`wider_face_val.mat` and the keep lists of the easy, medium and hard faces.

Cells for each event, and in them for each picture: `event_list` names the
folders, `file_list` the pictures without their ".jpg", `face_bbx_list` holds
x y w h [N, 4], and `blur_label_list` and its like, where they are there, the
attributes [N, 1]. `gt_list` of `wider_easy_val.mat` has the faces that count in
the setting "easy", numbered from 1.
"""

import functools
import io
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxpriv import files
from jaxpriv.data.detection_labels import matlab, text
from jaxpriv.data.detection_labels.annotations import (
  ATTRIBUTES,
  SETTINGS,
  Annotation,
  Face,
  annotation,
  relative,
)
from jaxpriv.data.detection_labels.sets import distinct
from jaxpriv.data.records import DataError

_LISTS = ("event_list", "file_list", "face_bbx_list")
_OF_ATTRIBUTES = {name: f"{name}_label_list" for name in ATTRIBUTES}
_KEEP = "gt_list"
_FACE = "face"  # in the name of the file, in place of a setting
_SUFFIX = ".jpg"


class _List(NamedTuple):
  """One list of a file.

  Attributes:
    where: the file and the list, for errors.
    events: a cell for each event.
  """

  where: str
  events: list

  def pictures(self, event: int, number: int | None = None) -> list:
    """The cells of the pictures of an event, of which there are `number`."""
    where = f"{self.where}, event {event + 1}"
    return _cells(self.events[event], where, number)


def read(path: str | os.PathLike) -> list[Annotation]:
  """Reads the annotations in the order of the file.

  Beside `wider_face_val.mat`, the keep lists of the settings are read from
  `wider_easy_val.mat` and so on, where they are there. A file of a setting can
  be read by itself.

  Raises:
    DataError: it is no such file, or keep lists are of other pictures.
  """
  place = pathlib.Path(path)
  content = _load(place)
  for name in _LISTS:
    if name not in content:
      raise DataError(
        f"{place} has no {name}; a file like wider_face_val.mat is needed."
      )
  number = len(_cells(content["event_list"], f"{place}, event_list"))
  lists = {
    name: _list(place, content, name, number)
    for name in (*_LISTS, *_OF_ATTRIBUTES.values())
    if name in content
  }
  keep = {
    setting: _list(file, said, _KEEP, number)
    for setting, file, said in _settings(place, content)
  }
  return distinct(_annotations(place, lists, keep))


def _list(place, content, name: str, number: int) -> _List:
  where = f"{place}, {name}"
  if name not in content:
    raise DataError(f"{where}: there is no such list.")
  return _List(where, _cells(content[name], where, number))


def _settings(place, content) -> Iterator[tuple[str, pathlib.Path, dict]]:
  """Each setting that is known, the file of its list, and what is in it."""
  if _KEEP in content:
    named = [name for name in SETTINGS if name in place.name]
    if len(named) != 1:
      raise DataError(
        f"{place} has a {_KEEP}, and its name does not say of which setting:"
        " name it like wider_easy_val.mat."
      )
    yield named[0], place, content
    return
  for setting in SETTINGS:
    file = _sibling(place, setting)
    if file == place or not file.is_file():
      continue
    said = _load(file)
    for name in _LISTS[:2]:
      if name in said and _plain(said[name]) != _plain(content[name]):
        raise DataError(
          f"{file}: its {name} is not that of {place.name}. Take both from one"
          " release."
        )
    yield setting, file, said


def _sibling(place: pathlib.Path, setting: str) -> pathlib.Path:
  """The file of a setting; the same path where the name has no place for it."""
  return place.with_name(place.name.replace(_FACE, setting, 1))


def siblings(place: pathlib.Path) -> list[pathlib.Path]:
  """The files of all settings beside a file of all faces."""
  named = [_sibling(place, setting) for setting in SETTINGS]
  return [file for file in named if file != place]


def _annotations(
  place: pathlib.Path, lists: dict[str, _List], keep: dict[str, _List]
) -> Iterator[tuple[str, Annotation]]:
  events = lists["event_list"].events
  for e, event in enumerate(events):
    where = f"{place}, event {e + 1}"
    folder = _word(event, f"{where}, event_list")
    names = lists["file_list"].pictures(e)
    boxes = lists["face_bbx_list"].pictures(e, len(names))
    columns = {
      attribute: lists[name].pictures(e, len(names))
      for attribute, name in _OF_ATTRIBUTES.items()
      if name in lists
    }
    kept = {name: of.pictures(e, len(names)) for name, of in keep.items()}
    for i, name in enumerate(names):
      here = f"{where}, picture {i + 1}"
      file = _word(name, f"{here}, file_list") + _SUFFIX
      rows = _faces(
        boxes[i],
        {attribute: cells[i] for attribute, cells in columns.items()},
        {setting: cells[i] for setting, cells in kept.items()},
        here,
      )
      path = relative(f"{folder}/{file}" if folder else file, here)
      named = functools.partial(_name_of_face, here)
      yield here, annotation(path, rows, where=named, keep=keep)


def _name_of_face(picture: str, i: int) -> str:
  return f"{picture}, face {i + 1}"


def _faces(boxes, columns, kept, where: str) -> list[Face]:
  """The faces of a picture, of its cells."""
  rows = _matrix(boxes, 4, f"{where}, face_bbx_list")
  if len(rows) == 1 and not rows.any():
    rows = rows[:0]  # as the files write that there is no face
  values = {
    name: _column(cell, len(rows), f"{where}, {_OF_ATTRIBUTES[name]}")
    for name, cell in columns.items()
  }
  counts = {
    name: _kept(cell, len(rows), f"{where}, {name} {_KEEP}")
    for name, cell in kept.items()
  }
  return [
    Face(
      (x, y, x + w, y + h),
      attributes={name: column[i] for name, column in values.items()},
      keep={name: bool(column[i]) for name, column in counts.items()},
    )
    for i, (x, y, w, h) in enumerate(rows.tolist())
  ]


def _load(place: pathlib.Path) -> dict[str, matlab.Value]:
  names = [*_LISTS, *_OF_ATTRIBUTES.values(), _KEEP]
  try:
    return matlab.Reader(text.read_bytes(place)).arrays(names)
  except ValueError as error:
    if isinstance(error, DataError):
      raise
    raise DataError(f"{place} is no MATLAB file: {error}.") from error


def _cells(value: Any, where: str, number: int | None = None) -> list:
  if isinstance(value, np.ndarray) and not value.size:
    value = []
  if not isinstance(value, list):
    raise DataError(f"{where}: cells are needed.")
  if number not in (None, len(value)):
    raise DataError(
      f"{where}: {len(value)} cells, where other lists have {number}."
    )
  return value


def _plain(value: matlab.Value) -> list | str:
  """Words in lists, which can be compared."""
  if isinstance(value, np.ndarray):
    return []
  return value if isinstance(value, str) else [_plain(cell) for cell in value]


def _word(value: Any, where: str) -> str:
  if not isinstance(value, str):
    raise DataError(f"{where}: a name is needed.")
  return value


def _matrix(value: Any, columns: int, where: str) -> np.ndarray:
  if not isinstance(value, np.ndarray):
    raise DataError(f"{where}: numbers are needed.")
  if not value.size:
    return np.zeros((0, columns))
  if value.ndim != 2 or value.shape[1] != columns:
    raise DataError(
      f"{where}: [N, {columns}] numbers are needed, not {list(value.shape)}."
    )
  return value.astype(np.float64)


def _column(cell: Any, rows: int, where: str) -> np.ndarray:
  values = _matrix(cell, 1, where)[:, 0]
  if rows == 0:  # a picture without a face may have a line of zeros
    return values[:0]
  if len(values) != rows:
    raise DataError(f"{where}: {len(values)} values for {rows} faces.")
  return values


def _kept(cell: Any, rows: int, where: str) -> np.ndarray:
  """bool [rows] of indices from 1."""
  values = _matrix(cell, 1, where)[:, 0]
  if not np.isin(values, np.arange(1, rows + 1)).all():
    raise DataError(
      f"{where}: indices are from 1 to {rows}, the number of faces."
    )
  if len(np.unique(values)) < len(values):
    raise DataError(f"{where}: a face is named twice.")
  return np.isin(np.arange(1, rows + 1), values)


def write(path: str | os.PathLike, annotations: Sequence[Annotation]) -> None:
  """Writes a file, and one beside it for each setting that is known.

  Raises:
    DataError: a picture is no .jpg, or keep lists are known and the name of the
      file has no "face" in it, in place of which they have their setting.
  """
  place = pathlib.Path(path)
  settings = [
    name for name in SETTINGS if any(name in a.keep for a in annotations)
  ]
  if settings and _FACE not in place.name:
    raise DataError(
      f"{place}: the files of the settings {', '.join(settings)} are named"
      " after it. Name it like wider_face_val.mat."
    )
  events: dict[str, list[Annotation]] = {}
  for one in annotations:
    if not one.file.endswith(_SUFFIX):
      raise DataError(
        f"{place}: the picture {one.file} is no {_SUFFIX}, and this format"
        " names no other."
      )
    events.setdefault(one.file.rpartition("/")[0], []).append(one)
  names = {
    "event_list": _cell_array(events),
    "file_list": _nested(
      events, lambda a: a.file.rpartition("/")[2].removesuffix(_SUFFIX)
    ),
    "face_bbx_list": _nested(
      events,
      lambda a: np.concatenate(
        [a.boxes[:, :2], a.boxes[:, 2:] - a.boxes[:, :2]], 1
      ),
    ),
  }
  attributes = {
    of: _nested(events, lambda a, name=name: _upright(a.attributes[name]))
    for name, of in _OF_ATTRIBUTES.items()
    if any((a.attributes[name] >= 0).any() for a in annotations)
  }
  for setting in settings:
    numbers = _nested(
      events,
      lambda a, name=setting: _upright(
        np.flatnonzero(a.keep.get(name, ())) + 1
      ),
    )
    _save(_sibling(place, setting), {**names, _KEEP: numbers})
  _save(place, {**names, **attributes})


def _upright(values: np.ndarray) -> np.ndarray:
  return values.astype(np.float64).reshape(-1, 1)


def _nested(events: dict[str, list[Annotation]], of) -> np.ndarray:
  return _cell_array(
    _cell_array(of(one) for one in pictures) for pictures in events.values()
  )


def _cell_array(values) -> np.ndarray:
  cells = list(values)
  array = np.empty((len(cells), 1), object)
  for i, cell in enumerate(cells):
    array[i, 0] = cell
  return array


def _save(place: pathlib.Path, content: dict[str, np.ndarray]) -> None:
  from scipy import io as scipy_io  # slow to import

  stream = io.BytesIO()
  scipy_io.savemat(stream, content, do_compression=True)
  files.atomic_write(place, stream.getvalue())
