"""A folder of ArrayRecord files and the index.json that names them."""

import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from array_record.python import array_record_module

from jaxpriv import files
from jaxpriv.data.records import DataError


class Kind(NamedTuple):
  """A kind of such folders: how it is named, made and repaired.

  Attributes:
    name: "a packed set".
    format: the name of the format in the index.
    version: the version of the format.
    make: a sentence: how to make one.
    again: what to do about a damaged one, an imperative without a full stop.
  """

  name: str
  format: str
  version: int
  make: str
  again: str


def name(
  folder: pathlib.Path, stem: str, counts: Sequence[int]
) -> list[dict[str, Any]]:
  """Renames files stem-00000, ... once their number is known.

  Returns:
    their entries in the index: the file and its number of records.
  """
  shards = []
  for i, count in enumerate(counts):
    file = f"{stem}-{i:05d}-of-{len(counts):05d}.array_record"
    (folder / f"{stem}-{i:05d}").rename(folder / file)
    shards.append(dict(file=file, records=count))
  return shards


def read_index(path: pathlib.Path, kind: Kind) -> dict[str, Any]:
  """Reads the index of a folder.

  Raises:
    DataError: there is none, or it is damaged, foreign or of another version.
  """
  if not path.is_dir():
    raise DataError(f"There is no folder {path}. {kind.make}")
  file = path / "index.json"
  if not file.is_file():
    raise DataError(f"{path} has no index.json. {kind.make}")
  try:
    index = files.read_json(file, (dict, list), again=kind.again)
  except files.DamagedError as error:
    raise DataError(f"{error}.") from error
  if not isinstance(index, dict) or index.get("format") != kind.format:
    raise DataError(f"{file} is not the index of {kind.name}. {kind.make}")
  if index.get("version") != kind.version:
    raise DataError(
      f"{file} has version {index.get('version')}, this program reads version"
      f" {kind.version}; {kind.again}."
    )
  return index


def check(
  path: pathlib.Path,
  shards: Sequence[Mapping[str, Any]],
  kind: Kind,
  open_file: Callable = array_record_module.ArrayRecordReader,
) -> tuple[list[str], list[int]]:
  """Checks that the files are complete; returns them and their record counts.

  Raises:
    DataError: there are none, or one is missing or truncated.
  """
  if not shards:
    raise DataError(f"{path} holds no records.")
  paths, counts = [], []
  for shard in shards:
    if not isinstance(shard, dict) or not shard.keys() >= {"file", "records"}:
      raise DataError(f"{path}/index.json is damaged; {kind.again}.")
    file = path / pathlib.PurePath(str(shard["file"])).name  # here only
    if not file.is_file():
      raise DataError(f"{file}, named in index.json, is missing; {kind.again}.")
    try:
      reader = open_file(str(file))
      count = reader.num_records()
      reader.close()
    except (RuntimeError, ValueError) as error:
      raise DataError(
        f"{file} is truncated or not an ArrayRecord file: {error};"
        f" {kind.again}."
      ) from error
    if count != shard["records"]:
      raise DataError(
        f"{file} holds {count} records, index.json says {shard['records']}; it"
        f" is truncated or was replaced; {kind.again}."
      )
    paths.append(str(file))
    counts.append(count)
  return paths, counts
