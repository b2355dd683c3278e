"""Utility of a released model: how well it reads people it has not seen.

No attack: its scores stand beside those of the best constant answer.
"""

from collections.abc import Iterator

import jax
import numpy as np

from jaxpriv.attacks.threat import People
from jaxpriv.data import pipeline
from jaxpriv.metrics import finding
from jaxpriv.metrics.finding import Finding
from jaxpriv.ranges import NATURAL
from jaxpriv.training import scoring
from jaxpriv.training.mechanism import Score, Target

PRODUCTS = ("model",)
RANGES = {"detection_images": NATURAL}
BY = "model"


def attack(
  target: Target, people: People, detection_images: int = 500
) -> Iterator[Finding]:
  """The mean of each score, and the average precision of detection.

  Args:
    target: with an output `scores`.
    people: on whom it is scored.
    detection_images: whole images searched for faces; 0 is none.
  """
  phase = target.trained.phase_with("scores")
  if phase is None:
    return
  photographs = people.test
  described = dict(target.scores(photographs.arrays)) if target.scores else {}
  arguments = (
    phase.method, target.trained.state(phase), target.trained.frozen(phase)
  )  # fmt: skip

  def epoch(count, size):
    processes = jax.process_count()
    size = -(-size // processes) * processes
    return pipeline.epoch(photographs, np.arange(count), batch_size=size)

  size = people.options.batch_size
  means = scoring.means(
    *arguments,
    epoch(len(photographs), size),
    photographs.identities,
    people.mesh,
  )
  if phase.method.outputs.detect and detection_images:
    count = min(detection_images, len(photographs))
    precision = scoring.average_precision(
      *arguments,
      epoch(count, 32),
      photographs.arrays["box"][:count],
      photographs.identities[:count],
      people.mesh,
    )
    if precision:
      means["detection_ap"] = precision
  for name, mean in means.items():
    score = described.get(name, Score(name, "mean"))
    yield finding.of(
      score.claim,
      finding.TOLD if score.constant is None else finding.KEPT,
      score.metric,
      mean,
      subject=target.name,
      by=BY,
      floor=score.constant,
    )
