"""The results for a terminal, by rich."""

from collections.abc import Sequence
from typing import NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jaxpriv.reports import cells, summary, tables, wording
from jaxpriv.reports.results import Results

STYLES = {"good": "green", "unclear": "yellow", "bad": "red", "told": ""}
LONGEST = 12  # characters of a word that is not broken if that can be helped
MARKS = {"good": "✓ ", "unclear": "? ", "bad": "✕ ", "told": ""}


def print_tables(results: Results, console: Console | None = None) -> None:
  """Prints the headline, the tables of the mechanism, and the comparison.

  Args:
    results: what was measured, as it was written or read.
    console: where to; standard output unless given.
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
  """The table as wide as the terminal lets it be, with whole words if so.

  First the gaps between columns are made smaller, then verdicts may take two
  lines.
  """
  for gap, wrap in ((2, False), (1, False), (1, True)):
    columns = _columns(table, gap, wrap)
    room = width - gap * (len(columns) - 1)
    if sum(column.least for column in columns) <= room:
      break
  return _rich(table, columns, gap, _widths(columns, room))


def _columns(table: cells.Table, gap: int, wrap: bool) -> list[_Column]:
  """The columns without detail; `wrap` lets verdicts take two lines."""
  columns = []
  for i, column in enumerate(table.columns):
    if column.detail:
      continue
    title = f"{column.title}\n{column.sub}" if column.sub else column.title
    if column.number and gap == 1:
      title = title.replace(" ", "\n")
    cells = [row.cells[i] for row in table.rows]
    marks = all(cell.text in ("", wording.NOTHING) for cell in cells)
    lines = [*title.split("\n"), *(_text(cell).plain for cell in cells)]
    most = max(map(len, lines))
    words = [len(word) for line in lines for word in line.split()]
    whole = column.number or (marks and not wrap)
    least = most if whole else min(max(words, default=1), LONGEST)
    columns.append(_Column(title, column.number, marks, whole, least, most))
  return columns


def _widths(columns: Sequence[_Column], room: int) -> list[int]:
  """Takes what is too much from the widest, from verdicts and words last.

  Rich leaves tables a character too wide for that.
  """
  widths = [column.most for column in columns]
  wide = lambda i: (
    widths[i] > columns[i].least,
    not columns[i].marks,
    widths[i],
  )
  while sum(widths) > room:
    loose = [i for i, w in enumerate(widths) if w > 1 and not columns[i].whole]
    if not loose:
      break
    widths[max(loose, key=wide)] -= 1
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
