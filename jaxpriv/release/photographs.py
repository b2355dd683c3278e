"""The photographs that a release protects, and the order they come in."""

import collections
import hashlib
import os
from typing import Any, NamedTuple

import numpy as np
from absl import logging
from etils import epath

from jaxpriv.data import account, alignment, copies, sources
from jaxpriv.data.records import DataError, UnreadableImageError
from jaxpriv.data.sources import words
from jaxpriv.reports import card as card_lib
from jaxpriv.training import progress, unlabelled, witnesses
from jaxpriv.training.mechanism import Target
from jaxpriv.training.replacing import Whole


class Input(NamedTuple):
  """Where photographs are, as the flags of launch.release say.

  Attributes:
    path: of a folder; for TFDS its data_dir.
    source: "folder", "tfds" or "array_record".
    name: of a TFDS set.
    sets: folder: values of the column "set"; () is all.
    max_bad_share: stop when more are unreadable; None: that of the run.
    face_threshold: folder: faces without labels are found with scores above
      this, 0: not at all; None: that of the run.
    whole: release whole photographs; None: faces alone.
  """

  path: str
  source: str = "folder"
  name: str = ""
  sets: tuple[str, ...] = ()
  max_bad_share: float | None = None
  face_threshold: float | None = None
  whole: Whole | None = None


class Photographs(NamedTuple):
  """The input: as it is stored, and framed with the attributes to release."""

  raw: Any
  source: sources.Framed
  threshold: float = 0.0
  copies: int = 0
  lacking: tuple[str, ...] = ()  # attributes of the run that it has not

  def framing(self, align: str) -> dict[str, int]:
    """How many readable faces are framed by each of `alignment.ALIGNMENTS`."""
    means: collections.Counter[str] = collections.Counter()
    unreadable = set(self.source.unreadable)
    for index in range(len(self.source)):
      if self.source.describe(index) in unreadable:
        continue
      try:
        photograph = self.raw.photograph(index)
      except UnreadableImageError:  # its labels cannot be those of a face
        continue
      means[alignment.framed_by(photograph, align)] += 1
    return means

  def labels(self) -> dict[str, np.ndarray]:
    """Identities and attributes of all records; nothing is read for them."""
    source, count = self.source, len(self.source)
    values = source.attribute_values
    if values is None:
      values = np.full((count, len(source.attribute_names)), -1, np.int8)
    return {"identity": np.asarray(source.identities), "attributes": values}

  def counts(self) -> dict[str, int]:
    """How many there are; complete once all have been read."""
    read, lost = len(self.source), len(self.source.unreadable)
    return {"read": read, "written": read - lost, "unreadable": lost}

  def files(self) -> account.Account:
    """The account of the input; complete once all files have been read."""
    return account.of(self.source)

  def found(self) -> dict[str, float]:
    """How many faces a detector found, from which score on; {}: it was not."""
    marks = getattr(self.raw, "found", np.zeros(0, bool))
    count = int(marks.sum())
    return {"faces": count, "threshold": self.threshold} if count else {}


def open_input(
  place: Input, target: Target, workdir: epath.PathLike = ""
) -> Photographs:
  """Opens photographs, framed as in training, with the attributes to keep.

  Args:
    place: the input.
    target: what is released.
    workdir: of the run, where the faces that were found in photographs without
      labels are drawn, outside of all that is released; "" for nowhere.

  Raises:
    DataError: they are not there, or lack an attribute that is released.
  """
  config = target.config
  data = config.data.copy_and_resolve_references()
  data.source, data.path, data.name = place.source, place.path, place.name
  data.sets, data.cache = place.sets, False
  threshold = place.face_threshold
  if threshold is None:
    threshold = data.get("face_threshold", witnesses.FACE)
  data.face_threshold = threshold
  sheet = f"samples/found_in_{epath.Path(place.path).name}.png"
  found = unlabelled.find(
    data, epath.Path(workdir) / sheet if workdir else None
  )
  raw = sources.open_unframed(data, found)
  # Attributes that the mechanism does not keep on purpose are to stay hidden.
  kept = words(config.release.attributes) or target.kept
  choice = config.data.attributes if kept is None else kept
  names = [name for name in choice if name in raw.attribute_names]
  absent = [name for name in kept or () if name not in names]
  if absent and not raw.attribute_names and not config.release.attributes:
    # Without any labels, the images alone are released.
    logging.warning(
      "%s names no attributes: labels.csv of the release will have none (%s are"
      " kept in the images)",
      place.path,
      ", ".join(absent),
    )
    absent = []
  if absent:
    raise DataError(
      f"what is released is labelled with {', '.join(absent)}, which"
      f" {place.path} does not have: name others in"
      " config.release.attributes; it has"
      f" {', '.join(raw.attribute_names) or 'no attributes'}"
    )
  lacking = tuple(name for name in choice if name not in names)
  if kept is None and lacking:
    logging.warning(
      "%s has no labels of %s, and so has none of what is released",
      place.path,
      ", ".join(lacking),
    )
  share = place.max_bad_share
  share = data.max_bad_share if share is None else share
  framed = sources.Framed(raw, data.image_size, data.align, names, share)
  same = 0
  if data.get("copies", copies.KEEP) != copies.KEEP:
    with progress.bar("copies", len(framed), unit="image") as advance:
      same = copies.count(framed, data.align, lambda done, total: advance(done))
  return Photographs(raw, framed, threshold, same, lacking)


def key(
  place: Input, target: Target, parameters: str, source: sources.Framed
) -> dict[str, Any]:
  """Says what a release is of: the same key makes the same files.

  Args:
    place: the input.
    target: what is released.
    parameters: their hash.
    source: the opened input.
  """
  listing = hashlib.sha256()
  for index in range(len(source)):
    listing.update(os.fsencode(source.describe(index) + "\0"))
  return {
    "config": card_lib.config_hash(target.config.to_dict()),
    "parameters": parameters,
    "--input": str(epath.Path(place.path).absolute()),
    "--source": place.source,
    "--name": place.name,
    "--sets": list(place.sets),
    "--face_threshold": place.face_threshold,
    "--whole": place.whole
    and {**place.whole._asdict(), "visible": list(place.whole.visible)},
    "list of images": listing.hexdigest(),
    "attributes": list(source.attribute_names),
  }


def secret_order(secret: str, count: int) -> np.ndarray:
  """The records, int64 [count], in an order that only the secret tells.

  Neighbours in a folder are often photographs of one person, and whoever has
  the folder could lay it beside the release. Hashes, since the state of an
  ordinary random generator can be computed from what it drew.
  """
  digests = [
    hashlib.sha256(f"{secret} {index}".encode()).digest()
    for index in range(count)
  ]
  return np.array(sorted(range(count), key=digests.__getitem__), np.int64)
