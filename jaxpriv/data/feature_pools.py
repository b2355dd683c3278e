"""One's own images with pools of others' released features, as one source."""

from collections.abc import Sequence

import numpy as np

from jaxpriv.data import records as records_lib
from jaxpriv.data.pool import Pool, check_alike
from jaxpriv.data.records import Batch, DataError, Record, Source


class FeaturePools(Source):
  """One's own images, and after them the records of pools.

  A record is that of an image, with `features` float16 [H, W, C], zero for an
  image, and `pooled` bool []. A record of a pool has a black image, no identity
  and the attributes that its pool has; all else is unknown. Fields of the
  images that `records.record` does not have are left out.

  It is `batched` if the images are; a damaged pool is an error.

  Attributes:
    pools: the pools.
    attribute_names: those of the images.
    identities: int32 [N], -1 in pools.
    identity_names: those of the images.
    unreadable: those of the images.
    max_bad_share: a share of images and pools together; it tolerates as many
      unreadable records as the images' own share does.
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
    self.left_out = own.left_out
    self.max_bad_share = own.max_bad_share * len(own) / len(self)

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
    """Rows whose fields are all unknown."""
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
