"""COCO JSON: images, annotations and categories in one file.

Lin et al., "Microsoft COCO", ECCV 2014. `bbox` is x, y, w, h; `keypoints` are
five times x, y, v, where v is 0 for unknown, 1 for hidden and 2 for seen. What
is beyond it is in `attributes` of an annotation, as labelling tools write it:
the attributes of WIDER, and the settings by their names. `quality` is a key of
its own; `score`, of detections, is read as such. Where there are categories,
"face" is read, or the only one.
"""

import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxpriv import files
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
from jaxpriv.data.records import ARCFACE_LANDMARKS, DataError

_FACE = "face"
_VISIBLE_OF_V: dict[float, int] = {0: -1, 1: 0, 2: 1}
_V_OF_VISIBLE: dict[float, int] = {1: 2, 0: 1, -1: 2}


def read(path: str | os.PathLike) -> list[Annotation]:
  """Reads the annotations in the order of the images.

  Raises:
    DataError: it is no such file; the message names the entry.
  """
  place = pathlib.Path(path)
  content = _load(place)
  category = _category(content, place)
  images: dict[Any, tuple[dict, str, list[tuple[str, Face]]]] = {}
  for i, image in enumerate(_entries(content, "images", place)):
    where = f"{place}, images[{i}]"
    key = _key(image, "id", where)
    if key in images:
      raise DataError(f"{where}: the id {key!r} is there twice.")
    images[key] = image, where, []
  for i, entry in enumerate(_entries(content, "annotations", place)):
    where = f"{place}, annotations[{i}]"
    if category is not None and entry.get("category_id") != category:
      continue
    key = _key(entry, "image_id", where)
    if key not in images:
      raise DataError(f"{where}: there is no image of the id {key!r}.")
    images[key][2].append((where, _face(entry, where)))
  if not images:
    raise DataError(f"{place} has no images.")
  return distinct(
    (where, _annotation(image, where, rows))
    for image, where, rows in images.values()
  )


def _load(place: pathlib.Path) -> dict[str, Any]:
  def refuse(word):
    raise ValueError(f"{word} is no number")

  try:
    content = json.loads(text.read_text(place), parse_constant=refuse)
  except DataError:
    raise
  except (ValueError, RecursionError) as error:
    raise DataError(f"{place} is no JSON: {error}.") from error
  if not isinstance(content, dict) or "images" not in content:
    raise DataError(f"{place} is no COCO file: it has no `images`.")
  return content


def _entries(content: dict, name: str, place: pathlib.Path) -> list[dict]:
  entries = content.get(name, [])
  if not isinstance(entries, list):
    raise DataError(f"{place}: `{name}` is no list.")
  for i, entry in enumerate(entries):
    if not isinstance(entry, dict):
      raise DataError(f"{place}, {name}[{i}]: an object in braces is needed.")
  return entries


def _category(content: dict, place: pathlib.Path) -> Any:
  """The id of the category that is read; None where there are none."""
  categories = _entries(content, "categories", place)
  if not categories:
    return None
  named = {str(c.get("name", "")).lower(): c.get("id") for c in categories}
  if _FACE not in named and len(named) > 1:
    raise DataError(
      f"{place} has no category {_FACE!r}; it has {', '.join(sorted(named))}."
    )
  return named.get(_FACE, categories[0].get("id"))


def _key(entry: dict, name: str, where: str) -> int | str:
  value = entry.get(name)
  if not isinstance(value, (int, str)):
    raise DataError(f"{where}: `{name}` is to be a number or a name.")
  return value


def _numbers(values: Any, length: int, what: str) -> list[float]:
  if not isinstance(values, list) or len(values) != length:
    raise DataError(f"{what} is to be a list of {length} numbers.")
  return [_number(value, what) for value in values]


def _number(value: Any, what: str) -> float:
  if not isinstance(value, (int, float)) or isinstance(value, bool):
    raise DataError(f"{what}: {str(value)[:60]!r} is no number.")
  try:
    return float(value)
  except OverflowError as error:
    raise DataError(f"{what}: a number is too great.") from error


