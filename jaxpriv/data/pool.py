"""A pool of released features with labels, read from disk as needed.

It is a folder:

    index.json                              description, labels, shards
    features-00000-of-00002.array_record    group_size:1, uncompressed

An entry is one feature map: float16 values, little endian, the last axis
fastest, and nothing else. Everything else is in the index.
"""

import itertools
import json
import math
import os
import pathlib
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from array_record.python import array_record_module

from jaxpriv.data import shards as shards_lib
from jaxpriv.data.records import DataError

FORMAT = "jaxpriv feature pool"

_VERSION = 1
_DTYPE = "float16"
_FIELDS = dict(
  featurizer=str,
  layer=str,
  align=str,
  shape=list,
  dtype=str,
  attribute_names=list,
  attributes=list,
  shards=list,
)
# Noisy features do not compress, and a checksum guards them in any case.
_OPTIONS = "group_size:1,uncompressed"
# Reading one record at a time takes the least processor time a record, lets
# other threads run meanwhile, and sets no limit to the length of files.
_READING = "readahead_buffer_size:0"
_BUFFER = 32768  # bytes
_LABELS = (0, 1, -1)
_EXPONENT = 0x7C00  # all of its bits are set in infinities and NaN
_GET_AGAIN = "get the pool again from whoever released it"
_KIND = shards_lib.Kind(
  name="a feature pool",
  format=FORMAT,
  version=_VERSION,
  make="Pools are made by `python -m launch.release`.",
  again=_GET_AGAIN,
)


def write(
  path: str | os.PathLike,
  records: Iterable[Mapping[str, np.ndarray]],
  *,
  featurizer: str,
  layer: str,
  align: str,
  attribute_names: Sequence[str],
  records_per_shard: int = 16384,
  publish: bool = True,
) -> int:
  """Writes a pool.

  Args:
    path: the folder.
    records: dicts of features float16 [H, W, C] and attributes int8 [A].
    featurizer: SHA-256, in hexadecimal digits, of the parameters of the public
      network that made the features.
    layer: the layer of that network whose output the features are.
    align: how faces were framed beforehand, a value of `config.data.align`.
    attribute_names: the A names of the attributes.
    records_per_shard: size of a file, in records.
    publish: the folder is new and appears only when it is complete. If false,
      it exists, the caller publishes it, and files of a pool in it are
      replaced. The index is written last: with it the pool is complete.

  Returns:
    How many records were written.

  Raises:
    DataError: the folder to publish exists, there are no records, or one of
      them has the wrong type, another shape than the first, or values that are
      not finite.
  """
  path = pathlib.Path(path).expanduser()
  folder = path
  if publish:
    if path.exists():
      raise DataError(f"{path} exists; remove it or choose another output.")
    folder = path.with_name(path.name + ".partial")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
  for old in (folder / "index.json", *folder.glob("features-*")):
    old.unlink(missing_ok=True)
  remaining = iter(records)
  first = list(itertools.islice(remaining, 1))
  if not first:
    raise DataError(f"There are no records to write to {folder}.")
  shape = np.shape(first[0]["features"])
  names = list(attribute_names)
  labels: list[list[int]] = []
  entries = _entries(itertools.chain(first, remaining), shape, names, labels)
  index = dict(
    format=FORMAT,
    version=_VERSION,
    featurizer=featurizer,
    layer=layer,
    align=align,
    shape=shape,
    dtype=_DTYPE,
    attribute_names=names,
    shards=_write_shards(folder, entries, records_per_shard),
    attributes=labels,
  )
  (folder / "index.json").write_text(json.dumps(index))
  if publish:
    folder.rename(path)
  return len(labels)


