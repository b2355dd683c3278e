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
| | clients, phases, not_private_phases, pretrained; null if it was not |
| | private, absent where training data are no matter |
| proven | sentences on what holds for every attacker |
| not_claimed | sentences on what the mechanism does not promise |

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

import jaxpriv
from jaxpriv import files
from jaxpriv.errors import UserError
from jaxpriv.metrics import finding as finding_lib
from jaxpriv.metrics.finding import (
  METRICS,
  TOLD,
  Finding,
  Interval,
  Metric,
  Verdict,
)

FORMAT = 2
GUARANTEE = ("epsilon", "delta", "relation", "accountant", "unit", "units")


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
  def products(self) -> list[str]:
    """The products that the run releases."""
    return self.header["products"]

  def metric(self, finding: Finding) -> Metric:
    """How to read a finding."""
    return self.metrics[finding.metric]

  def judge(self, finding: Finding) -> Verdict:
    """The verdict on a finding."""
    return finding_lib.judge(finding, self.metric(finding))

  def badness(self, finding: Finding) -> tuple[int, float]:
    """Sorts findings, the worst last."""
    return finding_lib.badness(finding, self.metric(finding))


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
  for finding in listed:
    if finding.metric not in metrics:
      raise ResultsError(finding_lib.unknown(finding.metric))
  used = {f.metric: metrics[f.metric] for f in listed}
  return Results(dict(header), used, listed)


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
  for number, finding in enumerate(results.findings):
    _check(f"results: finding {number}", finding, results.metrics)
    rows.append(plain(finding_lib.to_dict(finding)))
  content = {
    "format": FORMAT,
    "version": jaxpriv.__version__,
    **plain(results.header),
    "metrics": {k: plain(m._asdict()) for k, m in results.metrics.items()},
    "findings": rows,
  }
  checked = decode(content, "results")
  for row, finding in zip(rows, checked.findings, strict=True):
    level, reason = checked.judge(finding)
    row |= {"verdict": level, "reason": reason}
  return content


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
    DamagedError: the file is no JSON.
    ResultsError: it is of another format, incomplete or inconsistent.
  """
  content = files.read_json(path, again="run launch.evaluate again")
  return decode(content, str(path))


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
  named = f"{where} ({row.get('by')} on {row.get('claim')})"
  fields = {name: row[name] for name in Finding._fields if name in row}
  _complete(named, fields, Finding._fields)
  ends = fields["ceiling"]
  if isinstance(ends, Mapping):
    _complete(f"{named}: ceiling", ends, Interval._fields)
    fields["ceiling"] = Interval(*(ends[name] for name in Interval._fields))
  if fields["wanted"] == TOLD:  # what is told may be no number
    names = [k for k in Interval._fields if fields[k] is None]
    fields |= dict.fromkeys(names, math.nan)
  finding = Finding(**fields)
  _check(where, finding, metrics)
  verdict = finding_lib.judge(finding, metrics[finding.metric])
  stored = row.get("verdict", verdict.level), row.get("reason", verdict.reason)
  if stored != verdict:
    raise ResultsError(
      f"{named}: verdict {stored[0]!r} ({stored[1]}) is stored, but its figures"
      f" say {verdict.level!r} ({verdict.reason}): run launch.evaluate again"
    )
  return finding


def _check(where: str, finding: Finding, metrics: Mapping[str, Metric]) -> None:
  metric = metrics.get(str(finding.metric))
  problem = (
    finding_lib.problems(finding, metric)
    if metric
    else "metrics do not say how to read its metric"
  )
  if problem:
    raise ResultsError(f"{where} ({finding.by} on {finding.claim}): {problem}")


def _complete(
  where: str, given: Mapping[str, Any], names: Iterable[str]
) -> None:
  missing = [name for name in names if name not in given]
  if missing:
    raise ResultsError(f"{where} lacks {', '.join(missing)}")
