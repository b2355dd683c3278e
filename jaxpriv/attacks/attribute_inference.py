"""Which attributes can be read from what is released, and by whom.

For attributes that a mechanism promises to keep this measures utility, for
others leakage. The predictor of the mechanism's own loss is the weakest
witness: it may read a code that nobody else can. So predictors that the
mechanism has never seen are trained on released images, and compared with their
like trained and scored on originals.
"""

from collections.abc import Iterator, Mapping

import numpy as np

from jaxpriv.attacks.threat import People, Reader
from jaxpriv.data.memory import InMemory
from jaxpriv.metrics import classification, finding, statistics
from jaxpriv.metrics.finding import Finding, Interval
from jaxpriv.training.mechanism import Target

PRODUCTS = ("image",)

Scores = Mapping[str, classification.Accuracy]


def attack(
  target: Target, people: People, by: str = "fresh"
) -> Iterator[Finding]:
  """What predictors read in released images, beside the originals.

  Args:
    target: the mechanism or a control.
    people: whose photographs these are.
    by: "loss", the predictors among the mechanism's own phases, or "fresh",
      those of config.evaluation.predictors, trained on released images.
  """
  test = people.test
  shown = people.image(target, test)
  if by == "loss":
    for reader in people.predictors():
      yield from findings(
        target, reader, _scores(reader, shown), _originals(people, reader)
      )
    return
  if by != "fresh":
    raise ValueError(f'by is "loss" or "fresh", not {by!r}')
  if not people.known.attribute_names:
    return
  known = people.image(target, people.known)
  for name in people.options.predictors:
    before = _originals(people, people.predictor_of_originals(name))
    reader = people.predictor(name, target.name, known)
    yield from findings(target, reader, _scores(reader, shown), before)


def findings(
  target: Target, reader: Reader, released: Scores, original: Scores
) -> Iterator[Finding]:
  """A finding for each attribute; one that is not kept should be hidden."""
  for name, accuracy in released.items():
    kept = target.kept is None or name in target.kept
    before = original[name]
    yield finding.of(
      f"attribute {name}",
      finding.KEPT if kept else finding.HIDDEN,
      "accuracy",
      accuracy,
      subject=target.name,
      by=reader.name,
      floor=accuracy.majority,
      ceiling=Interval(before.rate, before.low, before.high),
      where=reader.where,
    )


def _originals(people: People, reader: Reader) -> Scores:
  return people.once(
    ("scores", reader.name), lambda: _scores(reader, people.test)
  )


def _scores(reader: Reader, photographs: InMemory) -> Scores:
  return score(
    reader.read(photographs),
    photographs.arrays["attributes"],
    photographs.attribute_names,
  )


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


# People below whose number an interval says nothing.
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
    undisguised (the balanced accuracy on originals, an Interval), and of all
    known labels taken alike hits, total, rate and majority (what the commonest
    label of each attribute gets right); None if no attribute varies.
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

  def measured(predicted):
    found = tally(predicted)
    value = balanced(found, everyone)
    low, high = 0.0, 1.0
    if len(everyone) >= FEWEST_PEOPLE:
      low, high = statistics.bootstrap_interval(
        lambda drawn: balanced(found, drawn), len(everyone)
      )
    return Interval(value, min(low, value), max(high, value))

  value, low, high = measured(released)
  hits, total = (
    int((released == labels)[labels >= 0].sum()),
    int(sum(count).sum()),
  )
  return {
    "balanced": value,
    "low": low,
    "high": high,
    "undisguised": measured(original),
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
    count of attributes, released and original (an Interval over people each),
    and constant: what a constant scores; None if no attribute varies.
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

  def measured(logits):
    low, high = statistics.bootstrap_interval(
      lambda drawn: mean(
        margin(logits), np.concatenate([groups[i] for i in drawn])
      ),
      len(groups),
    )
    value = mean(margin(logits), everyone)
    return Interval(value, min(low, value), max(high, value))

  return {
    "count": len(varied),
    "released": measured(released),
    "original": measured(original),
    "constant": mean(np.zeros(labels.shape), everyone),
  }
