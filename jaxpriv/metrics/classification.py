"""Accuracy of predicted attributes, beside the score of a constant answer."""

from typing import NamedTuple

import numpy as np
from scipy import stats

from jaxpriv.metrics import statistics


class Accuracy(NamedTuple):
  """How often a prediction is right, over the rows whose label is known.

  Attributes:
    hits: right predictions.
    total: rows with a known label.
    rate: hits / total.
    low: lower end of its 95% interval over people.
    high: upper end.
    majority: share of the most frequent label, the score of the best constant
      answer.
  """

  hits: int
  total: int
  rate: float
  low: float
  high: float
  majority: float


def accuracy(
  predicted: np.ndarray, labels: np.ndarray, people: np.ndarray
) -> Accuracy:
  """Scores the predictions of one attribute or class.

  Args:
    predicted: [N] integers or booleans.
    labels: [N] integers; negative is unknown, and ignored.
    people: [N], who is shown.

  Returns:
    an `Accuracy`.

  Raises:
    ValueError: if the shapes are not [N] both, predictions are not integers, or
      no label is known.
  """
  predicted, labels = np.asarray(predicted), np.asarray(labels)
  if predicted.ndim != 1 or predicted.shape != labels.shape:
    raise ValueError(
      f"predictions {predicted.shape} and labels {labels.shape} must be [N]"
      " both: score one attribute at a time"
    )
  if not np.issubdtype(predicted.dtype, np.integer) and predicted.dtype != bool:
    raise ValueError(
      f"predictions are {predicted.dtype}: pass class indices, not scores"
    )
  labelled = labels >= 0
  if not labelled.any():
    raise ValueError("no label is known, so there is no accuracy to speak of")
  right, labels = (predicted == labels)[labelled], labels[labelled]
  _, counts = np.unique(labels, return_counts=True)
  return Accuracy(
    *statistics.grouped_proportion(right, np.asarray(people)[labelled]),
    majority=float(counts.max() / counts.sum()),
  )


def area_under_curve(scores: np.ndarray, labels: np.ndarray) -> float:
  """Area under the ROC curve: how often a positive scores above a negative.

  Equal scores count one half, so that a constant has 1/2 (Mann and Whitney,
  1947).

  Args:
    scores: [N], higher for more confident positives.
    labels: [N], 1 or 0; negative is unknown, and ignored.

  Raises:
    ValueError: one of both labels is missing.
  """
  labelled = labels >= 0
  positive = labels[labelled] == 1
  count = int(positive.sum()), int((~positive).sum())
  if not all(count):
    raise ValueError("the area under a curve needs labels of 0 and of 1")
  ranks = stats.rankdata(scores[labelled])
  above = ranks[positive].sum() - count[0] * (count[0] + 1) / 2
  return float(above / (count[0] * count[1]))


def average_precision(scores: np.ndarray, labels: np.ndarray) -> float:
  """Area under the precision-recall step function.

  A constant score yields the share of positives. Rows of equal score count
  together, so that their order does not matter.

  Args:
    scores: [N], higher for more confident positives.
    labels: [N], 1 or 0; negative is unknown, and ignored.

  Raises:
    ValueError: no label is 1.
  """
  labelled = labels >= 0
  scores, right = scores[labelled], labels[labelled] == 1
  if not right.any():
    raise ValueError("average precision without a positive is not defined")
  order = np.argsort(-scores, kind="stable")
  ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
  hits = np.cumsum(right[order])[ends]
  recall = np.diff(hits, prepend=0) / right.sum()
  return float(np.sum(recall * hits / (ends + 1)))
