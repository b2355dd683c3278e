"""A folder of images, with labels.csv or one sub-folder per person.

`jaxpriv.data.labels` lists the columns of labels.csv. Without that file a
sub-folder is a person, whatever its name, and images directly in the folder
show unknown people. Files and folders whose name begins with a dot are ignored:
programs keep copies of photographs there.

A face without a box takes the median box of the faces of its set whose images
have the same size; failing that, the whole image. Data sets draw boxes
differently (brows to chin, hair to neck), so the framing of boxes is measured
on the faces of the set that have both a box and five points.
"""

import os
import pathlib
from collections.abc import Sequence

import numpy as np

from jaxpriv.data import alignment, images, labels
from jaxpriv.data.records import (
  ARCFACE_LANDMARKS,
  DOMAINS,
  NO_IMAGE,
  DataError,
  Photograph,
  Record,
  Source,
  UnreadableImageError,
  record,
)

_MIN_MEASURED = 5  # faces that a median framing is trusted from


class FolderSource(Source):
  """Faces of a folder, one record per labelled face.

  Attributes:
    attribute_names: as CelebA spells them.
    attribute_values: int8 [N, A], -1 unknown.
    identities: int32 [N].
    identity_names: the person behind each number of `identities`.
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
    self.path = existing(path)
    file = self.path / "labels.csv"
    if file.is_file():
      rows = labels.read_rows(file, sets)
    else:
      rows = _rows_of_tree(self.path, sets)
    self._labels = labels.parse(rows, file)
    self._framings = _measure_framings(self._labels)
    self._medians: dict[str, dict] = {}
    self.attribute_names = self._labels.attribute_names
    self.attribute_values = self._labels.attribute_values
    self.identities = self._labels.identities
    self.identity_names = self._labels.identity_names

  def __len__(self) -> int:
    return len(self._labels.files)

  def __getitem__(self, index: int) -> Record:
    photograph = self.photograph(index)
    pixels = images.decode(photograph.image, name=photograph.name)
    return dict(photograph.fields, image=np.asarray(pixels))

  def describe(self, index: int) -> str:
    return str(self.path / self.name(index))

  def name(self, index: int) -> str:
    return self._labels.files[index]

  def photograph(self, index: int) -> Photograph:
    """Record `index` with its image opened but not decoded."""
    name = self.describe(index)
    image = images.open_image(name)
    fields = record(
      NO_IMAGE,
      identity=self._labels.identities[index],
      attributes=self._labels.attribute_values[index],
      landmarks=self._labels.landmarks[index],
      visibility=self._labels.visibility[index],
      pose=self._labels.pose[index],
      box=self._labels.boxes[index],
      domain=self._labels.domains[index],
    )
    return Photograph(image, fields, self._square(index, image), name)

  def _square(self, index: int, image) -> np.ndarray:
    """The crop of a face by its own box or by the median box of its set."""
    set_name = self._labels.sets[index]
    box = self._labels.boxes[index]
    if not np.isfinite(box).all():
      medians = self._median_boxes(set_name)
      box = medians.get(images.upright_size(image), np.full(4, np.nan))
    framing = self._framings.get(set_name, alignment.TIGHT_BOX)
    return alignment.squares_of_boxes(box, framing)

  def _median_boxes(self, set_name: str) -> dict[tuple[int, int], np.ndarray]:
    """Image size -> median box of the faces of a set that have one."""
    if set_name not in self._medians:
      boxes: dict[tuple[int, int], list[np.ndarray]] = {}
      boxed = np.isfinite(self._labels.boxes).all(1)
      for index in np.flatnonzero(boxed & _in_set(self._labels, set_name)):
        try:
          image = images.open_image(self.describe(int(index)))
        except UnreadableImageError:
          continue
        same = boxes.setdefault(images.upright_size(image), [])
        same.append(self._labels.boxes[index])
      self._medians[set_name] = {
        size: np.median(same, axis=0) for size, same in boxes.items()
      }
    return self._medians[set_name]


def existing(path: str | os.PathLike) -> pathlib.Path:
  """The folder at a path; raises DataError if there is none."""
  folder = pathlib.Path(path).expanduser()
  if not folder.is_dir():
    raise DataError(f"There is no folder {folder}; check data.path.")
  return folder


def _in_set(table: labels.Labels, name: str) -> np.ndarray:
  return np.array(table.sets) == name


def _measure_framings(table: labels.Labels) -> dict[str, alignment.Framing]:
  """Set -> how its boxes are framed, where that can be measured."""
  five = table.landmarks[:, : len(ARCFACE_LANDMARKS)]
  complete = alignment.are_distinct(five) & np.isfinite(table.boxes).all(1)
  framings = {}
  for name in sorted(set(table.sets)):
    faces = complete & _in_set(table, name)
    if faces.sum() >= _MIN_MEASURED:
      framings[name] = alignment.measure_framing(
        table.boxes[faces], five[faces]
      )
  return framings


def _rows_of_tree(path: pathlib.Path, sets: Sequence[str]) -> list[labels.Row]:
  if sets:
    raise DataError(
      f"data.sets={tuple(sets)} needs a labels.csv with a column `set`, and"
      f" {path} has no labels.csv."
    )
  paths = (
    file.relative_to(path)
    for file in path.rglob("*")
    if file.suffix.lower() in images.EXTENSIONS and file.is_file()
  )
  files = sorted(
    file
    for file in paths
    if not any(part.startswith(".") for part in file.parts)
  )
  if not files:
    raise DataError(
      f"{path} holds neither labels.csv nor images, also not in its"
      f" sub-folders ({', '.join(images.EXTENSIONS)})."
    )
  # The domain is set to human so that a folder named Cat or wild is a person.
  return [
    dict(
      file=str(f),
      identity=f.parts[0] if len(f.parts) > 1 else "",
      domain=DOMAINS[0],
    )
    for f in files
  ]
