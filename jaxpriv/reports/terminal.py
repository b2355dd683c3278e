"""The results for a terminal, by rich."""

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jaxpriv.reports import cells, summary, tables, wording
from jaxpriv.reports.results import Results

STYLES = {"good": "green", "unclear": "yellow", "bad": "red", "told": ""}
LONGEST = 12  # characters of a word that is not broken if that can be helped
# Columns that tables take at least; a narrower terminal breaks their lines.
NARROWEST = 80
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
  for line in results.header.get("proven", []):
    console.print(Text(f"Proven: {line}.\n"))
  shown = tables.views(results, [results.mechanism])
  compared = tables.comparison(results)
  width = console.width
  console.width = max(width, NARROWEST)
  for table in [*shown, compared] if compared else shown:
    table, others = table.folded()
    console.print(_fitting(table, console.width))
    if others:
      more = f"{len(others.rows)} more, which weigh less, are in the report."
      console.print(Text(more, "dim"))
    console.print()
  console.width = width
  console.print(Text(tables.BASIS, "dim"))


def _fitting(table: cells.Table, width: int) -> Table:
  """The table as wide as the terminal lets it be, with whole words if so.

  First the gaps between columns are made smaller, then verdicts may take two
  lines, then further measures are left to the report, and last of all words are
  broken.
  """
  wide = [(2, False, LONGEST, True), (1, False, LONGEST, True)]
  wide.append((1, True, LONGEST, True))
  tight = ((1, True, longest, False) for longest in range(LONGEST, 0, -1))
  for tried in (*wide, *tight):
    drawn, least = _drawn(table, *tried)
    if least <= width:
      break
  return drawn


def _drawn(
  table: cells.Table, gap: int, wrap: bool, longest: int, spare: bool
) -> tuple[Table, int]:
  """The table, and the least width of it.

  Args:
    table: to draw.
    gap: spaces between columns, at least 1.
    wrap: whether verdicts may take two lines.
    longest: characters of a word that is not broken.
    spare: whether to show the columns that can be spared.
  """
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
  shown = [
    i
    for i, column in enumerate(table.columns)
    if not column.detail and (spare or not column.spare)
  ]
  least = gap * (len(shown) - 1)
  for i in shown:
    column, cells = table.columns[i], [row.cells[i] for row in table.rows]
    title = f"{column.title}\n{column.sub}" if column.sub else column.title
    if column.number and gap == 1:
      title = title.replace(" ", "\n")
    marks = all(cell.text in ("", wording.NOTHING) for cell in cells)
    lines = [*title.split("\n"), *(_text(cell).plain for cell in cells)]
    words = [len(word) for line in lines for word in line.split()]
    whole = column.number or (marks and not wrap)
    need = (
      max(map(len, lines)) if whole else min(max(words, default=1), longest)
    )
    least += need
    drawn.add_column(
      Text(title),
      justify="right" if column.number else "left",
      no_wrap=whole,
      overflow="fold",
      min_width=need,
    )
  for number, row in enumerate(table.rows):
    if number and row.group != table.rows[number - 1].group:
      drawn.add_section()
    style = "dim" if row.kind == "reference" else ""
    drawn.add_row(*(_text(row.cells[i]) for i in shown), style=style)
  return drawn, least


def _text(cell: cells.Cell) -> Text:
  text = Text(cell.text)
  if cell.mark:
    mark = f"{MARKS[cell.level]}{cell.mark}"
    text.append(f" {mark}" if cell.text else mark, STYLES[cell.level])
  return text
