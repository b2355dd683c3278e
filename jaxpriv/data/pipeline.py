"""Batches as a function of (seed, step), drawn through Grain.

Grain shuffles, repeats and cuts record numbers; rows are gathered afterwards,
by one `take` where a source is in memory and one by one where images must be
decoded. Process p of P then holds the p-th part of the rows of a batch whose
order does not depend on P, and a run resumes at a step without replaying
earlier ones.

Grain is imported where it is used, so that programs start without it.
"""

import os
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

import numpy as np
from absl import logging

from jaxpriv.data import account
from jaxpriv.data.memory import InMemory, check_bad_share
from jaxpriv.data.records import Batch, DataError, Source, UnreadableImageError

_MAX_THREADS = 16
_ENDLESS = 2**31  # steps


def batches(
  source: Source,
  indices: np.ndarray,
  *,
  batch_size: int,
  seed: int,
  first_step: int = 0,
  num_workers: int = 0,
  process_index: int | None = None,
  process_count: int | None = None,
) -> Generator[Batch, None, None]:
  """Endless shuffled batches; every epoch has an order of its own.

  Args:
    source: where rows come from; all its records must have one size.
    indices: the records to draw, a split of the source.
    batch_size: rows over all processes.
    seed: determines the order.
    first_step: the step whose batch comes first; starting late costs nothing.
    num_workers: decoding processes; 0 decodes in threads. Without effect for a
      source in memory. Workers are spawned: the caller needs a __main__ guard.
    process_index: the part of the rows to yield; that of `jax` by default.
    process_count: the number of parts of a batch; that of `jax` by default.

  Yields:
    Rows [batch_size / process_count, ...]. A row whose image is unreadable is
    zero with `padding` true; it is named once, in the log and in
    `source.unreadable`.

  Raises:
    DataError: the batch cannot be cut evenly, there are fewer records than a
      batch has rows, or too many images are unreadable.
  """
  process, count = _processes(process_index, process_count)
  rows = _rows_per_process(batch_size, count)
  indices = np.asarray(indices, np.int64)
  if len(indices) < batch_size:
    raise DataError(
      f"A batch has {batch_size} rows but the split only {len(indices)}"
      " records. Lower batch_size or use more images."
    )
  import grain

  dataset = (
    grain.MapDataset.source(indices)
    .seed(seed)
    .shuffle()
    .repeat()
    .batch(batch_size, drop_remainder=True)
    .map(_Gather(source, process * rows, (process + 1) * rows))
  )[first_step:]
  return _stream(dataset, source, num_workers)


def drawn_batches(
  source: Source,
  draw: Callable[[int], np.ndarray],
  *,
  first_step: int = 0,
  num_workers: int = 0,
  process_index: int | None = None,
  process_count: int | None = None,
) -> Generator[Batch, None, None]:
  """Endless batches of the records that `draw` names for each step.

  Args:
    source: see `batches`.
    draw: step -> record numbers [rows], -1 for padding; picklable. The number
      of rows, over all processes, must be the same at each step.
    first_step: see `batches`.
    num_workers: see `batches`.
    process_index: see `batches`.
    process_count: see `batches`.
  """
  process, count = _processes(process_index, process_count)
  rows = _rows_per_process(len(draw(0)), count)
  import grain

  dataset = (
    grain.MapDataset.range(_ENDLESS)
    .map(draw)
    .map(_Gather(source, process * rows, (process + 1) * rows))
  )[first_step:]
  return _stream(dataset, source, num_workers)


def _stream(dataset, source, num_workers) -> Generator[Batch, None, None]:
  import grain

  loaded = isinstance(source, InMemory)
  threads = 1 if loaded else min(_MAX_THREADS, os.cpu_count() or 1)
  iterator = dataset.to_iter_dataset(grain.ReadOptions(threads, threads + 1))
  if num_workers and not loaded:
    iterator = iterator.mp_prefetch(
      grain.MultiprocessingOptions(num_workers, per_worker_buffer_size=2)
    )
  return _watched(iter(iterator), source)


