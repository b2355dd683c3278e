"""Files of named arrays in the safetensors format, in NumPy alone.

A file is the length of its header, 8 bytes little-endian; the header, JSON of
name -> dtype, shape and the first byte and the end of an array; and the arrays,
little-endian, row by row, one after another without gaps. There is no code in
it that anything could run.

`arranged` brings such arrays into the tree of parameters of a network.
"""

import json
import math
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxpriv import files
from jaxpriv.data.records import DataError

# Longer headers are taken for damage, as other readers do.
_MOST_HEADER = 100_000_000
_METADATA = "__metadata__"
_BFLOAT16 = "BF16"  # which NumPy has not: read as float32
DTYPES: Mapping[str, np.dtype] = {
  "BOOL": np.dtype(bool),
  "U8": np.dtype("u1"),
  "I8": np.dtype("i1"),
  **{f"U{8 * n}": np.dtype(f"<u{n}") for n in (2, 4, 8)},
  **{f"I{8 * n}": np.dtype(f"<i{n}") for n in (2, 4, 8)},
  **{f"F{8 * n}": np.dtype(f"<f{n}") for n in (2, 4, 8)},
  _BFLOAT16: np.dtype("<u2"),
}
_NAMES = {v: k for k, v in DTYPES.items() if k != _BFLOAT16}


def read(path: str | os.PathLike) -> dict[str, np.ndarray]:
  """The arrays of a file by name; bfloat16 as float32.

  Raises:
    DataError: there is no such file, or it is not what the format says.
  """
  try:
    whole = pathlib.Path(path).read_bytes()
  except OSError as error:
    raise DataError(f"{path} cannot be read: {error.strerror}.") from error
  try:
    return _parsed(whole)
  except ValueError as error:
    raise DataError(
      f"{path} is no sound safetensors file: {error}. Get it again."
    ) from error


def _parsed(whole: bytes) -> dict[str, np.ndarray]:
  """Raises ValueError, with what is wrong."""
  length = int.from_bytes(whole[:8], "little")
  if len(whole) < 8 or length > min(len(whole) - 8, _MOST_HEADER):
    raise ValueError(
      f"it has {len(whole)} bytes, and its header would have {length}"
    )
  try:
    header = json.loads(whole[8 : 8 + length], object_pairs_hook=_once)
  except (UnicodeDecodeError, RecursionError) as error:
    raise ValueError(f"its header is no JSON ({error})") from error
  if not isinstance(header, dict):
    raise ValueError("its header is no table of arrays")
  header.pop(_METADATA, None)
  body = memoryview(whole)[8 + length :]
  found, places = {}, []
  for name, entry in header.items():
    dtype, shape, start, end = _entry(name, entry, len(body))
    places.append((start, end, name))
    flat = np.frombuffer(body[start:end], dtype)
    if entry["dtype"] == _BFLOAT16:
      # The upper half of a float32.
      flat = (flat.astype("<u4") << 16).view("<f4")
    found[name] = flat.reshape(shape).astype(flat.dtype.newbyteorder("="))
  last = 0
  for start, end, name in sorted(places):
    if start != last:
      raise ValueError(
        f"array {name!r} begins at byte {start}, and that before it ends at"
        f" {last}: arrays overlap, or leave gaps"
      )
    last = end
  if last != len(body):
    raise ValueError(f"its arrays have {last} bytes, and there are {len(body)}")
  return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
  names = [name for name, _ in pairs]
  if len(set(names)) < len(names):
    twice = next(name for name in names if names.count(name) > 1)
    raise ValueError(f"its header names {twice!r} twice")
  return dict(pairs)


