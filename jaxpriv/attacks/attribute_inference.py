"""Which attributes can be read from what is released, and by whom.

For attributes that a mechanism promises to keep this measures utility, for
others leakage. The predictor of the mechanism's own loss is the weakest
witness: it may read a code that nobody else can. So predictors that the
mechanism has never seen are trained on released images, and compared with their
like trained and scored on originals.
"""

import numpy as np
from ml_collections import ConfigDict

from jaxpriv.metrics import classification, statistics
from jaxpriv.models import backbones
from jaxpriv.models.heads import AttributePredictor
from jaxpriv.training import tasks
from jaxpriv.training.method import Phase


def predictor(
  name: str, network: ConfigDict, options: ConfigDict, attributes: int
) -> Phase:
  """A fresh predictor; `network.architecture` is a kind of backbone."""
  kind = network.architecture
  settings = {k: v for k, v in network.items() if k != "architecture"}
  if kind == "fsn":
    model = backbones.make(kind, attributes=attributes, **settings)
  else:
    model = AttributePredictor(backbones.make(kind, **settings), attributes)
  return tasks.attribute_prediction(name, model, options)


def score(
  predicted: np.ndarray, labels: np.ndarray, names: tuple[str, ...]
) -> dict[str, classification.Accuracy]:
  """Accuracy of each attribute.

  Args:
    predicted: [N, A].
    labels: [N, A], -1 unknown.
    names: of the A attributes; one of which no label is known is left out.
  """
  return {
    name: classification.accuracy(predicted[:, i], labels[:, i])
    for i, name in enumerate(names)
    if (labels[:, i] >= 0).any()
  }


def rows(
  predictor_name: str,
  released: dict[str, classification.Accuracy],
  original: dict[str, classification.Accuracy],
) -> list[dict]:
  """Rows as in `jaxpriv.reports.results`, without the mechanism."""
  return [
    {
      "attribute": name,
      "predictor": predictor_name,
      **accuracy._asdict(),
      "original": original[name].rate,
    }
    for name, accuracy in released.items()
  ]


# Of fewer an interval says nothing.
FEWEST_PEOPLE = 10


def overall(
  released: np.ndarray,
  original: np.ndarray,
  labels: np.ndarray,
  people: np.ndarray,
) -> dict | None:
  """How well attributes are read, all of them taken together.

  A predictor that has not learned from what is released errs one way more than
  the other. Its balanced accuracy (the mean of the rates at which labels 0 and
  1 are read right) is 1/2 if it sees nothing, whichever way it errs. The mean
  of it is over attributes that vary.

  Args:
    released: [N, A] predicted of what is released, or rebuilt from it.
    original: of originals.
    labels: [N, A] of 0 and 1, -1 unknown.
    people: [N] identities, over which the interval is drawn.

  Returns:
    balanced, low, high (its 95% interval, [0, 1] of fewer than FEWEST_PEOPLE),
    undisguised (the balanced accuracy on originals), and of all known labels
    taken alike hits, total, rate and majority (what the commonest label of each
    attribute gets right); None if no attribute varies.
  """
  count = [np.sum(labels == label, axis=0) for label in (0, 1)]
  varied = np.minimum(*count) > 0
  if not varied.any():
    return None
  _, who = np.unique(people, return_inverse=True)
  everyone = np.arange(who.max() + 1)

  def tally(predicted):
    """Right, and known: by person, attribute that varies, and label."""
    found = np.zeros((2, len(everyone), varied.sum(), 2))
    for label in (0, 1):
      known = labels[:, varied] == label
      right = known & (predicted[:, varied] == label)
      np.add.at(found[0, ..., label], who, right)
      np.add.at(found[1, ..., label], who, known)
    return found

  def balanced(found, drawn):
    right, known = found[:, drawn].sum(1)
    both = known.min(-1) > 0  # of those drawn
    return float(np.mean(right[both] / known[both])) if both.any() else 0.5

  found = tally(released)
  value = balanced(found, everyone)
  low, high = 0.0, 1.0
  if len(everyone) >= FEWEST_PEOPLE:
    low, high = statistics.bootstrap_interval(
      lambda drawn: balanced(found, drawn), len(everyone)
    )
  hits, total = (
    int((released == labels)[labels >= 0].sum()),
    int(sum(count).sum()),
  )
  return {
    "balanced": value,
    "low": min(low, value),
    "high": max(high, value),
    "undisguised": balanced(tally(original), everyone),
    "hits": hits,
    "total": total,
    "rate": hits / total,
    "majority": float(np.maximum(*count).sum() / total),
  }


def precision(
  released: np.ndarray,
  original: np.ndarray,
  labels: np.ndarray,
  people: np.ndarray,
) -> dict | None:
  """Mean average precision over attributes, as face attributes are scored by.

  An attribute that all have, or all lack, is left out.

  Args:
    released: logits [N, A, 2] of what is released.
    original: of originals.
    labels: [N, A], -1 unknown.
    people: [N] identities, by which the interval is drawn.

  Returns:
    count of attributes, value, low, high (95%, over people), original, and
    constant: what a constant scores; None if no attribute varies.
  """
  margin = lambda logits: logits[..., 1] - logits[..., 0]
  varied = [
    i
    for i in range(labels.shape[1])
    if (labels[:, i] == 0).any() and (labels[:, i] == 1).any()
  ]
  if not varied:
    return None

  def mean(scores, rows):
    found = [
      classification.average_precision(scores[rows, i], labels[rows, i])
      for i in varied
      if (labels[rows, i] == 1).any()
    ]
    return float(np.mean(found)) if found else 0.0

  everyone = np.arange(len(labels))
  groups = [np.flatnonzero(people == p) for p in np.unique(people)]
  low, high = statistics.bootstrap_interval(
    lambda drawn: mean(
      margin(released), np.concatenate([groups[i] for i in drawn])
    ),
    len(groups),
  )
  value = mean(margin(released), everyone)
  return {
    "count": len(varied),
    "value": value,
    "low": min(low, value),
    "high": max(high, value),
    "original": mean(margin(original), everyone),
    "constant": mean(np.zeros(labels.shape), everyone),
  }
