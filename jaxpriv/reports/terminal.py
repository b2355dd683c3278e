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
    console.print(_fitting(table, console.width))
  console.print(Text(tables.BASIS, "dim"))


def _fitting(table: tables.Table, width: int) -> Table:
  """The table as wide as the terminal lets it be, with whole words if so."""
  for gap, longest, wrap in ((2, 12, False), (1, 12, False), (1, 12, True)):
    drawn, least = _rich(table, gap, longest, wrap)
    if least <= width:
      return drawn
  return _rich(table, 1, 8, wrap=True)[0]


def _rich(
  table: tables.Table, gap: int, longest: int, wrap: bool
) -> tuple[Table, int]:
  """The columns without detail, and a line between groups of rows.

  Args:
    table: to draw.
    gap: spaces between columns, at least 1.
    longest: words of so many characters are not broken.
    wrap: whether verdicts may take two lines.

  Returns:
    the table, and how wide it must be for that.
  """
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
    padding=(0, gap - 1, 0, 0),
    min_width=72,
  )
  shown = [i for i, column in enumerate(table.columns) if not column.detail]
  least = 2
  for i in shown:
    column = table.columns[i]
    title = f"{column.title}\n{column.sub}" if column.sub else column.title
    if column.number and gap == 1:
      title = title.replace(" ", "\n")
    cells = [row.cells[i] for row in table.rows]
    marks = not any(cell.text for cell in cells)
    texts = [_text(cell).plain for cell in cells]
    whole = column.number or (marks and not wrap)
    words = [word for text in [title, *texts] for word in text.split()]
    width = min(max(map(len, words), default=1), longest)
    if whole:
      width = max(width, *map(len, texts))
    least += width + gap
    drawn.add_column(
      Text(title),
      justify="right" if column.number else "left",
      no_wrap=whole,
      overflow="fold",
      min_width=width,
    )
  for number, row in enumerate(table.rows):
    if number and row.group != table.rows[number - 1].group:
      drawn.add_section()
    style = "dim" if row.kind == "reference" else ""
    drawn.add_row(*(_text(row.cells[i]) for i in shown), style=style)
  return drawn, least


def _text(cell: tables.Cell) -> Text:
  text = Text(cell.text)
  if cell.mark:
    mark = f"{MARKS[cell.level]}{cell.mark}"
    text.append(f" {mark}" if cell.text else mark, STYLES[cell.level])
  return text
