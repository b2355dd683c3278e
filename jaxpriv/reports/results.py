"""metrics.json: what an evaluation measured, checked and readable by anyone.

| key | value |
|---|---|
| format | 2 |
| version | of jaxpriv, which wrote it |
| mechanism | name of what was measured; other subjects are controls |
| products | what the run releases: "image", "features", "model", ... |
| metrics | name -> fields of `jaxpriv.metrics.finding.Metric` |
| findings | fields of `jaxpriv.metrics.finding.Finding`, verdict and reason |
| created, parameters_sha256 | strings |
| config, environment, data, timing | nested dicts |
| privacy | of training: epsilon, delta, relation, accountant, unit, units, |
| | phases, not_private_phases, pretrained; null if it was not private, absent |
| | where training data are no matter |
| names | how to write a name for people, where its own will not do |
| not_claimed | sentences to add to what every report says of its limits |

Format, mechanism, products, metrics and findings must be there. The file
explains itself: it holds the metrics that its findings use, so that a reader
needs no module that added to METRICS. A figure that is told may be null, where
it was not finite.
"""

import json
import math
import os
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from etils import epath

import jaxpriv
from jaxpriv import files
from jaxpriv.errors import UserError
from jaxpriv.metrics import finding as finding_lib
from jaxpriv.metrics.finding import (
  HIDDEN,
  KEPT,
  METRICS,
  TOLD,
  Finding,
  Interval,
  Metric,
)

FORMAT = 2
GUARANTEE = ("epsilon", "delta", "relation", "accountant", "unit", "units")
NUMBER = (int, float)
# Field of a finding -> (types, how they are called, whether it may be null).
FIELDS: dict[str, tuple[tuple[type, ...], str, bool]] = {
  **dict.fromkeys(
    ("subject", "claim", "wanted", "by", "metric"), ((str,), "text", False)
  ),
  **dict.fromkeys(("value", "low", "high"), (NUMBER, "a number", False)),
  "total": ((int,), "a whole number", False),
  "hits": ((int,), "a whole number", True),
  "floor": (NUMBER, "a number", True),
  "ceiling": ((Mapping,), "an object of value, low and high", True),
  "where": ((Mapping,), "an object", False),
}
ROUNDING = 1e-6


class ResultsError(UserError, ValueError):
  """The results cannot be reported; the message names finding and field."""


class Results(NamedTuple):
  """The content of metrics.json.

  Attributes:
    header: all of the file but its findings and metrics.
    metrics: how to read the metrics of the findings.
    findings: in the order in which they are shown.
  """

  header: dict[str, Any]
  metrics: dict[str, Metric]
  findings: list[Finding]

  @property
  def mechanism(self) -> str:
    """The name of what was measured."""
    return self.header["mechanism"]

  @property
  def names(self) -> dict[str, str]:
    """How to write names for people."""
    return self.header.get("names", {})

  @property
  def products(self) -> list[str]:
    """The products that the run releases."""
    return self.header["products"]


def collect(
  header: Mapping[str, Any],
  findings: Iterable[Finding],
  metrics: Mapping[str, Metric] = METRICS,
) -> Results:
  """Returns results with those of `metrics` that the findings use.

  Raises:
    ResultsError: nobody has said how to read the metric of a finding.
  """
  listed = list(findings)
  used = dict.fromkeys(finding.metric for finding in listed)
  for name in used:
    if name not in metrics:
      raise ResultsError(
        f"metric {name!r} is unknown: add it to"
        " jaxpriv.metrics.finding.METRICS, with its unit and direction"
      )
  return Results(dict(header), {name: metrics[name] for name in used}, listed)


def plain(value: Any) -> Any:
  """Turns arrays, NumPy scalars, paths and tuples into what JSON holds.

  JSON has no NaN and no infinity: they become null.
  """
  if isinstance(value, Mapping):
    return {str(key): plain(item) for key, item in value.items()}
  if isinstance(value, (list, tuple, set, frozenset)):
    return [plain(item) for item in value]
  if hasattr(value, "tolist"):  # arrays and scalars, NumPy's and JAX's
    return plain(value.tolist())
  if value is None or isinstance(value, (str, bool, int)):
    return value
  if isinstance(value, float):
    return value if math.isfinite(value) else None
  if hasattr(value, "to_dict"):  # ml_collections.ConfigDict
    return plain(value.to_dict())
  return str(value)


def encode(results: Results) -> dict[str, Any]:
  """Returns the content of the file, with verdicts.

  Raises:
    ResultsError: a finding is incomplete or contradicts itself.
  """
  rows = []
  for finding in results.findings:
    row = plain(finding._asdict())
    if finding.ceiling is not None:
      row["ceiling"] = plain(finding.ceiling._asdict())
    rows.append(row)
  content = {
    "format": FORMAT,
    "version": jaxpriv.__version__,
    **plain(results.header),
    "metrics": {k: plain(m._asdict()) for k, m in results.metrics.items()},
    "findings": rows,
  }
  checked = decode(content, "results")
  for row, finding in zip(rows, checked.findings, strict=True):
    verdict = finding_lib.judge(finding, checked.metrics[finding.metric])
    row |= {"verdict": verdict.level, "reason": verdict.reason}
  return content


def check(results: Results) -> Results:
  """Returns the results as a file would give them back; raises as `encode`."""
  return decode(encode(results), "results")


