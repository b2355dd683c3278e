"""Finding: the one record of a measured figure, and the one judge of it.

Every figure is one sentence: whose output, read by whom and with what
knowledge, scores how much, where knowing nothing scores `floor` and the same
reader without protection scores `ceiling`; and it should be low (hidden) or
high (kept), or is told for information.

A claim that is wanted hidden is good if the interval lies within `Metric.slack`
of the floor while the ceiling lies above that limit, bad if the interval lies
above the limit, and unclear otherwise. A claim that is wanted kept is good
within `Metric.kept` of the ceiling and bad if the interval reaches down to the
floor; it is unclear if both are so, or neither. Without a ceiling it is good
above the floor.

To add a metric, a module that yields it adds a key to METRICS.
"""

import math
from collections.abc import Iterable, Mapping
from numbers import Integral, Real
from typing import Any, NamedTuple

HIDDEN, KEPT, TOLD = "hidden", "kept", "told"
GOOD, UNCLEAR, BAD = "good", "unclear", "bad"
SEVERITY = {GOOD: 0, TOLD: 0, UNCLEAR: 1, BAD: 2}
ROUNDING = 1e-6  # a value may be so far off what it is said to be
NOBODY = "none"  # the subject of figures measured without any protection


class Interval(NamedTuple):
  """A value and the ends of its 95% interval."""

  value: float
  low: float
  high: float


class Finding(NamedTuple):
  """One figure.

  Attributes:
    subject: whose output is read: a mechanism, a control, or NOBODY.
    claim: its topic ("identity", "appearance", "attribute Smiling"): the
      findings of one claim share one verdict.
    wanted: HIDDEN, KEPT or TOLD.
    by: the attack or the reader.
    metric: a key of METRICS.
    value: of the metric.
    low: lower end of its 95% interval.
    high: upper end.
    hits: right answers, where it is a rate.
    total: trials: images, people, labels.
    floor: the score of knowing nothing (chance, the majority, the mean image).
    ceiling: the score of the same reader without protection.
    where: further columns, such as recogniser, gallery, pairs, knows.
  """

  subject: str
  claim: str
  wanted: str
  by: str
  metric: str
  value: float
  low: float
  high: float
  total: int
  hits: int | None = None
  floor: float | None = None
  ceiling: Interval | None = None
  where: Mapping[str, str | int | float | bool] = {}


def to_dict(finding: Finding) -> dict[str, Any]:
  """Fields by name, as JSON holds them."""
  fields = {**finding._asdict(), "where": dict(finding.where)}
  if finding.ceiling is not None:
    fields["ceiling"] = finding.ceiling._asdict()
  return fields


def from_dict(fields: Mapping[str, Any]) -> Finding:
  """The finding that `to_dict` wrote."""
  ceiling = fields["ceiling"]
  return Finding(
    **{**fields, "ceiling": None if ceiling is None else Interval(**ceiling)}
  )


class Metric(NamedTuple):
  """How a metric is read.

  Attributes:
    unit: "share" (written in percent), "degrees", "dB", "px", "count", or ""
      for a plain number.
    less: whether less is nearer to the truth, as with errors.
    slack: distance above the floor that still counts as knowing nothing; None
      for the slack of a share, see `slack_of`.
    strict: whether an interval above the floor itself is already a leak.
    kept: distance below the ceiling that still counts as kept.
    about: one sentence for the report.
  """

  unit: str = ""
  less: bool = False
  slack: float | None = 0.0
  strict: bool = False
  kept: float = 0.02
  about: str = ""


def slack_of(metric: Metric, floor: float) -> float:
  """The distance above the floor that still counts as knowing nothing.

  A share may reach three times the floor, but at most five points above it,
  which is less in a small gallery.
  """
  if metric.slack is None:
    return min(2 * floor, 0.05)
  return metric.slack


