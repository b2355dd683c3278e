"""Records packed into ArrayRecord files, for training far from the originals.

A packed set is a folder:

    index.json                             format, names, identities, shards
    records-00000-of-00002.array_record    ArrayRecord, group_size:1

The entries are those of `jaxpriv.data.serialization`.
"""

import itertools
import json
import os
import pathlib
import shutil
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from array_record.python import array_record_data_source, array_record_module

from jaxpriv.data import alignment, images, serialization, shards
from jaxpriv.data.records import (
  DataError,
  Photograph,
  Record,
  Source,
  UnreadableImageError,
)

IMAGE_FORMATS = ("jpeg", "png")

_VERSION = 1
_KIND = shards.Kind(
  name="a packed set",
  format=serialization.FORMAT,
  version=_VERSION,
  make="Pack one with `python -m launch.pack`.",
  again="pack it again",
)


def write(
  path: str | os.PathLike,
  records: Iterable[Mapping[str, np.ndarray]],
  *,
  attribute_names: Sequence[str] = (),
  identity_names: Sequence[str] = (),
  image_format: str = "jpeg",
  framed: bool = True,
  records_per_shard: int = 16384,
) -> int:
  """Packs records into a new folder, which appears only when it is complete.

  Args:
    path: the folder; it must not exist.
    records: any dicts of arrays; uint8 [H, W, 3] under "image" is compressed.
    attribute_names: names of `record["attributes"]`.
    identity_names: the person behind each number of `record["identity"]`.
    image_format: "jpeg" (quality 95) or "png" (lossless).
    framed: the images are face crops already; readers must not crop them again.
    records_per_shard: size of a file, in records.

  Returns:
    How many records were written.

  Raises:
    DataError: the folder exists, or the image format is not known.
  """
  path = pathlib.Path(path).expanduser()
  if image_format not in IMAGE_FORMATS:
    raise DataError(
      f"image_format is {image_format!r}; it must be one of"
      f" {', '.join(IMAGE_FORMATS)}."
    )
  if path.exists():
    raise DataError(f"{path} exists; remove it or choose another output.")
  partial = path.with_name(path.name + ".partial")
  shutil.rmtree(partial, ignore_errors=True)
  partial.mkdir(parents=True)
  counts, identities, attributes = _write_shards(
    partial, records, image_format, records_per_shard
  )
  index = dict(
    format=serialization.FORMAT,
    version=_VERSION,
    attribute_names=list(attribute_names),
    identity_names=list(identity_names),
    framed=framed,
    shards=shards.name(partial, "records", counts),
    identities=identities,
    attributes=attributes,
  )
  (partial / "index.json").write_text(json.dumps(index))
  partial.rename(path)
  return len(identities)


class ArrayRecordSource(Source):
  """Reads a packed set that `write` wrote.

  Attributes:
    attribute_names: names of the attributes.
    attribute_values: int8 [N, A], -1 unknown.
    identities: int32 [N].
    identity_names: the person behind each number; may be empty.
  """

  def __init__(self, path: str | os.PathLike):
    """Reads the index and the ends of the files.

    Raises:
      DataError: there is no such packed set, or it is foreign or damaged.
    """
    self.path = pathlib.Path(path).expanduser()
    index = shards.read_index(self.path, _KIND)
    try:
      self.attribute_names = tuple(map(str, index["attribute_names"]))
      self.identity_names = tuple(map(str, index["identity_names"]))
      self._framed = bool(index["framed"])
      self.identities = np.array(index["identities"], np.int32)
      self.attribute_values = np.array(index["attributes"], np.int8).reshape(
        len(self.identities), len(self.attribute_names)
      )
      shards_of_index = list(index["shards"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
      raise DataError(
        f"{self.path}/index.json is damaged ({error!r}); pack it again."
      ) from error
    known = (self.identities >= 0).any() and len(self.identity_names)
    if known and self.identities.max() >= len(self.identity_names):
      raise DataError(
        f"{self.path}/index.json is damaged: it does not name all of its"
        " people; pack it again."
      )
    files, _ = shards.check(self.path, shards_of_index, _KIND)
    self._entries = array_record_data_source.ArrayRecordDataSource(files)
    if len(self._entries) != len(self.identities):
      raise DataError(
        f"{self.path} holds {len(self._entries)} records but its index names"
        f" {len(self.identities)}; pack it again."
      )

  def __getitem__(self, index: int) -> Record:
    fields, image = self._entry(index)
    if image is None:
      return fields
    pixels = images.decode(image, name=self.describe(index))
    return dict(fields, image=np.asarray(pixels))

  def describe(self, index: int) -> str:
    return f"{self.path}, {self.name(index)}"

  def name(self, index: int) -> str:
    return f"record {index}"

  def photograph(self, index: int) -> Photograph:
    """Record `index` with its image opened but not decoded."""
    fields, image = self._entry(index)
    if image is None:
      raise UnreadableImageError(f"{self.describe(index)}: has no image")
    if self._framed:
      square = np.full(4, np.nan)
    else:
      square = alignment.squares_of_boxes(fields["box"], alignment.TIGHT_BOX)
    return Photograph(image, fields, square, self.describe(index))

  def _entry(self, index: int):
    name = self.describe(index)
    try:
      data = self._entries[index]
    except (RuntimeError, ValueError) as error:
      raise UnreadableImageError(f"{name}: {error}") from error
    fields = serialization.decode(data, name)
    encoded = fields.pop("image", None)
    if encoded is None:
      return fields, None
    return fields, images.open_image(encoded, name)


def _write_shards(folder, records, image_format, records_per_shard):
  """Writes numbered files; returns their sizes, identities and attributes."""
  counts: list[int] = []
  identities, attributes = [], []
  remaining = iter(records)
  while shard := list(itertools.islice(remaining, 1)):
    file = str(folder / f"records-{len(counts):05d}")
    writer = array_record_module.ArrayRecordWriter(file, "group_size:1")
    counts.append(0)
    rest = itertools.islice(remaining, records_per_shard - 1)
    for record in itertools.chain(shard, rest):
      writer.write(serialization.encode(record, image_format))
      counts[-1] += 1
      identities.append(int(record.get("identity", -1)))
      attributes.append(np.asarray(record.get("attributes", ())).tolist())
    writer.close()
  return counts, identities, attributes
