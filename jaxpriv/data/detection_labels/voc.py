"""Pascal VOC: a folder with an XML file for each picture.

Everingham et al., "The Pascal Visual Object Classes Challenge", IJCV 2010. What
is beyond it has elements of its own: the attributes of WIDER and the settings
by their names, `quality`, and `lm` with x1, y1 and v1 (1 seen, 0 hidden) to x5,
y5 and v5. Objects that are no `face` are left out.

A picture is looked for in the folder that its XML file is in, below the folder
that is read. Where all XML files are in one folder, those of WIDER's events
("0--Parade") name them in `folder`; other values of `folder` are names of data
sets, and say nothing about the path.
"""

import os
import pathlib
import re
import shutil
from collections.abc import Iterator, Sequence
from xml.etree import ElementTree
from xml.parsers import expat

import numpy as np
from absl import logging

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
from jaxpriv.data.detection_labels.sets import distinct
from jaxpriv.data.records import DataError

_FACE = "face"
_EVENT = re.compile("[0-9]+--.+")
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_LINE = "line"  # the attribute that notes where an element begins


def read(path: str | os.PathLike) -> list[Annotation]:
  """Reads all XML files of a folder and below, in their order, or one file.

  Raises:
    DataError: there is none, or one is no such file; the message names the
      file and line.
  """
  place = pathlib.Path(path)
  found = [place] if place.is_file() else sorted(place.rglob("*.xml"))
  found = [file for file in found if not file.name.startswith(".")]
  if not found:
    raise DataError(f"{place} holds no XML file.")
  others: dict[str, int] = {}
  base = place.parent if place.is_file() else place
  annotations = distinct(
    (str(file), _annotation(file, base, others)) for file in found
  )
  if others:
    objects = ", ".join(f"{n} {name!r}" for name, n in sorted(others.items()))
    if not any(len(one.boxes) for one in annotations):
      raise DataError(f"{place} has no object named {_FACE!r}, but {objects}.")
    logging.warning("%s: objects that are no faces: %s", place, objects)
  return annotations


def _annotation(
  file: pathlib.Path, base: pathlib.Path, others: dict[str, int]
) -> Annotation:
  root = parse(text.read_bytes(file), str(file))
  if root.tag != "annotation":
    raise DataError(f"{file}: its root is {root.tag!r}, not 'annotation'.")
  name = _text(root, "filename")
  if not name:
    raise DataError(f"{file} has no `filename`, so of no picture.")
  name = relative(name, str(file))
  above = file.parent.relative_to(base).as_posix()
  folder = _text(root, "folder")
  if "/" in name:
    above = "."
  elif above == "." and _EVENT.fullmatch(folder):
    above = folder
  rows, lines = [], []
  for element in root.iterfind("object"):
    called = _text(element, "name")
    if called and called.lower() != _FACE:
      others[called] = others.get(called, 0) + 1
      continue
    rows.append(_face(element, f"{file}, line {element.get(_LINE)}"))
    lines.append(element.get(_LINE))
  return annotation(
    f"{above}/{name}",
    rows,
    _size(root, str(file)),
    where=lambda i: f"{file}, line {lines[i]}",
  )


def parse(data: bytes, where: str) -> ElementTree.Element:
  """The root of an XML document; each element notes its line.

  Documents with a DOCTYPE are refused before it is acted upon: it may define
  entities that grow without bounds, or that name other files.

  Raises:
    DataError: it is no XML, or has a DOCTYPE.
  """
  builder = ElementTree.TreeBuilder()
  parser = expat.ParserCreate()

  def refuse(*_):
    raise DataError(
      f"{where} has a DOCTYPE, which labels do not need: remove it."
    )

  def start(tag, _):
    builder.start(tag, {_LINE: str(parser.CurrentLineNumber)})

  parser.StartDoctypeDeclHandler = refuse
  parser.StartElementHandler = start
  parser.EndElementHandler = builder.end
  parser.CharacterDataHandler = builder.data
  try:
    parser.Parse(data, True)
  except (expat.ExpatError, ValueError, LookupError) as error:
    if isinstance(error, DataError):
      raise
    raise DataError(f"{where} is no XML: {error}.") from error
  return builder.close()


def _text(element: ElementTree.Element, name: str) -> str:
  return (element.findtext(name) or "").strip()


def _number(element: ElementTree.Element, name: str, where: str) -> float:
  values = text.numbers(_text(element, name), f"{where}, {name}")
  if len(values) != 1:
    raise DataError(f"{where}, {name}: {len(values)} numbers, not one.")
  return values[0]