METRICS: dict[str, Metric] = {
  "rank-1": Metric(
    "share",
    slack=None,
    about="how often the right person comes first in the gallery",
  ),
  "TAR at FAR 1%": Metric(
    "share",
    slack=None,
    about="pairs of one person that are accepted where one in a hundred pairs"
    " of two people is",
  ),
  "TAR at FAR 0.1%": Metric(
    "share",
    slack=None,
    about="the same where one in a thousand is",
  ),
  "link rate": Metric(
    "share",
    slack=None,
    about="how often two releases of one photograph are nearest to each other",
  ),
  "accuracy": Metric(
    "share", slack=None, strict=True, about="labels that are read right"
  ),
  "AUC": Metric(
    "share",
    slack=None,
    strict=True,
    about="how often who has the attribute scores above who has not; guessing"
    " 50%",
  ),
  "balanced accuracy": Metric(
    "share",
    slack=None,
    strict=True,
    about="mean over both labels of how often it is read right; guessing 50%",
  ),
  "mAP": Metric(
    "share",
    slack=None,
    strict=True,
    about="mean average precision over attributes",
  ),
  "found": Metric(
    "share", about="faces that a detector finds again where it had found them"
  ),
  "same count": Metric(
    "share",
    about="photographs in which a detector finds as many faces as before",
  ),
  "AP": Metric(
    "share", about="average precision of boxes at an overlap of one half"
  ),
  "recall at precision 90%": Metric(
    "share",
    about="faces that are found before a tenth of all that is found is wrong",
  ),
  "SSIM": Metric(
    slack=0.02, about="structural similarity to the photograph, at most 1"
  ),
  "aligned SSIM": Metric(
    slack=0.02,
    about="SSIM after the best change of brightness, a negative one included",
  ),
  "|SSIM|": Metric(slack=0.02, about="mean absolute SSIM"),
  "hidden SSIM": Metric(
    slack=0.02, about="SSIM around the pixels that a mask hides"
  ),
  "mean": Metric(about="mean of a score of the model's own"),
  "PSNR": Metric("dB", about="peak signal to noise ratio"),
  "hidden PSNR": Metric("dB", about="PSNR of the pixels that a mask hides"),
  "L1": Metric(less=True, about="mean absolute difference of pixels"),
  "distinct": Metric("share", about="different outputs among all"),
  # No margin of a distance suits every network: it is kept at the ceiling.
  "Frechet distance": Metric(
    less=True,
    kept=0.0,
    about="Fréchet distance of real and generated images in a network's"
    " features",
  ),
  "kernel distance": Metric(
    less=True,
    kept=0.0,
    about="squared maximum mean discrepancy of real and generated images in a"
    " network's features; about 0 if they are alike",
  ),
  "precision": Metric(
    "share", about="generated images that lie among real ones"
  ),
  "recall": Metric("share", about="real images that lie among generated ones"),
  "density": Metric(
    about="mean number of real images that a generated one is near to, over"
    " what is expected if they are alike"
  ),
  "coverage": Metric("share", about="real images with a generated one nearby"),
  "diversity": Metric(
    about="mean cosine distance of two outputs of one source in a network's"
    " features"
  ),
  "identity AUC": Metric(
    "share",
    slack=None,
    strict=True,
    about="how often an output is more like its source than like another"
    " person's; guessing 50%",
  ),
  "error / box side": Metric(
    "share", less=True, about="mean distance of landmarks over the box's side"
  ),
  "mean error": Metric("degrees", less=True, about="mean absolute error"),
  "within 15°": Metric("share", about="yaw within 15 degrees"),
}


