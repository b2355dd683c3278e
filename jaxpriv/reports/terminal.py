"""The tables of an evaluation for a terminal, by rich."""

import functools
from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jaxpriv.reports import (
  features,
  summary,
  tables,
  tasks,
  verdicts,
  wording,
)
from jaxpriv.reports import results as results_lib

STYLES = {"good": "green", "unclear": "yellow", "bad": "red", "plain": "dim"}
MARKS = {"good": "✓ ", "unclear": "? ", "bad": "✕ ", "plain": "  "}


def print_tables(
  results: Mapping[str, Any],
  console: Console | None = None,
  everything: bool = False,
) -> None:
  """Prints what an evaluation measured, then the headline.

  Args:
    results: see `jaxpriv.reports.results`.
    console: where to; standard output unless given.
    everything: the attacks on the other mechanisms too, not only the strongest.

  Raises:
    ResultsError: a row lacks a column or contradicts itself.
  """
  console = console or Console()
  results = results_lib.plain(results)
  results_lib.check(results)
  name = functools.partial(wording.name, names=results.get("names", {}))
  for group in tables.identification(results):
    console.print(_identification(group, name, everything))
  for group in tables.reconstruction(results):
    if everything or group["mechanism"] in (None, results.get("mechanism")):
      console.print(_reconstruction(group, name))
  if results.get("curves"):
    console.print(_curves(results, name))
  for group in tables.leakage(results):
    if everything or group["mechanism"] == results.get("mechanism"):
      console.print(_leakage(group, name))
  for group in tables.attributes(results):
    if everything or group["mechanism"] == results.get("mechanism"):
      console.print(_attributes(group, results, name))
  for group in tables.precision(results):
    if everything or group["mechanism"] == results.get("mechanism"):
      console.print(_precision(group, name))
  if len(verdicts.mechanisms(results)) > 1:
    released = features.released(results)
    compare = _released_comparison if released else _comparison
    console.print(compare(results, name))
  if results.get("tasks"):
    console.print(_tasks(results))
  level = summary.level(results)
  headline = summary.headline(results)
  console.print(Text(f"{headline}.", f"bold {STYLES[level]}"))


def _table(title: str, *columns: str, numbers: tuple[str, ...]) -> Table:
  table = Table(
    title=Text(title),
    title_justify="left",
    title_style="bold",
    box=box.SIMPLE_HEAD,
    pad_edge=False,
    padding=(0, 1, 0, 0),
    min_width=72,
  )
  for column in columns:
    table.add_column(
      Text(column),
      justify="right" if column in numbers else "left",
      min_width=11 if column == columns[0] else None,
      no_wrap=column in numbers,
    )
  return table


def _word(verdict: verdicts.Verdict) -> Text:
  return Text(MARKS[verdict.level] + verdict.word, STYLES[verdict.level])


def _identification(group: Mapping[str, Any], name, everything: bool) -> Table:
  """Returns the attacks of one group; who they attack, only where it varies."""
  used = "used in the loss" if group["used_in_loss"] else "used in no loss"
  who = ("Mechanism",) if everything else ()
  numbers = ("Rank-1", "95% interval", "Undisguised", "Chance")
  table = _table(
    f"{group['recogniser']} ({used}), {group['gallery']} in the gallery",
    *(*who, "Attack", *numbers, "Verdict"),
    numbers=numbers,
  )
  for row in (row for block in group["blocks"] for row in block):
    if not (everything or row["mine"] or row["undisguised"]):
      continue
    witness = row["witness"]
    table.add_row(
      *(Text(name(row["mechanism"])) for _ in who),
      Text(row["attack"]),
      wording.percent(row["rate"]),
      wording.interval(row["low"], row["high"]),
      wording.percent(witness["rate"]) if witness else wording.NOTHING,
      wording.percent(row["chance"]),
      _word(row["verdict"]),
    )
  return table


def _reconstruction(group: Mapping[str, Any], name) -> Table:
  """Returns the attacks of one group, each behind the mark of its verdict."""
  who = group["mechanism"]
  similar = ("Pairs", "SSIM", "95%\ninterval", "Align.")
  numbers = (*similar, "Rank-1", "Undis-\nguised", "Chance", "Attri-\nbutes")
  table = _table(
    "Bounds of what can be rebuilt"
    if who is None
    else f"Photographs rebuilt from features of {name(who)}",
    *("Attack", *numbers),
    numbers=numbers,
  )
  for row in group["rows"]:
    level = row["verdict"].level
    whose = f" ({name(row['mechanism'])})" if group["several"] else ""
    table.add_row(
      Text(
        (MARKS[level] if who else "") + row["attack"] + whose, STYLES[level]
      ),
      wording.count(row["pairs"]),
      wording.fixed(row["ssim"], 2),
      # Without spaces, or the widest row would not fit.
      wording.span(row["ssim_low"], row["ssim_high"]).replace(" ", ""),
      wording.fixed(row["aligned_ssim"], 2),
      wording.percent(row["rate"]),
      wording.percent(row["undisguised"]),
      wording.percent(row["chance"]),
      wording.percent((row["attributes"] or {}).get("balanced")),
    )
  read = group["rows"][0]["attributes"]
  if who is None and read:
    table.caption = Text(
      f"Attributes: balanced accuracy, {read['what']} ones; guessing 50%,"
      f" undisguised {wording.percent(read['undisguised'])}"
    )
    table.caption_justify = "left"
  return table


