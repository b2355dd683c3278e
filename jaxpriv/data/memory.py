"""Sources held in memory, and how many unreadable images are tolerated."""

import concurrent.futures
import os
from collections.abc import Callable, Sequence

import numpy as np
from absl import logging

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
  """Records held as stacked arrays.

  Attributes:
    arrays: field -> [N, ...].
    unreadable: descriptions of the images left out.
  """

  batched = True

  def __init__(
    self, source: Source, arrays: Batch, kept: np.ndarray, unreadable=()
  ):
    self._source = source
    self._kept = kept
    self.arrays = arrays
    self.attribute_names = source.attribute_names
    self.identity_names = source.identity_names
    self.identities = np.asarray(source.identities)[kept]
    self.max_faces = source.max_faces
    self.unreadable = list(unreadable)

  def __len__(self) -> int:
    return len(self.identities)

  def __getitem__(self, index: int) -> Record:
    return {name: array[index] for name, array in self.arrays.items()}

  def batch(self, indices: np.ndarray) -> Batch:
    return {name: array[indices] for name, array in self.arrays.items()}

  def with_arrays(self, arrays: Batch) -> "InMemory":
    """The same records with other values, as many as before."""
    return InMemory(self._source, arrays, self._kept, self.unreadable)

  def describe(self, index: int) -> str:
    return self._source.describe(int(self._kept[index]))

  def person(self, number: int) -> str:
    return self._source.person(number)


def in_memory(
  source: Source,
  *,
  max_bad_share: float | None = None,
  progress: Callable[[int, int], None] | None = None,
) -> InMemory:
  """Decodes or renders a source of equal-sized images once.

  Args:
    source: the source; one already in memory is returned as it is.
    max_bad_share: share of unreadable images that is tolerated; by default the
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
  check_bad_share(unreadable, len(source), max_bad_share)
  kept = np.setdiff1d(np.arange(len(source)), list(failures)).astype(np.int64)
  if failures:
    arrays = {name: array[kept] for name, array in arrays.items()}
  return InMemory(source, arrays, kept, unreadable)


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
  del failures  # what is rendered cannot be unreadable
  rows = source.batch(indices)
  for i, index in enumerate(indices):
    yield index, {name: value[i] for name, value in rows.items()}


def _decoded(source, indices, failures):
  """Yields (index, record) of the readable; notes the others in failures."""

  def read(index):
    try:
      return source[index]
    except UnreadableImageError as error:
      return error

  # Pillow lets go of the interpreter while it decodes.
  with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
    for index, result in zip(indices, pool.map(read, indices)):
      if isinstance(result, UnreadableImageError):
        logging.warning("Unreadable image left out: %s", result)
        failures[int(index)] = str(result)
      else:
        yield index, result
