"""How well a model reads people it has not seen: its "scores" and "detect".

`predict["scores"]` gives numbers for each example, NaN where it has no label;
`predict["detect"]` gives boxes [B, K, 4] and scores [B, K] of whole images.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from jaxpriv.data.records import Batch
from jaxpriv.metrics import detection, statistics
from jaxpriv.training import inference
from jaxpriv.training.method import Method


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
    method: with predict["scores"].
    state: of it.
    frozen: states it needs.
    batches: as of `Data.epoch`.
    people: of the examples, in order.
    mesh: of the state.
  """
  found = inference.predict(
    method.predict["scores"], state, frozen, batches, mesh
  )
  return {
    name: statistics.mean_interval(values, people)
    for name, values in found.items()
    if np.isfinite(values).any()
  }


def average_precision(
  method: Method,
  state: Any,
  frozen: Mapping[str, Any],
  batches: Iterable[Batch],
  boxes: np.ndarray,
  mesh: Any,
) -> statistics.Mean:
  """AP at half overlap, of whole images with one face each, boxes [N, 4]."""
  found = inference.predict(
    method.predict["detect"], state, frozen, batches, mesh
  )
  detections = [
    detection.suppress(b, s)
    for b, s in zip(found["boxes"], found["scores"], strict=True)
  ]
  faces = [
    b[None] if np.isfinite(b).all() else b[:0].reshape(0, 4) for b in boxes
  ]

  def precision(rows):
    return detection.average_precision(
      [detections[i] for i in rows], [faces[i] for i in rows]
    )

  count = len(faces)
  low, high = statistics.bootstrap_interval(precision, count)
  return statistics.Mean(precision(range(count)), low, high, count)
