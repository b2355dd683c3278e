"""How well several attributes are read, all of them taken together."""

from typing import NamedTuple

import numpy as np

from jaxpriv.metrics import classification, statistics
from jaxpriv.metrics.finding import Interval

# With fewer people no interval is drawn: it is [0, 1].
FEWEST_PEOPLE = 10


class Together(NamedTuple):
  """How well all attributes are read.

  Attributes:
    balanced: mean balanced accuracy of the attributes that vary.
    hits: labels that are read right, of all attributes alike.
    total: labels that are known.
    majority: share of them that the commonest label of each attribute is.
  """

  balanced: Interval
  hits: int
  total: int
  majority: float

  @property
  def rate(self) -> float:
    return self.hits / self.total


class MeanPrecision(NamedTuple):
  """Mean average precision.

  Attributes:
    figures: the mean and its interval.
    constant: what a constant scores.
    varied: how many attributes vary; it is their mean.
  """

  figures: Interval
  constant: float
  varied: int


def together(
  predicted: np.ndarray, labels: np.ndarray, people: np.ndarray
) -> Together | None:
  """Counts right answers, and balances those to either label.

  Under distribution shift a predictor is biased towards one label. Its balanced
  accuracy (the mean of the rates at which labels 0 and 1 are read right) is
  1/2 if it sees nothing, whatever its bias. The mean of it is over attributes
  that vary.

  Args:
    predicted: [N, A] of 0 and 1, or booleans.
    labels: [N, A] of 0 and 1, -1 unknown.
    people: [N] identities, over which the interval is drawn.

  Returns:
    None if no attribute varies.
  """
  count = [np.sum(labels == label, axis=0) for label in (0, 1)]
  varied = np.minimum(*count) > 0
  if not varied.any():
    return None
  _, person = np.unique(people, return_inverse=True)
  everyone = np.arange(person.max() + 1)
  # Right, and known: by person, attribute that varies, and label.
  tally = np.zeros((2, len(everyone), varied.sum(), 2))
  for label in (0, 1):
    known = labels[:, varied] == label
    right = known & (predicted[:, varied] == label)
    np.add.at(tally[0, ..., label], person, right)
    np.add.at(tally[1, ..., label], person, known)

  def balanced(drawn):
    right, known = tally[:, drawn].sum(1)
    both = known.min(-1) > 0  # among the people drawn
    return float(np.mean(right[both] / known[both])) if both.any() else 0.5

  value, low, high = balanced(everyone), 0.0, 1.0
  if len(everyone) >= FEWEST_PEOPLE:
    low, high = statistics.bootstrap_interval(balanced, len(everyone))
  total = int(sum(count).sum())
  return Together(
    Interval(value, min(low, value), max(high, value)),
    int((predicted == labels)[labels >= 0].sum()),
    total,
    float(np.maximum(*count).sum() / total),
  )


def threshold(scores: np.ndarray, labels: np.ndarray) -> float:
  """The threshold of scores at which an attribute is told best.

  Args:
    scores: [N].
    labels: [N] of 0 and 1, -1 unknown.

  Returns:
    the middle between two scores that gives the highest mean of the rates at
    which either label is read right, the lowest if several do; 0 where the
    attribute does not vary or is not read.
  """
  known = (labels >= 0) & np.isfinite(scores)
  scores, labels = scores[known], labels[known]
  if len(np.unique(labels)) < 2:
    return 0.0
  values = np.unique(scores)
  limits = np.append(values[0] - 1, (values[1:] + values[:-1]) / 2)
  sides = [np.sort(scores[labels == label]) for label in (0, 1)]
  below = [np.searchsorted(s, limits) / len(s) for s in sides]
  return float(limits[np.argmax(below[0] - below[1])])


def area_under_curve(
  scores: np.ndarray, labels: np.ndarray, people: np.ndarray
) -> Interval | None:
  """How well one attribute is told by a score, whatever the threshold.

  Args:
    scores: [N], higher for more confident positives.
    labels: [N] of 0 and 1, -1 unknown.
    people: [N] identities, over which the interval is drawn.

  Returns:
    None if the attribute does not vary.
  """
  known = labels >= 0
  scores, labels, people = scores[known], labels[known], people[known]
  if len(np.unique(labels)) < 2:
    return None
  groups = [np.flatnonzero(people == person) for person in np.unique(people)]

  def area(drawn):
    rows = np.concatenate([groups[i] for i in drawn])
    if len(np.unique(labels[rows])) < 2:
      return 0.5
    return classification.area_under_curve(scores[rows], labels[rows])

  value, low, high = area(range(len(groups))), 0.0, 1.0
  if len(groups) >= FEWEST_PEOPLE:
    low, high = statistics.bootstrap_interval(area, len(groups))
  return Interval(value, min(low, value), max(high, value))


def mean_average_precision(
  logits: np.ndarray, labels: np.ndarray, people: np.ndarray
) -> MeanPrecision | None:
  """Mean average precision over attributes, as face attributes are scored by.

  An attribute that all have, or all lack, is left out.

  Args:
    logits: [N, A, 2].
    labels: [N, A], -1 unknown.
    people: [N] identities, over which the interval is drawn.

  Returns:
    None if no attribute varies.
  """
  varied = [
    i
    for i in range(labels.shape[1])
    if (labels[:, i] == 0).any() and (labels[:, i] == 1).any()
  ]
  if not varied:
    return None

  def mean(scores, rows):
    precisions = [
      classification.average_precision(scores[rows, i], labels[rows, i])
      for i in varied
      if (labels[rows, i] == 1).any()
    ]
    return float(np.mean(precisions)) if precisions else 0.0

  everyone = np.arange(len(labels))
  groups = [np.flatnonzero(people == person) for person in np.unique(people)]
  margin = logits[..., 1] - logits[..., 0]
  value = mean(margin, everyone)
  low, high = statistics.bootstrap_interval(
    lambda drawn: mean(margin, np.concatenate([groups[i] for i in drawn])),
    len(groups),
  )
  return MeanPrecision(
    Interval(value, min(low, value), max(high, value)),
    mean(np.zeros(labels.shape), everyone),
    len(varied),
  )
