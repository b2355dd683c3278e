"""Attribute inference: which attributes can be read in released images.

For attributes that a mechanism promises to keep this measures utility, for
others leakage. The predictor of the mechanism's own loss is the weakest
witness: it may read a code that nobody else can. So predictors that the
mechanism has never seen are trained on released images, and compared with
predictors of the same kind, trained and scored on originals.
"""

from collections.abc import Iterator, Mapping

import numpy as np

from jaxpriv.attacks.threat import People, Reader
from jaxpriv.data.memory import InMemory
from jaxpriv.metrics import classification, finding
from jaxpriv.metrics.finding import Finding, Interval
from jaxpriv.training.mechanism import Target

PRODUCTS = ("image",)

Scores = Mapping[str, classification.Accuracy]


def attack(
  target: Target, people: People, by: str = "fresh"
) -> Iterator[Finding]:
  """Lets predictors read attributes in released images and in the originals.

  Args:
    target: the mechanism or a control.
    people: whose photographs these are.
    by: "loss", the predictors among the mechanism's own phases, or "fresh",
      those of config.evaluation.predictors, trained on released images.
  """
  test = people.test
  released = people.image(target, test)
  if by == "loss":
    for reader in people.predictors():
      yield from findings(
        target, reader, _scores(reader, released), _originals(people, reader)
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
    yield from findings(target, reader, _scores(reader, released), before)


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
