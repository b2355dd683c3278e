"""The results for a terminal, by rich."""

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jaxpriv.reports import results as results_lib
from jaxpriv.reports import summary, tables

STYLES = {"good": "green", "unclear": "yellow", "bad": "red", "told": ""}
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
  results = results_lib.check(results)
  headline = summary.headline(results)
  style = f"bold {STYLES[headline.level]}"
  console.print(Text(f"{headline.text}.\n", style))
  shown = tables.views(results, [results.mechanism])
  compared = tables.comparison(results)
  for table in [*shown, compared] if compared else shown:
    console.print(_fitting(table, console))
  console.print(Text(tables.BASIS, "dim"))


def _fitting(table: tables.Table, console: Console) -> Table:
  """The table with whole words, or broken ones where the terminal is narrow."""
  drawn = _rich(table, 1, wrap=True)
  for longest, wrap in ((12, False), (12, True), (8, True)):
    wide = _rich(table, longest, wrap)
    if console.measure(wide).minimum <= console.width:
      return wide
  return drawn


def _rich(table: tables.Table, longest: int, wrap: bool) -> Table:
  """The columns without detail, and a line between groups of rows.

  Args:
    table: to draw.
    longest: words of so many characters are not broken.
    wrap: whether verdicts may take two lines.
  """
  shown = [i for i, column in enumerate(table.columns) if not column.detail]
  groups = list(dict.fromkeys(row.group for row in table.rows))
  caption = table.caption
  if len(groups) > 1:
    caption = f"{groups[0]} above the line. {caption}"
  drawn = Table(
    title=Text(table.title),
    title_justify="left",
    title_style="bold",
    caption=Text(caption, "dim"),
    caption_justify="left",
    box=box.SIMPLE_HEAD,
    pad_edge=False,
    padding=(0, 1, 0, 0),
    min_width=72,
  )
  for i in shown:
    column = table.columns[i]
    title = f"{column.title}\n{column.sub}" if column.sub else column.title
    marks = not any(row.cells[i].text for row in table.rows)
    texts = [title, *(row.cells[i].text for row in table.rows)]
    words = [len(word) for text in texts for word in text.split()]
    drawn.add_column(
      Text(title),
      justify="right" if column.number else "left",
      no_wrap=column.number or (marks and not wrap),
      overflow="fold",
      min_width=min(max(words, default=1), longest),
    )
  for number, row in enumerate(table.rows):
    if number and row.group != table.rows[number - 1].group:
      drawn.add_section()
    style = "dim" if row.kind == "reference" else ""
    drawn.add_row(*(_text(row.cells[i]) for i in shown), style=style)
  return drawn


def _text(cell: tables.Cell) -> Text:
  text = Text(cell.text)
  if cell.mark:
    mark = f"{MARKS[cell.level]}{cell.mark}"
    text.append(f" {mark}" if cell.text else mark, STYLES[cell.level])
  return text
