"""Opens the source a config asks for, framed to one size, perhaps in memory.

A source of photographs (folder, TFDS, ArrayRecord) yields images of any size
and has a method `photograph`; `Framed` cuts the faces out. Whatever the source,
what `open_source` returns holds images of `image_size` and the attributes asked
for.
"""

import concurrent.futures
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from absl import logging

from jaxpriv.data import alignment
from jaxpriv.data.records import Batch, DataError, Record, Source
from jaxpriv.data.records import UnreadableImageError

SOURCES = ("procedural", "folder", "tfds", "array_record")

_CHUNK = 256  # images rendered or decoded between two progress reports
_NAMED_FILES = 5  # unreadable files that an error message names


def open_source(
  config: Any, progress: Callable[[int, int], None] | None = None
) -> Source:
  """Opens the source of a data config.

  Args:
    config: has source (one of `SOURCES`), path, name, split, sets, image_size,
      align, num_identities, images_per_identity, seed, domain, attributes,
      cache and max_bad_share.
    progress: called with (images done, of how many) while a cache is filled.

  Returns:
    A source of records with image uint8 [image_size, image_size, 3] and with
    `config.attributes`. Where that is empty: the source's `default_attributes`,
    or every attribute that takes both values. It has `unreadable`, the names of
    the images found unreadable so far.

  Raises:
    DataError: the data are not there or not as asked for.
  """
  source = open_unframed(config)
  names = _choose_attributes(source, tuple(config.attributes), config)
  source = Framed(
    source, config.image_size, config.align, names, config.max_bad_share
  )
  return in_memory(source, progress=progress) if config.cache else source


def open_unframed(config: Any) -> Source:
  """Opens a source with its images and attributes as they are stored."""
  # Imported where needed: a source's library need not be there for the others.
  if config.source == "procedural":
    from jaxpriv.data.procedural import ProceduralFaces

    return ProceduralFaces(
      config.num_identities,
      config.images_per_identity,
      config.image_size,
      config.seed,
      domain=config.domain,
    )
  if config.source == "folder":
    from jaxpriv.data.folder import FolderSource

    return FolderSource(config.path, config.sets)
  if config.source == "tfds":
    from jaxpriv.data.tfds_source import TfdsSource

    return TfdsSource(config.name, config.split, config.path)
  if config.source == "array_record":
    from jaxpriv.data.array_record import ArrayRecordSource

    return ArrayRecordSource(config.path)
  raise DataError(
    f"data.source is {config.source!r}; it must be one of {', '.join(SOURCES)}."
  )


class Framed:
  """A source whose images have one size and whose attributes are chosen.

  Attributes:
    unreadable: descriptions of the images found unreadable so far.
    max_bad_share: share of unreadable images above which a run stops.
  """

  def __init__(
    self,
    source: Source,
    image_size: int,
    align: str = "landmarks",
    attributes: Sequence[str] | None = None,
    max_bad_share: float = 0.05,
  ):
    if align not in alignment.ALIGNMENTS:
      raise DataError(
        f"data.align is {align!r}; it must be one of"
        f" {', '.join(alignment.ALIGNMENTS)}."
      )
    existing = tuple(source.attribute_names)
    self.attribute_names = existing if attributes is None else tuple(attributes)
    self._columns = [existing.index(name) for name in self.attribute_names]
    self._source = source
    self._align = align
    self.image_size = image_size
    self.max_bad_share = max_bad_share
    self.unreadable: list[str] = []
    if hasattr(source, "batch"):
      self.batch = self._batch

  @property
  def identities(self) -> np.ndarray:
    return self._source.identities

  @property
  def identity_names(self) -> tuple[str, ...]:
    return getattr(self._source, "identity_names", ())

  def __len__(self) -> int:
    return len(self._source)

  def __getitem__(self, index: int) -> Record:
    index = int(index)
    if hasattr(self._source, "photograph"):
      photograph = self._source.photograph(index)
      record = alignment.frame(photograph, self.image_size, self._align)
    else:
      record = self._source[index]
    return self._chosen(record)

  def describe(self, index: int) -> str:
    return self._source.describe(int(index))

  def _batch(self, indices: np.ndarray) -> Batch:
    return self._chosen(self._source.batch(indices))

  def _chosen(self, record):
    return dict(record, attributes=record["attributes"][..., self._columns])


class InMemory:
  """Records held as stacked arrays.

  Attributes:
    arrays: field -> [N, ...].
    unreadable: descriptions of the images left out.
  """

  def __init__(
    self, source: Source, arrays: Batch, kept: np.ndarray, unreadable=()
  ):
    self._source = source
    self._kept = kept
    self.arrays = arrays
    self.attribute_names = source.attribute_names
    self.identity_names = getattr(source, "identity_names", ())
    self.identities = arrays["identity"]
    self.unreadable = list(unreadable)

  def __len__(self) -> int:
    return len(self.identities)

  def __getitem__(self, index: int) -> Record:
    return {name: array[index] for name, array in self.arrays.items()}

  def batch(self, indices: np.ndarray) -> Batch:
    return {name: array[indices] for name, array in self.arrays.items()}

  def describe(self, index: int) -> str:
    return self._source.describe(int(self._kept[index]))


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
      source's own, or 0.05.
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
    max_bad_share = getattr(source, "max_bad_share", 0.05)
  read = _rendered if hasattr(source, "batch") else _decoded
  arrays, failures = None, {}
  for start in range(0, len(source), _CHUNK):
    indices = np.arange(start, min(start + _CHUNK, len(source)))
    for index, row in read(source, indices, failures):
      if arrays is None:
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


def _choose_attributes(source, asked: tuple[str, ...], config):
  existing = tuple(source.attribute_names)
  where = (
    f"source {config.source!r} ({config.path or config.name or 'built in'})"
  )
  for name in asked:
    if name not in existing:
      raise DataError(
        f"data.attributes names {name!r}, which {where} does not have; it has"
        f" {', '.join(existing) or 'no attributes'}."
      )
  if asked:
    return asked
  default = getattr(source, "default_attributes", ())
  if default:
    return tuple(default)
  values = getattr(source, "attribute_values", None)
  if values is None:
    return existing
  varied = (values == 0).any(0) & (values == 1).any(0)
  return tuple(name for name, both in zip(existing, varied) if both)