class Pool:
  """Reads a pool that `write` wrote, only the records that are asked for.

  Attributes:
    path: the folder.
    featurizer: SHA-256 of the parameters of the network that made the features.
    layer: the layer of that network whose output they are.
    align: how faces were framed beforehand.
    shape: (H, W, C) of a feature map.
    attribute_names: names of the attributes.
    attributes: int8 [N, A], -1 unknown.
  """

  def __init__(self, path: str | os.PathLike):
    """Reads the index and the ends of the files.

    Raises:
      DataError: there is no such pool, or it is foreign or damaged.
    """
    self.path = pathlib.Path(path).expanduser()
    index = _read_index(self.path)
    self.featurizer: str = index["featurizer"]
    self.layer: str = index["layer"]
    # Older pools call the central square "none".
    align = index["align"]
    self.align: str = "centre" if align == "none" else align
    self.shape: tuple[int, ...] = tuple(index["shape"])
    self.attribute_names: tuple[str, ...] = tuple(index["attribute_names"])
    self._files, counts = shards_lib.check(
      self.path, index["shards"], _KIND, _open
    )
    self._starts = np.cumsum([0, *counts])
    self.attributes = _labels(self.path, index, int(self._starts[-1]))
    self._readers = [_open(file) for file in self._files]

  def __getstate__(self) -> dict[str, Any]:
    return {**self.__dict__, "_readers": None}

  def __setstate__(self, state: dict[str, Any]) -> None:
    self.__dict__.update(state)
    self._readers = [_open(file) for file in self._files]

  def __len__(self) -> int:
    return len(self.attributes)

  def describe(self, index: int) -> str:
    return f"pool {self.path}, record {index}"

  def features(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
    """The feature maps `indices` [B]: float16 [B, H, W, C]."""
    features = np.empty((len(indices), *self.shape), np.float16)
    for row, values in enumerate(self.read(indices)):
      features[row] = values
    return features

  def read(self, indices: Sequence[int] | np.ndarray) -> list[np.ndarray]:
    """Like `features`, but a list of read-only arrays [H, W, C].

    Raises:
      DataError: a record is damaged.
    """
    indices = np.asarray(indices)
    shards = np.searchsorted(self._starts, indices, side="right") - 1
    places = indices - self._starts[shards]
    return [
      np.frombuffer(self._entry(*where), "<f2").reshape(self.shape)
      for where in zip(indices.tolist(), shards.tolist(), places.tolist())
    ]

  def _entry(self, index: int, shard: int, place: int) -> bytes:
    try:
      entries = self._readers[shard].read(place, place + 1)
    except (RuntimeError, ValueError) as error:
      raise DataError(
        f"{self.describe(index)}, is damaged: {error}; {_GET_AGAIN}."
      ) from error
    entry = entries[0] if entries else b""
    size = 2 * math.prod(self.shape)
    if len(entry) != size:
      raise DataError(
        f"{self.describe(index)}, is damaged: {len(entry)} bytes where the"
        f" index promises {size}; {_GET_AGAIN}."
      )
    return entry


def check_alike(pools: Sequence[Pool]) -> None:
  """Raises DataError unless these pools can be trained on together."""
  if not pools:
    raise DataError("There are no feature pools: name at least one.")
  for pool in pools[1:]:
    for what, its, others in (
      ("featurizer", pool.featurizer, pools[0].featurizer),
      ("layer", pool.layer, pools[0].layer),
      ("align", pool.align, pools[0].align),
      ("shape", pool.shape, pools[0].shape),
      (
        "attribute_names",
        sorted(pool.attribute_names),
        sorted(pools[0].attribute_names),
      ),
    ):
      if its != others:
        raise DataError(
          f"pool {pool.path} and pool {pools[0].path} do not go together:"
          f" their {what} is {its} and {others}. Leave one of them out."
        )


def _entries(records, shape, names, labels) -> Iterator[bytes]:
  """Checks and encodes records, and appends their attributes to `labels`."""
  not_finite = []
  for number, record in enumerate(records):
    features = np.asarray(record["features"])
    if features.dtype != np.float16 or features.ndim != 3:
      raise DataError(
        f"The features of record {number} are {features.dtype}"
        f" {list(features.shape)}; a pool holds float16 [H, W, C]."
      )
    if features.shape != shape:
      raise DataError(
        f"The features of record {number} are {list(features.shape)}, those of"
        f" record 0 {list(shape)}; a pool holds maps of one shape."
      )
    attributes = np.asarray(record["attributes"])
    if attributes.dtype != np.int8 or attributes.shape != (len(names),):
      raise DataError(
        f"The attributes of record {number} are {attributes.dtype}"
        f" {list(attributes.shape)}; for these attribute_names they are int8"
        f" [{len(names)}]."
      )
    labels.append(attributes.tolist())
    if not set(labels[-1]) <= set(_LABELS):
      raise DataError(
        f"The attributes of record {number} are {labels[-1]}; they must be 0, 1"
        " or, where unknown, -1."
      )
    values = np.ascontiguousarray(features, "<f2")
    if ((values.view("<u2") & _EXPONENT) == _EXPONENT).any():
      not_finite.append(number)
    if not not_finite:
      yield values.tobytes()
  if not_finite:
    raise DataError(
      f"{len(not_finite)} of {len(labels)} feature maps are not finite, record"
      f" {not_finite[0]} being the first: nothing is released. float16 ends at"
      " 65504; if they are larger before they are rounded, scale them down."
    )


def _write_shards(directory, entries, records_per_shard) -> list[dict]:
  """Writes numbered files and renames them once their number is known.

  Returns:
    Their entries in the index.
  """
  counts: list[int] = []
  while first := list(itertools.islice(entries, 1)):
    file = str(directory / f"features-{len(counts):05d}")
    writer = array_record_module.ArrayRecordWriter(file, _OPTIONS)
    counts.append(0)
    rest = itertools.islice(entries, records_per_shard - 1)
    for entry in itertools.chain(first, rest):
      writer.write(entry)
      counts[-1] += 1
    writer.close()
  return shards_lib.name(directory, "features", counts)


def _read_index(path: pathlib.Path) -> dict[str, Any]:
  index = shards_lib.read_index(path, _KIND)
  file = path / "index.json"
  wrong = _wrong_fields(index)
  if wrong:
    raise DataError(
      f"{file} is damaged: it has no {', '.join(wrong)}, or not as it"
      f" should be; {_GET_AGAIN}."
    )
  if index["dtype"] != _DTYPE:
    raise DataError(
      f"{file} says that the features are {index['dtype']}, this program reads"
      f" {_DTYPE}."
    )
  return index


def _wrong_fields(index) -> list[str]:
  wrong = [n for n, kind in _FIELDS.items() if type(index.get(n)) is not kind]
  if wrong:
    return wrong
  shape, shards = index["shape"], index["shards"]
  if len(shape) != 3 or not all(type(n) is int and n > 0 for n in shape):
    wrong.append("shape")
  if not all(type(n) is str for n in index["attribute_names"]):
    wrong.append("attribute_names")
  if not all(
    type(s) is dict and {"file", "records"} <= s.keys() for s in shards
  ):
    wrong.append("shards")
  return wrong


def _open(file: str):
  return array_record_module.ArrayRecordReader(
    file, options=_READING, file_reader_buffer_size=_BUFFER
  )


def _labels(path: pathlib.Path, index, count: int) -> np.ndarray:
  """The attributes of an index: int8 [count, A]."""
  shape = (count, len(index["attribute_names"]))
  try:
    labels = np.array(index["attributes"], np.int8)
  except (ValueError, OverflowError, TypeError):
    labels = np.zeros(0, np.int8)
  if labels.shape != shape or not np.isin(labels, _LABELS).all():
    raise DataError(
      f"{path / 'index.json'} is damaged: its attributes are not"
      f" {list(shape)} numbers 0, 1 or -1; {_GET_AGAIN}."
    )
  return labels