def _size(root: ElementTree.Element, where: str) -> tuple[int, int] | None:
  element = root.find("size")
  if element is None:
    return None
  width, height = (_number(element, n, where) for n in ("width", "height"))
  if (width, height) == (0, 0):  # as tools write it that did not look
    return None
  if width != int(width) or height != int(height):
    raise DataError(f"{where}: {width} x {height} is no size of a picture.")
  return int(width), int(height)


def _face(element: ElementTree.Element, where: str) -> Face:
  box = element.find("bndbox")
  if box is None:
    raise DataError(f"{where}: the object has no `bndbox`.")
  attributes = {
    name: _number(element, name, where)
    for name in ATTRIBUTES
    if text.is_numeric(_text(element, name))  # `pose` may be a word
  }
  if "invalid" not in attributes and _text(element, "difficult") == "1":
    attributes["invalid"] = 1
  if "occlusion" not in attributes and _text(element, "occluded") == "1":
    attributes["occlusion"] = 1
  points, visible = _points(element.find("lm"), where)
  quality = _text(element, "quality")
  return Face(
    [_number(box, corner, where) for corner in _CORNERS],
    points,
    visible,
    attributes,
    {
      name: _number(element, name, where) == 1
      for name in SETTINGS
      if _text(element, name)
    },
    _number(element, "quality", where) if quality else np.nan,
  )


def _points(lm: ElementTree.Element | None, where: str):
  points, visible = [], []
  for i in range(1, NUM_POINTS + 1):
    if lm is None or not _text(lm, f"x{i}"):
      points.append((np.nan, np.nan))
      visible.append(-1.0)
      continue
    points.append((_number(lm, f"x{i}", where), _number(lm, f"y{i}", where)))
    visible.append(_number(lm, f"v{i}", where) if _text(lm, f"v{i}") else -1.0)
  return points, visible


def write(path: str | os.PathLike, annotations: Sequence[Annotation]) -> None:
  """Writes a new folder, which appears only when it is complete.

  Raises:
    DataError: it exists, or two pictures differ only in their suffix.
  """
  place = pathlib.Path(path)
  if place.exists():
    raise DataError(f"{place} exists; remove it or choose another output.")
  targets: dict[pathlib.Path, str] = {}
  for one in annotations:
    target = pathlib.Path(one.file).with_suffix(".xml")
    if target in targets:
      raise DataError(
        f"{place}: the labels of {targets[target]} and {one.file} would both be"
        f" in {target}. Rename one of them."
      )
    targets[target] = one.file
  partial = place.with_name(place.name + ".partial")
  shutil.rmtree(partial, ignore_errors=True)
  for target, one in zip(targets, annotations, strict=True):
    (partial / target).parent.mkdir(parents=True, exist_ok=True)
    tree = ElementTree.ElementTree(_element(one))
    ElementTree.indent(tree)
    tree.write(partial / target, encoding="utf-8")
  partial.rename(place)


def _element(one: Annotation) -> ElementTree.Element:
  folder, _, name = one.file.rpartition("/")
  root = ElementTree.Element("annotation")
  _add(root, {"folder": folder, "filename": name})
  if one.size:
    width, height = map(str, one.size)
    size = ElementTree.SubElement(root, "size")
    _add(size, {"width": width, "height": height, "depth": "3"})
  for face in faces(one):
    element = ElementTree.SubElement(root, "object")
    _add(element, _fields(face))
    box = ElementTree.SubElement(element, "bndbox")
    _add(box, dict(zip(_CORNERS, map(text.number, face.box), strict=True)))
    points = dict(_fields_of_points(face))
    if points:
      _add(ElementTree.SubElement(element, "lm"), points)
  return root


def _fields(face: Face) -> dict[str, str]:
  known = {
    name: str(value) for name, value in face.attributes.items() if value >= 0
  }
  fields = {"name": _FACE, "pose": "Unspecified", "truncated": "0"}
  fields["difficult"] = str(int(face.attributes["invalid"] == 1))
  fields |= known
  fields |= {name: str(int(value)) for name, value in face.keep.items()}
  if not np.isnan(face.quality):
    fields["quality"] = text.number(face.quality)
  return fields


def _fields_of_points(face: Face) -> Iterator[tuple[str, str]]:
  for i, ((x, y), visible) in enumerate(
    zip(face.points, face.visible, strict=True), 1
  ):
    if not np.isnan(x):
      yield f"x{i}", text.number(x)
      yield f"y{i}", text.number(y)
      if visible >= 0:
        yield f"v{i}", str(visible)


def _add(element: ElementTree.Element, fields: dict[str, str]) -> None:
  for name, value in fields.items():
    ElementTree.SubElement(element, name).text = value
