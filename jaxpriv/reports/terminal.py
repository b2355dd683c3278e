"""The identification and attribute tables for a terminal, by rich."""

from collections.abc import Mapping
import functools
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from jaxpriv.reports import html, summary, verdicts, wording

STYLES = {"good": "green", "unclear": "yellow", "bad": "red", "plain": "dim"}
MARKS = {"good": "✓ ", "unclear": "? ", "bad": "✕ ", "plain": ""}


def print_tables(
  results: Mapping[str, Any], console: Console | None = None
) -> None:
  """Prints what an evaluation measured, and the headline below it."""
  console = console or Console()
  name = functools.partial(wording.name, names=results.get("names", {}))
  for table in (_identification(results, name), _attributes(results, name)):
    if table.row_count:
      console.print(table)
  verdict = verdicts.overall(
    results.get("identification", []), results.get("mechanism", "")
  )
  console.print(
    Text(summary.headline(results) + ".", f"bold {STYLES[verdict.level]}")
  )


def _word(verdict: verdicts.Verdict) -> Text:
  return Text(MARKS[verdict.level] + verdict.word, STYLES[verdict.level])


def _table(title: str, *columns: str, numbers: tuple[str, ...]) -> Table:
  table = Table(title=title, title_justify="left", title_style="bold", box=None)
  for column in columns:
    justify = "right" if column in numbers else "left"
    table.add_column(column, justify=justify)
  return table


def _identification(results: Mapping[str, Any], name) -> Table:
  rows = results.get("identification", [])
  table = _table(
    "Identification: the right person comes first",
    *("Mechanism", "Attack", "Rank-1", "95%", "Plain", "Chance", "Verdict"),
    numbers=("Rank-1", "95%", "Plain", "Chance"),
  )
  groups = html.identification_groups(rows, results.get("mechanism", ""))
  for group in groups:
    used = "used in the loss" if group["used_in_loss"] else "used in no loss"
    table.add_row()
    # One cell would make its column as wide as the heading: so print it short.
    table.add_row(
      Text(group["recogniser"], "bold", overflow="fold"),
      Text(group["gallery"], "bold"),
      Text(),
      Text(used, "dim"),
    )
    for block in group["blocks"]:
      for row in block:
        witness = row["witness"]
        table.add_row(
          "  unprotected" if row["undisguised"] else f"  {name(row['mechanism'])}",
          row["attack"],
          wording.percent(row["rate"]),
          wording.interval(row["low"], row["high"]),
          wording.percent(witness["rate"]) if witness else wording.NOTHING,
          wording.percent(row["chance"]),
          _word(row["verdict"]),
        )
  return table


def _attributes(results: Mapping[str, Any], name) -> Table:
  rows = results.get("attributes", [])
  predictors = list(dict.fromkeys(row["predictor"] for row in rows))
  table = _table(
    "Attributes: read right, and the change in points from the originals",
    *("Mechanism", "Attribute", "Majority", *predictors),
    numbers=("Majority", *predictors),
  )
  for group in html.attribute_groups(results):
    for row in group["rows"]:
      cells = [
        Text(
          f"{wording.percent(cell['rate'])} "
          f"{wording.points(cell['rate'] - cell['original'])} "
          f"{cell['verdict'].word}",
          STYLES[cell["verdict"].level],
        )
        if cell
        else Text(wording.NOTHING)
        for cell in row["cells"]
      ]
      table.add_row(
        name(group["mechanism"]),
        row["attribute"],
        wording.percent(row["majority"]),
        *cells,
      )
  return table
