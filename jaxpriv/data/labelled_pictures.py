"""Pictures of any size, and the faces that a detector is scored by in them."""

import os
import pathlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from jaxpriv.data import detection_labels, images
from jaxpriv.data.detection_labels import SETTINGS, Annotation
from jaxpriv.data.detection_labels.sets import missing, some
from jaxpriv.data.records import DataError
from jaxpriv.data.scenes import FolderScenes

_INVALID = "invalid"
_ROOM = 4096  # faces of a picture


class Truth(NamedTuple):
  """The faces of a picture.

  Attributes:
    boxes: float64 [M, 4], x0 y0 x1 y1 in pixels.
    ignored: bool [M], of which nothing is said: WIDER's `invalid`.
    keep: those of `SETTINGS` that labels tell of -> bool [M], which count.
  """

  boxes: np.ndarray
  ignored: np.ndarray
  keep: dict[str, np.ndarray]


class Images(Sequence):
  """Images uint8 [H, W, 3] that are decoded each time they are asked for.

  A set as large as that of WIDER FACE does not fit into memory.
  """

  def __init__(self, decode: Callable[[int], np.ndarray], count: int):
    self._decode, self._count = decode, count

  def __len__(self) -> int:
    return self._count

  def __getitem__(self, index):
    if isinstance(index, slice):
      return [self._decode(i) for i in range(*index.indices(self._count))]
    if not 0 <= index < self._count:
      raise IndexError(index)
    return self._decode(index)


class Pictures(NamedTuple):
  """Whole pictures and the faces in them.

  Attributes:
    name: of the folder, and of the set or the labels.
    images: uint8 [H, W, 3] each.
    truth: the faces of each.
  """

  name: str
  images: Sequence[np.ndarray]
  truth: list[Truth]


def read(entry: str, most: int) -> Pictures:
  """The first pictures of a folder, and their faces.

  Args:
    entry: PATH or PATH:SET, a folder with a labels.csv of scenes; or
      PATH=LABELS, a folder and labels of any format of `detection_labels`,
      such as WIDER_val/images=wider_face_val.mat with its keep lists.
    most: pictures.

  Raises:
    DataError: there are no such pictures or labels, or labels tell of others.
    UnreadableImageError: a picture is none. Those that cannot be decoded are
      found when they are asked for.
  """
  folder, equals, labels = entry.rpartition("=")
  if equals and not pathlib.Path(entry).expanduser().is_dir():
    return _annotated(folder, labels, most)
  path, colon, name = entry.rpartition(":")
  if not colon or "/" in name:
    path, name = entry, ""
  source = FolderScenes(path, (name,) if name else (), _ROOM)
  count = min(most, len(source))
  columns = {
    column: source.attribute_names.index(column)
    for column in (*SETTINGS, _INVALID)
    if column in source.attribute_names
  }

  def truth(index: int) -> Truth:
    fields = source.photograph(index).fields
    valid = fields["valid"]
    said = {
      column: fields["attributes"][valid, place] == 1
      for column, place in columns.items()
    }
    boxes = fields["boxes"][valid].astype(np.float64)
    ignored = said.pop(_INVALID, np.zeros(len(boxes), bool))
    return Truth(boxes, ignored, said)

  return Pictures(
    _named(path, name),
    Images(lambda index: source[index]["image"], count),
    [truth(index) for index in range(count)],
  )


def _annotated(folder: str, labels: str, most: int) -> Pictures:
  place = pathlib.Path(folder).expanduser()
  if not place.is_dir():
    raise DataError(f"There is no folder {place}.")
  annotations = detection_labels.read(labels)[:most]
  if absent := missing(annotations, place):
    raise DataError(
      f"{labels} tells of pictures that are not in {place}: {some(absent)}."
      " Paths in labels go on from that folder"
    )
  for one in annotations:  # those that are no images are named at once
    images.open_image(place / one.file).close()
  decode = lambda index: np.asarray(
    images.decode(
      images.open_image(place / annotations[index].file),
      name=str(place / annotations[index].file),
    )
  )
  return Pictures(
    _named(folder, os.path.basename(labels)),
    Images(decode, len(annotations)),
    [_truth(one) for one in annotations],
  )


def _truth(of: Annotation) -> Truth:
  return Truth(of.boxes, of.attributes[_INVALID] == 1, of.keep)


def _named(path: str, more: str) -> str:
  return "/".join([*os.path.abspath(path).split(os.sep)[-2:], more]).rstrip("/")