def epoch(
  source: Source,
  indices: np.ndarray,
  *,
  batch_size: int,
  process_index: int | None = None,
  process_count: int | None = None,
) -> Iterator[Batch]:
  """Every record once, in order.

  The last batch is filled with zero rows whose `padding` is true and whose
  `index` is -1. Arguments, rows and errors are otherwise those of `batches`.
  """
  process, count = _processes(process_index, process_count)
  rows = _rows_per_process(batch_size, count)
  indices = np.asarray(indices, np.int64)
  steps = -(-len(indices) // batch_size)
  padded = np.full(steps * batch_size, -1, np.int64)
  padded[: len(indices)] = indices
  if not steps:
    return iter(())
  import grain

  dataset = (
    grain.MapDataset.source(padded)
    .batch(batch_size)
    .map(_Gather(source, process * rows, (process + 1) * rows))
  )
  threads = min(_MAX_THREADS, os.cpu_count() or 1)
  iterator = dataset.to_iter_dataset(grain.ReadOptions(threads, threads + 1))
  return _watched(iter(iterator), source)


def gather(source: Source, indices: np.ndarray) -> Batch:
  """Stacks records [B]; index -1 and unreadable images become padding."""
  indices = np.asarray(indices, np.int64)
  padding = indices < 0
  if source.batched:
    batch = dict(source.batch(np.maximum(indices, 0)))
    if padding.any():
      batch = {name: _blank(value, padding) for name, value in batch.items()}
  else:
    batch, padding = _read_rows(source, indices, padding)
  return dict(batch, index=indices, padding=padding)


class _Gather:
  """A picklable `gather` of some of the indices of a batch."""

  def __init__(self, source: Source, start: int, stop: int):
    self._source = source
    self._rows = slice(start, stop)

  def __call__(self, indices: np.ndarray) -> Batch:
    return gather(self._source, indices[self._rows])


def _blank(values: np.ndarray, padding: np.ndarray) -> np.ndarray:
  values = np.array(values)
  values[padding] = 0
  return values


def _read_rows(source, indices, padding) -> tuple[Batch, np.ndarray]:
  batch: dict[str, Any] = {}
  padding = padding.copy()
  for i in np.flatnonzero(~padding):
    try:
      row = source[int(indices[i])]
    except UnreadableImageError:
      padding[i] = True
      continue
    if not batch:
      batch = {
        name: np.zeros((len(indices), *value.shape), value.dtype)
        for name, value in row.items()
      }
    for name, value in row.items():
      batch[name][i] = value
  return batch or _all_padding(source, len(indices)), padding


def _all_padding(source, count: int) -> Batch:
  """Rows of a batch, or of a process's part of one, that hold no example."""
  for index in range(len(source)):
    try:
      row = source[index]
    except UnreadableImageError:
      continue
    return {
      name: np.zeros((count, *value.shape), value.dtype)
      for name, value in row.items()
    }
  raise DataError(
    f"None of the {len(source)} images can be read, the first being"
    f" {source.describe(0)}."
  )


def _watched(iterator, source: Source) -> Generator[Batch, None, None]:
  """Names unreadable images, once each, where a worker process cannot."""
  seen: set[int] = set()
  try:
    for batch in iterator:
      bad = batch["index"][batch["padding"] & (batch["index"] >= 0)]
      for index in set(bad.tolist()) - seen:
        seen.add(index)
        _note_unreadable(source, index)
      yield {name: _own(value) for name, value in batch.items()}
  finally:
    iterator.close()


def _own(value: np.ndarray) -> np.ndarray:
  """Copies what workers hand over in shared memory, which they unlink."""
  return value if type(value) is np.ndarray else np.array(value)


def note_unreadable(source: Source, indices: Sequence[int]) -> None:
  """Notes records whose photograph a caller could not decode.

  Raises:
    DataError: too many are unreadable.
  """
  for index in indices:
    _note_unreadable(source, index)


def _note_unreadable(source: Source, index: int) -> None:
  name = source.describe(index)
  if name not in source.unreadable:
    source.unreadable.append(name)
    source.left_out[source.name(index)] = account.UNREADABLE
    logging.warning("Unreadable image left out: %s", name)
    check_bad_share(source.unreadable, len(source), source.max_bad_share)


def _rows_per_process(batch_size: int, count: int) -> int:
  if batch_size % count:
    raise DataError(
      f"batch_size = {batch_size} cannot be divided among {count} processes;"
      f" take a multiple of {count}."
    )
  return batch_size // count


def _processes(index: int | None, count: int | None) -> tuple[int, int]:
  if index is None or count is None:
    import jax  # here only: decoding workers must not start a JAX backend

    index = jax.process_index() if index is None else index
    count = jax.process_count() if count is None else count
  return index, count
