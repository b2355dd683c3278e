"""Lines of text and the numbers in them, read with suspicion and written."""

import codecs
import pathlib
import re

from jaxpriv.data.records import DataError

# Decimal numbers alone: float() would also take "nan" and "1_0".
_NUMERIC = re.compile(r"[0-9.eE+\- \t]*[0-9][0-9.eE+\- \t]*")
_DECIMALS = 6


def read_bytes(path: pathlib.Path) -> bytes:
  """The contents of a file.

  Raises:
    DataError: it cannot be read, or is empty.
  """
  try:
    data = path.read_bytes()
  except OSError as error:
    raise DataError(f"{path} cannot be read: {error.strerror}.") from error
  if not data.strip():
    raise DataError(f"{path} is empty.")
  return data


def read_text(path: pathlib.Path) -> str:
  """A file of UTF-8, with or without a byte order mark.

  Raises:
    DataError: it is no such file, or is empty.
  """
  data = read_bytes(path)
  try:
    text = data.removeprefix(codecs.BOM_UTF8).decode()
  except UnicodeDecodeError as error:
    line = data.count(b"\n", 0, error.start) + 1
    raise DataError(
      f"{path}, line {line}: byte 0x{data[error.start]:02x} is not UTF-8. Save"
      " the file as UTF-8."
    ) from error
  if "\0" in text:
    raise DataError(f"{path} is no text: it holds zero bytes.")
  return text


def read_lines(path: pathlib.Path) -> list[tuple[int, str]]:
  """The lines of a file that are not blank, with their numbers from 1.

  Raises:
    DataError: see `read_text`.
  """
  text = read_text(path).replace("\r\n", "\n").replace("\r", "\n")
  stripped = ((i, line.strip()) for i, line in enumerate(text.split("\n"), 1))
  return [(i, line) for i, line in stripped if line]


def is_numeric(line: str) -> bool:
  """Whether a line holds numbers only, and at least one."""
  return _NUMERIC.fullmatch(line) is not None


def numbers(line: str, where: str) -> list[float]:
  """The numbers of a line.

  Raises:
    DataError: something else is in it.
  """
  try:
    if not is_numeric(line):
      raise ValueError
    return [float(word) for word in line.split()]
  except ValueError:
    short = line if len(line) <= 60 else f"{line[:60]}..."
    raise DataError(
      f"{where}: {short!r} is to be numbers, parted by spaces."
    ) from None


def number(value: float) -> str:
  """Writes a number to six decimals, whole ones without a point."""
  text = f"{value:.{_DECIMALS}f}".rstrip("0").rstrip(".")
  return "0" if text == "-0" else text


def rounded(value: float) -> int | float:
  """The number that `number` writes."""
  value = round(value, _DECIMALS)
  return int(value) if value == int(value) else value
