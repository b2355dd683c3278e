"""Files that a reader never sees half of, and that are read with suspicion.

Nothing that is read here is executed, and no file takes more memory than it has
bytes, whatever its headers say.
"""

import contextlib
import json
import os
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from etils import epath

from jaxpriv.errors import UserError


class DamagedError(UserError, ValueError):
  """A file cannot be understood any more."""


@contextlib.contextmanager
def named(path: epath.PathLike) -> Iterator[None]:
  """Has errors of the system name a file: those of writing do not."""
  try:
    yield
  except OSError as error:
    if error.filename is None:
      error.filename = os.fspath(path)
    raise


def atomic_write(
  path: epath.PathLike, data: bytes | str, mode: int | None = None
) -> epath.Path:
  """Writes a file under a temporary name beside `path`, then renames it.

  Args:
    path: local or gs://; folders that are missing are made.
    data: the contents; text is written as UTF-8.
    mode: permissions, set before anything is written. Buckets have none.

  Returns:
    the path.

  Raises:
    OSError: it cannot be written; `filename` says which.
  """
  target = epath.Path(path)
  partial = target.with_name(target.name + ".partial")
  with named(target):
    target.parent.mkdir(parents=True, exist_ok=True)
    if mode is not None:
      partial.touch()
      if os.path.exists(partial):  # where it is a file of this machine
        os.chmod(partial, mode)
    if isinstance(data, str):  # names of files may hold bytes that are no text
      data = data.encode("utf-8", "surrogateescape")
    partial.write_bytes(data)
    partial.replace(target)
  return target


def in_bucket(path: epath.PathLike) -> bool:
  """Whether a path is that of a cloud's storage, such as gs://bucket/run."""
  return "://" in os.fspath(path)


def expanded(path: epath.PathLike) -> str:
  """The path with ~ written out as the home folder; "" and gs:// stay."""
  return os.path.expanduser(os.fspath(path))


def read_json(
  path: epath.PathLike,
  kind: type | tuple[type, ...] = dict,
  keys: Iterable[str] = (),
  again: str = "bring it back from a copy",
) -> Any:
  """Reads JSON; NaN and infinities are read as strings.

  Args:
    path: of the file.
    kind: of the value, dict or list.
    keys: that a dict must have.
    again: what to do about a damaged file, an imperative without a full stop.

  Raises:
    DamagedError: it is no JSON, or not of this kind.
    FileNotFoundError: there is no such file.
  """
  content: Any = None
  try:
    text = epath.Path(path).read_bytes().decode()
    content = json.loads(text, parse_constant=str)
    reason = "" if isinstance(content, kind) else "it holds something else"
  except (ValueError, RecursionError) as error:
    reason = str(error)
  missing = [] if reason else [key for key in keys if key not in content]
  if missing:
    reason = f"without {', '.join(missing)}"
  if reason:
    raise DamagedError(f"{path} is damaged ({reason}): {again}")
  return content


def read_npz(
  path: epath.PathLike, again: str = "bring it back from a copy"
) -> Mapping[str, np.ndarray]:
  """Reads the arrays of an .npz file of `np.savez`, which does not compress.

  Args:
    path: of the file.
    again: see `read_json`.

  Raises:
    DamagedError: it is no such file.
    FileNotFoundError: there is no such file.
  """
  place = epath.Path(path)
  size = place.stat().length  # else a missing file would be a damaged one
  try:
    with place.open("rb") as stream, zipfile.ZipFile(stream) as archive:
      if sum(entry.file_size for entry in archive.infolist()) > size:
        raise ValueError("its parts are longer than the whole")
      return {
        entry.filename.removesuffix(".npy"): _read_npy(archive, entry)
        for entry in archive.infolist()
      }
  except Exception as error:  # libraries of archives raise all kinds
    raise DamagedError(
      f"{path} is damaged ({str(error) or type(error).__name__}): {again}"
    ) from error


def _read_npy(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> np.ndarray:
  with archive.open(entry) as stream:
    version = np.lib.format.read_magic(stream)
    read = {
      (1, 0): np.lib.format.read_array_header_1_0,
      (2, 0): np.lib.format.read_array_header_2_0,
    }[version]
    shape, fortran, dtype = read(stream)
    if dtype.hasobject:
      raise ValueError("it holds objects, which only a program could restore")
    values = np.frombuffer(stream.read(), dtype)
  return values.reshape(shape, order="F" if fortran else "C")