def problems(finding: Finding, metric: Metric | None = None) -> str | None:
  """Why a finding is not to be kept or shown; None if nothing is wrong with it.

  Refused are: an unknown metric or `wanted`; a field of a wrong type; a value
  outside its interval, that of the ceiling included; less than one trial; hits
  that are none of the trials, or whose share is not the value; figures that are
  not finite, if they are judged; and entries of `where` that are no text, bool
  or number.

  Args:
    finding: to check, its fields of any type.
    metric: how to read it; by default its entry in METRICS.
  """
  for name in ("subject", "claim", "wanted", "by", "metric"):
    if not isinstance(getattr(finding, name), str):
      return f"{name} must be text, not {getattr(finding, name)!r}"
  if finding.wanted not in (HIDDEN, KEPT, TOLD):
    return f"wanted must be hidden, kept or told, not {finding.wanted!r}"
  if metric is None and finding.metric not in METRICS:
    return unknown(finding.metric)
  best = finding.ceiling
  if not isinstance(best, Interval | None):
    return f"ceiling must be an object of value, low and high, not {best!r}"
  figures = {name: getattr(finding, name) for name in Interval._fields}
  if finding.floor is not None:
    figures["floor"] = finding.floor
  if best is not None:
    figures |= {f"ceiling {k}": v for k, v in best._asdict().items()}
  for name, value in figures.items():
    if not _is_number(value, finite=finding.wanted != TOLD):
      return f"{name} must be a number, not {value!r}"
  hits, total = finding.hits, finding.total
  for name, value in (("total", total), ("hits", 0 if hits is None else hits)):
    # True is an int in Python, and no number of anything.
    if not isinstance(value, Integral) or isinstance(value, bool):
      return f"{name} must be a whole number, not {value!r}"
  if not isinstance(finding.where, Mapping):
    return f"where must be an object, not {finding.where!r}"
  for name, value in finding.where.items():
    if not isinstance(value, str | bool) and not _is_number(value):
      return f"{name} in where must be text or a number, not {value!r}"
  for name, ends in (("", finding), ("ceiling: ", best or finding)):
    value, low, high = ends.value, ends.low, ends.high
    if value < low - ROUNDING or value > high + ROUNDING:
      return f"{name}value {value} lies outside its interval, {low} to {high}"
  if total < 1:
    return f"total must be 1 or more, not {total}"
  if hits is not None and not 0 <= hits <= total:
    return f"hits {hits} of a total of {total}"
  if hits is not None and abs(finding.value - hits / total) > ROUNDING:
    return f"value {finding.value} is not hits / total, {hits} / {total}"
  return None


def _is_number(value: Any, finite: bool = True) -> bool:
  if not isinstance(value, Real) or isinstance(value, bool):
    return False
  return math.isfinite(value) or not finite


def unknown(metric: str) -> str:
  """The message about a metric that METRICS does not describe."""
  return (
    f"metric {metric!r} is unknown: add it to jaxpriv.metrics.finding.METRICS,"
    " with its unit and direction"
  )


class Verdict(NamedTuple):
  """GOOD, UNCLEAR, BAD or TOLD, and why."""

  level: str
  reason: str


def figure(value: float, metric: Metric) -> str:
  """A value of a metric, formatted for a sentence."""
  if metric.unit == "share":
    return f"{100 * value:.1f}%"
  unit = {"degrees": "°", "dB": " dB", "px": " px"}.get(metric.unit, "")
  return f"{value:.2f}{unit}"


def judge(finding: Finding, metric: Metric | None = None) -> Verdict:
  """The verdict on one finding; see the module.

  Args:
    finding: the finding to judge.
    metric: how to read it; by default its entry in METRICS.

  Raises:
    ValueError: its metric is not in METRICS.
  """
  metric = metric or METRICS.get(finding.metric)
  if metric is None:
    raise ValueError(f"{finding.by}: {unknown(finding.metric)}")
  if finding.wanted == TOLD:
    return Verdict(TOLD, "")
  if finding.wanted not in (HIDDEN, KEPT):
    raise ValueError(
      f"wanted is {HIDDEN}, {KEPT} or {TOLD}, not {finding.wanted!r}"
    )
  if not math.isfinite(finding.value + finding.low + finding.high):
    return Verdict(UNCLEAR, "no figure, or no interval")
  # Errors change sign, so that more is always nearer to the truth.
  sign = -1 if metric.less else 1
  low, high = sorted((sign * finding.low, sign * finding.high))
  value = sign * finding.value
  floor = None if finding.floor is None else sign * finding.floor
  ceiling = finding.ceiling
  best = None
  if ceiling is not None:
    ends = sorted((sign * ceiling.low, sign * ceiling.high))
    best = Interval(sign * ceiling.value, *ends)
  decide = _hidden if finding.wanted == HIDDEN else _kept
  return decide(metric, sign, value, low, high, floor, best)


