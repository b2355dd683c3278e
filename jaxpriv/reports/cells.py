"""Tables as plain values: columns, rows, cells, and bars of intervals.

A renderer knows these, and nothing of what they are about.
"""

import collections
import math
from collections.abc import Sequence
from typing import NamedTuple

from jaxpriv.metrics.finding import TOLD, Finding, Metric
from jaxpriv.reports import wording

SHARES = (0, 0.02, 0.1, 0.25, 0.5, 1)  # ticks above bars of shares


class Bar(NamedTuple):
  """An interval on a scale from 0 to 1; `label` says it in words."""

  low: float
  value: float
  high: float
  floor: float | None
  ceiling: float | None
  label: str


class Cell(NamedTuple):
  """One cell.

  Attributes:
    text: what stands in it.
    mark: a word that judges, in the colour of its level.
    level: GOOD, UNCLEAR, BAD or TOLD, of the mark and the bar.
    sub: a smaller line below.
    bar: or None.
  """

  text: str = ""
  mark: str = ""
  level: str = TOLD
  sub: str = ""
  bar: Bar | None = None


class Column(NamedTuple):
  """One column.

  Attributes:
    title: its heading.
    number: whether it is aligned to the right.
    detail: whether it is left out where there is little room.
    bars: whether it is of bars, and of nothing that can be written.
    axis: (place from 0 to 1, text) of the ticks above bars of one scale.
    sub: a smaller line below the title.
    spare: whether it is left out before words are broken.
  """

  title: str
  number: bool = False
  detail: bool = False
  bars: bool = False
  axis: tuple[tuple[float, str], ...] = ()
  sub: str = ""
  spare: bool = False


class Row(NamedTuple):
  """Cells, the first of which is the heading of the row.

  Attributes:
    cells: one for each column.
    group: a heading over neighbours that share it; "" for none.
    kind: "mine" for the mechanism of the run, "reference" for no protection.
  """

  cells: list[Cell]
  group: str = ""
  kind: str = ""


class Table(NamedTuple):
  """A table that knows nothing of what it is about.

  Attributes:
    title: of the table.
    caption: sentences below the title.
    columns: of the table.
    rows: those of a group are neighbours.
    ranked: whether the rows of a group are sorted, the weightiest first.
  """

  title: str
  caption: str
  columns: list[Column]
  rows: list[Row]
  ranked: bool = False

  def folded(self, longest: int = 12) -> tuple["Table", "Table | None"]:
    """The weightiest rows of each group, and the others, if there are any.

    A table that is not ranked, or that has no group of more than `longest`
    rows, is left whole; of a longer group two thirds of that are shown.
    """
    sizes = collections.Counter(row.group for row in self.rows)
    if not self.ranked or max(sizes.values(), default=0) <= longest:
      return self, None
    shown: list[Row] = []
    others: list[Row] = []
    places = dict.fromkeys(sizes, 0)
    for row in self.rows:
      whole = sizes[row.group] <= longest
      first = whole or places[row.group] < longest * 2 // 3
      (shown if first else others).append(row)
      places[row.group] += 1
    return self._replace(rows=shown), self._replace(rows=others)


class Grid:
  """Columns with their cells; a column that says nothing is left out."""

  def __init__(self):
    self.columns: list[Column] = []
    self.cells: list[list[Cell]] = []

  def add(self, title: str, cells: Sequence[Cell], *how, **more) -> None:
    """Adds a column; what follows `cells` are fields of Column."""
    if any(cell not in (Cell(), Cell(wording.NOTHING)) for cell in cells):
      self.columns.append(Column(title, *how, **more))
      self.cells.append(list(cells))

  def rows(self) -> list[list[Cell]]:
    return [list(row) for row in zip(*self.cells)]


def bar(finding: Finding, metric: Metric) -> Bar | None:
  """The interval of a finding between its floor and its ceiling.

  Shares lie on the square root of 0 to 1, which spreads what is near chance;
  other figures between floor and ceiling, which stand a sixth from the ends.
  There is no bar for others without floor and ceiling.
  """
  floor, ceiling = finding.floor, finding.ceiling and finding.ceiling.value
  if not wording.known(finding.value):
    return None
  if metric.unit == "share":
    place = lambda v: math.sqrt(min(max(v, 0.0), 1.0))
  elif floor is None or ceiling is None or floor == ceiling:
    return None
  else:
    scale = lambda v: (1 + 4 * (v - floor) / (ceiling - floor)) / 6
    place = lambda v: min(max(scale(v), 0.03), 0.97)
  span = wording.span(finding.low, finding.high, metric)
  value = wording.figure(finding.value, metric)
  label = f"{finding.metric} {value}, interval {span}"
  ends = []
  for noun, end in (("floor", floor), ("ceiling", ceiling)):
    ends.append(None if end is None else place(end))
    if end is not None:
      label += f", {noun} {wording.figure(end, metric)}"
  low, high = sorted((place(finding.low), place(finding.high)))
  return Bar(low, place(finding.value), high, ends[0], ends[1], label)


def axis(shares: set[bool]) -> tuple[tuple[float, str], ...]:
  if shares == {True}:
    return tuple((math.sqrt(t), f"{100 * t:.0f}") for t in SHARES)
  if shares == {False}:
    return ((1 / 6, "floor"), (5 / 6, "ceiling"))
  return ()