def write(path: str | os.PathLike, results: Results) -> Results:
  """Checks, judges and writes `results`; returns them as `read` would."""
  content = encode(results)
  files.atomic_write(
    path, json.dumps(content, indent=2, allow_nan=False) + "\n"
  )
  return decode(content, str(path))


def read(path: str | os.PathLike) -> Results:
  """Reads what `write` wrote.

  Raises:
    ResultsError: the file is of another format, incomplete or inconsistent.
  """
  return decode(json.loads(epath.Path(path).read_text()), str(path))


def decode(content: Any, source: str) -> Results:
  """Returns the results in the content of a file, checked.

  Args:
    content: of the file.
    source: names the file in messages.

  Raises:
    ResultsError: see `read`.
  """
  if not isinstance(content, Mapping) or content.get("format") != FORMAT:
    version = content.get("version") if isinstance(content, Mapping) else None
    writer = f"jaxpriv {version}" if version else "an older jaxpriv"
    raise ResultsError(
      f"{source} was written by {writer} in a format that jaxpriv"
      f" {jaxpriv.__version__} does not read: run launch.evaluate again"
    )
  for key, kind, noun in (
    ("mechanism", str, "text"),
    ("products", list, "a list"),
    ("metrics", Mapping, "an object"),
    ("findings", list, "a list"),
  ):
    if not isinstance(content.get(key), kind):
      raise ResultsError(f"{source}: {key} must be {noun}")
  privacy = content.get("privacy")
  missing = [
    name for name in (*GUARANTEE, "phases") if privacy and name not in privacy
  ]
  if missing:
    raise ResultsError(
      f"{source}: privacy lacks {', '.join(missing)}, without which an epsilon"
      " means nothing"
    )
  metrics = {}
  for name, fields in content["metrics"].items():
    if not isinstance(fields, Mapping) or set(fields) - set(Metric._fields):
      raise ResultsError(
        f"{source}: metric {name!r} must have no other fields than"
        f" {', '.join(Metric._fields)}"
      )
    metrics[name] = Metric(**fields)
  findings = [
    _finding(f"{source}: finding {number}", row, metrics)
    for number, row in enumerate(content["findings"])
  ]
  kept = ("metrics", "findings")
  header = {k: v for k, v in content.items() if k not in kept}
  return Results(header, metrics, findings)


def _finding(where: str, row: Any, metrics: Mapping[str, Metric]) -> Finding:
  if not isinstance(row, Mapping):
    raise ResultsError(f"{where} must be an object, not {row!r}")
  where = f"{where} ({row.get('by')} on {row.get('claim')})"
  missing = [field for field in FIELDS if field not in row]
  if missing:
    raise ResultsError(f"{where} lacks {', '.join(missing)}")
  fields = {field: row[field] for field in FIELDS}
  for field, (types, noun, empty) in FIELDS.items():
    value = fields[field]
    if value is None and row["wanted"] == TOLD and field in Interval._fields:
      fields[field] = math.nan
    # True is an int in Python, and no number of anything.
    elif not (value is None and empty) and (
      not isinstance(value, types) or isinstance(value, bool)
    ):
      raise ResultsError(f"{where}: {field} must be {noun}, not {value!r}")
  if row["wanted"] not in (HIDDEN, KEPT, TOLD):
    raise ResultsError(
      f"{where}: wanted must be hidden, kept or told, not {row['wanted']!r}"
    )
  if row["metric"] not in metrics:
    raise ResultsError(f"{where}: metrics do not say how to read its metric")
  for key, value in row["where"].items():
    if not isinstance(value, (str, bool, *NUMBER)):
      raise ResultsError(
        f"{where}: {key} in where must be text or a number, not {value!r}"
      )
  _check_interval(where, fields)
  ends = row["ceiling"]
  if ends is not None:
    for name in Interval._fields:
      if not isinstance(ends.get(name), NUMBER):
        raise ResultsError(f"{where}: ceiling lacks {name}")
    _check_interval(f"{where}: ceiling", ends)
    fields["ceiling"] = Interval(*(ends[name] for name in Interval._fields))
  finding = Finding(**fields)
  _check_hits(where, finding)
  verdict = finding_lib.judge(finding, metrics[finding.metric])
  stored = row.get("verdict", verdict.level), row.get("reason", verdict.reason)
  if stored != verdict:
    raise ResultsError(
      f"{where}: verdict {stored[0]!r} ({stored[1]}) is stored, but its figures"
      f" say {verdict.level!r} ({verdict.reason}): run launch.evaluate again"
    )
  return finding


def _check_interval(where: str, ends: Mapping[str, Any]) -> None:
  value, low, high = (ends[name] for name in Interval._fields)
  if value < low - ROUNDING or value > high + ROUNDING:
    raise ResultsError(
      f"{where}: value {value} lies outside its interval, {low} to {high}"
    )


def _check_hits(where: str, finding: Finding) -> None:
  hits, total, value = finding.hits, finding.total, finding.value
  if total < 1:
    raise ResultsError(f"{where}: total must be 1 or more, not {total}")
  if hits is not None and not 0 <= hits <= total:
    raise ResultsError(f"{where}: hits {hits} of a total of {total}")
  if hits is not None and abs(value - hits / total) > ROUNDING:
    raise ResultsError(
      f"{where}: value {value} is not hits / total, {hits} / {total}"
    )
