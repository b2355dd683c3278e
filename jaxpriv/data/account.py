"""The account of a source: each file is used, or left out for one reason."""

import collections
from typing import NamedTuple

from absl import logging

from jaxpriv.data.records import Source

UNREADABLE = "unreadable"
FACELESS = "no face was found"
COPY = "the same picture as another"
TWO_NAMES = "one picture under two names"

_NAMED = 3  # files that a line of the log names for each reason


class Account(NamedTuple):
  """Files, or records where they are no files.

  Attributes:
    seen: all of them.
    used: those of which at least one record is used.
    left_out: reason -> names.
  """

  seen: int
  used: int
  left_out: dict[str, list[str]]

  def counts(self) -> dict[str, int | dict[str, int]]:
    """Plain numbers, without names: anybody may see them."""
    return {
      "seen": self.seen,
      "used": self.used,
      "left_out": {why: len(names) for why, names in self.left_out.items()},
    }


def of(source: Source) -> Account:
  """The account of a source, complete once all its records have been read.

  Raises:
    AssertionError: files are neither used nor left out.
  """
  reasons = dict(source.left_out)
  used = {source.name(index) for index in range(len(source))}
  if source.unreadable:
    used -= {name for name, why in reasons.items() if why == UNREADABLE}
  left_out: dict[str, list[str]] = collections.defaultdict(list)
  for name, why in sorted(reasons.items()):
    if name not in used:
      left_out[why].append(name)
  total = len(used) + sum(map(len, left_out.values()))
  seen = total if source.seen is None else source.seen
  assert total == seen, f"{seen} files were seen, and {total} accounted for"
  return Account(seen, len(used), dict(left_out))


def tell(where: str, account: Account) -> None:
  """Logs an account; a warning if photographs or people may be missing."""
  if not account.left_out:
    return
  parts = []
  for why, names in account.left_out.items():
    some = ", ".join(names[:_NAMED])
    more = ", ..." if len(names) > _NAMED else ""
    parts.append(f"\n  {len(names):6} {why}: {some}{more}")
  logging.warning(
    "%s: %d of %d files are used. Left out:%s",
    where,
    account.used,
    account.seen,
    "".join(parts),
  )
