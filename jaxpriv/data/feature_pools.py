"""Pools of released features with labels, trained on where they lie.

A pool is a folder:

    index.json                              what is in it, labels, shards
    features-00000-of-00002.array_record    group_size:1, uncompressed

An entry is one feature map: float16 values, little endian, the last axis
fastest, and nothing else. All that there is to know besides is in the index.
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

from jaxpriv.data import records as records_lib
from jaxpriv.data import shards as shards_lib
from jaxpriv.data.records import Batch, DataError, Record, Source

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
# Read one at a time: the least processor time for a record, other threads run
# meanwhile, and files may be as long as one likes.
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
) -> int:
  """Writes a pool into a new folder, which appears only when it is complete.

  Args:
    path: the folder; it must not exist.
    records: dicts of features float16 [H, W, C] and attributes int8 [A].
    featurizer: SHA-256, in hexadecimal digits, of the parameters of the public
      network that made the features.
    layer: where in that network the features are taken.
    align: how faces were framed before, as `config.data.align` names it.
    attribute_names: the A names of the attributes.
    records_per_shard: size of a file, in records.

  Returns:
    How many records were written.

  Raises:
    DataError: the folder exists, there are no records, or one of them is not
      of this kind, not of the shape of the first or not finite.
  """
  path = pathlib.Path(path).expanduser()
  if path.exists():
    raise DataError(f"{path} exists; remove it or choose another output.")
  partial = path.with_name(path.name + ".partial")
  shutil.rmtree(partial, ignore_errors=True)
  partial.mkdir(parents=True)
  count = write_into(
    partial,
    records,
    featurizer=featurizer,
    layer=layer,
    align=align,
    attribute_names=attribute_names,
    records_per_shard=records_per_shard,
  )
  partial.rename(path)
  return count


def write_into(
  directory: str | os.PathLike,
  records: Iterable[Mapping[str, np.ndarray]],
  *,
  featurizer: str,
  layer: str,
  align: str,
  attribute_names: Sequence[str],
  records_per_shard: int = 16384,
) -> int:
  """Writes the files of a pool into a folder that the caller publishes.

  The index comes last: with it the pool is whole. Files of a pool that are in
  the folder already are replaced. All else is as in `write`.
  """
  directory = pathlib.Path(directory).expanduser()
  for old in (directory / "index.json", *directory.glob("features-*")):
    old.unlink(missing_ok=True)
  remaining = iter(records)
  first = list(itertools.islice(remaining, 1))
  if not first:
    raise DataError(f"There are no records to write to {directory}.")
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
    shards=_write_shards(directory, entries, records_per_shard),
    attributes=labels,
  )
  (directory / "index.json").write_text(json.dumps(index))
  return len(labels)


class Pool:
  """Reads what `write` wrote, only the records that are asked for.

  Attributes:
    path: the folder.
    featurizer: SHA-256 of the parameters of the network that made the features.
    layer: where in that network they are taken.
    align: how faces were framed before.
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
    # The central square was called "none" once.
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
    """The same one by one, each [H, W, C] and not to be written to.

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


class FeaturePools(Source):
  """One's own images, and after them the records of pools.

  A record is that of an image, with `features` float16 [H, W, C], zero for an
  image, and `pooled` bool []. A record of a pool has a black image, nobody's
  identity and those of the attributes that its pool has; all else is unknown.
  Fields of the images that `records.record` does not know are left out.

  It is `batched` if the images are; a damaged pool is an error.

  Attributes:
    pools: the pools.
    attribute_names: those of the images.
    identities: int32 [N], -1 in pools.
    identity_names: those of the images.
    unreadable: those of the images.
    max_bad_share: of images and pools: as many records as of the images alone.
  """

  def __init__(self, own: Source, pools: Sequence[Pool]):
    """Puts framed images and pools together, without reading records.

    Raises:
      DataError: there are no pools, they do not go together, or one of them
        has no attribute of the images.
    """
    check_alike(pools)
    self._own = own
    self.pools = tuple(pools)
    self.attribute_names = tuple(own.attribute_names)
    self.identity_names = own.identity_names
    self._attributes = np.concatenate(
      [_shared_attributes(pool, self.attribute_names) for pool in pools]
    )
    self._starts = np.cumsum([0, *map(len, pools)])
    self.identities = np.concatenate(
      [own.identities, np.full(self._starts[-1], -1)]
    ).astype(np.int32)
    self.batched = own.batched
    self.image_size = own.image_size
    self.unreadable = own.unreadable
    self.max_bad_share = own.max_bad_share * len(own) / len(self)

  def __len__(self) -> int:
    return len(self.identities)

  def __getitem__(self, index: int) -> Record:
    index = int(index)
    if index >= len(self._own):
      batch = self.batch(np.array([index]))
      return {name: values[0] for name, values in batch.items()}
    row = self._own[index]
    record = {name: values[0] for name, values in self._blank(1).items()}
    return record | {name: row[name] for name in record.keys() & row.keys()}

  def describe(self, index: int) -> str:
    index = int(index)
    if index < len(self._own):
      return self._own.describe(index)
    number = index - len(self._own)
    which = np.searchsorted(self._starts, number, side="right") - 1
    return self.pools[which].describe(number - int(self._starts[which]))

  def person(self, number: int) -> str:
    return self._own.person(number)

  def check_featurizer(self, expected_sha256: str) -> None:
    """Raises DataError unless the pools are features of this network."""
    pool = self.pools[0]
    if pool.featurizer != expected_sha256:
      raise DataError(
        f"pool {pool.path} was made by featurizer {_short(pool.featurizer)},"
        f" and this run's is {_short(expected_sha256)}: features of another"
        " featurizer mean nothing to this decider. Train on the featurizer that"
        " the pool was made by, or ask for a pool made by this run's."
      )

  def batch(self, indices: np.ndarray) -> Batch:
    indices = np.asarray(indices)
    batch = self._blank(len(indices))
    mine = np.flatnonzero(indices < len(self._own))
    if mine.size:
      rows = self._own.batch(indices[mine])
      for name in batch.keys() & rows.keys():
        batch[name][mine] = rows[name]
    theirs = np.flatnonzero(indices >= len(self._own))
    numbers = indices[theirs] - len(self._own)
    batch["pooled"][theirs] = True
    batch["attributes"][theirs] = self._attributes[numbers]
    which = np.searchsorted(self._starts, numbers, side="right") - 1
    for i in np.unique(which):
      chosen = which == i
      features = self.pools[i].read(numbers[chosen] - self._starts[i])
      for row, values in zip(theirs[chosen], features):
        batch["features"][row] = values
    return batch

  def _blank(self, count: int) -> Batch:
    """Rows of which nothing is known."""
    side, shape = self.image_size, self.pools[0].shape
    unknown = records_lib.record(
      np.zeros((), np.uint8), attributes=(-1,) * len(self.attribute_names)
    )
    batch = {
      name: np.repeat(np.asarray(value)[None], count, axis=0)
      for name, value in unknown.items()
    }
    return batch | dict(
      image=np.zeros((count, side, side, 3), np.uint8),
      features=np.zeros((count, *shape), np.float16),
      pooled=np.zeros(count, bool),
    )


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


def _shared_attributes(pool: Pool, names: Sequence[str]) -> np.ndarray:
  """The attributes `names` of a pool: int8 [N, len(names)]."""
  shared = [name for name in names if name in pool.attribute_names]
  if not shared:
    raise DataError(
      f"pool {pool.path} has none of the attributes of one's own images: it has"
      f" {', '.join(pool.attribute_names) or 'none'}, they have"
      f" {', '.join(names) or 'none'}. Name others in data.attributes."
    )
  values = np.full((len(pool), len(names)), -1, np.int8)
  for name in shared:
    column = pool.attributes[:, pool.attribute_names.index(name)]
    values[:, list(names).index(name)] = column
  return values


def _short(sha256: str) -> str:
  return f"{sha256[:12]}..." if len(sha256) > 12 else sha256


def _entries(records, shape, names, labels) -> Iterator[bytes]:
  """Checks and encodes records, and adds the attributes of each to `labels`."""
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
  """Writes numbered files and names them when it is known how many there are.

  Returns:
    What the index says of them.
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
