"""How much is given away against how many pairs an attacker knows."""

from typing import NamedTuple

from jaxpriv.metrics import image as image_metrics
from jaxpriv.metrics.finding import Finding
from jaxpriv.reports import claims
from jaxpriv.reports.results import Results

METRIC = "SSIM"  # it is drawn against known pairs


class Curve(NamedTuple):
  """The best attack on a subject, by the number of pairs it knows.

  Attributes:
    subject: whose output.
    points: number of pairs -> the finding that gets nearest; ascending.
    threshold: of the metric, to reach; or None.
    needed: pairs that reach it, or None.
  """

  subject: str
  points: dict[int, Finding]
  threshold: float | None
  needed: int | None


def curves(results: Results) -> list[Curve]:
  """Returns a curve for each subject that was attacked with known pairs."""
  evaluation = results.header.get("config", {}).get("evaluation", {})
  threshold = evaluation.get("threshold_ssim")
  drawn = []
  for subject in claims.subjects(results):
    best: dict[int, Finding] = {}
    for f in results.findings:
      n = int(f.where.get("pairs", 0))
      if f.subject == subject and f.metric == METRIC and n > 0:
        best[n] = max(best.get(n, f), f, key=lambda f: f.value)
    points = dict(sorted(best.items()))
    values = [(n, f.value) for n, f in points.items()]
    needed = None
    if threshold is not None:
      needed = image_metrics.pairs_needed(values, threshold)
    if points:
      drawn.append(Curve(subject, points, threshold, needed))
  return drawn
