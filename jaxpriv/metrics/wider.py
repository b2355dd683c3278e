"""Average precision of face detectors by the protocol of WIDER FACE.

Yang et al., CVPR 2016, with the programs they evaluate by, in MATLAB, and the
Python one that most papers use now (WiderFace-Evaluation). Where those differ,
this is the Python one:

* Detections of an image are visited in the order given; MATLAB sorts them by
  score first. Sort them, then, for figures to compare with published ones.
  Unsorted ones are no error here, but at a threshold all count up to the last
  that reaches it, whatever the scores of those before.
* Scores are scaled so that `low` becomes 0 and `high` 1: the least score, but
  at most 1, and the greatest, but at least 0. MATLAB does not bound `low`,
  which matters only where all scores are greater than 1.

Both pass over images without a detection, whose wanted faces count as missed,
and images without any box, whose detections are then not false. Where there are
boxes but none is wanted, detections beside them are. All numbers are float64.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

THRESHOLDS = 1000


class WiderCurve(NamedTuple):
  """Precision and recall at thresholds of the scaled scores.

  Attributes:
    thresholds: [1000], 0.999, 0.998 and so on to 0.
    precision: [1000], NaN where no detection counts.
    recall: [1000], of all wanted faces; it never falls.
    average_precision: the area under the curve once precision is made monotone.
  """

  thresholds: np.ndarray
  precision: np.ndarray
  recall: np.ndarray
  average_precision: float


def wider_average_precision(
  detections: Sequence[Any],
  ground_truth: Sequence[tuple[Any, Any]],
  iou: float = 0.5,
) -> float:
  """Average precision by the WIDER protocol; see `wider_precision_recall`."""
  return wider_precision_recall(detections, ground_truth, iou).average_precision


def wider_precision_recall(
  detections: Sequence[Any],
  ground_truth: Sequence[tuple[Any, Any]],
  iou: float = 0.5,
) -> WiderCurve:
  """Precision and recall by the WIDER protocol.

  A detection belongs to the box that it overlaps most, wanted or not (the first
  of equal ones), if intersection over union is at least `iou`. Sides count
  pixels at both ends: w + 1 and h + 1. If that box is ignored, the detection
  does not count at all. The first detection of a wanted face is right; a
  further one, or one that belongs to no box, is false.

  Average precision is that of PASCAL VOC since 2010: precision at a recall is
  the best at that recall or more, 0 where no threshold reaches it.

  Args:
    detections: for each image [N, 5], x, y, width, height and score, of any
      range, best first (the module tells what becomes of others).
    ground_truth: for each image the boxes of faces [M, 4], x, y, width and
      height, and the indices, from 0, of those that are wanted, such as the
      "easy" ones. The others are ignored, not background. The files of the
      protocol count from 1.
    iou: the least overlap of a box and a detection of it, in (0, 1].

  Returns:
    a `WiderCurve`. If all scores are one number from 0 to 1, for which the
    programs divide 0 by 0, all detections count at every threshold.

  Raises:
    ValueError: the lists differ in length, no face is wanted, `iou` is out of
      range, or an image has boxes of another shape, numbers that are not
      finite, or an index that is not one of a box or comes twice.
  """
  if len(detections) != len(ground_truth):
    raise ValueError(
      f"{len(detections)} images of detections, {len(ground_truth)} of faces"
    )
  if not 0 < iou <= 1:
    raise ValueError(f"iou must be greater than 0 and at most 1, not {iou}")
  images = [
    _image(i, rows, *truth)
    for i, (rows, truth) in enumerate(
      zip(detections, ground_truth, strict=True)
    )
  ]
  faces = sum(int(wanted.sum()) for _, _, wanted in images)
  if not faces:
    raise ValueError("average precision without a wanted face is not defined")
  low = min(rows[:, 4].min(initial=1) for rows, _, _ in images)
  high = max(rows[:, 4].max(initial=0) for rows, _, _ in images)
  thresholds = 1 - np.arange(1, THRESHOLDS + 1) / THRESHOLDS
  found, counted = np.zeros((2, THRESHOLDS), np.int64)
  for rows, boxes, wanted in images:
    if not len(rows) or not len(boxes):
      continue
    right, counts = _judge(rows, boxes, wanted, iou)
    scores = np.ones(len(rows))
    if high > low:
      scores = (rows[:, 4] - low) / (high - low)
    # Rows count up to the last whose score reaches the threshold: those from
    # which on the greatest score does.
    rest = np.maximum.accumulate(scores[::-1])
    last = len(rows) - np.searchsorted(rest, thresholds)
    found += np.append(0, np.cumsum(right))[last]
    counted += np.append(0, np.cumsum(counts))[last]
  recall = found / faces
  some = counted > 0
  precision = np.where(some, found / np.maximum(counted, 1), np.nan)
  envelope = np.maximum.accumulate(np.where(some, precision, 0)[::-1])[::-1]
  area = float((envelope * np.diff(recall, prepend=0)).sum())
  return WiderCurve(thresholds, precision, recall, area)


def _image(i, rows, boxes, keep):
  """Detections, boxes, and which are wanted [M], of an image; all checked."""
  rows = _numbers(rows, 5, f"image {i}, detections")
  boxes = _numbers(boxes, 4, f"image {i}, boxes")
  keep = np.asarray(keep)
  where = f"image {i}: the indices of wanted boxes"
  if keep.ndim != 1 or (keep.size and keep.dtype.kind not in "iu"):
    raise ValueError(f"{where} must be a list of integers")
  if keep.size and not (keep.min() >= 0 and keep.max() < len(boxes)):
    raise ValueError(
      f"{where} must be from 0 to {len(boxes) - 1}, but there are"
      f" {keep.min()} to {keep.max()}; those of WIDER's files count from 1"
    )
  wanted = np.zeros(len(boxes), bool)
  wanted[keep.astype(np.int64)] = True
  if wanted.sum() != keep.size:
    raise ValueError(f"{where} name a box twice")
  return rows, boxes, wanted


def _numbers(rows, columns, where):
  rows = np.asarray(rows, np.float64)
  if not rows.size:
    return np.zeros((0, columns))
  if rows.ndim != 2 or rows.shape[1] != columns:
    raise ValueError(f"{where} must be [N, {columns}], not {list(rows.shape)}")
  if not np.isfinite(rows).all():
    raise ValueError(f"{where}: a number is not finite")
  return rows


def _judge(rows, boxes, wanted, iou):
  """Returns the detections that are right, and those that count, bool [N]."""
  overlap = _overlap(rows, boxes)
  best = overlap.argmax(1)
  matched = overlap[np.arange(len(rows)), best] >= iou
  mine = np.flatnonzero(matched & wanted[best])
  right = np.zeros(len(rows), bool)
  right[mine[np.unique(best[mine], return_index=True)[1]]] = True
  return right, ~matched | wanted[best]


def _overlap(a, b):
  """Intersection over union [A, B] of boxes x, y, w, h with inclusive ends."""
  shared, a_area, b_area = 1.0, 1.0, 1.0
  for i in (0, 1):
    low, high = a[:, i], a[:, i] + a[:, i + 2]
    start, end = b[:, i], b[:, i] + b[:, i + 2]
    side = np.minimum.outer(high, end) - np.maximum.outer(low, start) + 1
    shared = np.maximum(side, 0) * shared
    a_area, b_area = (high - low + 1) * a_area, (end - start + 1) * b_area
  union = np.add.outer(a_area, b_area) - shared
  # Boxes that share a pixel have an area; the union of others may be 0 or less.
  return np.divide(shared, union, out=np.zeros_like(union), where=shared > 0)