def _face(entry: dict, where: str) -> Face:
  x, y, w, h = _numbers(entry.get("bbox"), 4, f"{where}: `bbox`")
  points, visible = Face((x, y, w, h))[1:3]
  if entry.get("keypoints"):
    points, visible = _points(entry["keypoints"], where)
  said = entry.get("attributes") or {}
  if not isinstance(said, dict):
    raise DataError(f"{where}: `attributes` is to be an object in braces.")
  values = {
    name: _number(int(v) if isinstance(v, bool) else v, f"{where}: `{name}`")
    for name, v in said.items()
    if name in ATTRIBUTES or name in SETTINGS
  }
  attributes = {k: v for k, v in values.items() if k in ATTRIBUTES}
  if "invalid" not in attributes:
    if entry.get("iscrowd") == 1 or entry.get("ignore") == 1:
      attributes["invalid"] = 1
    elif entry.get("ignore") == 0:
      attributes["invalid"] = 0
  quality = entry.get("quality", entry.get("score"))
  return Face(
    (x, y, x + w, y + h),
    points,
    visible,
    attributes,
    {name: v == 1 for name, v in values.items() if name in SETTINGS},
    np.nan if quality is None else _number(quality, f"{where}: `quality`"),
  )


def _points(values: Any, where: str) -> tuple[list, list]:
  flat = _numbers(values, 3 * NUM_POINTS, f"{where}: `keypoints` of a face")
  points, visible = [], []
  for i in range(0, len(flat), 3):
    x, y, v = flat[i : i + 3]
    if v not in _VISIBLE_OF_V:
      raise DataError(f"{where}: v of a keypoint is 0, 1 or 2, not {v:g}.")
    points.append((x, y) if v else (np.nan, np.nan))
    visible.append(_VISIBLE_OF_V[v])
  return points, visible


def _annotation(image: dict, where: str, rows) -> Annotation:
  name = image.get("file_name")
  if not isinstance(name, str):
    raise DataError(f"{where}: `file_name` is to be a name.")
  sides = [image.get(side) for side in ("width", "height")]
  size = None
  if any(side not in (None, 0) for side in sides):
    width, height = _numbers(sides, 2, f"{where}: `width` and `height`")
    if width != int(width) or height != int(height):
      raise DataError(f"{where}: {width} x {height} is no size of a picture.")
    size = int(width), int(height)
  return annotation(
    relative(name, where),
    [face for _, face in rows],
    size,
    where=lambda i: rows[i][0],
  )


def write(path: str | os.PathLike, annotations: Sequence[Annotation]) -> None:
  """Writes a file; ids count from 1.

  A face that is `invalid` has `ignore` and `iscrowd`: pycocotools looks at the
  latter alone.
  """
  images: list[dict[str, Any]] = []
  entries: list[dict[str, Any]] = []
  for i, one in enumerate(annotations, 1):
    image: dict[str, Any] = {"id": i, "file_name": one.file}
    if one.size:
      image |= dict(zip(("width", "height"), one.size, strict=True))
    images.append(image)
    entries += [
      {"id": len(entries) + k, "image_id": i, **_entry(face)}
      for k, face in enumerate(faces(one), 1)
    ]
  category = {"id": 1, "name": _FACE, "keypoints": list(ARCFACE_LANDMARKS)}
  content = {
    "images": images,
    "annotations": entries,
    "categories": [{**category, "skeleton": []}],
  }
  files.atomic_write(path, json.dumps(content, ensure_ascii=False) + "\n")


def _entry(face: Face) -> dict[str, Any]:
  x0, y0, x1, y1 = face.box
  bbox = [text.rounded(value) for value in (x0, y0, x1 - x0, y1 - y0)]
  invalid = face.attributes["invalid"]
  entry: dict[str, Any] = {
    "category_id": 1,
    "bbox": bbox,
    "area": text.rounded(max(bbox[2], 0) * max(bbox[3], 0)),
    "iscrowd": int(invalid == 1),
  }
  if invalid >= 0:
    entry["ignore"] = invalid
  keypoints: list[int | float] = []
  for (x, y), visible in zip(face.points, face.visible, strict=True):
    known = not np.isnan(x)
    v = _V_OF_VISIBLE[visible]
    keypoints += [text.rounded(x), text.rounded(y), v] if known else [0, 0, 0]
  if any(keypoints[2::3]):
    entry["keypoints"] = keypoints
    entry["num_keypoints"] = sum(v > 0 for v in keypoints[2::3])
  said: dict[str, float] = {k: v for k, v in face.attributes.items() if v >= 0}
  said |= {name: int(value) for name, value in face.keep.items()}
  if said:
    entry["attributes"] = said
  if not np.isnan(face.quality):
    entry["quality"] = text.rounded(face.quality)
  return entry
