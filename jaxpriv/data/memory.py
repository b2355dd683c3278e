"""Sources held in memory, and how many unreadable images are tolerated."""

import concurrent.futures
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from absl import logging

from jaxpriv.data import account
from jaxpriv.data.records import (
  Batch,
  DataError,
  Record,
  Source,
  UnreadableImageError,
)

_CHUNK = 256  # images rendered or decoded between two progress reports
_NAMED_FILES = 5  # unreadable files that an error message names


class InMemory(Source):
  """Records held as stacked arrays, in memory or in mapped files.

  Attributes:
    arrays: field of a record -> [N, ...]; images uint8.
    attribute_names: the A names of arrays["attributes"].
    origin: the source that the records were read from, if any; it names them.
    rows: [N], their indices in `origin`.
    unreadable: descriptions of the images left out.
  """

  batched = True

  def __init__(
    self,
    arrays: Batch,
    attribute_names: tuple[str, ...] = (),
    origin: Source | None = None,
    rows: np.ndarray | None = None,
    unreadable: Sequence[str] = (),
  ):
    self.arrays = dict(arrays)
    self.attribute_names = tuple(attribute_names)
    self.origin, self.rows = origin, rows
    self.unreadable = list(unreadable)
    if origin is None:
      self.identities = self.arrays["identity"]
    else:
      self.identities = np.asarray(origin.identities)[rows]
      self.identity_names = origin.identity_names
      self.max_faces = origin.max_faces
      self.left_out = origin.left_out
      self.seen = origin.seen

  def __getitem__(self, index: int) -> Record:
    return {name: array[index] for name, array in self.arrays.items()}

  def batch(self, indices: np.ndarray) -> Batch:
    return {name: array[indices] for name, array in self.arrays.items()}

  def replace(self, **fields: np.ndarray) -> "InMemory":
    """The same records with other fields, such as protected images."""
    return self._with({**self.arrays, **fields})

  def without(self, *fields: str) -> "InMemory":
    """The same records without some fields."""
    return self._with({k: v for k, v in self.arrays.items() if k not in fields})

  def _with(self, arrays: Batch) -> "InMemory":
    return InMemory(
      arrays, self.attribute_names, self.origin, self.rows, self.unreadable
    )

  def take(self, rows: Any) -> "InMemory":
    """Some of the records: a slice or indices."""
    arrays = {name: array[rows] for name, array in self.arrays.items()}
    numbers = None if self.rows is None else self.rows[rows]
    return InMemory(
      arrays, self.attribute_names, self.origin, numbers, self.unreadable
    )

  def describe(self, index: int) -> str:
    if self.origin is None or self.rows is None:
      return f"photograph {index}"
    return self.origin.describe(int(self.rows[index]))

  def name(self, index: int) -> str:
    if self.origin is None or self.rows is None:
      return self.describe(index)
    return self.origin.name(int(self.rows[index]))

  def person(self, number: int) -> str:
    if self.origin is None:
      return str(number)
    return self.origin.person(number)


class Gathering:
  """Concatenates arrays along the first axis as they arrive.

  An array of more than `most_bytes` is mapped from an unnamed temporary file,
  of which only the parts that are read take memory; None keeps every array in
  memory.
  """

  def __init__(self, rows: int, most_bytes: int | None = None):
    """`rows` is the largest number of rows there will be."""
    self._rows, self._most = rows, most_bytes
    self._whole: np.ndarray | None = None
    self._filled = 0

  def add(self, part: np.ndarray) -> None:
    """Appends rows [n, ...].

    Raises:
      ValueError: there are more rows than announced.
    """
    part = np.asarray(part)
    if self._whole is None:
      shape = (self._rows, *part.shape[1:])
      self._whole = _empty(shape, part.dtype, self._most)
    end = self._filled + len(part)
    if end > self._rows:
      raise ValueError(f"{end} rows, and there was room for {self._rows}")
    self._whole[self._filled : end] = part
    self._filled = end

  def array(self) -> np.ndarray:
    """All rows added so far, [rows, ...].

    Raises:
      ValueError: none was added.
    """
    if self._whole is None:
      raise ValueError("nothing was gathered: there is no record")
    return self._whole[: self._filled]