def _hidden(metric, sign, value, low, high, floor, ceiling) -> Verdict:
  if floor is None:
    return Verdict(UNCLEAR, "no figure of what knowing nothing scores")
  limit = floor + slack_of(metric, floor)
  limit_text = figure(sign * limit, metric)
  if low > (floor if metric.strict else limit):
    worst = figure(sign * floor, metric) if metric.strict else limit_text
    return Verdict(BAD, f"the whole interval is better than {worst}")
  if ceiling is None:
    return Verdict(UNCLEAR, "no figure without protection to compare with")
  if ceiling.low <= limit:
    return Verdict(UNCLEAR, "the same reader fails without protection, too")
  if high > limit:
    return Verdict(UNCLEAR, f"the interval spans the limit of {limit_text}")
  return Verdict(GOOD, "as good as knowing nothing")


def _kept(metric, sign, value, low, high, floor, ceiling) -> Verdict:
  if ceiling is None:
    if floor is None:
      return Verdict(UNCLEAR, "no figure to compare with")
    if low > floor:
      return Verdict(GOOD, "better than knowing nothing")
    return Verdict(BAD, "no better than knowing nothing")
  if floor is not None and ceiling.value <= floor:
    return Verdict(UNCLEAR, "not read without protection, either")
  near = value >= ceiling.value - metric.kept
  if near and floor is not None and low <= floor:
    reason = "too few trials: it may be no better than knowing nothing"
    return Verdict(UNCLEAR, reason)
  if near:
    margin = figure(metric.kept, metric)
    return Verdict(GOOD, f"within {margin} of what it is without protection")
  if floor is not None and low <= floor:
    return Verdict(BAD, "no better than knowing nothing")
  return Verdict(UNCLEAR, "weaker, but still better than knowing nothing")


def excess(finding: Finding, metric: Metric | None = None) -> float:
  """The position of a value between the floor (0) and the ceiling (1).

  It orders findings of one claim; without a floor it is the value itself.
  """
  metric = metric or METRICS.get(finding.metric, Metric())
  sign = -1 if metric.less else 1
  floor = finding.floor or 0.0
  above = sign * (finding.value - floor)
  if finding.ceiling is None or finding.ceiling.value == floor:
    return above
  return above / abs(finding.ceiling.value - floor)


def badness(
  finding: Finding, metric: Metric | None = None
) -> tuple[int, float]:
  """A key that puts the worst finding last, and what is told first.

  Among equal verdicts the worst is the one read best if hidden is wanted, and
  the one read worst if kept is wanted.
  """
  if finding.wanted == TOLD:
    return -1, 0.0
  share = excess(finding, metric)
  severity = SEVERITY[judge(finding, metric).level]
  return severity, share if finding.wanted == HIDDEN else -share


def worst(
  findings: Iterable[Finding], metrics: Mapping[str, Metric] = METRICS
) -> Finding | None:
  """The worst of the findings that are judged; see `badness`."""
  judged = [f for f in findings if f.wanted != TOLD]
  key = lambda f: badness(f, metrics.get(f.metric))
  return max(judged, key=key, default=None)


def of(
  claim: str,
  wanted: str,
  metric: str,
  figures: Any,
  *,
  subject: str,
  by: str,
  **fields: Any,
) -> Finding:
  """A finding from a `statistics.Proportion`, `statistics.Mean` or the like.

  `figures` has low, high and total, either value or rate, and perhaps hits. It
  is told only where there is no interval, as of a single person.
  """
  value = figures.rate if hasattr(figures, "rate") else figures.value
  if not math.isfinite(value + figures.low + figures.high):
    wanted = TOLD
  return Finding(
    subject=subject,
    claim=claim,
    wanted=wanted,
    by=by,
    metric=metric,
    value=float(value),
    low=float(figures.low),
    high=float(figures.high),
    hits=getattr(figures, "hits", None),
    total=int(figures.total),
    **fields,
  )
