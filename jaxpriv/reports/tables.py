"""Findings as tables: plain values that any renderer can show.

What differs among the findings of a table is a column, what they share stands
in the caption.
"""

from collections.abc import Iterable, Mapping, Sequence
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
from jaxpriv.reports.results import Results

VERDICT = "Verdict"  # the column that judges
BASIS = (
  "Floor is what knowing nothing scores: chance, the commoner label, the mean"
  " image. Ceiling is what the same reader scores without protection."
)


def views(results: Results, subjects: Iterable[str] = ()) -> list[Table]:
  """Returns all tables: what is hidden, what is kept, what is told.

  Claims that nobody wants hidden, and that have one figure for each subject,
  share a table.

  Args:
    results: checked.
    subjects: whose rows to show besides those without protection; all if none.
  """
  chosen = {*subjects, NOBODY}
  findings = [
    f for f in results.findings if not subjects or f.subject in chosen
  ]
  groups = claims.grouped(findings)
  small = {name: g for name, g in groups.items() if _is_small(name, g)}
  readers = {f.by for g in small.values() for f in g if f.wanted == KEPT}
  useful = [f for g in small.values() for f in g if f.by in readers]
  told = [f for g in small.values() for f in g if f.by not in readers]
  large = [name for name in groups if name not in small]
  large.sort(key=lambda name: not any(f.wanted == HIDDEN for f in groups[name]))
  tables = [table(groups[name], results, claims.short(name)) for name in large]
  if useful:
    names = [claims.short(n) for n in claims.grouped(useful)]
    title = names[0] if len(names) == 1 else "What it is good for"
    tables.append(table(useful, results, title))
  if told:
    tables.append(_told(told, results))
  return tables


def _is_small(name: str, findings: Sequence[Finding]) -> bool:
  rows = {(f.subject, f.by, claims.row_of(f)[-1]) for f in findings}
  figures = {(f.subject, f.metric) for f in findings}
  several = len(rows) > len({f.subject for f in findings})
  several |= len(figures) < len(findings)
  hidden = any(f.wanted == HIDDEN for f in findings)
  return not (hidden or several or name == claims.ATTRIBUTES)


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
    results: has their metrics, names and mechanism.
    title: of the table.
  """
  if all(claims.group(f) == claims.ATTRIBUTES for f in findings):
    return _attributes(findings, results, title)
  several = len(claims.grouped(findings)) > 1
  rows = _rows(findings, merge=not several)
  if not several:
    rows.sort(key=lambda row: claims.order(claims.worst(row, results), results))
  # The rows of a subject stay together, wherever its first one stands.
  turns = list(dict.fromkeys(row[0].subject for row in rows))
  rows.sort(
    key=lambda row: (
      _rank(row[0].subject, results),
      turns.index(row[0].subject),
    )
  )
  mains = [row[0] for row in rows]
  name = lambda text: wording.name(text)
  caption = _about(findings, results)
  grid = Grid()
  by = "Read by"
  if any(f.wanted == HIDDEN for f in mains):
    by = "Attack"
  headings = [_heading(f, mains) for f in mains]
  if several:
    texts = [claims.short(f.claim) for f in mains]
    grid.add("Claim", [Cell(text) for text in texts])
  if not several or len({f.by for f in mains}) > 1:
    grid.add(by, headings)
  else:
    caption.append(f"{by}: {headings[0].text}.")
  varying, sentences = _places(mains, results)
  caption += sentences
  for key in varying:
    if not _is_rare(key, mains):
      values = [f.where.get(key) for f in mains]
      number = not any(isinstance(v, str) for v in values)
      grid.add(name(key), [Cell(_content(v)) for v in values], number)
  measures = list(dict.fromkeys(f.metric for f in mains))
  if len(measures) > 1:
    grid.add("Measure", [Cell(f.metric) for f in mains])
  trials = {f.total for f in mains}
  same = len(trials) == 1
  if same:
    caption.append(f"Trials: {wording.count(trials.pop())}.")
  if not same or any(f.hits is not None for f in mains):
    grid.add("Trials", [_trials(f) for f in mains], True, detail=same)
  title_of = name(measures[0]) if len(measures) == 1 else "Value"
  _add_figures(grid, title_of, rows, results)
  grouped = _grouped([f.subject for f in mains], grid, results)
  return Table(title, " ".join(caption), grid.columns, grouped)


def _grouped(
  subjects: Sequence[str], grid: Grid, results: Results
) -> list[Row]:
  """Rows under the name of their subject, unless all are the mechanism's."""
  alone = set(subjects) == {results.mechanism}
  return [
    Row(
      cells,
      "" if alone else _group(subject, results),
      _kind(subject, results),
    )
    for subject, cells in zip(subjects, grid.rows())
  ]


