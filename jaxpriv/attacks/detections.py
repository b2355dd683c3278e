"""Utility of a face detector: how well it finds the faces of whole scenes.

No attack: its average precision on scenes that it has not seen stands beside
that of the same boxes laid over other scenes.
"""

from collections.abc import Iterator, Mapping, Sequence

import jax
import numpy as np

from jaxpriv.attacks.threat import People
from jaxpriv.data import pipeline
from jaxpriv.metrics import finding, statistics, wider
from jaxpriv.metrics.finding import Finding
from jaxpriv.ranges import NATURAL, NOT_NEGATIVE
from jaxpriv.training import inference
from jaxpriv.training.mechanism import Target
from jaxpriv.training.method import need

PRODUCTS = ("model",)
RANGES = {
  "images": NATURAL,
  "easy": NOT_NEGATIVE,
  "medium": NOT_NEGATIVE,
  "hard": NOT_NEGATIVE,
}
CLAIM = "detection"
BY = "model"
_BATCH = 32


def attack(
  target: Target,
  people: People,
  images: int = 500,
  easy: float = 16,
  medium: float = 12,
  hard: float = 8,
) -> Iterator[Finding]:
  """Average precision by the protocol of WIDER FACE, easy, medium and hard.

  Faces that are too small for a setting are ignored there: it does not matter
  whether they are found. The floor is what the boxes found in one scene score
  in the next one, as of a detector that has not looked.

  Args:
    target: with an output `detect`.
    people: whose test records are scenes; nothing is measured if they are not.
    images: scenes looked at; 0 is none.
    easy: the least height of a face's box in pixels of the records.
    medium: likewise.
    hard: likewise.
  """
  phase = target.trained.phase_with("detect")
  scenes = people.test
  count = min(images, len(scenes))
  if phase is None or "boxes" not in scenes.arrays or not count:
    return
  processes = jax.process_count()
  found = inference.predict(
    need(phase.method.outputs.detect, "detect"),
    target.trained.state(phase),
    target.trained.frozen(phase),
    pipeline.epoch(
      scenes, np.arange(count), batch_size=-(-_BATCH // processes) * processes
    ),
    people.mesh,
  )
  detections = rows_of(found)
  boxes = [
    scenes.arrays["boxes"][i][scenes.arrays["valid"][i]] for i in range(count)
  ]
  for name, least in ("easy", easy), ("medium", medium), ("hard", hard):
    kept = wanted(boxes, least)
    faces = sum(len(indices) for _, indices in kept)
    if not faces:
      continue
    # Nearly as many boxes as faces, in other places.
    others = detections[1:] + detections[:1]
    floor = wider.wider_average_precision(others, kept) if count > 1 else 0.0
    yield finding.of(
      CLAIM,
      finding.KEPT,
      "AP",
      precision(detections, kept),
      subject=target.name,
      by=BY,
      floor=floor,
      where={"faces": name, "height": f"from {least:g} px", "number": faces},
    )


def rows_of(found: Mapping[str, np.ndarray]) -> list[np.ndarray]:
  """Detections of each image [n, 5], x, y, width, height and score, best first.

  Args:
    found: boxes [B, K, 4], x0 y0 x1 y1, and scores [B, K], 0 where there is no
      face.
  """
  rows = []
  for boxes, scores in zip(found["boxes"], found["scores"], strict=True):
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] > 0]
    low, high = boxes[order, :2], boxes[order, 2:]
    rows.append(np.concatenate([low, high - low, scores[order, None]], 1))
  return rows


def wanted(
  boxes: Sequence[np.ndarray], least: float
) -> list[tuple[np.ndarray, np.ndarray]]:
  """Ground truth of `metrics.wider`, where faces of some height are wanted.

  Args:
    boxes: of each image [M, 4], x0 y0 x1 y1.
    least: height in pixels.
  """
  truth = []
  for faces in boxes:
    low, high = faces[:, :2], faces[:, 2:]
    kept = np.flatnonzero((high - low)[:, 1] >= least)
    truth.append((np.concatenate([low, high - low], 1), kept))
  return truth


def precision(
  detections: Sequence[np.ndarray],
  truth: Sequence[tuple[np.ndarray, np.ndarray]],
) -> statistics.Mean:
  """Average precision, with an interval by images drawn anew (bootstrap).

  A draw without a wanted face takes the value of all images.
  """

  def of(drawn, otherwise=0.0):
    chosen = [truth[i] for i in drawn]
    if not any(len(indices) for _, indices in chosen):
      return otherwise
    return wider.wider_average_precision([detections[i] for i in drawn], chosen)

  count = len(truth)
  value = of(np.arange(count))
  low, high = statistics.bootstrap_interval(lambda i: of(i, value), count)
  # All images may score beyond what most draws of them do.
  return statistics.Mean(value, min(low, value), max(high, value), count)