def gather(
  parts: Iterable[np.ndarray], rows: int, most_bytes: int | None = None
) -> np.ndarray:
  """Concatenates arrays along the first axis; see `Gathering`."""
  gathering = Gathering(rows, most_bytes)
  for part in parts:
    gathering.add(part)
  return gathering.array()


def _empty(shape, dtype, most_bytes: int | None) -> np.ndarray:
  size = int(np.prod(shape)) * np.dtype(dtype).itemsize
  if most_bytes is None or size <= most_bytes:
    return np.empty(shape, dtype)
  with tempfile.TemporaryFile() as file:  # it lives as long as it is mapped
    return np.memmap(file, dtype, "w+", shape=shape)


def in_memory(
  source: Source,
  *,
  max_bad_share: float | None = None,
  progress: Callable[[int, int], None] | None = None,
) -> InMemory:
  """Decodes or renders a source of equal-sized images once.

  Args:
    source: the source; one already in memory is returned as it is.
    max_bad_share: the tolerated share of unreadable images; by default the
      source's own.
    progress: called with (images done, of how many).

  Returns:
    The readable records, in order. Each unreadable one is named in the log and
    in `unreadable`.

  Raises:
    DataError: too many images are unreadable.
  """
  if isinstance(source, InMemory):
    return source
  if max_bad_share is None:
    max_bad_share = source.max_bad_share
  read = _rendered if source.batched else _decoded
  arrays: Batch = {}
  failures: dict[int, str] = {}
  for start in range(0, len(source), _CHUNK):
    indices = np.arange(start, min(start + _CHUNK, len(source)))
    for index, row in read(source, indices, failures):
      if not arrays:
        arrays = {
          name: np.zeros((len(source), *value.shape), value.dtype)
          for name, value in row.items()
        }
      for name, value in row.items():
        arrays[name][index] = value
    if progress is not None:
      progress(int(indices[-1]) + 1, len(source))
  unreadable = [failures[index] for index in sorted(failures)]
  for index in failures:
    source.left_out[source.name(index)] = account.UNREADABLE
  check_bad_share(unreadable, len(source), max_bad_share)
  readable = np.setdiff1d(np.arange(len(source)), list(failures)).astype(
    np.int64
  )
  if failures:
    arrays = {name: array[readable] for name, array in arrays.items()}
  return InMemory(arrays, source.attribute_names, source, readable, unreadable)


def check_bad_share(
  unreadable: Sequence[str], total: int, max_bad_share: float
) -> None:
  """Raises DataError when more than a share of the images is unreadable."""
  if len(unreadable) <= max_bad_share * total and len(unreadable) < total:
    return
  more = len(unreadable) - _NAMED_FILES
  named = "\n  ".join(unreadable[:_NAMED_FILES])
  named += f"\n  and {more} more" if more > 0 else ""
  raise DataError(
    f"{len(unreadable)} of {total} images ({len(unreadable) / total:.1%})"
    " cannot be read, more than data.max_bad_share ="
    f" {max_bad_share:g} allows:\n  {named}\nRepair or remove them, or raise"
    " data.max_bad_share to go on without them."
  )


def _rendered(source, indices, failures):
  del failures  # rendered images cannot be unreadable
  rows = source.batch(indices)
  for i, index in enumerate(indices):
    yield index, {name: value[i] for name, value in rows.items()}


def _decoded(source, indices, failures):
  """Yields (index, record) of readable images; notes failures of the others."""

  def read(index):
    try:
      return source[index]
    except UnreadableImageError as error:
      return error

  # Pillow releases the interpreter lock while it decodes.
  with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
    for index, result in zip(indices, pool.map(read, indices)):
      if isinstance(result, UnreadableImageError):
        logging.warning("Unreadable image left out: %s", result)
        failures[int(index)] = str(result)
      else:
        yield index, result
