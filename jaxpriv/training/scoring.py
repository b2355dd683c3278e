"""How well a model reads people it has not seen: its `scores` and `detect`.

`Outputs.scores` gives numbers for each example, NaN where it has no label;
`Outputs.detect` gives boxes [B, K, 4] and scores [B, K] of whole images.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from jaxpriv.data.records import Batch
from jaxpriv.metrics import detection, statistics
from jaxpriv.training import inference
from jaxpriv.training.method import Method, need


def means(
  method: Method,
  state: Any,
  frozen: Mapping[str, Any],
  batches: Iterable[Batch],
  people: np.ndarray,
  mesh: Any,
) -> dict[str, statistics.Mean]:
  """The mean of each score, with an interval by people [N]; none if unlabelled.

  Args:
    method: with outputs.scores.
    state: of it.
    frozen: states it needs.
    batches: as of `Data.epoch`.
    people: of the examples, in order.
    mesh: of the state.
  """
  scores = inference.predict(
    need(method.outputs.scores, "scores"), state, frozen, batches, mesh
  )
  return {
    name: statistics.mean_interval(values, people)
    for name, values in scores.items()
    if np.isfinite(values).any()
  }


def average_precision(
  method: Method,
  state: Any,
  frozen: Mapping[str, Any],
  batches: Iterable[Batch],
  boxes: np.ndarray,
  people: np.ndarray,
  mesh: Any,
) -> statistics.Mean | None:
  """AP at half overlap, of whole images with one face each, boxes [N, 4].

  Images whose box is unknown (NaN) are left out; None if all are. The interval
  is by people [N], drawn anew with all their images.
  """
  detected = inference.predict(
    need(method.outputs.detect, "detect"), state, frozen, batches, mesh
  )
  labelled = np.flatnonzero(np.isfinite(boxes).all(1))
  if not len(labelled):
    return None
  detections = [
    detection.suppress(detected["boxes"][i], detected["scores"][i])
    for i in labelled
  ]
  faces = [boxes[i][None] for i in labelled]
  _, owner = np.unique(people[labelled], return_inverse=True)
  rows_of = [np.flatnonzero(owner == p) for p in range(owner.max() + 1)]

  def precision(drawn):
    rows = np.concatenate([rows_of[p] for p in drawn])
    return detection.average_precision(
      [detections[i] for i in rows], [faces[i] for i in rows]
    )

  count = len(rows_of)
  low, high = statistics.bootstrap_interval(precision, count)
  value = precision(np.arange(count))
  return statistics.Mean(value, low, high, len(labelled))
