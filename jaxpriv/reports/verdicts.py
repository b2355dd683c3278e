"""What the figures say, and when they say nothing.

A mechanism protects against an attack if the whole interval of the attack's
rank-1 rate lies below `limit(chance)`, and the same recogniser does identify
people who were not protected. It does not protect if the whole interval lies
above the limit. Anything else is unclear, and the reason is given.

An attribute is kept if its accuracy on protected images is within two points of
that on the originals, lost if the predictor does no better than the majority.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jaxpriv.reports import wording

Row = Mapping[str, Any]

UNDISGUISED = "undisguised"
OTHER_PHOTOGRAPH = "other photograph"
# What reads released features as they were meant to be read.
DECIDER = "decider"
# Rows of reconstruction that are no attacks; see `jaxpriv.reports.features`.
CLEAN, MEAN, ANOTHER = "clean features", "mean image", "another photograph"
BOUNDS = (CLEAN, ANOTHER, MEAN)
KEPT_WITHIN = 0.02


class Verdict(NamedTuple):
  """A word, how it is shown (good, unclear, bad or plain), and the reason."""

  word: str
  level: str
  reason: str


class Finding(NamedTuple):
  """One card of the summary."""

  title: str
  figure: str
  word: str
  level: str
  sentence: str


SEVERITY = {"good": 0, "plain": 0, "unclear": 1, "bad": 2}


def limit(chance: float) -> float:
  """Returns the rank-1 rate up to which people count as hidden.

  Three times chance; but in a small gallery, where that would be a lot, five
  points above chance.
  """
  return min(3 * chance, chance + 0.05)


def reference(row: Row, rows: Sequence[Row]) -> Row | None:
  """Returns the undisguised row that gives `row` a meaning, or None.

  The same recogniser (or the one that `row["reference"]` names), on the same
  gallery if there is such a row, else on other photographs.
  """
  wanted = row.get("reference") or row["recogniser"]
  found = [
    r for r in rows if r["attack"] == UNDISGUISED and r["recogniser"] == wanted
  ]
  order = [row["gallery"], OTHER_PHOTOGRAPH]
  found = [r for r in found if r["gallery"] in order]
  return min(
    found,
    key=lambda r: (
      order.index(r["gallery"]),
      r["mechanism"] != row["mechanism"],
    ),
    default=None,
  )


def identification(row: Row, rows: Sequence[Row]) -> Verdict:
  """Judges one row of the identification table among all of them."""
  if row["attack"] == UNDISGUISED:
    if row["low"] > limit(row["chance"]):
      return Verdict("reference", "plain", "what the recogniser can do")
    return Verdict("too weak", "unclear", "near chance on unprotected people")
  found = beside_chance(row)
  if found.level == "bad":
    return found
  witness = reference(row, rows)
  if witness is None:
    return unproved(None)
  if witness["low"] <= limit(witness["chance"]):
    return unproved(witness["rate"])
  return found


def unproved(undisguised: float | None) -> Verdict:
  """What a recogniser's failure says that finds nobody without protection."""
  if undisguised is None:
    return Verdict(
      "unclear", "unclear", "no undisguised figure to compare with"
    )
  return Verdict(
    "unclear", "unclear", "the recogniser fails on unprotected people too"
  )


def beside_chance(row: Row) -> Verdict:
  """Judges the interval of a rate, if the recogniser can be trusted."""
  bound = limit(row["chance"])
  if row["low"] > bound:
    return Verdict("does not protect", "bad", "people are identified")
  if row["high"] <= bound:
    return Verdict("protects", "good", "as good as chance")
  return Verdict(
    "unclear",
    "unclear",
    f"the interval spans the limit of {wording.percent(bound)}",
  )


def attribute(row: Row) -> Verdict:
  """Judges one row of the attribute table."""
  before = original(row)
  if row["original"] <= row["majority"]:
    return Verdict("no signal", "unclear", f"not read from {before} either")
  if row["rate"] >= row["original"] - KEPT_WITHIN:
    return Verdict("kept", "good", f"within two points of the {before}")
  if row["low"] <= row["majority"]:
    return Verdict("lost", "bad", "no better than guessing the majority")
  return Verdict("weakened", "unclear", "still better than the majority")


def original(row: Row) -> str:
  """What an attribute was read from before it was protected."""
  if row["predictor"] == DECIDER:
    return "unprotected features"
  return "original images"


def attacks(rows: Sequence[Row], mechanism: str) -> list[Row]:
  """Returns the rows that attack `mechanism`."""
  return [
    r
    for r in rows
    if r["mechanism"] == mechanism and r["attack"] != UNDISGUISED
  ]


def strongest(rows: Sequence[Row], mechanism: str) -> Row | None:
  """Returns the attack on `mechanism` that says the worst of it."""
  return max(
    attacks(rows, mechanism),
    key=lambda r: (
      SEVERITY[identification(r, rows).level],
      r["rate"] - r["chance"],
    ),
    default=None,
  )


def overall(rows: Sequence[Row], mechanism: str) -> Verdict:
  """Judges `mechanism` by the worst that any attack says of it."""
  worst = strongest(rows, mechanism)
  if worst is None:
    return Verdict("not measured", "unclear", "no attack was run")
  return identification(worst, rows)


def mechanisms(results: Row) -> list[str]:
  """Returns the mechanisms measured, the one of the run first."""
  sections = ("identification", "reconstruction", "leakage", "curves")
  named = [
    row["mechanism"]
    for section in (*sections, "attributes", "outputs", "similarity")
    for row in results.get(section, [])
    if row.get("attack") not in (UNDISGUISED, *BOUNDS)
  ]
  mine = results.get("mechanism")
  first = [mine] if mine in named else []
  return list(dict.fromkeys(first + named))