def _places(
  findings: Sequence[Finding], results: Results
) -> tuple[list[str], list[str]]:
  """The keys of `where` that vary, and sentences on the others."""
  varying, sentences = [], []
  for key in dict.fromkeys(key for f in findings for key in f.where):
    values = {f.where.get(key) for f in findings}
    if len(values) > 1:
      varying.append(key)
    else:
      name = wording.name(key)
      sentences.append(f"{name}: {_content(values.pop())}.")
  return varying, sentences


def _rows(findings: Iterable[Finding], merge: bool) -> list[list[Finding]]:
  """The findings of each row, the one that is its figure first."""
  rows: dict[Any, list[Finding]] = {}
  for number, finding in enumerate(findings):
    claim, _, *rest = claims.row_of(finding)
    key = (claim, *rest)
    taken = any(f.metric == finding.metric for f in rows.get(key, ()))
    own = (*key, number) if taken or not merge else key
    rows.setdefault(own, []).append(finding)
  return [sorted(row, key=lambda f: f.wanted == TOLD) for row in rows.values()]


def _rank(subject: str, results: Results) -> int:
  """No protection comes first, then the mechanism of the run."""
  return {NOBODY: 0, results.mechanism: 1}.get(subject, 2)


def _group(subject: str, results: Results) -> str:
  if subject == NOBODY:
    return "Without protection"
  return wording.name(subject)


def _kind(subject: str, results: Results) -> str:
  return {NOBODY: "reference", results.mechanism: "mine"}.get(subject, "")


def _is_rare(key: str, mains: Sequence[Finding]) -> bool:
  """Whether a key has no column: a flag, a long text, or of few rows."""
  values = [f.where[key] for f in mains if key in f.where]
  long = any(len(str(v)) > claims.LONG for v in values)
  flag = any(isinstance(v, bool) for v in values)
  return long or flag or len(values) < len(mains) / 2


def _heading(finding: Finding, mains: Sequence[Finding]) -> Cell:
  """By whom, with what has no column: flags and numbers, and texts below."""
  text, notes = [wording.name(finding.by, keep=True)], []
  for key, content in finding.where.items():
    same = len({f.where.get(key) for f in mains}) == 1
    if same or content is False or not _is_rare(key, mains):
      continue
    if not isinstance(content, str):
      text.append(claims.place(key, content))
    elif len(content) > claims.LONG:
      notes.append(content)
    else:
      notes.append(f"{wording.name(key)}: {content}.")
  return Cell(", ".join(text), sub=" ".join(notes))


def _content(value: Any) -> str:
  if value is None:
    return wording.NOTHING
  if isinstance(value, bool):
    return "yes" if value else "no"
  return value if isinstance(value, str) else wording.number(value)


def _about(findings: Iterable[Finding], results: Results) -> list[str]:
  """Sentences on the metrics."""
  return [
    f"{wording.name(name)}: {results.metrics[name].about.removesuffix('.')}."
    for name in dict.fromkeys(f.metric for f in findings)
    if results.metrics[name].about
  ]


def _trials(finding: Finding) -> Cell:
  """Right answers of all, or the number of all."""
  if finding.hits is None:
    return Cell(wording.count(finding.total))
  return Cell(wording.of(finding.hits, finding.total))


def _figure(finding: Finding | None, results: Results) -> Cell:
  """A value, and below it its interval, floor and ceiling."""
  if finding is None:
    return Cell(wording.NOTHING)
  metric = results.metrics[finding.metric]
  text = wording.figure(finding.value, metric)
  return Cell(text, sub=_below(finding, results))


def _below(finding: Finding, results: Results, floor: bool = True) -> str:
  """Returns "87.2 – 91.1%; floor 60.0%; ceiling 90.0%"."""
  write = lambda v: wording.figure(v, results.metrics[finding.metric])
  parts = [_span(finding, results)]
  if floor and finding.floor is not None:
    parts.append(f"floor {write(finding.floor)}")
  if finding.ceiling:
    parts.append(f"ceiling {write(finding.ceiling.value)}")
  return "; ".join(part for part in parts if part)


