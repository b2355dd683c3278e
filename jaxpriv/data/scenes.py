"""A folder of pictures of several people each, with labels.csv.

Its rows are those of `jaxpriv.data.labels`, one row a face, so that several may
name the same file. A row without a box only says that the picture exists; it
describes no face. This reads WIDER FACE and similar sets, with columns file,
x0, y0, x1, y1.
"""

import hashlib
import os
from collections.abc import Iterable, Sequence

import numpy as np
from absl import logging

from jaxpriv.data import folder, images, labels, tree
from jaxpriv.data.records import (
  NO_IMAGE,
  DataError,
  Photograph,
  Record,
  Source,
  UnreadableImageError,
  scene,
)


class FolderScenes(Source):
  """Pictures of a folder, one record each, to be framed whole.

  Attributes:
    people: the person behind each number of `record["identity"]`.
  """

  def __init__(
    self, path: str | os.PathLike, sets: Sequence[str] = (), max_faces: int = 32
  ):
    """Reads labels.csv, no images.

    Args:
      path: the folder.
      sets: keep only rows whose `set` is one of these; all when empty.
      max_faces: rows of a record. The largest faces are kept; a warning, and
        `left_out` of each record, say how many are not.

    Raises:
      DataError: the folder or labels.csv is missing, empty or malformed, a set
        is unknown, or no face has a box; the message says what to do.
    """
    self.path = folder.existing(path)
    if not tree.find_table(tree.walk(self.path), self.path):
      raise DataError(
        f"{self.path} has no labels.csv, and scenes (data.max_faces ="
        f" {max_faces}) need one: columns file, x0, y0, x1, y1, a row a face."
      )
    listed = folder.listing(self.path, sets)
    file = self.path / tree.TABLE
    table = labels.parse(listed.rows, file)
    self.seen = listed.seen
    self.left_out.update(listed.left_out)
    self._faults = {table.files[row]: why for row, why in table.faults.items()}
    boxed = np.isfinite(table.boxes).all(1)
    if not boxed.any():
      raise DataError(
        f"{file} has no box, and scenes (data.max_faces = {max_faces}) need"
        " them: columns x0, y0, x1, y1, in pixels of the upright image."
      )
    rows: dict[str, list[int]] = {name: [] for name in table.files}
    for row in np.flatnonzero(boxed).tolist():
      rows[table.files[row]].append(row)
    self._files = list(rows)
    self._rows = [np.array(of, int) for of in rows.values()]
    self._labels = table
    self.max_faces = max_faces
    self.people = table.identity_names
    self.points = {"faces": np.stack([self._digest(of) for of in self._rows])}
    self.attribute_names = table.attribute_names
    self.no_attributes = table.left_out
    self.attribute_values = table.attribute_values[boxed]
    self.identities, groups = group(table.identities[of] for of in self._rows)
    self.identity_names = tuple(
      ", ".join(self.people[person] for person in members) for members in groups
    )
    _warn_of_left_out([len(of) for of in self._rows], max_faces)

  def __len__(self) -> int:
    return len(self._files)

  def __getitem__(self, index: int) -> Record:
    photograph = self.photograph(index)
    pixels = images.decode(photograph.image, name=photograph.name)
    return dict(photograph.fields, image=np.asarray(pixels))

  def describe(self, index: int) -> str:
    return str(self.path / self.name(index))

  def name(self, index: int) -> str:
    return self._files[index]

  def photograph(self, index: int) -> Photograph:
    """Record `index` with its image opened but not decoded."""
    name = self.describe(index)
    if fault := self._faults.get(self.name(index)):
      raise UnreadableImageError(f"{name}: {fault}")
    faces = self._faces(self._rows[index])
    fields = scene(NO_IMAGE, faces, self.max_faces)
    return Photograph(images.open_image(name), fields, np.full(4, np.nan), name)

  def _digest(self, rows: np.ndarray) -> np.ndarray:
    """A hash of all that is said of faces: uint8 [16]."""
    digest = hashlib.blake2b(digest_size=16)
    for name, values in self._faces(rows).items():
      if name == "identity":  # numbers change with other people's names
        values = np.array([self.people[i] if i >= 0 else "" for i in values])
      digest.update(np.ascontiguousarray(values).tobytes())
    return np.frombuffer(digest.digest(), np.uint8)

  def _faces(self, rows: np.ndarray) -> dict[str, np.ndarray]:
    table = self._labels
    return dict(
      box=table.boxes[rows],
      landmarks=table.landmarks[rows],
      visibility=table.visibility[rows],
      pose=table.pose[rows],
      identity=table.identities[rows],
      attributes=table.attribute_values[rows],
      domain=table.domains[rows],
    )


def group(
  scenes: Iterable[np.ndarray],
) -> tuple[np.ndarray, list[list[int]]]:
  """Groups scenes that share a person, directly or through other scenes.

  Args:
    scenes: the people of each scene, -1 unknown.

  Returns:
    int32 [scenes], the group of each, -1 where nobody is known; and the people
    of each group, ascending. Nobody is in two groups.
  """
  parent: dict[int, int] = {}

  def root(person: int) -> int:
    while parent[person] != person:
      parent[person] = parent[parent[person]]
      person = parent[person]
    return person

  firsts = []
  for people in scenes:
    numbers = [int(person) for person in people if person >= 0]
    for person in numbers:
      parent.setdefault(person, person)
      # The smaller number stays: groups do not depend on the order of scenes.
      low, high = sorted((root(numbers[0]), root(person)))
      parent[high] = low
    firsts.append(numbers[0] if numbers else -1)
  members: dict[int, list[int]] = {}
  for person in sorted(parent):
    members.setdefault(root(person), []).append(person)
  number = {low: i for i, low in enumerate(members)}
  groups = [number[root(first)] if first >= 0 else -1 for first in firsts]
  return np.array(groups, np.int32), list(members.values())


def _warn_of_left_out(counts: Sequence[int], max_faces: int) -> None:
  beyond = np.maximum(np.array(counts) - max_faces, 0)
  if beyond.any():
    logging.warning(
      "%d of %d faces are left out, the smallest of %d pictures that show more"
      " than data.max_faces = %d; up to %d are in one.",
      beyond.sum(),
      sum(counts),
      (beyond > 0).sum(),
      max_faces,
      max(counts),
    )
