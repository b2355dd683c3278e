"""Communication of a compiled program, read in XLA's text of it."""

import math
import re
from collections.abc import Mapping
from typing import NamedTuple

KINDS = (
  "all-gather",
  "all-reduce",
  "reduce-scatter",
  "all-to-all",
  "collective-permute",
)
_BITS = re.compile(r"(\d+)")
_SHAPE = re.compile(r"\b([a-z]+\d\w*|pred)\[([\d,]*)\]")
_CALL = re.compile(rf" ({'|'.join(KINDS)})(-start)?\(")


class Collective(NamedTuple):
  """All operations of one kind in a program.

  Attributes:
    number: of them; one in a loop counts once.
    bytes: of whole arrays, before they are cut or after they are gathered.
  """

  number: int
  bytes: int


def read(text: str) -> dict[str, Collective]:
  """The collectives of a program by kind, of those that it has.

  Args:
    text: of `jax.stages.Compiled.as_text`, of one device's program.
  """
  sizes: dict[str, list[int]] = {}
  for line in text.splitlines():
    match = _CALL.search(line)
    if match is None or " = " not in line[: match.start()]:
      continue
    kind, started = match[1], bool(match[2])
    result = line[line.index(" = ") : match.start()]
    shapes = [_bytes(*shape) for shape in _SHAPE.findall(result)]
    if started and kind in ("all-gather", "collective-permute"):
      shapes = _received(shapes)  # operands come first, then results
    size = sum(shapes)
    if kind == "reduce-scatter":
      size *= _group(line)  # the result is one device's part
    sizes.setdefault(kind, []).append(size)
  return {
    kind: Collective(len(sizes[kind]), sum(sizes[kind]))
    for kind in KINDS
    if kind in sizes
  }


def seconds(
  found: Mapping[str, Collective], devices: int, link: float
) -> float:
  """The least time that rings of devices take for these collectives.

  Each device sends (n - 1) / n of an array to gather or to reduce-scatter it,
  and twice that to reduce it for all (Patarasuk and Yuan, "Bandwidth optimal
  all-reduce algorithms for clusters of workstations", 2009).

  Args:
    found: of `read`.
    devices: n.
    link: bytes a second that a device sends.
  """
  ring = (devices - 1) / devices
  passes = {"all-reduce": 2 * ring, "collective-permute": 1 / devices}
  return sum(
    passes.get(kind, ring) * each.bytes / link for kind, each in found.items()
  )


def _received(shapes: list[int]) -> list[int]:
  half = len(shapes) // 2
  return shapes[half : 2 * half]


def _bytes(kind: str, sides: str) -> int:
  number = math.prod(int(side) for side in sides.split(",") if side)
  bits = _BITS.search(kind)
  return number * (max(int(bits[1]), 8) if bits else 8) // 8


def _group(line: str) -> int:
  """The number of devices that share an operation."""
  iota = re.search(r"replica_groups=\[(\d+),(\d+)\]", line)
  if iota:
    return int(iota[2])
  listed = re.search(r"replica_groups=\{\{([\d,]+)\}", line)
  return len(listed[1].split(",")) if listed else 1
