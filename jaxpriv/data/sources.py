"""Opens the source a config asks for, framed to one size, perhaps in memory.

A source of photographs (folder, TFDS, ArrayRecord) opens images of any size by
`photograph`, and `Framed` cuts the faces out. `open_source` always returns a
source with images of `image_size` and the attributes asked for. The source
feature_pools holds the records of another source, `config.own`, followed by the
features of `config.pools`, which stay on disk.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jaxpriv.data import account, alignment, copies
from jaxpriv.data.found_faces import Found
from jaxpriv.data.memory import in_memory
from jaxpriv.data.records import Batch, DataError, Record, Source

IMAGE_SOURCES = ("procedural", "folder", "tfds", "array_record")
SOURCES = (*IMAGE_SOURCES, "feature_pools")


def open_source(
  config: Any,
  progress: Callable[[int, int], None] | None = None,
  found: Found | None = None,
) -> Source:
  """Opens the source of a data config.

  Procedural faces are drawn at `image_size`: aligned to a template if
  `config.align` is "landmarks" or "head", otherwise loosely framed.

  Args:
    config: has source (one of `SOURCES`), path, name, split, sets, image_size,
      align, num_identities, images_per_identity, seed, domain, attributes,
      cache, max_bad_share and max_faces (scenes of so many people at most, of
      procedural, folder and tfds; 0 for one face a record); for feature_pools
      also own and pools. It may have copies (`copies.CHOICES`) and level (see
      `FolderSource`).
    progress: called with (images done, of how many) while a cache is filled.
    found: faces of a folder's photographs that no label frames.

  Returns:
    A source of records with image uint8 [image_size, image_size, 3] and with
    `config.attributes`. If that is empty, with the source's
    `default_attributes`, or, if there are none, with every attribute that takes
    both values; if it is ("all",), with the latter.

  Raises:
    DataError: the data do not exist or do not match the config.
  """
  if config.source == "feature_pools":
    return _open_pools(config, progress, found)
  source = open_unframed(config, found)
  names = _choose_attributes(source, words(config.attributes), config)
  framed: Source = Framed(
    source, config.image_size, config.align, names, config.max_bad_share
  )
  # Runs of a version that did not look for copies were trained with them.
  choice = config.get("copies", copies.KEEP)
  copies.check(choice)
  if config.cache:
    framed = in_memory(framed, progress=progress)
  whole = copies.settle(framed, choice, config.align, progress)
  if len(whole.left_out):
    account.tell(config.path or config.source, account.of(whole))
  return whole


def words(values: Sequence[Any]) -> tuple[str, ...]:
  """Names of a config; --config.data.sets=a,b arrives as one name, "a,b"."""
  # --config.data.sets=1 arrives as a number.
  parts = (str(value).split(",") for value in values)
  return tuple(name for part in parts for name in part if name)


def _open_pools(config, progress, found) -> Source:
  from jaxpriv.data.feature_pools import FeaturePools
  from jaxpriv.data.pool import Pool, check_alike

  if config.own not in IMAGE_SOURCES:
    raise DataError(
      f"data.own is {config.own!r}; for one's own images it must be one of"
      f" {', '.join(IMAGE_SOURCES)}."
    )
  if config.get("max_faces", 0):
    raise DataError(
      f"data.max_faces is {config.max_faces}, and records of pools are of one"
      " face each: give 0."
    )
  folders = words(config.pools)
  if not folders:
    raise DataError(
      "data.pools is empty: name the folders of the feature pools to train on,"
      " or take another data.source."
    )
  pools = [Pool(folder) for folder in folders]
  check_alike(pools)  # before images are decoded for minutes
  if config.align != pools[0].align:
    raise DataError(
      f"data.align is {config.align}, and faces of pool {pools[0].path} were"
      f" framed by {pools[0].align}: features of both do not go together. Give"
      f" --config.data.align={pools[0].align}"
    )
  own = config.copy_and_resolve_references()
  own.source = config.own
  return FeaturePools(open_source(own, progress, found), pools)


def open_unframed(config: Any, found: Found | None = None) -> Source:
  """Opens a source with its images and attributes as they are stored.

  Args:
    config: see `open_source`.
    found: likewise.

  Raises:
    DataError: the data do not exist or do not match the config.
  """
  if config.get("max_faces", 0):
    return _open_scenes(config)
  # Imported where needed: one source's library is not required by the others.
  if config.source == "procedural":
    from jaxpriv.data.procedural import ProceduralFaces

    return ProceduralFaces(
      config.num_identities,
      config.images_per_identity,
      config.image_size,
      config.seed,
      domain=config.domain,
      aligned=config.align if config.align in alignment.BY_POINTS else "",
    )
  if config.source == "folder":
    from jaxpriv.data.folder import FolderSource

    return FolderSource(
      config.path, words(config.sets), found, config.get("level", 1)
    )
  if config.source == "tfds":
    from jaxpriv.data.tfds_source import TfdsSource

    return TfdsSource(config.name, config.split, config.path)
  if config.source == "array_record":
    from jaxpriv.data.array_record import ArrayRecordSource

    return ArrayRecordSource(config.path)
  raise DataError(
    f"data.source is {config.source!r}; it must be one of {', '.join(SOURCES)}."
  )


def _open_scenes(config) -> Source:
  if config.source == "procedural":
    from jaxpriv.data.procedural import ProceduralScenes

    return ProceduralScenes(
      config.num_identities,
      config.images_per_identity,
      config.image_size,
      config.seed,
      domain=config.domain,
      max_faces=config.max_faces,
    )
  if config.source == "folder":
    from jaxpriv.data.scenes import FolderScenes

    return FolderScenes(config.path, words(config.sets), config.max_faces)
  if config.source == "tfds":
    from jaxpriv.data.tfds_source import TfdsScenes

    return TfdsScenes(config.name, config.split, config.path, config.max_faces)
  raise DataError(
    f"data.source is {config.source!r}, whose records are of one face: scenes"
    f" (data.max_faces = {config.max_faces}) come from procedural, folder or"
    " tfds."
  )


class Framed(Source):
  """A source whose images have one size and whose attributes are chosen."""

  def __init__(
    self,
    source: Source,
    image_size: int,
    align: str = "landmarks",
    attributes: Sequence[str] | None = None,
    max_bad_share: float = 0.05,
  ):
    alignment.check(align)
    if source.max_faces and align != "whole":
      raise DataError(
        f"data.align is {align!r}, which would crop people from scenes"
        f" (data.max_faces = {source.max_faces}): give data.align=whole."
      )
    existing = tuple(source.attribute_names)
    self.attribute_names = existing if attributes is None else tuple(attributes)
    self._columns = [existing.index(name) for name in self.attribute_names]
    values = source.attribute_values
    if values is not None:
      self.attribute_values = values[:, self._columns]
    self.points = source.points
    self.identities = source.identities
    self.identity_names = source.identity_names
    self.batched = source.batched
    self.max_faces = source.max_faces
    self.left_out = source.left_out
    self.seen = source.seen
    self._source = source
    self._align = align
    self.image_size = image_size
    self.max_bad_share = max_bad_share

  def __len__(self) -> int:
    return len(self._source)

  def __getitem__(self, index: int) -> Record:
    index = int(index)
    photograph = self._source.photograph(index)
    if photograph is None:
      return self._chosen(self._source[index])
    return self._chosen(
      alignment.frame(photograph, self.image_size, self._align)
    )

  def describe(self, index: int) -> str:
    return self._source.describe(int(index))

  def name(self, index: int) -> str:
    return self._source.name(int(index))

  def person(self, number: int) -> str:
    return self._source.person(number)

  def batch(self, indices: np.ndarray) -> Batch:
    return self._chosen(self._source.batch(indices))

  def _chosen(self, record):
    return dict(record, attributes=record["attributes"][..., self._columns])


def _choose_attributes(
  source: Source, asked: tuple[str, ...], config
) -> tuple[str, ...]:
  existing = tuple(source.attribute_names)
  where = (
    f"source {config.source!r} ({config.path or config.name or 'built in'})"
  )
  every = asked == ("all",)
  for name in () if every else asked:
    if name not in existing:
      why = source.no_attributes.get(name, "")
      raise DataError(
        f"data.attributes names {name!r}, which {where} does not have"
        f"{f' ({why})' if why else ''}; it has"
        f" {', '.join(existing) or 'no attributes'}."
      )
  if asked and not every:
    return asked
  if source.default_attributes and not every:
    return source.default_attributes
  values = source.attribute_values
  if values is None:
    return existing
  varied = (values == 0).any(0) & (values == 1).any(0)
  return tuple(name for name, both in zip(existing, varied) if both)
