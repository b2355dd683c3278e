"""A folder of images, with labels.csv or one sub-folder per person.

`jaxpriv.data.labels` lists the columns of labels.csv. Without that file a
sub-folder is a person, whatever its name, and images directly in the folder
show unknown people. Files and folders whose name begins with a dot are ignored:
programs keep copies of photographs there.

Faces that a detector found may stand in for rows that name neither a box nor
points (`jaxpriv.data.found_faces`). Any other face without a box takes the
median box of the faces of its set whose images have the same size; failing
that, the whole image. Data sets draw boxes
differently (brows to chin, hair to neck), so the framing of boxes is measured
on the faces of the set that have both a box and five points.
"""

import os
import pathlib
from collections.abc import Sequence

import numpy as np

from jaxpriv.data import alignment, found_faces, images, labels
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
    found: bool [N], whose box and points are those of a detector.
    others: how many of these are beside the largest face of a photograph, and
      so of nobody known.
  """

  def __init__(
    self,
    path: str | os.PathLike,
    sets: Sequence[str] = (),
    found: found_faces.Found | None = None,
  ):
    """Reads labels.csv or the folder's tree, no images.

    Args:
      path: the folder.
      sets: keep only rows whose `set` is one of these; all when empty.
      found: faces for rows without box and points, as `wanting` names them.

    Raises:
      DataError: the folder or labels.csv is missing, empty or malformed, or a
        set is unknown, or no photograph shows a face; the message says which
        and what to do.
    """
    self.path = existing(path)
    rows = _rows(self.path, sets)
    completed = found_faces.complete(rows, found or {})
    if not completed.rows:
      raise DataError(
        f"no face was found in any of the {len(rows)} photographs of"
        f" {self.path}. Lower data.face_threshold, name boxes in labels.csv, or"
        " give data.face_threshold=0 to take the photographs as they are."
      )
    self._labels = labels.parse(completed.rows, self.path / "labels.csv")
    self._groups = [
      f"found/{name}" if found else name
      for name, found in zip(self._labels.sets, completed.found, strict=True)
    ]
    self._framings = _measure_framings(self._labels, self._groups)
    self._medians: dict[str, dict] = {}
    self.faceless = completed.faceless
    self.found = completed.found
    self.others = completed.others
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
    group = self._groups[index]
    box = self._labels.boxes[index]
    if not np.isfinite(box).all():
      medians = self._median_boxes(group)
      box = medians.get(images.upright_size(image), np.full(4, np.nan))
    framing = self._framings.get(group, alignment.TIGHT_BOX)
    return alignment.squares_of_boxes(box, framing)

  def _median_boxes(self, group: str) -> dict[tuple[int, int], np.ndarray]:
    """Image size -> median box of the faces of a set that have one."""
    if group not in self._medians:
      boxes: dict[tuple[int, int], list[np.ndarray]] = {}
      boxed = np.isfinite(self._labels.boxes).all(1)
      for index in np.flatnonzero(boxed & (np.array(self._groups) == group)):
        try:
          image = images.open_image(self.describe(int(index)))
        except UnreadableImageError:
          continue
        same = boxes.setdefault(images.upright_size(image), [])
        same.append(self._labels.boxes[index])
      self._medians[group] = {
        size: np.median(same, axis=0) for size, same in boxes.items()
      }
    return self._medians[group]


def wanting(path: str | os.PathLike, sets: Sequence[str] = ()) -> list[str]:
  """Files of a folder in which faces are to be found; see `FolderSource`.

  Raises:
    DataError: as `FolderSource` does of what it reads.
  """
  return found_faces.wanting(_rows(existing(path), sets))


def existing(path: str | os.PathLike) -> pathlib.Path:
  """The folder at a path; raises DataError if there is none."""
  folder = pathlib.Path(path).expanduser()
  if not folder.is_dir():
    raise DataError(f"There is no folder {folder}; check data.path.")
  return folder


def _rows(path: pathlib.Path, sets: Sequence[str]) -> list[labels.Row]:
  file = path / "labels.csv"
  return (
    labels.read_rows(file, sets)
    if file.is_file()
    else _rows_of_tree(path, sets)
  )


def _measure_framings(
  table: labels.Labels, groups: Sequence[str]
) -> dict[str, alignment.Framing]:
  """Group -> how its boxes are framed, where that can be measured.

  A detector draws boxes in another way than those who labelled a set.
  """
  five = table.landmarks[:, : len(ARCFACE_LANDMARKS)]
  complete = alignment.are_distinct(five) & np.isfinite(table.boxes).all(1)
  framings = {}
  for name in sorted(set(groups)):
    faces = complete & (np.array(groups) == name)
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
