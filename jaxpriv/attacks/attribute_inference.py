"""Attribute inference: which attributes can be read in released images.

For attributes that a mechanism promises to keep this measures utility, for
others leakage. The predictor of the mechanism's own loss is the weakest
witness: it may read a code that nobody else can. So predictors that the
mechanism has never seen are trained on released images, and compared with
predictors of the same kind, trained and scored on originals. Networks that no
one here trained read what is released as they read photographs.

What is kept is judged by accuracy, beside the commonest label. What is to be
hidden is judged by the area under the ROC curve: with a rare attribute, or a
biased predictor, accuracy stays at that of a constant however well it is told.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxpriv.attacks.threat import People, Reader
from jaxpriv.data.memory import InMemory
from jaxpriv.metrics import attributes, classification, finding
from jaxpriv.metrics.classification import Accuracy
from jaxpriv.metrics.finding import Finding, Interval
from jaxpriv.ranges import Range
from jaxpriv.training.mechanism import Target

PRODUCTS = ("image",)
BY = ("loss", "fresh", "others")
RANGES = {"by": Range(f"one of {', '.join(BY)}", BY.__contains__)}
GUESSING = 0.5  # the area under the curve of whoever sees nothing


class Score(NamedTuple):
  """How well one attribute is read; no area where it does not vary."""

  accuracy: Accuracy
  area: Interval | None


Scores = Mapping[str, Score]


def attack(
  target: Target, people: People, by: str = "fresh"
) -> Iterator[Finding]:
  """Lets predictors read attributes in released images and in the originals.

  Args:
    target: the mechanism or a control.
    people: whose photographs these are.
    by: "loss", the predictors among the mechanism's own phases; "fresh", those
      of config.evaluation.predictors, trained on released images; or "others",
      those among config.evaluation.witnesses, which have seen no such image, so
      that what they make of kept attributes is told and not judged.
  """
  test = people.test
  if by in ("loss", "others"):
    readers = people.predictors() if by == "loss" else people.others()
    for reader in readers:
      released = _scores(reader, people.image(target, test))
      before = _originals(people, reader)
      yield from findings(
        target, reader.name, released, before, reader.where, by == "loss"
      )
    return
  if by != "fresh":
    raise ValueError(f'by is "loss", "fresh" or "others", not {by!r}')
  if not people.known.attribute_names:
    return
  known = people.image(target, people.known)
  for name in people.options.predictors:
    before = _originals(people, people.predictor_of_originals(name))
    reader = people.predictor(name, target.name, known)
    released = _scores(reader, people.image(target, test))
    yield from findings(target, reader.name, released, before)


def findings(
  target: Target,
  by: str,
  released: Scores,
  original: Scores,
  where: Mapping[str, Any] | None = None,
  learned: bool = True,
) -> Iterator[Finding]:
  """Findings for each attribute; one that is not kept should be hidden.

  Args:
    target: whose releases were read.
    by: the reader.
    released: what it reads in them, by attribute.
    original: what it reads without protection.
    where: further columns.
    learned: whether it has learned from such releases: otherwise attributes
      that are kept for those who do are told.
  """
  for name, score in released.items():
    kept = target.kept is None or name in target.kept
    before = original[name]
    columns: dict[str, Any] = dict(
      subject=target.name,
      by=by,
      where=dict(where or {}),
    )
    accuracy = before.accuracy
    yield finding.of(
      f"attribute {name}",
      finding.KEPT if kept and learned else finding.TOLD,
      "accuracy",
      score.accuracy,
      floor=score.accuracy.majority,
      ceiling=Interval(accuracy.rate, accuracy.low, accuracy.high),
      **columns,
    )
    if not kept and score.area is not None:
      yield Finding(
        claim=f"attribute {name}",
        wanted=finding.HIDDEN,
        metric="AUC",
        **score.area._asdict(),
        total=score.accuracy.total,
        floor=GUESSING,
        ceiling=before.area,
        **columns,
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
    photographs.identities,
  )


def score(
  scores: np.ndarray,
  labels: np.ndarray,
  names: tuple[str, ...],
  people: np.ndarray,
) -> dict[str, Score]:
  """How well each attribute is read.

  Args:
    scores: [N, A], above 0 where an attribute is read; a column of NaN is not
      read at all, and left out.
    labels: [N, A], -1 unknown.
    names: of the A attributes; one of which no label is known is left out.
    people: [N], who is shown.
  """
  return {
    name: Score(
      classification.accuracy(
        (scores[:, i] > 0).astype(np.int8), labels[:, i], people
      ),
      attributes.area_under_curve(scores[:, i], labels[:, i], people),
    )
    for i, name in enumerate(names)
    if (labels[:, i] >= 0).any() and not np.isnan(scores[:, i]).all()
  }
