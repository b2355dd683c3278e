"""Findings as tables: plain values that any renderer can show.

What differs among the findings of a table is a column, what they share stands
in the caption.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

from jaxpriv.metrics.finding import (
  HIDDEN,
  KEPT,
  NOBODY,
  TOLD,
  UNCLEAR,
  Finding,
)
from jaxpriv.reports import claims, wording
from jaxpriv.reports.cells import Cell, Column, Grid, Row, Table, axis, bar
from jaxpriv.reports.claims import ATTRIBUTES, LONG
from jaxpriv.reports.results import Results

VERDICT = "Verdict"  # the column that judges
BASIS = (
  "Floor is what knowing nothing scores: chance, the commoner label, the mean"
  " image. Ceiling is what the same reader scores without protection."
)
# Subject, heading of the row ("": the subject), a key for the column, the
# column, the cell.
Entry = tuple[str, str, Hashable, Column, Cell]


def views(results: Results, subjects: Iterable[str] = ()) -> list[Table]:
  """Returns all tables: what is hidden, what is kept, what is told.

  Claims that nobody wants hidden, and that have one figure for each subject,
  share a table.

  Args:
    results: checked.
    subjects: whose rows to show besides those without protection; all if none.
  """
  chosen = {*subjects, NOBODY}
  groups = claims.grouped(
    f for f in results.findings if not subjects or f.subject in chosen
  )
  large = {name: g for name, g in groups.items() if not _is_small(name, g)}
  hides = lambda name: any(f.wanted == HIDDEN for f in large[name])
  tables = [
    table(large[name], results, claims.short(name))
    for name in sorted(large, key=hides, reverse=True)
  ]
  small = [f for name, g in groups.items() if name not in large for f in g]
  readers = {f.by for f in small if f.wanted == KEPT}
  if useful := [f for f in small if f.by in readers]:
    name, *others = claims.grouped(useful)
    title = "What it is good for" if others else claims.short(name)
    tables.append(table(useful, results, title))
  if told := [f for f in small if f.by not in readers]:
    tables.append(_told(told, results))
  return tables


def _is_small(name: str, findings: Sequence[Finding]) -> bool:
  if name == ATTRIBUTES or any(f.wanted == HIDDEN for f in findings):
    return False
  rows = {claims.row_of(f) for f in findings}
  figures = {(f.subject, f.metric) for f in findings}
  subjects = {f.subject for f in findings}
  return len(rows) == len(subjects) and len(figures) == len(findings)


def table(
  findings: Sequence[Finding], results: Results, title: str = ""
) -> Table:
  """Returns one table of findings.

  Findings of one claim, subject, reader and place share a row: the first that
  is judged is its figure, other metrics are further columns. Where there are
  several claims, each figure has a row. Attributes are rows, and their readers
  columns.

  Args:
    findings: at least one.
    results: has their metrics and its mechanism.
    title: of the table.
  """
  if all(claims.group(f) == ATTRIBUTES for f in findings):
    return _attributes(findings, results, title)
  several = len(claims.grouped(findings)) > 1
  rows = _rows(findings, merge=not several)
  if not several:
    badness = lambda row: results.badness(claims.worst(row, results))
    rows.sort(key=badness, reverse=True)
  # The rows of a subject stay together, wherever its first one stands.
  turns = list(dict.fromkeys(row[0].subject for row in rows))
  turns.sort(key=lambda subject: _rank(subject, results))
  rows.sort(key=lambda row: turns.index(row[0].subject))
  mains = [row[0] for row in rows]
  grid, caption = Grid(), _about(findings, results)
  varying, shared = _places(mains)
  beside = [key for key in varying if _is_beside(key, mains)]
  readers = [_reader(f, beside) for f in mains]
  by = "Attack" if any(f.wanted == HIDDEN for f in mains) else "Read by"
  if several:
    grid.add("Claim", [Cell(claims.short(f.claim)) for f in mains])
  if several and len({f.by for f in mains}) == 1:
    caption.append(f"{by}: {readers[0].text}.")
  else:
    grid.add(by, readers)
  caption += shared
  for key in varying:
    if key not in beside:
      values = [f.where.get(key) for f in mains]
      number = not any(isinstance(v, str) for v in values)
      grid.add(wording.name(key), [Cell(_content(v)) for v in values], number)
  if len({f.metric for f in mains}) > 1:
    grid.add("Measure", [Cell(f.metric) for f in mains])
  trials = {f.total for f in mains}
  if len(trials) == 1:
    caption.append(f"Trials: {wording.count(*trials)}.")
  if len(trials) > 1 or any(f.hits is not None for f in mains):
    cells = [Cell(wording.of(f.hits, f.total)) for f in mains]
    # Where rates have intervals, a terminal does without.
    rates = all(f.hits is not None for f in mains)
    grid.add("Trials", cells, True, rates or len(trials) == 1)
  _add_figures(grid, rows, results)
  alone = set(turns) == {results.mechanism}
  return Table(
    title,
    " ".join(caption),
    grid.columns,
    [
      _row(f.subject, cells, results, grouped=not alone)
      for f, cells in zip(mains, grid.rows())
    ],
    ranked=not several,
  )


def _add_figures(
  grid: Grid, rows: Sequence[list[Finding]], results: Results
) -> None:
  """Adds value, bar, interval, further metrics, floor, ceiling and verdict."""
  mains = [row[0] for row in rows]
  decisive = [claims.worst(row, results) for row in rows]
  write = lambda values: [
    Cell(wording.figure(v, results.metric(f))) for v, f in zip(values, mains)
  ]
  same = len({f.metric for f in mains}) == 1
  name = wording.name(mains[0].metric) if same else "Value"
  grid.add(name, write(f.value for f in mains), True)
  bars = [bar(f, results.metric(f)) for f in mains]
  if any(bars):
    levels = [results.judge(f).level for f in decisive]
    cells = [Cell(level=level, bar=b) for level, b in zip(levels, bars)]
    drawn = {
      results.metric(f).unit == "share" for f, b in zip(mains, bars) if b
    }
    grid.add("", cells, detail=True, bars=True, axis=axis(drawn))
  spans = [Cell(_span(f, results) or wording.NOTHING) for f in mains]
  grid.add("95% interval", spans, True)
  grid.add("Floor", write(f.floor for f in mains), True)
  ceilings = (f.ceiling.value if f.ceiling else None for f in mains)
  grid.add("Ceiling", write(ceilings), True)
  verdicts = [_verdict(f, d, results) for f, d in zip(mains, decisive)]
  grid.add(VERDICT, verdicts)
  # Last, where a narrow page may cut them off.
  for other in dict.fromkeys(f.metric for row in rows for f in row[1:]):
    found = [next((f for f in r[1:] if f.metric == other), None) for r in rows]
    told = all(f.wanted == TOLD for f in found if f)
    cells = [_figure(f, results) for f in found]
    grid.add(wording.name(other), cells, True, told, spare=True)


def _rows(findings: Iterable[Finding], merge: bool) -> list[list[Finding]]:
  """The findings of each row, the one that is its figure first."""
  rows: dict[Any, list[Finding]] = {}
  for number, finding in enumerate(findings):
    key = claims.row_of(finding)
    taken = any(f.metric == finding.metric for f in rows.get(key, ()))
    own = (*key, number) if taken or not merge else key
    rows.setdefault(own, []).append(finding)
  return [sorted(row, key=lambda f: f.wanted == TOLD) for row in rows.values()]


def _row(
  subject: str, cells: list[Cell], results: Results, grouped: bool
) -> Row:
  kind = {NOBODY: "reference", results.mechanism: "mine"}.get(subject, "")
  return Row(cells, _name(subject) if grouped else "", kind)


def _name(subject: str) -> str:
  return "Without protection" if subject == NOBODY else wording.name(subject)


def _rank(subject: str, results: Results) -> int:
  """No protection comes first, then the mechanism of the run."""
  return {NOBODY: 0, results.mechanism: 1}.get(subject, 2)


def _places(findings: Sequence[Finding]) -> tuple[list[str], list[str]]:
  """The keys of `where` that vary, and sentences on the others."""
  varying, sentences = [], []
  for key in dict.fromkeys(key for f in findings for key in f.where):
    values = {f.where.get(key) for f in findings}
    if len(values) > 1:
      varying.append(key)
    else:
      sentences.append(f"{wording.name(key)}: {_content(*values)}.")
  return varying, sentences


def _is_beside(key: str, findings: Sequence[Finding]) -> bool:
  """Whether it stands with the reader: a flag, a long text, or of few rows."""
  values = [f.where[key] for f in findings if key in f.where]
  few = len(values) < len(findings) / 2
  return few or any(isinstance(v, bool) or len(str(v)) > LONG for v in values)


def _reader(finding: Finding, beside: Sequence[str]) -> Cell:
  """By whom, with flags and numbers, and texts below."""
  text, notes = [wording.name(finding.by, keep=True)], []
  for key, value in finding.where.items():
    if key in beside and isinstance(value, str):
      label = "" if len(value) > LONG else f"{wording.name(key)}: "
      notes.append(f"{label}{value.removesuffix('.')}.")
    elif key in beside and value is not False:
      text.append(claims.place(key, value))
  return Cell(", ".join(text), sub=" ".join(notes))


def _content(value: Any) -> str:
  if value is None:
    return wording.NOTHING
  if isinstance(value, bool):
    return "yes" if value else "no"
  return value if isinstance(value, str) else wording.number(value)


def _about(findings: Iterable[Finding], results: Results) -> list[str]:
  """Sentences on the metrics."""
  used = {f.metric: results.metric(f).about for f in findings}
  return [
    f"{wording.name(name)}: {about.removesuffix('.')}."
    for name, about in used.items()
    if about
  ]


def _span(finding: Finding, results: Results) -> str:
  if not finding.low < finding.high:
    return ""
  return wording.span(finding.low, finding.high, results.metric(finding))


def _figure(
  finding: Finding | None, results: Results, floor: bool = True
) -> Cell:
  """A value; below it "87.2 – 91.1%; floor 60.0%; ceiling 90.0%"."""
  if finding is None:
    return Cell(wording.NOTHING)
  write = lambda v: wording.figure(v, results.metric(finding))
  parts = [span] if (span := _span(finding, results)) else []
  if floor and finding.floor is not None:
    parts.append(f"floor {write(finding.floor)}")
  if finding.ceiling:
    parts.append(f"ceiling {write(finding.ceiling.value)}")
  return Cell(write(finding.value), sub="; ".join(parts))


def _verdict(main: Finding, finding: Finding, results: Results) -> Cell:
  """The verdict on a row: that on the finding of it which decides."""
  level, reason = results.judge(finding)
  if level == TOLD:
    return Cell(wording.NOTHING)
  if finding.metric != main.metric:
    reason = f"{finding.metric}: {reason}"
  elif level != UNCLEAR:
    reason = ""
  return Cell(mark=claims.word(finding, level), level=level, sub=reason)


def _pivot(
  title: str,
  caption: Sequence[str],
  corner: str,
  entries: Iterable[Entry],
  results: Results,
) -> Table:
  """A table of single cells; those of one row and column stand side by side."""
  columns: dict[Hashable, Column] = {}
  rows: dict[tuple[str, str], dict[Hashable, Cell]] = {}
  for subject, head, key, column, cell in entries:
    row = rows.setdefault((subject, head), {})
    while key in row:
      key = (key, "again")
      column = column._replace(sub=f"{column.sub} again".strip())
    columns.setdefault(key, column)
    row[key] = cell
  ordered = sorted(rows, key=lambda row: _rank(row[0], results))
  alone = {subject for subject, _ in rows} == {results.mechanism}
  nothing = Cell(wording.NOTHING)
  return Table(
    title,
    " ".join(caption),
    [Column(corner), *columns.values()],
    [
      _row(
        subject,
        [
          Cell(head or _name(subject)),
          *(rows[subject, head].get(key, nothing) for key in columns),
        ],
        results,
        grouped=bool(head) and not alone,
      )
      for subject, head in ordered
    ],
  )


def _attributes(
  findings: Sequence[Finding], results: Results, title: str
) -> Table:
  """Attributes as rows, their readers as columns.

  The floor that all readers of an attribute share is a column; others stand
  with their figures.
  """
  several = len({f.metric for f in findings}) > 1
  varying, shared = _places(findings)
  floors: dict[tuple[str, str], set[str]] = {}
  for f in findings:
    floor = wording.figure(f.floor, results.metric(f))
    floors.setdefault((f.subject, f.claim), set()).add(floor)
  shared_by = {
    key: min(texts) if len(texts) == 1 else wording.NOTHING
    for key, texts in floors.items()
  }
  entries: list[Entry] = [
    (subject, claims.short(claim), "", Column("Floor", True), Cell(text))
    for (subject, claim), text in shared_by.items()
    if set(shared_by.values()) != {wording.NOTHING}
  ]
  for f in findings:
    places = [f.metric] if several else []
    places += [
      claims.place(key, f.where[key])
      for key in varying
      if f.where.get(key, False) is not False
    ]
    level = results.judge(f).level
    mark = claims.word(f, level)
    share = results.metric(f).unit == "share"
    if f.ceiling and f.wanted == KEPT and share:
      mark = f"{wording.points(f.value - f.ceiling.value)} {mark}"
    cell = _figure(f, results, floor=len(floors[f.subject, f.claim]) > 1)
    column = Column(wording.name(f.by, keep=True), sub=", ".join(places))
    cell = cell._replace(mark=mark, level=level)
    entries.append((f.subject, claims.short(f.claim), column, column, cell))
  caption = _about(findings, results) + shared
  return _pivot(title, caption, "Attribute", entries, results)


def _told(findings: Sequence[Finding], results: Results) -> Table:
  """Figures told for information: subjects as rows, figures as columns."""
  entries: list[Entry] = []
  for f in findings:
    column = Column(claims.short(f.claim), True, sub=f.metric)
    cell = _figure(f, results)
    if f.hits is not None:
      cell = cell._replace(sub=wording.of(f.hits, f.total))
    entries.append((f.subject, "", (f.claim, f.metric), column, cell))
  caption = _about(findings, results)
  return _pivot("For information", caption, "Mechanism", entries, results)


def comparison(results: Results) -> Table | None:
  """Every mechanism by every claim: the finding that decides, its verdict.

  None where there is one mechanism, or nothing is judged.
  """
  compared = [
    (subject, topic)
    for subject in claims.subjects(results)
    for topic in claims.topics(results, subject)
    if topic.wanted != TOLD
  ]
  if len({subject for subject, _ in compared}) < 2:
    return None
  compared.sort(key=lambda pair: pair[1].wanted != HIDDEN)
  entries: list[Entry] = [
    (subject, "", t[1:3], Column(t.title), _compared(t, results))
    for subject, t in compared
  ]
  caption = (
    "The finding of each claim that decides: the strongest attack on what"
    " should be hidden, the weakest figure of what should be kept."
  )
  return _pivot("Every mechanism", [caption], "Mechanism", entries, results)


def _compared(topic: claims.Topic, results: Results) -> Cell:
  worst = claims.worst(topic.findings, results)
  level = results.judge(worst).level
  mark, sub = claims.word(worst, level), claims.describe(worst)
  figure = claims.value(worst, results)
  if topic.group == ATTRIBUTES:
    good, total = claims.tally(topic.findings, results)
    sub = f"{claims.short(worst.claim)}: {figure} by {sub}"
    return Cell(f"{good} of {total} {topic.wanted}", mark, level, sub)
  drawn = None
  if topic.wanted == HIDDEN:
    drawn = bar(worst, results.metric(worst))
  return Cell(figure, mark, level, sub, drawn)


def phases(privacy: Mapping[str, Any]) -> Table:
  """The grounds of a privacy guarantee: a row for each phase of training."""
  rows, grid = privacy["phases"], Grid()
  for key in dict.fromkeys(key for phase in rows for key in phase):
    values = [phase.get(key) for phase in rows]
    number = all(isinstance(value, (int, float)) for value in values)
    cells = [Cell(_setting(value)) for value in values]
    grid.add(wording.name(key), cells, number)
  title, listed = "What the guarantee rests on", [Row(r) for r in grid.rows()]
  return Table(title, "", grid.columns, listed)


def _setting(value: Any) -> str:
  if isinstance(value, Mapping):
    parts = [f"{key} {_setting(item)}" for key, item in value.items()]
    return "; ".join(parts) or wording.NOTHING
  if isinstance(value, float):
    return wording.real(value, 4)
  return _content(value)
