"""MAT files of MATLAB 5 to 7.2: cells, words and numbers, and nothing else.

`scipy.io.loadmat` reads more, but a damaged file can end the process (a
segmentation fault of scipy 1.17), so that labels of others are read here.
Source: "MAT-File Format", The MathWorks. A file is a header of 128 bytes and
elements: type and number of bytes, four each, and data up to a multiple of
eight; those of at most four bytes have it all in eight. An element may be
compressed. An array is an element that holds others: flags with its class,
dimensions, name and content.
"""

import math
import struct
import zlib
from collections.abc import Iterator, Sequence

import numpy as np

Value = list | str | np.ndarray

_HEADER = 128
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4",
            9: "f8", 12: "i8", 13: "u8"}  # fmt: skip
_TEXT = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16",
         18: "utf-32"}  # fmt: skip
_ARRAY, _COMPRESSED = 14, 15
_CELLS, _WORD = 1, 4  # classes of arrays
_CLASSES_OF_NUMBERS = range(6, 16)
_DEEPEST = 8  # cells in cells
_LARGEST = 1 << 26  # bytes of an element, once it is not compressed


class Reader:
  """Reads the arrays of a file."""

  def __init__(self, data: bytes):
    """Reads the header.

    Raises:
      ValueError: it is of no such file.
    """
    if b"MATLAB 7.3" in data[:_HEADER] or data.startswith(b"\x89HDF"):
      raise ValueError(
        "it is of version 7.3, which is HDF5; save it again in MATLAB by"
        " save(..., '-v7')"
      )
    order = {b"IM": "<", b"MI": ">"}.get(data[126:_HEADER])
    if order is None:
      raise ValueError("it does not begin like one")
    self._data = data
    self._order = order

  def arrays(self, names: Sequence[str]) -> dict[str, Value]:
    """Name -> value, of those names that are in the file.

    Cells are lists in the order of MATLAB, by columns; rows of characters are
    str; numbers are arrays as they are stored, often in fewer bytes than they
    have in MATLAB.

    Raises:
      ValueError: the file is damaged, or an array is of another class.
    """
    found = {}
    for kind, data in self._elements(memoryview(self._data)[_HEADER:]):
      if kind == _COMPRESSED:
        unpacker = zlib.decompressobj()
        try:
          whole = unpacker.decompress(data, _LARGEST)
        except zlib.error as error:
          raise ValueError(str(error)) from error
        if not unpacker.eof:
          raise ValueError("an element is cut off, or too large")
        ((kind, data),) = self._elements(memoryview(whole))
      if kind == _ARRAY:
        name, value = self._array(data, names)
        if name in names:
          found[name] = value
    return found

  def _elements(self, data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Type and data of one element after the other."""
    start = 0
    while start < len(data):
      if len(data) - start < 8:
        raise ValueError("it is cut off")
      kind, size = struct.unpack_from(f"{self._order}II", data, start)
      if kind >> 16:  # type and number are two bytes each, and data follows
        kind, size = kind & 0xFFFF, kind >> 16
        start += 4
        end = start + 4
      else:
        start += 8
        padding = 0 if kind == _COMPRESSED else -size % 8
        end = start + size + padding
      if size > end - start or start + size > len(data):
        raise ValueError("it is cut off")
      yield kind, data[start : start + size]
      start = end

  def _array(
    self, data: memoryview, names: Sequence[str] = ("",), depth: int = 0
  ) -> tuple[str, Value]:
    """Name and value; the value is not read unless the name is in `names`."""
    if not len(data):  # an empty cell
      return "", np.zeros((0, 0))
    parts = list(self._elements(data))
    if len(parts) < 3 or len(parts[0][1]) < 8 or parts[1][0] != 5:
      raise ValueError("an array without its class or dimensions")
    (flags,) = struct.unpack_from(f"{self._order}I", parts[0][1])
    shape = np.frombuffer(parts[1][1], f"{self._order}i4").tolist()
    if len(shape) < 2 or min(shape) < 0:
      raise ValueError(f"an array of dimensions {shape}")
    name, content = bytes(parts[2][1]).decode("latin-1"), parts[3:]
    if name not in names and depth == 0:
      return name, ""
    kind = flags & 0xFF
    if kind == _CELLS:
      return name, self._cells(shape, content, depth + 1)
    if kind == _WORD:
      return name, self._word(shape, content)
    if kind in _CLASSES_OF_NUMBERS:
      return name, self._numbers(shape, content)
    raise ValueError(f"an array of class {kind}, which is not read")

  def _cells(self, shape: list[int], content, depth: int) -> list:
    if depth > _DEEPEST:
      raise ValueError("cells in cells in cells without an end")
    if any(kind != _ARRAY for kind, _ in content):
      raise ValueError("a cell that is no array")
    if len(content) != math.prod(shape):
      raise ValueError(f"{len(content)} cells, not {math.prod(shape)}")
    return [self._array(data, depth=depth)[1] for _, data in content]

  def _word(self, shape: list[int], content) -> str:
    if not content or 0 in shape:
      return ""
    kind, data = content[0]
    if shape[0] != 1 or len(shape) != 2:
      raise ValueError("a word of several rows")
    if kind not in _TEXT:
      raise ValueError(f"characters of type {kind}")
    encoding = _TEXT[kind]
    if not encoding.endswith("8") and encoding != "latin-1":
      encoding += "-le" if self._order == "<" else "-be"
    return bytes(data).decode(encoding)

  def _numbers(self, shape: list[int], content) -> np.ndarray:
    if not content or content[0][0] not in _NUMBERS:
      raise ValueError("numbers of an unknown type")
    kind, data = content[0]
    values = np.frombuffer(data, f"{self._order}{_NUMBERS[kind]}")
    return values.reshape(shape, order="F")
