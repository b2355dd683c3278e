"""What attacks on released features say, and when they say nothing.

Three rows bound what an attack can reach: the inverter of unprotected features
from above, the mean image and another person's photograph from below. An attack
rebuilds photographs if the whole interval of its SSIM lies more than MARGIN
above the mean image's, or if people are recognised in what it rebuilds, by the
rule of `jaxpriv.reports.verdicts`, or hidden attributes are read in it better
than by guessing. It is held off if the whole interval lies below, the inverter
does rebuild unprotected features, no change of brightness (a negative, say)
brings what was rebuilt nearer, and neither people nor hidden attributes are
recognised in it. Anything else is unclear, and the reason is given.

A probe leaks what it reads better than by guessing. What the decider is for is
readable on purpose.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxpriv.reports import verdicts, wording
from jaxpriv.reports.verdicts import (
  ANOTHER,
  BOUNDS,
  CLEAN,
  DECIDER,
  MEAN,
  Verdict,
)

Results = Mapping[str, Any]
Row = Mapping[str, Any]

SECTIONS = ("reconstruction", "leakage", "curves")
MARGIN = 0.02
GUESSING = 0.5  # the balanced accuracy of whoever sees nothing
BOUND_REASONS = {
  CLEAN: "what an inverter can do",
  ANOTHER: "how much alike any two are",
  MEAN: "what knowing nothing gets",
}
# Of leakage rows: who it is, and that two are of one photograph.
PERSONAL = ("identity", "link")


def released(results: Results) -> bool:
  """Tells whether the results are of released features."""
  return any(results.get(section) for section in SECTIONS)


def bound(rows: Sequence[Row], name: str, mechanism: str) -> Row | None:
  """Returns the row of a bound: that of `mechanism`, if it has its own."""
  return max(
    (row for row in rows if row["attack"] == name),
    key=lambda row: (row["mechanism"] == mechanism, row["ssim"]),
    default=None,
  )


def attacks(rows: Sequence[Row], mechanism: str) -> list[Row]:
  """Returns the rows that attack `mechanism`, the strongest first."""
  found = [
    row
    for row in rows
    if row["mechanism"] == mechanism and row["attack"] not in BOUNDS
  ]
  return sorted(found, key=lambda row: _strength(row, rows), reverse=True)


def _strength(row: Row, rows: Sequence[Row]) -> tuple:
  verdict = reconstruction(row, rows)
  return (
    verdicts.SEVERITY[verdict.level],
    ("leaks", "identified", "rebuilt").index(verdict.word)
    if verdict.level == "bad"
    else -1,
    row["ssim"],
  )


def describe(row: Row) -> str:
  """Returns "A1 known pairs with 1,024 pairs"."""
  if not row["pairs"]:
    return row["attack"]
  noun = "pair" if row["pairs"] == 1 else "pairs"
  return f"{row['attack']} with {wording.count(row['pairs'])} {noun}"


def identity(row: Row) -> Verdict | None:
  """Judges whether people are recognised in what was rebuilt, if measured."""
  if row["hits"] is None:
    return None
  undisguised = row["undisguised"]
  if undisguised is None or undisguised <= verdicts.limit(row["chance"]):
    return verdicts.unproved(undisguised)
  return verdicts.beside_chance(row)


def attributes(row: Row, ceiling: Row | None) -> Verdict | None:
  """Judges what of hidden attributes is read in what was rebuilt, if any is.

  Args:
    row: of an attack.
    ceiling: the row of the inverter of unprotected features.
  """
  read = row["attributes"]
  if read is None or read["what"] != "hidden":
    return None
  most = verdicts.limit(GUESSING)
  if read["low"] > GUESSING:
    return Verdict("leaks", "bad", "hidden attributes are read in it")
  clean = (ceiling or {}).get("attributes")
  if read["undisguised"] <= most:
    reason = "the predictor of attributes fails on undisguised photographs too"
  elif clean and clean["low"] <= GUESSING:
    reason = "no attribute is read in what unprotected features give, either"
  elif read["high"] > most:
    reason = (
      "the interval of attributes read spans the limit of"
      f" {wording.percent(most)}"
    )
  else:
    return Verdict("hidden", "good", "as good as guessing")
  return Verdict("unclear", "unclear", reason)


def reconstruction(row: Row, rows: Sequence[Row]) -> Verdict:
  """Judges one row of the reconstruction table among all of them."""
  if row["attack"] in BOUNDS:
    return Verdict("bound", "plain", BOUND_REASONS[row["attack"]])
  floor = bound(rows, MEAN, row["mechanism"])
  ceiling = bound(rows, CLEAN, row["mechanism"])
  people, read = identity(row), attributes(row, ceiling)
  if floor and row["ssim_low"] > floor["ssim"] + MARGIN:
    return Verdict("rebuilt", "bad", "nearer than the mean image")
  if people and people.level == "bad":
    return Verdict("identified", "bad", people.reason)
  if read and read.level == "bad":
    return read
  reason = _doubt(row, floor, ceiling)
  for found in (people, read):
    if not reason and found and found.level == "unclear":
      reason = found.reason
  if reason:
    return Verdict("unclear", "unclear", reason)
  return Verdict("held off", "good", "no nearer than the mean image")


def _doubt(row: Row, floor: Row | None, ceiling: Row | None) -> str:
  """Returns why an SSIM that is not high settles nothing, or ""."""
  if floor is None:
    return "no mean image to compare with"
  if ceiling is None:
    return "no inverter of unprotected features to compare with"
  most = floor["ssim"] + MARGIN
  if ceiling["ssim_low"] <= most:
    return "the inverter fails on unprotected features too"
  if row["ssim_high"] > most:
    return f"the interval spans the limit of SSIM {wording.fixed(most, 2)}"
  if row["aligned_ssim"] > floor["aligned_ssim"] + MARGIN:
    return "nearer than the mean image, but for brightness or sign"
  return ""


def share(row: Row, rows: Sequence[Row]) -> float | None:
  """Returns where an SSIM lies between the mean image, 0, and the inverter of
  unprotected features, 1, if these are known.
  """
  floor = bound(rows, MEAN, row["mechanism"])
  ceiling = bound(rows, CLEAN, row["mechanism"])
  if not floor or not ceiling or ceiling["ssim"] <= floor["ssim"]:
    return None
  return (row["ssim"] - floor["ssim"]) / (ceiling["ssim"] - floor["ssim"])


def strongest(rows: Sequence[Row], mechanism: str) -> Row | None:
  """Returns the attack on `mechanism` that says the worst of it."""
  return next(iter(attacks(rows, mechanism)), None)


def overall(rows: Sequence[Row], mechanism: str) -> Verdict:
  """Judges `mechanism` by the worst that any attack says of it."""
  worst = strongest(rows, mechanism)
  if worst is None:
    return Verdict("not measured", "unclear", "no attack was run")
  return reconstruction(worst, rows)


def leakage(row: Row, results: Results) -> Verdict:
  """Judges one row of the leakage table."""
  chance = row["chance"]
  most = verdicts.limit(chance)
  leaks = row["low"] > (most if row["what"] in PERSONAL else chance)
  if row["what"] in on_purpose(results, row["mechanism"]):
    word = "readable" if leaks else "not read"
    return Verdict(word, "plain", "the decider is meant to read it")
  if leaks:
    return Verdict("leaks", "bad", "read better than by guessing")
  if row["original"] is None:
    reason = "no figure of unprotected features to compare with"
  elif row["original"] <= most:
    reason = "not read from unprotected features either"
  elif row["high"] > most:
    reason = f"the interval spans the limit of {wording.percent(most)}"
  else:
    return Verdict("hidden", "good", "as good as guessing")
  return Verdict("unclear", "unclear", reason)


def on_purpose(results: Results, mechanism: str) -> set[str]:
  """Returns the attributes that the decider reads from the features."""
  return {
    row["attribute"]
    for row in results.get("attributes", [])
    if row["predictor"] == DECIDER and row["mechanism"] == mechanism
  }


def leaks(results: Results, mechanism: str) -> list[Row]:
  """Returns the leakage of `mechanism`, the worst first."""
  found = [r for r in results.get("leakage", []) if r["mechanism"] == mechanism]
  return sorted(
    found,
    key=lambda row: (
      verdicts.SEVERITY[leakage(row, results).level],
      leakage(row, results).level != "plain",
      row["rate"] - row["chance"],
    ),
    reverse=True,
  )


def curves(results: Results, mechanism: str) -> list[Row]:
  """Returns the curves of `mechanism`, that of the fewest pairs first."""
  found = [r for r in results.get("curves", []) if r["mechanism"] == mechanism]
  needed = lambda row: row["pairs_needed"] or float("inf")
  return sorted(found, key=lambda row: (needed(row), row["threshold_ssim"]))


def curve(row: Row) -> Verdict:
  """Judges how many known pairs it takes to reach the SSIM asked for."""
  wanted = row["threshold_ssim"]
  if row["mean"] is not None and row["mean"] >= wanted:
    return Verdict("unclear", "unclear", "the mean image is as near as that")
  if row["pairs_needed"] is not None:
    return Verdict("reached", "bad", "whoever holds so many pairs inverts it")
  if row["clean"] is None or row["clean"] < wanted:
    return Verdict(
      "unclear", "unclear", "not reached with unprotected features either"
    )
  return Verdict("not reached", "good", "by as many pairs as were tried")
