"""Detections of whole images: overlap, suppression, and average precision.

`average_precision` needs no protocol; figures to compare with those published
on WIDER FACE are `wider_average_precision`. Suppression in compiled programs,
without voting, is `jaxpriv.metrics.nms`.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpriv.metrics.wider import (
  wider_average_precision as wider_average_precision,
)


def iou(a: Any, b: Any) -> Any:
  """Intersection over union [...] of boxes [..., 4], x0 y0 x1 y1.

  Leading axes are broadcast: pass a[:, None], b[None] for all pairs. JAX arrays
  (also traced ones) are computed in their own precision, all others by NumPy in
  float64.

  Returns:
    0 where neither box has an area, or one is not finite. Sides may be from
    1e-150 to 1e150 in float64, 1e-19 to 1e19 in float32.
  """
  if isinstance(a, jax.Array) or isinstance(b, jax.Array):
    xp: Any = jnp
    a, b = (x * 1.0 for x in map(jnp.asarray, (a, b)))
  else:
    xp = np
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
  finite = xp.isfinite(a).all(-1) & xp.isfinite(b).all(-1)
  a, b = (xp.where(finite[..., None], x, 0) for x in (a, b))
  low = xp.maximum(a[..., :2], b[..., :2])
  high = xp.minimum(a[..., 2:], b[..., 2:])
  area = lambda low, high: xp.maximum(high - low, 0).prod(-1)
  shared = area(low, high)
  union = area(a[..., :2], a[..., 2:]) + area(b[..., :2], b[..., 2:]) - shared
  return shared / xp.where(union > 0, union, 1)


def suppress(
  boxes: np.ndarray, scores: np.ndarray, overlap: float = 0.3
) -> np.ndarray:
  """Non-maximum suppression with box voting.

  A box that stays becomes the mean, weighted by scores, of itself and the boxes
  it suppresses (Gidaris and Komodakis, ICCV 2015), which is finer than the
  windows of a pyramid.

  Args:
    boxes: [N, 4], x0 y0 x1 y1.
    scores: [N], not negative.
    overlap: intersection over union above which the box with the lower score is
      suppressed.

  Returns:
    [K, 5], boxes and scores, best first.

  Raises:
    ValueError: a box is not finite, or a score is nan.
  """
  boxes, scores = np.asarray(boxes, np.float64), np.asarray(scores, np.float64)
  _check(boxes, scores)
  order = np.argsort(-scores, kind="stable")
  merged = []
  while len(order):
    shared = iou(boxes[order[0]], boxes[order])
    gone = shared > overlap
    gone[0] = True
    # Only boxes of about the same place and size vote.
    votes = order[shared >= max(overlap, 0.5)] if len(order) > 1 else order
    votes = votes if len(votes) else order[:1]
    weight = np.maximum(scores[votes], 1e-12)
    mean = (boxes[votes] * weight[:, None]).sum(0) / weight.sum()
    merged.append([*mean, scores[order[0]]])
    order = order[~gone]
  return np.array(merged).reshape(-1, 5)


def _check(boxes, scores, where=""):
  if not np.isfinite(boxes).all() or np.isnan(scores).any():
    raise ValueError(f"{where}a box is not finite, or a score is nan")


def average_precision(
  detections: Sequence[np.ndarray],
  ground_truth: Sequence[np.ndarray],
  overlap: float = 0.5,
) -> float:
  """Area under the precision-recall curve, precision made monotone.

  As in PASCAL VOC since 2010 (Everingham et al., IJCV 2010): detections of all
  images are visited by descending score; each is right if it is the first to
  overlap a face by at least `overlap`, and false otherwise.

  Args:
    detections: for each image [N, 5], boxes x0 y0 x1 y1 and scores. Detections
      of equal score, over all images, count together, so that their order does
      not matter.
    ground_truth: for each image the boxes of faces [M, 4].
    overlap: smallest intersection over union of a right detection.

  Raises:
    ValueError: there is no face, the lists differ in length, a box is not
      finite, or a score is nan.
  """
  faces = sum(len(boxes) for boxes in ground_truth)
  if not faces:
    raise ValueError("average precision without a face is not defined")
  hits, counts = _ranked(detections, ground_truth, overlap)
  precision = hits / counts
  precision = np.maximum.accumulate(precision[::-1])[::-1]
  recall = hits / faces
  steps = np.diff(recall, prepend=0)
  return float((precision * steps).sum())


def hits_at_precision(
  detections: Sequence[np.ndarray],
  ground_truth: Sequence[np.ndarray],
  precision: float = 0.9,
  overlap: float = 0.5,
) -> int:
  """Faces found at the lowest score from which on enough detections are right.

  Arguments and what is right are those of `average_precision`.

  Args:
    detections: see there.
    ground_truth: likewise.
    precision: least share of right detections among those that are taken.
    overlap: see there.

  Returns:
    the most right detections that any threshold takes at this precision; 0
    where none does.

  Raises:
    ValueError: as `average_precision` does, but for a lack of faces.
  """
  hits, counts = _ranked(detections, ground_truth, overlap)
  return int(hits[hits >= precision * counts].max(initial=0))


def _ranked(detections, ground_truth, overlap) -> tuple[np.ndarray, np.ndarray]:
  """Right detections, and all, [T] each, from each distinct score on."""
  if len(detections) != len(ground_truth):
    raise ValueError(
      f"{len(detections)} images of detections, {len(ground_truth)} of faces"
    )
  scores, right = [], []
  for i, (candidates, boxes) in enumerate(
    zip(detections, ground_truth, strict=True)
  ):
    candidates = np.asarray(candidates, np.float64).reshape(-1, 5)
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    _check(candidates[:, :4], candidates[:, 4], f"image {i}, detections: ")
    _check(boxes, (), f"image {i}, faces: ")
    shared = iou(candidates[:, None, :4], boxes[None])
    # Ties in score are broken by overlap, so that row order does not matter.
    fit = shared.max(1, initial=0)
    order = np.lexsort((-fit, -candidates[:, 4]))
    candidates, shared = candidates[order], shared[order]
    taken = np.zeros(len(boxes), bool)
    for row, score in zip(shared, candidates[:, 4], strict=True):
      best = int(row.argmax()) if len(row) else -1
      hit = best >= 0 and row[best] >= overlap and not taken[best]
      if hit:
        taken[best] = True
      scores.append(score)
      right.append(hit)
  order = np.argsort(-np.array(scores), kind="stable")
  hits = np.cumsum(np.array(right, bool)[order])
  ranked = np.array(scores)[order]
  last = np.append(ranked[1:] != ranked[:-1], True)[: len(ranked)]
  return hits[last], np.flatnonzero(last) + 1
