"""A folder of images, with labels.csv or one sub-folder per person.

`jaxpriv.data.labels` lists the columns of labels.csv. Without that file a
sub-folder is a person, whatever its name, and images directly in the folder
show unknown people. With `level` 2 the sub-folders of sub-folders are people,
and so on. `jaxpriv.data.tree` tells what is no photograph; each file that is
not read has its reason in `left_out`.

Faces that a detector found may stand in for rows that name neither a box nor
points (`jaxpriv.data.found_faces`). Any other face without a box takes the
median box of the faces of its set whose images have the same size; failing
that, the whole image. Data sets draw boxes
differently (brows to chin, hair to neck), so the framing of boxes is measured
on the faces of the set that have both a box and five points.
"""

import collections
import os
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from absl import logging

from jaxpriv.data import (
  account,
  alignment,
  found_faces,
  images,
  labels,
  tree,
)
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

UNNAMED = f"not named in {tree.TABLE}"
OTHER_SET = "of another set"


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
    level: int = 1,
  ):
    """Reads labels.csv or the folder's tree, no images.

    Args:
      path: the folder.
      sets: keep only rows whose `set` is one of these; all when empty.
      level: without labels.csv, how deep the folders of people are.
      found: faces for rows without box and points, as `wanting` names them.

    Raises:
      DataError: the folder or labels.csv is missing, empty or malformed, or a
        set is unknown, or no photograph shows a face; the message says which
        and what to do.
    """
    self.path = existing(path)
    listed = listing(self.path, sets, level)
    completed = found_faces.complete(listed.rows, found or {})
    if not completed.rows:
      raise DataError(
        f"no face was found in any of the {len(listed.rows)} photographs of"
        f" {self.path}. Lower data.face_threshold, name boxes in labels.csv, or"
        " give data.face_threshold=0 to take the photographs as they are."
      )
    self._labels = labels.parse(completed.rows, self.path / tree.TABLE)
    self.seen = listed.seen
    self.left_out.update(listed.left_out)
    kept = {row["file"] for row in completed.rows}
    for name in completed.faceless:
      if name not in kept:
        self.left_out[name] = account.FACELESS
    self._groups = [
      f"found/{name}" if found else name
      for name, found in zip(self._labels.sets, completed.found, strict=True)
    ]
    self._framings = measure_framings(
      self._labels.boxes,
      self._labels.landmarks[:, : len(ARCFACE_LANDMARKS)],
      self._groups,
    )
    self._medians: dict[str, dict] = {}
    self.faceless = completed.faceless
    self.found = completed.found
    self.others = completed.others
    self.attribute_names = self._labels.attribute_names
    self.no_attributes = self._labels.left_out
    self.told = self._labels.told
    self.attribute_values = self._labels.attribute_values
    self.points = {
      "landmarks": self._labels.landmarks,
      "visibility": self._labels.visibility,
      "pose": self._labels.pose,
      "box": self._labels.boxes,
      "domain": self._labels.domains,
    }
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
    if fault := self._labels.faults.get(index):
      raise UnreadableImageError(f"{name}: {fault}")
    image = images.open_image(name)
    fields = record(
      NO_IMAGE,
      identity=self._labels.identities[index],
      attributes=self._labels.attribute_values[index],
      **{name: values[index] for name, values in self.points.items()},
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


class Listing(NamedTuple):
  """A folder's rows, as labels.csv would have them, and the rest of it.

  Attributes:
    rows: one for each face that is named; files by their paths.
    left_out: file without a row -> why.
    seen: how many files there are, those that are missing included.
  """

  rows: list[labels.Row]
  left_out: dict[str, str]
  seen: int


def listing(
  path: pathlib.Path, sets: Sequence[str] = (), level: int = 1
) -> Listing:
  """Lists a folder; arguments and errors are those of `FolderSource`."""
  below = tree.walk(path)
  table = tree.find_table(below, path)
  if table:
    every = labels.read_table(path / table)
    _find_files(every, below, path / table)
    rows = labels.of_sets(every, sets, path / table)
  else:
    every = rows = _rows_of_tree(path, below.photographs, sets, level)
  kept, named = {row["file"] for row in rows}, {row["file"] for row in every}
  files = {*below.photographs, *below.others, *named} - {table}
  left_out = {}
  for name in sorted(files - kept, key=tree.normal):
    if name in named:
      left_out[name] = OTHER_SET
    else:
      left_out[name] = below.others.get(name, UNNAMED)
  return Listing(rows, left_out, len(files))


def _find_files(
  rows: Sequence[labels.Row], below: tree.Tree, table: pathlib.Path
) -> None:
  """Gives the files of rows their paths below the folder.

  Raises:
    DataError: a file is not below it.
  """
  names = tree.Names(below)
  for row in rows:
    name = names.find(row["file"].strip())
    if os.path.isabs(name) or name.split("/")[0] == "..":
      raise DataError(
        f"{table} names {row['file']}, which is not below the folder. Give"
        " paths below it; a link in the folder may lead elsewhere."
      )
    row["file"] = name


def wanting(
  path: str | os.PathLike, sets: Sequence[str] = (), level: int = 1
) -> list[str]:
  """Files of a folder in which faces are to be found; see `FolderSource`.

  Raises:
    DataError: as `FolderSource` does of what it reads.
  """
  return found_faces.wanting(listing(existing(path), sets, level).rows)


def existing(path: str | os.PathLike) -> pathlib.Path:
  """The folder at a path.

  Raises:
    DataError: none is named, or there is none.
  """
  if not str(path):
    raise DataError("data.path is empty: name the folder of the photographs.")
  folder = pathlib.Path(path).expanduser()
  if not folder.is_dir():
    what = "is a file" if folder.is_file() else "is not there"
    raise DataError(f"There is no folder {folder}: it {what}; check data.path.")
  return folder


def measure_framings(
  boxes: np.ndarray, five: np.ndarray, groups: Sequence[str]
) -> dict[str, alignment.Framing]:
  """Group -> how its boxes are framed, where that can be measured.

  A detector draws boxes in another way than those who labelled a set.

  Args:
    boxes: [N, 4], NaN unknown.
    five: [N, 5, 2], likewise.
    groups: [N], such as the set of each face.
  """
  complete = alignment.are_distinct(five) & np.isfinite(boxes).all(1)
  framings = {}
  for name in sorted(set(groups)):
    faces = complete & (np.array(groups) == name)
    if faces.sum() >= _MIN_MEASURED:
      framings[name] = alignment.measure_framing(boxes[faces], five[faces])
  return framings


def _rows_of_tree(
  path: pathlib.Path,
  photographs: Sequence[str],
  sets: Sequence[str],
  level: int,
) -> list[labels.Row]:
  if sets:
    raise DataError(
      f"data.sets={tuple(sets)} needs a labels.csv with a column `set`, and"
      f" {path} has no labels.csv."
    )
  if level < 1:
    raise DataError(
      f"data.level is {level}: the folders of people are at level 1 or deeper."
    )
  if not photographs:
    raise DataError(
      f"{path} holds neither labels.csv nor images, also not in its"
      " sub-folders."
    )
  parts = [name.split("/") for name in photographs]
  _tell_levels(path, parts, level)
  # The domain is set to human so that a folder named Cat or wild is a person.
  return [
    dict(
      file=name,
      identity=of[level - 1] if len(of) > level else "",
      domain=DOMAINS[0],
    )
    for name, of in zip(photographs, parts)
  ]


def _tell_levels(
  path: pathlib.Path, parts: Sequence[list[str]], level: int
) -> None:
  """Warns where people are perhaps not the folders that are taken for them."""
  people = collections.Counter(of[level - 1] for of in parts if len(of) > level)
  inner = {tuple(of[: level + 1]) for of in parts if len(of) > level + 1}
  if inner:
    first = "/".join(min(inner))
    logging.warning(
      "%s: %d folders hold further folders of photographs, such as %s; each of"
      " the %d is taken for one person. If the people are further in, give"
      " data.level=%d.",
      path,
      len({of[:level] for of in inner}),
      first,
      len({of[:level] for of in inner}),
      level + 1,
    )
  unknown = len(parts) - people.total()
  if unknown and people:
    logging.warning(
      "%s: %d photographs lie outside of the folders of people, and are of"
      " nobody known.",
      path,
      unknown,
    )
