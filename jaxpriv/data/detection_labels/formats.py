"""The formats by name, and which of them a file has."""

import os
import pathlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from absl import logging

from jaxpriv.data import tree
from jaxpriv.data.detection_labels import (
  coco,
  retinaface,
  table,
  text,
  voc,
  wider,
  wider_mat,
)
from jaxpriv.data.detection_labels.annotations import Annotation
from jaxpriv.data.detection_labels.sets import check_set, same_settings
from jaxpriv.data.records import DataError


class Format(NamedTuple):
  """A format.

  Attributes:
    read: path -> annotations.
    write: (path, annotations) -> None.
    lacks: what of `_KNOWN` it does not hold.
    about: what it is, for people.
  """

  read: Callable[[os.PathLike], list[Annotation]]
  write: Callable[[os.PathLike, Sequence[Annotation]], None]
  lacks: frozenset[str]
  about: str


# Knowledge that an annotation may hold -> whether it does.
_KNOWN: dict[str, Callable[[Annotation], bool]] = {
  "fractions of pixels": lambda a: bool((a.boxes % 1 != 0).any()),
  "landmarks": lambda a: bool(np.isfinite(a.landmarks).any()),
  "hidden points": lambda a: bool((a.visibility == 0).any()),
  "attributes": lambda a: any((v >= 0).any() for v in a.attributes.values()),
  "keep lists": lambda a: bool(a.keep),
  "quality": lambda a: bool(np.isfinite(a.quality).any()),
  "sizes": lambda a: a.size is not None,
}

FORMATS = {
  "wider": Format(
    wider.read,
    wider.write,
    frozenset(_KNOWN) - {"attributes"},
    "WIDER FACE, text",
  ),
  "wider_mat": Format(
    wider_mat.read,
    wider_mat.write,
    frozenset({"landmarks", "hidden points", "quality", "sizes"}),
    "WIDER FACE, MATLAB",
  ),
  "retinaface": Format(
    retinaface.read,
    retinaface.write,
    frozenset({"attributes", "keep lists", "sizes"}),
    "RetinaFace, text",
  ),
  "voc": Format(voc.read, voc.write, frozenset(), "Pascal VOC, XML"),
  "coco": Format(coco.read, coco.write, frozenset(), "COCO, JSON"),
  "labels": Format(
    table.read,
    table.write,
    frozenset({"hidden points", "quality", "sizes"}),
    "labels.csv of scenes",
  ),
}

_OF_SUFFIX = {".mat": "wider_mat", ".json": "coco", ".xml": "voc",
              ".csv": "labels"}  # fmt: skip
_START = 1 << 16  # bytes of a file that are looked at


class Guess(NamedTuple):
  """A format, and why it is taken to be that."""

  format: str
  why: str


def guess(path: str | os.PathLike) -> Guess:
  """Guesses the format of a file or folder by its name, then by its content.

  Raises:
    DataError: it cannot be read, or is none of them.
  """
  place = pathlib.Path(path)
  if place.is_dir():
    if (place / tree.TABLE).is_file():
      return Guess("labels", f"a folder with {tree.TABLE}")
    return Guess("voc", "a folder")
  if place.suffix.lower() in _OF_SUFFIX:
    return Guess(
      _OF_SUFFIX[place.suffix.lower()], f"its name ends in {place.suffix}"
    )
  start = text.read_bytes(place)[:_START]
  if start.startswith((b"MATLAB", b"\x89HDF")):
    return Guess("wider_mat", "it begins like a MATLAB file")
  words = start.removeprefix(b"\xef\xbb\xbf").decode(errors="replace")
  lines = [line.strip() for line in words.splitlines() if line.strip()]
  second = lines[1] if len(lines) > 1 else ""
  if words.lstrip().startswith("{"):
    return Guess("coco", "it begins with a brace")
  if words.lstrip().startswith("<"):
    return Guess("voc", "it begins with an XML tag")
  if words.lstrip().startswith("#"):
    return Guess("retinaface", "its first line is `# path`")
  if second.isascii() and second.isdecimal():
    return Guess("wider", "a number comes after the first line, a path")
  raise DataError(
    f"{place} is none of the formats {', '.join(FORMATS)} by its name and"
    " beginning. Say which it is."
  )


def guess_by_name(path: str | os.PathLike) -> str:
  """The format of a file that is to be written, by its name.

  Raises:
    DataError: the name does not tell.
  """
  place = pathlib.Path(path)
  suffix = place.suffix.lower()
  if suffix == ".txt" and "bbx_gt" in place.name:
    return "wider"
  if suffix == ".txt" and "label" in place.name:
    return "retinaface"
  if not suffix:
    return "voc"
  if suffix in _OF_SUFFIX and suffix != ".xml":
    return _OF_SUFFIX[suffix]
  raise DataError(
    f"The name of {place} does not tell which of the formats"
    f" {', '.join(FORMATS)} it is to have. Say which."
  )


def _named(name: str) -> Format:
  if name not in FORMATS:
    raise DataError(
      f"There is no format {name!r}; the formats are {', '.join(FORMATS)}."
    )
  return FORMATS[name]


def read(path: str | os.PathLike, format: str = "") -> list[Annotation]:
  """Reads labels; a line of the log says which format was guessed.

  Args:
    path: a file, or the folder of VOC.
    format: one of `FORMATS`; "" to guess.

  Returns:
    an annotation for each picture, in the order of the file; all of them have
    the settings that any has.

  Raises:
    DataError: it cannot be read, is of no such format, or names a picture
      twice; the message says where.
  """
  place = pathlib.Path(path).expanduser()
  if not place.exists():
    raise DataError(f"There is no file or folder {place}.")
  if not format:
    format, why = guess(place)
    logging.info("%s is read as %s: %s.", place, _named(format).about, why)
  return same_settings(_named(format).read(place))


def write(
  path: str | os.PathLike, annotations: Sequence[Annotation], format: str
) -> None:
  """Writes labels, under a temporary name that is changed at the end.

  What the format does not hold is left out; see `lost`.

  Args:
    path: a file, that is replaced, as are all of `targets`; or the folder of
      VOC, that must not exist.
    annotations: of pictures that all differ.
    format: one of `FORMATS`.

  Raises:
    DataError: there is no picture, or one comes twice, or the format cannot
      hold a name.
    OSError: it cannot be written.
  """
  check_set(annotations, path)
  _named(format).write(
    pathlib.Path(path).expanduser(), same_settings(annotations)
  )


def targets(path: str | os.PathLike, format: str) -> list[pathlib.Path]:
  """The files or folders that `write` may write, and so replace."""
  place = pathlib.Path(path).expanduser()
  return [place, *(wider_mat.siblings(place) if format == "wider_mat" else ())]


def lost(annotations: Sequence[Annotation], format: str) -> list[str]:
  """Names what is known of a set and is not held by a format."""
  lacks = _named(format).lacks
  return [
    name
    for name, known in _KNOWN.items()
    if name in lacks and any(map(known, annotations))
  ]