def _span(finding: Finding, results: Results) -> str:
  if not finding.low < finding.high:
    return ""
  metric = results.metrics[finding.metric]
  return wording.span(finding.low, finding.high, metric)


def _add_figures(
  grid: Grid, title: str, rows: Sequence[list[Finding]], results: Results
) -> None:
  """Adds value, bar, interval, further metrics, floor, ceiling and verdict."""
  mains = [row[0] for row in rows]
  metrics = [results.metrics[f.metric] for f in mains]
  write = lambda values: [
    Cell(wording.figure(v, metric)) for v, metric in zip(values, metrics)
  ]
  grid.add(title, write([f.value for f in mains]), True)
  bars = [bar(f, metric) for f, metric in zip(mains, metrics)]
  levels = [
    claims.judge(claims.worst(row, results), results).level for row in rows
  ]
  drawn = {m.unit == "share" for m, b in zip(metrics, bars) if b}
  cells = [Cell(level=level, bar=b) for level, b in zip(levels, bars)]
  grid.add("", cells if drawn else [], detail=True, bars=True, axis=axis(drawn))
  spans = [Cell(_span(f, results) or wording.NOTHING) for f in mains]
  grid.add("95% interval", spans, True)
  for other in dict.fromkeys(f.metric for row in rows for f in row[1:]):
    found = [next((f for f in r[1:] if f.metric == other), None) for r in rows]
    told = all(f.wanted == TOLD for f in found if f)
    cells = [_figure(f, results) for f in found]
    grid.add(wording.name(other), cells, True, detail=told)
  grid.add("Floor", write([f.floor for f in mains]), True)
  ceilings = [f.ceiling.value if f.ceiling else None for f in mains]
  grid.add("Ceiling", write(ceilings), True)
  grid.add(VERDICT, [_verdict(row, results) for row in rows])


def _verdict(row: Sequence[Finding], results: Results) -> Cell:
  finding = claims.worst(row, results)
  level, reason = claims.judge(finding, results)
  if level == TOLD:
    return Cell(wording.NOTHING)
  if finding.metric != row[0].metric:
    reason = f"{finding.metric}: {reason}"
  elif level != UNCLEAR:
    reason = ""
  return Cell(mark=claims.word(finding, level), level=level, sub=reason)


def _attributes(
  findings: Sequence[Finding], results: Results, title: str
) -> Table:
  """Attributes as rows, their readers as columns."""
  several = len({f.metric for f in findings}) > 1
  varying, caption = _places(findings, results)

  def reader(f: Finding) -> tuple[str, str]:
    places = [
      claims.place(key, f.where[key])
      for key in varying
      if f.where.get(key, False) is not False
    ]
    metric = [f.metric] if several else []
    by = wording.name(f.by, keep=True)
    return by, ", ".join([*metric, *places])

  table: dict[tuple[str, str], dict] = {}
  for f in findings:
    by, row = reader(f), table.setdefault((f.subject, f.claim), {})
    while by in row:
      by = (by[0], f"{by[1]} again".strip())
    row[by] = f
  keys = sorted(table, key=lambda key: _rank(key[0], results))
  grid = Grid()
  names = [claims.short(claim) for _, claim in keys]
  grid.add("Attribute", [Cell(name) for name in names])
  floors = {
    key: {
      wording.figure(f.floor, results.metrics[f.metric])
      for f in table[key].values()
    }
    for key in keys
  }
  # One floor of all readers is a column, others stand with their figures.
  shared = {key: texts.pop() for key, texts in floors.items() if len(texts) < 2}
  cells = [Cell(shared.get(key, wording.NOTHING)) for key in keys]
  grid.add("Floor", cells, True)
  for by in dict.fromkeys(by for row in table.values() for by in row):
    cells = [
      _attribute(table[key].get(by), results, key not in shared) for key in keys
    ]
    grid.add(by[0], cells, sub=by[1])
  rows = _grouped([subject for subject, _ in keys], grid, results)
  caption = _about(findings, results) + caption
  return Table(title, " ".join(caption), grid.columns, rows)


