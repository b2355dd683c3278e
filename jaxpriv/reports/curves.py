"""How much is given away against how many pairs an attacker knows."""

from typing import NamedTuple

from jaxpriv.metrics import image as image_metrics
from jaxpriv.metrics.finding import Finding
from jaxpriv.reports import claims
from jaxpriv.reports.results import Results

METRIC = "SSIM"  # it is drawn against known pairs


class Curve(NamedTuple):
  """How much a subject gives away against how many pairs are known.

  Attributes:
    subject: whose output.
    points: (pairs, value, low, high), ascending in pairs.
    floor: of the metric, or None.
    ceiling: of the metric, or None.
    threshold: to reach, or None.
    needed: pairs that reach it, or None.
  """

  subject: str
  points: list[tuple[int, float, float, float]]
  floor: float | None
  ceiling: float | None
  threshold: float | None
  needed: int | None


def curves(results: Results) -> list[Curve]:
  """Returns a curve for each subject that was attacked with known pairs.

  With each number of pairs, the attack counts that gets nearest.
  """
  evaluation = results.header.get("config", {}).get("evaluation", {})
  threshold = evaluation.get("threshold_ssim")
  drawn = []
  for subject in claims.subjects(results):
    best: dict[int, Finding] = {}
    for f in results.findings:
      pairs = int(f.where.get("pairs", 0))
      if f.subject != subject or f.metric != METRIC or pairs < 1:
        continue
      if pairs not in best or f.value > best[pairs].value:
        best[pairs] = f
    if not best:
      continue
    points = [
      (n, best[n].value, best[n].low, best[n].high) for n in sorted(best)
    ]
    needed = None
    if threshold is not None:
      values = [(n, value) for n, value, _, _ in points]
      needed = image_metrics.pairs_needed(values, threshold)
    last = best[max(best)]
    ceiling = last.ceiling.value if last.ceiling else None
    drawn.append(Curve(subject, points, last.floor, ceiling, threshold, needed))
  return drawn
