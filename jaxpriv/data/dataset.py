"""A source's records, dealt out to splits by person."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from jaxpriv.data import pipeline, splits
from jaxpriv.data.balanced import BalancedDraw
from jaxpriv.data.memory import InMemory
from jaxpriv.data.records import Batch, DataError, Source

# People that mechanisms train on, that attackers train on, and to be scored.
SPLITS = ("train", "attack", "test")


def _hash(name: str) -> str:
  # Names of files may hold bytes that are no text.
  data = name.encode("utf-8", "surrogateescape")
  return hashlib.blake2b(data, digest_size=8).hexdigest()


class Data(NamedTuple):
  """The records of a run and who is in which split.

  Attributes:
    source: see `jaxpriv.data.records.Source`.
    splits: "train", "attack" and "test" to indices, disjoint in people.
    classes: int32 [largest identity + 1], identity -> class; people of the
      training split are classes 0 .. num_people - 1, the others follow.
    num_people: people in the training split.
    by: "person": no person is in two splits; or "image": no image is.
  """

  source: Source
  splits: dict[str, np.ndarray]
  classes: np.ndarray
  num_people: int
  by: str = "person"

  def people(self, split: str) -> int:
    """How many people a split shows."""
    return len(self._numbers(split))

  def hashes(self, split: str) -> set[str]:
    """Hashes of who is in a split, the same in every run.

    The names of people are hashed, or those of images if images are split.
    """
    if self.by == "image":
      return {_hash(name) for name in self._names(split)}
    numbers = self._numbers(split).tolist()
    return {_hash(self.source.person(number)) for number in numbers}

  def digest(self, split: str) -> str:
    """One hash of all records of a split, by name and in order."""
    return _hash("\n".join(self._names(split)))

  def _names(self, split: str) -> list[str]:
    return [self.source.name(row) for row in self.splits[split].tolist()]

  def _numbers(self, split: str) -> np.ndarray:
    identities = np.asarray(self.source.identities)[self.splits[split]]
    return np.unique(identities[identities >= 0])

  def batches(
      self, split: str, *, batch_size: int, seed: int, first_step: int,
      num_workers: int = 0, balance: str = "",
  ) -> Iterator[Batch]:  # fmt: skip
    """Endless shuffled batches of a split, identities as classes.

    Args:
      split: whose records.
      batch_size: see `pipeline.batches`.
      seed: likewise.
      first_step: likewise.
      num_workers: likewise.
      balance: "", or a field of records, such as "domain", each of whose values
        is drawn equally often.

    Raises:
      DataError: as there, or that field is not known without reading images.
    """
    if balance:
      draw = BalancedDraw(
        self.splits[split], self.kinds(split, balance), batch_size, seed
      )
      return self.drawn_batches(
        draw, first_step=first_step, num_workers=num_workers
      )
    stream = pipeline.batches(
      self.source,
      self.splits[split],
      batch_size=batch_size,
      seed=seed,
      first_step=first_step,
      num_workers=num_workers,
    )
    return map(self._labelled, stream)

  def known(self, split: str, field: str) -> np.ndarray | None:
    """Values [N, ...] of a field; None where they come with the images."""
    source = self.source
    fields = source.arrays if isinstance(source, InMemory) else source.points
    return (
      np.asarray(fields[field])[self.splits[split]] if field in fields else None
    )

  def kinds(self, split: str, field: str) -> np.ndarray:
    """Values [N] of a field of the records of a split.

    Raises:
      DataError: they are not known without reading images.
    """
    values = self.known(split, field)
    if values is None and isinstance(self.source, InMemory):
      raise DataError(f"batches are to be balanced by {field}: no such field")
    if values is None:
      raise DataError(
        f"batches are to be balanced by {field}, which this source tells only"
        " with the images, if it does: set config.data.cache=True, or the"
        " balance of the phase to nothing"
      )
    if values.ndim != 1 or not np.issubdtype(values.dtype, np.integer):
      raise DataError(
        f"batches are to be balanced by {field}, which is no kind: it is"
        f" {values.dtype} {list(values.shape[1:])} of each record"
      )
    return values

  def units(self, split: str, unit: str) -> list[np.ndarray]:
    """The records of each unit, "image" or "person", of a split.

    Images of unknown people belong to no person and are left out.
    """
    indices = self.splits[split]
    if unit == "image":
      return list(indices[:, None])
    identities = np.asarray(self.source.identities)[indices]
    indices, identities = indices[identities >= 0], identities[identities >= 0]
    order = np.argsort(identities, kind="stable")
    starts = np.unique(identities[order], return_index=True)[1]
    return np.split(indices[order], starts[1:])

  def dealt(
    self, split: str, shares: Mapping[str, float], seed: int, by: str
  ) -> dict[str, np.ndarray]:
    """The records of a split, dealt to owners; see `splits.split_groups`.

    Args:
      split: whose records.
      shares: owner -> share, summing to 1.
      seed: chooses who owns what.
      by: "person": nobody is with two owners; or "record".

    Raises:
      DataError: an owner would get nothing.
    """
    rows = self.splits[split]
    if by == "record":
      parts = splits.split_groups(np.arange(len(rows)), shares, seed)
    else:
      identities = np.asarray(self.source.identities)[rows]
      names = self.source.identity_names
      parts = splits.split_groups(identities, shares, seed, names)
    return {owner: rows[part] for owner, part in parts.items()}

  def drawn_batches(
      self, draw: Callable[[int], np.ndarray], *, first_step: int,
      num_workers: int = 0,
  ) -> Iterator[Batch]:  # fmt: skip
    """Endless batches of the records that `draw` names for each step."""
    stream = pipeline.drawn_batches(
      self.source, draw, first_step=first_step, num_workers=num_workers
    )
    return map(self._labelled, stream)

  def gather(self, rows: np.ndarray) -> Batch:
    """Records at once, identities as classes; -1 makes a row of padding."""
    return self._labelled(pipeline.gather(self.source, rows))

  def epoch(
      self, split: str, *, batch_size: int, limit: int | None = None,
      everywhere: bool = False,
  ) -> Iterator[Batch]:  # fmt: skip
    """The records of a split once, in order, identities as classes.

    Each process gets its share of the rows, or all of them if `everywhere`.
    """
    stream = pipeline.epoch(
      self.source,
      self.splits[split][:limit],
      batch_size=batch_size,
      process_index=0 if everywhere else None,
      process_count=1 if everywhere else None,
    )
    return map(self._labelled, stream)

  def _labelled(self, batch: Batch) -> Batch:
    identity = batch["identity"]
    if self.source.max_faces:
      return batch  # faces of scenes keep the numbers of their source
    classes = self.classes[np.maximum(identity, 0)]
    return {**batch, "identity": np.where(identity < 0, -1, classes)}


def split_data(
  source: Source, shares: Mapping[str, float], seed: int, by: str = "person"
) -> Data:
  """Splits by person, or by image; people are numbered split after split.

  With by="image" people may occur in every split (closed-set classification, as
  on ImageNet); nothing measured then holds for unseen people.

  Raises:
    DataError: `by` is neither, or a split would be empty.
  """
  identities = np.asarray(source.identities)
  if by == "image":
    parts = splits.split_groups(np.arange(len(identities)), shares, seed)
    people = np.unique(identities[identities >= 0])
    classes = np.full(max(int(identities.max(initial=-1)) + 1, 1), -1, np.int32)
    classes[people] = np.arange(len(people))
    return Data(source, parts, classes, len(people), by)
  if by != "person":
    raise DataError(f"data.split_by is {by!r}; it must be 'person' or 'image'.")
  parts = splits.split_groups(identities, shares, seed, source.identity_names)
  classes = np.full(max(int(identities.max(initial=-1)) + 1, 1), -1, np.int32)
  count, counts = 0, []
  for indices in parts.values():
    people = np.unique(identities[indices])
    people = people[people >= 0]
    classes[people] = count + np.arange(len(people))
    count += len(people)
    counts.append(len(people))
  return Data(source, parts, classes, counts[0])
