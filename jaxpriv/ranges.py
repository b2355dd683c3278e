"""Ranges of settings: a table of names, and what may stand there."""

import fnmatch
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple


class Range(NamedTuple):
  """The values that a setting may have.

  Attributes:
    words: complete "it is ...".
    holds: tells whether a value is in the range; NaN never is.
  """

  words: str
  holds: Callable[[Any], bool]


def whole(low: int, high: int = 2**63 - 1) -> Range:
  """Whole numbers from `low` to `high`."""
  most = "" if high == 2**63 - 1 else f" and {high:,} at most"
  return Range(
    f"a whole number, {low} at least{most}",
    lambda x: low <= x <= high and x == int(x),
  )


COUNT, NATURAL = whole(1), whole(0)
POSITIVE = Range("a finite number above 0", lambda x: 0 < x < math.inf)
NOT_NEGATIVE = Range("a finite number, 0 or more", lambda x: 0 <= x < math.inf)
SHARE = Range("a share, from 0 to 1", lambda x: 0 <= x <= 1)
BELOW_ONE = Range("a number from 0 to below 1", lambda x: 0 <= x < 1)


def problems(
  tree: Mapping[str, Any], table: Mapping[str, Range], prefix: str = ""
) -> Iterator[str]:
  """A sentence for each setting that is out of its range.

  Args:
    tree: settings, nested; of a tuple each item is checked, and there is one.
    table: pattern of a dotted name -> its range, as in "phases.*.steps". The
      first pattern that fits counts.
    prefix: of names in sentences.
  """
  for name, value in _leaves(tree):
    pattern = next((p for p in table if fnmatch.fnmatchcase(name, p)), None)
    if pattern is None:
      continue
    items = value if isinstance(value, (tuple, list)) else (value,)
    if not items or not all(_holds(table[pattern], x) for x in items):
      yield f"{prefix}{name} = {value!r}: it is {table[pattern].words}"


def _holds(allowed: Range, value: Any) -> bool:
  try:
    return bool(allowed.holds(value))
  except (TypeError, ValueError, OverflowError):  # of another type
    return False


def _leaves(tree: Mapping[str, Any], name: str = "") -> Iterator[tuple]:
  for key, value in tree.items():
    if isinstance(value, Mapping) or hasattr(value, "items"):
      yield from _leaves(value, f"{name}{key}.")
    else:
      yield f"{name}{key}", value