def _entry(
  name: str, entry: Any, size: int
) -> tuple[np.dtype, list[int], int, int]:
  """(dtype, shape, first byte, end) of an array of `size` bytes in all."""
  number = lambda x: type(x) is int and x >= 0
  try:
    kind, shape = entry["dtype"], entry["shape"]
    start, end = entry["data_offsets"]
    numbers = [*shape, start, end]
  except (TypeError, KeyError, ValueError) as error:
    raise ValueError(
      f"array {name!r} is not described by dtype, shape and data_offsets"
    ) from error
  if not isinstance(shape, list) or not all(map(number, numbers)):
    raise ValueError(f"array {name!r} has a shape or offsets of no numbers")
  if not isinstance(kind, str) or kind not in DTYPES:
    raise ValueError(
      f"array {name!r} is of type {kind!r}, and read are {', '.join(DTYPES)}"
    )
  dtype, count = DTYPES[kind], math.prod(shape)
  if not start <= end <= size:
    raise ValueError(
      f"array {name!r} is at bytes {start} to {end} of {size} that there are"
    )
  if end - start != count * dtype.itemsize:
    raise ValueError(
      f"array {name!r} has {end - start} bytes, and {kind} of shape"
      f" {tuple(shape)} takes {count * dtype.itemsize}"
    )
  return dtype, shape, start, end


def write(path: str | os.PathLike, arrays: Mapping[str, np.ndarray]) -> None:
  """Writes arrays as one file, which is never half there.

  Raises:
    DataError: an array is of a type that the format has not.
  """
  header: dict[str, Any] = {}
  parts, place = [], 0
  for name, array in arrays.items():
    array = np.asarray(array)
    little = array.dtype.newbyteorder("<")
    if little not in _NAMES or name == _METADATA:
      raise DataError(
        f"array {name!r} of type {array.dtype} cannot be written: types are"
        f" {', '.join(str(dtype) for dtype in _NAMES)}, and {_METADATA} is no"
        " name"
      )
    data = np.ascontiguousarray(array, little).tobytes()
    header[name] = {
      "dtype": _NAMES[little],
      "shape": list(array.shape),
      "data_offsets": [place, place + len(data)],
    }
    parts.append(data)
    place += len(data)
  text = json.dumps(header, separators=(",", ":")).encode()
  text += b" " * (-len(text) % 8)  # arrays begin at a multiple of 8
  whole = b"".join([len(text).to_bytes(8, "little"), text, *parts])
  files.atomic_write(pathlib.Path(path), whole)


class Named(NamedTuple):
  """Where a parameter is found.

  Attributes:
    name: of the array.
    change: what is done to it first, such as a transposition.
  """

  name: str
  change: Callable[[np.ndarray], np.ndarray] = lambda array: array


def arranged(
  arrays: Mapping[str, np.ndarray], table: Mapping[str, Named], params: Any
) -> dict[str, Any]:
  """Arrays in the tree of parameters of a network.

  Args:
    arrays: by name; those that the table does not name are left.
    table: path of a parameter, as "up_8/style/bias" -> where it is found.
    params: nested dicts whose leaves have shape and dtype, such as shapes of
      `jax.eval_shape`.

  Returns:
    a tree like `params` of NumPy arrays

  Raises:
    DataError: parameters are not in the table or the file, or of another shape;
      all of them are named.
  """
  wrong: list[str] = []

  def fill(tree: Mapping[str, Any], before: str) -> dict[str, Any]:
    return {
      key: fill(leaf, f"{before}{key}/")
      if isinstance(leaf, Mapping)
      else one(f"{before}{key}", leaf)
      for key, leaf in tree.items()
    }

  def one(path: str, leaf: Any) -> np.ndarray | None:
    if path not in table:
      wrong.append(f"{path} (of which the table says nothing)")
      return None
    name, change = table[path]
    if name not in arrays:
      wrong.append(f"{path} ({name} is missing)")
      return None
    try:
      array = change(arrays[name])
    except ValueError as error:  # an array of another number of axes
      wrong.append(f"{path} ({name} of {arrays[name].shape}: {error})")
      return None
    if array.shape != tuple(leaf.shape):
      wrong.append(f"{path} ({name} gives {array.shape}, not {leaf.shape})")
      return None
    return np.array(array, leaf.dtype, order="C")

  filled = fill(params, "")
  if wrong:
    raise DataError(
      f"{len(wrong)} parameters do not fit the file: {'; '.join(wrong)}. Build"
      " the network as that of the file is, or take another file"
    )
  return filled
