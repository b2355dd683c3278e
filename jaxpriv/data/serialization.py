"""One record as bytes that describe themselves.

The magic b"JPR1", the length of a JSON header (uint32, little endian), the
header, and the bytes of the fields one after the other. The header lists for
every field its name, its encoding ("raw", "jpeg" or "png"), the number of bytes
and, for raw ones, dtype and shape; so a reader needs nothing else to understand
a record, and nothing in it is ever executed.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxpriv.data import images
from jaxpriv.data.records import UnreadableImageError

FORMAT = "jaxpriv records"

_MAGIC = b"JPR1"


def encode(record: Mapping[str, np.ndarray], image_format: str) -> bytes:
  """One record as bytes; the value of `image` is compressed."""
  header, parts = [], []
  for name, value in record.items():
    value = np.asarray(value)
    if name == "image":
      part = images.encode(value, image_format)
      field: dict[str, Any] = dict(name=name, encoding=image_format)
    else:
      dtype = value.dtype.newbyteorder("<").str
      part = value.astype(dtype).tobytes()
      field = dict(name=name, encoding="raw", dtype=dtype)
      field["shape"] = value.shape
    header.append(dict(field, size=len(part)))
    parts.append(part)
  text = json.dumps(header, separators=(",", ":")).encode()
  return b"".join([_MAGIC, len(text).to_bytes(4, "little"), text, *parts])


def decode(data: bytes, name: str = "record") -> dict[str, Any]:
  """Reads `encode`; the value of an image is its encoded bytes.

  Raises:
    UnreadableImageError: the bytes are not a record, or end too early.
  """
  if data[:4] != _MAGIC:
    raise UnreadableImageError(f"{name}: not a record of {FORMAT!r}")
  start = 8 + int.from_bytes(data[4:8], "little")
  try:
    fields = {}
    for field in json.loads(data[8:start]):
      part: Any = data[start : start + field["size"]]
      start += field["size"]
      if field["encoding"] == "raw":
        array = np.frombuffer(part, field["dtype"])
        part = array.reshape(field["shape"])
      fields[field["name"]] = part
  except Exception as error:  # whatever a header may say
    raise UnreadableImageError(f"{name}: damaged ({error})") from error
  if start != len(data):
    raise UnreadableImageError(
      f"{name}: {len(data)} bytes where its header promises {start}"
    )
  return fields