def _attribute(finding: Finding | None, results: Results, floor: bool) -> Cell:
  if finding is None:
    return Cell(wording.NOTHING)
  metric = results.metrics[finding.metric]
  level = claims.judge(finding, results).level
  mark = claims.word(finding, level)
  if finding.ceiling and metric.unit == "share" and finding.wanted == KEPT:
    mark = f"{wording.points(finding.value - finding.ceiling.value)} {mark}"
  text = wording.figure(finding.value, metric)
  return Cell(text, mark, level, _below(finding, results, floor))


def _by_subject(
  title: str,
  caption: str,
  columns: Mapping[Any, Column],
  cells: Mapping[str, Mapping[Any, Cell]],
  results: Results,
) -> Table:
  """Subjects as rows; `cells` are by subject and by key of a column."""
  nothing = Cell(wording.NOTHING)
  return Table(
    title,
    caption,
    [Column("Mechanism"), *columns.values()],
    [
      Row(
        [
          Cell(_group(subject, results)),
          *(row.get(key, nothing) for key in columns),
        ],
        kind=_kind(subject, results),
      )
      for subject, row in cells.items()
    ],
  )


def _told(findings: Sequence[Finding], results: Results) -> Table:
  """Figures told for information: subjects as rows, figures as columns."""
  columns: dict[Any, Column] = {}
  cells: dict[str, dict] = {}
  for f in sorted(findings, key=lambda f: _rank(f.subject, results)):
    title = claims.short(f.claim)
    columns[f.claim, f.metric] = Column(title, True, sub=f.metric)
    cell = _figure(f, results)
    if f.hits is not None:
      cell = cell._replace(sub=wording.of(f.hits, f.total))
    cells.setdefault(f.subject, {})[f.claim, f.metric] = cell
  caption = " ".join(_about(findings, results))
  return _by_subject("For information", caption, columns, cells, results)


def comparison(results: Results) -> Table | None:
  """Every mechanism by every claim: the finding that decides, its verdict.

  None where there is one mechanism, or nothing is judged.
  """
  columns: dict[Any, Column] = {}
  cells: dict[str, dict] = {}
  for subject in claims.subjects(results):
    for topic in claims.topics(results, subject):
      if topic.wanted != TOLD:
        key = (topic.wanted != HIDDEN, topic.group)
        columns.setdefault(key, Column(topic.title))
        cells.setdefault(subject, {})[key] = _compared(topic, results)
  if len(cells) < 2:
    return None
  ordered = dict(sorted(columns.items(), key=lambda item: item[0][0]))
  caption = (
    "The finding of each claim that decides: the strongest attack on what"
    " should be hidden, the weakest figure of what should be kept."
  )
  return _by_subject("Every mechanism", caption, ordered, cells, results)


def _compared(topic: claims.Topic, results: Results) -> Cell:
  worst = claims.worst(topic.findings, results)
  level = claims.judge(worst, results).level
  mark, sub = claims.word(worst, level), claims.describe(worst)
  if topic.group == claims.ATTRIBUTES:
    good, total = claims.tally(topic.findings, results)
    name = claims.short(worst.claim)
    sub = f"{name}: {claims.value(worst, results)} by {sub}"
    text = f"{good} of {total} {topic.wanted}"
    return Cell(text, mark, level, sub)
  drawn = None
  if topic.wanted == HIDDEN:
    drawn = bar(worst, results.metrics[worst.metric])
  return Cell(claims.value(worst, results), mark, level, sub, drawn)


def phases(privacy: Mapping[str, Any]) -> Table:
  """The grounds of a privacy guarantee: a row for each phase of training."""
  rows, grid = privacy["phases"], Grid()
  for key in dict.fromkeys(key for phase in rows for key in phase):
    values = [phase.get(key) for phase in rows]
    number = all(isinstance(value, (int, float)) for value in values)
    cells = [Cell(_setting(value)) for value in values]
    grid.add(wording.name(key), cells, number)
  return Table(
    "What the guarantee rests on",
    "",
    grid.columns,
    [Row(r) for r in grid.rows()],
  )


def _setting(value: Any) -> str:
  if isinstance(value, Mapping):
    parts = [f"{key} {_setting(item)}" for key, item in value.items()]
    return "; ".join(parts) or wording.NOTHING
  if isinstance(value, float):
    return wording.real(value, 4)
  return _content(value)
