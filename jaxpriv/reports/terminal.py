"""The results for a terminal, by rich."""

from collections.abc import Sequence
from typing import NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jaxpriv.reports import cells, summary, tables, wording
from jaxpriv.reports import results as results_lib

STYLES = {"good": "green", "unclear": "yellow", "bad": "red", "told": ""}
LONGEST = 12  # characters of a word that is not broken if that can be helped
MARKS = {"good": "✓ ", "unclear": "? ", "bad": "✕ ", "told": ""}


def print_tables(
  results: results_lib.Results, console: Console | None = None
) -> None:
  """Prints the headline, the tables of the mechanism, and the comparison.

  Args:
    results: what was measured.
    console: where to; standard output unless given.

  Raises:
    ResultsError: a finding is incomplete or contradicts itself.
  """
  console = console or Console()
  headline = summary.headline(results)
  style = f"bold {STYLES[headline.level]}"
  console.print(Text(f"{headline.text}.\n", style))
  shown = tables.views(results, [results.mechanism])
  compared = tables.comparison(results)
  for table in [*shown, compared] if compared else shown:
    console.print(_fitting(table, console.width))
    console.print()
  console.print(Text(tables.BASIS, "dim"))


class _Column(NamedTuple):
  """How a column is drawn, and between which widths."""

  title: str
  number: bool
  marks: bool  # nothing but verdicts
  whole: bool  # never broken
  least: int
  most: int


def _fitting(table: cells.Table, width: int) -> Table:
  """The table as wide as the terminal lets it be, with whole words if so."""
  for gap, wrap in ((2, False), (1, False), (1, True)):
    columns = _columns(table, gap, wrap)
    room = width - gap * (len(columns) - 1)
    if sum(column.least for column in columns) <= room:
      break
  return _rich(table, columns, gap, _widths(columns, room))


def _columns(table: cells.Table, gap: int, wrap: bool) -> list[_Column]:
  """The columns without detail.

  Args:
    table: to draw.
    gap: spaces between columns, at least 1.
    wrap: whether verdicts may take two lines.
  """
  columns = []
  for i, column in enumerate(table.columns):
    if column.detail:
      continue
    title = f"{column.title}\n{column.sub}" if column.sub else column.title
    if column.number and gap == 1:
      title = title.replace(" ", "\n")
    cells = [row.cells[i] for row in table.rows]
    marks = all(cell.text in ("", wording.NOTHING) for cell in cells)
    texts = [_text(cell).plain for cell in cells]
    whole = column.number or (marks and not wrap)
    words = [word for text in [title, *texts] for word in text.split()]
    least = min(max(map(len, words), default=1), LONGEST)
    if whole:
      least = max(least, *map(len, [*title.split("\n"), *texts]))
    most = max(least, *map(len, [*title.split("\n"), *texts]))
    columns.append(_Column(title, column.number, marks, whole, least, most))
  return columns


def _widths(columns: Sequence[_Column], room: int) -> list[int]:
  """Shares out the room: rich leaves tables a character too wide for it.

  Verdicts come first, then as many columns as can be had without breaks.
  """
  widths = [column.least for column in columns]
  broken = [i for i, column in enumerate(columns) if not column.whole]
  while (spare := room - sum(widths)) > 0:
    lacks = {i: columns[i].most - widths[i] for i in broken}
    lacks = {i: lack for i, lack in lacks.items() if lack}
    if not lacks:
      break
    fits = {i: lack for i, lack in lacks.items() if lack <= spare}
    if fits:
      i = min(fits, key=lambda i: (not columns[i].marks, fits[i]))
      widths[i] += fits[i]
    else:
      widths[max(lacks, key=lambda i: lacks[i])] += 1
  while sum(widths) > room:
    widest = max(broken, key=lambda i: widths[i], default=0)
    if not broken or widths[widest] == 1:
      break
    widths[widest] -= 1
  return widths


def _rich(
  table: cells.Table,
  columns: Sequence[_Column],
  gap: int,
  widths: Sequence[int],
) -> Table:
  """The table with columns of such widths, and a line between groups."""
  groups = list(dict.fromkeys(row.group for row in table.rows))
  caption = table.caption
  if len(groups) > 1:
    caption = f"{groups[0]} above the line. {caption}"
  drawn = Table(
    title=Text(f"{table.title}\n"),
    title_justify="left",
    title_style="bold",
    caption=Text(f"\n{caption}", "dim"),
    caption_justify="left",
    box=box.SIMPLE_HEAD,
    show_edge=False,
    pad_edge=False,
    padding=(0, gap - 1, 0, 0),
    min_width=72,
  )
  for column, width in zip(columns, widths):
    drawn.add_column(
      Text(column.title),
      justify="right" if column.number else "left",
      no_wrap=column.whole,
      overflow="fold",
      width=width,
    )
  shown = [i for i, column in enumerate(table.columns) if not column.detail]
  for number, row in enumerate(table.rows):
    if number and row.group != table.rows[number - 1].group:
      drawn.add_section()
    style = "dim" if row.kind == "reference" else ""
    drawn.add_row(*(_text(row.cells[i]) for i in shown), style=style)
  return drawn


def _text(cell: cells.Cell) -> Text:
  text = Text(cell.text)
  if cell.mark:
    mark = f"{MARKS[cell.level]}{cell.mark}"
    text.append(f" {mark}" if cell.text else mark, STYLES[cell.level])
  return text