def _curves(results: Mapping[str, Any], name) -> Table:
  numbers = ("SSIM", "Pairs", "Tried", "Best", "Clean", "Mean")
  table = _table(
    "Known pairs that it takes to reach an SSIM",
    *("Mechanism", *numbers, "Verdict"),
    numbers=numbers,
  )
  for row in tables.curves(results):
    table.add_row(
      Text(name(row["mechanism"])),
      wording.fixed(row["threshold_ssim"], 2),
      wording.count(row["pairs_needed"]),
      wording.count(row["largest"]),
      wording.fixed(row["best"], 2),
      wording.fixed(row["clean"], 2),
      wording.fixed(row["mean"], 2),
      _word(row["verdict"]),
    )
  return table


def _leakage(group: Mapping[str, Any], name) -> Table:
  numbers = ("Rate", "95% interval", "Clean", "Chance")
  table = _table(
    f"Read from features of {name(group['mechanism'])}",
    *("Attack", "What", *numbers, "Verdict"),
    numbers=numbers,
  )
  for row in group["rows"]:
    table.add_row(
      Text(row["attack"]),
      Text(name(row["what"])),
      wording.percent(row["rate"]),
      wording.interval(row["low"], row["high"]),
      wording.percent(row["original"]),
      wording.percent(row["chance"]),
      _word(row["verdict"]),
    )
  return table


def _precision(group: Mapping[str, Any], name) -> Table:
  numbers = ("Precision", "95% interval", "Clean", "Constant")
  table = _table(
    f"Mean average precision, from features of {name(group['mechanism'])}",
    *("Reader", "Attributes", *numbers),
    numbers=numbers,
  )
  for row in group["rows"]:
    table.add_row(
      Text(row["reader"]),
      f"{row['count']} {row['what']}",
      wording.percent(row["value"]),
      wording.interval(row["low"], row["high"]),
      wording.percent(row["original"]),
      wording.percent(row["constant"]),
    )
  return table


def _released_comparison(results: Mapping[str, Any], name) -> Table:
  numbers = ("SSIM", "Pairs needed", "Attributes")
  table = _table(
    "Every mechanism: its strongest attack, and the attributes' mean change",
    *("Mechanism", "Attack", *numbers, "Verdict"),
    numbers=numbers,
  )
  for row in summary.comparison(results):
    attack, curve = row["rebuilt"], row["curve"] or {}
    table.add_row(
      Text(name(row["mechanism"])),
      Text(features.describe(attack) if attack else wording.NOTHING),
      wording.fixed(attack["ssim"] if attack else None, 2),
      wording.count(curve.get("pairs_needed")),
      wording.points(row["change"]),
      _word(row["rebuilding"]),
    )
  return table


def _tasks(results: Mapping[str, Any]) -> Table:
  numbers = ("Value", "95% interval", "Constant", "Faces")
  table = _table(
    "On people it has not seen, beside the best constant answer",
    *("Score", *numbers),
    numbers=numbers,
  )
  for row in tasks.rows(results):
    table.add_row(
      Text(row["title"]),
      row["figure"],
      row["interval"],
      row["constant"],
      wording.count(row["total"]),
    )
  return table


def _comparison(results: Mapping[str, Any], name) -> Table:
  numbers = ("Rank-1", "Attributes", "Distinct")
  table = _table(
    "Every mechanism: its strongest attack, and the attributes' mean change",
    *("Mechanism", "Attack", *numbers, "Verdict"),
    numbers=numbers,
  )
  for row in summary.comparison(results):
    attack, made = row["attack"] or {}, row["outputs"] or {}
    table.add_row(
      Text(name(row["mechanism"])),
      Text(attack.get("attack", wording.NOTHING)),
      wording.percent(attack.get("rate")),
      wording.points(row["change"]),
      wording.count(made.get("distinct")),
      _word(row["verdict"]),
    )
  return table


def _attributes(
  group: Mapping[str, Any], results: Mapping[str, Any], name
) -> Table:
  predictors = tables.unique(results["attributes"], "predictor")
  table = _table(
    f"Attributes after {name(group['mechanism'])}: read right, and change",
    *("Attribute", "Majority", *predictors),
    numbers=("Majority",),
  )
  for row in group["rows"]:
    table.add_row(
      Text(name(row["attribute"])),
      wording.percent(row["majority"]),
      *(_cell(cell) for cell in row["cells"]),
    )
  return table


def _cell(cell: Mapping[str, Any] | None) -> Text:
  if cell is None:
    return Text(wording.NOTHING)
  change = wording.points(cell["rate"] - cell["original"])
  rate, verdict = wording.percent(cell["rate"]), cell["verdict"]
  return Text(f"{rate} {change} {verdict.word}", STYLES[verdict.level])
