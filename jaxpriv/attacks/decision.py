"""Utility of released features: how well their decider reads them."""

from collections.abc import Iterator, Mapping

import numpy as np

from jaxpriv.attacks.scene import TOGETHER, Scene
from jaxpriv.attacks.threat import People
from jaxpriv.metrics import attributes, classification, finding
from jaxpriv.metrics.finding import Finding, Interval
from jaxpriv.training.mechanism import Target

PRODUCTS = ("features",)
DECIDER = "decider"


def attack(target: Target, people: People) -> Iterator[Finding]:
  """The task of a target, read from released features beside clean ones."""
  if target.task is None:
    return
  scene = Scene(target, people)
  test = scene.test()
  task = target.task(test.arrays)
  labels = np.stack(list(task.values()), axis=1)
  trained = target.trained
  logits = {
    field: scene.apply(
      trained.last.method.outputs.logits,
      trained.state(trained.last),
      test.replace(features=test.arrays[field]),
      trained.frozen(trained.last),
    )
    for field in ("clean", "features")
  }
  read = {
    field: {
      name: classification.accuracy(
        values[:, i].argmax(-1), labels[:, i], test.identities
      )
      for i, name in enumerate(task)
      if (labels[:, i] >= 0).any()
    }
    for field, values in logits.items()
  }
  for name, accuracy in read["features"].items():
    before = read["clean"][name]
    attribute = name in test.attribute_names
    yield finding.of(
      f"attribute {name}" if attribute else name,
      finding.KEPT if attribute else finding.TOLD,
      "accuracy",
      accuracy,
      subject=target.name,
      by=DECIDER,
      floor=accuracy.majority,
      ceiling=Interval(before.rate, before.low, before.high),
    )
  if target.kept:
    yield from precision(target, people, DECIDER, "kept", logits, labels)


def precision(
  target: Target,
  people: People,
  by: str,
  what: str,
  logits: Mapping[str, np.ndarray],
  labels: np.ndarray,
) -> Iterator[Finding]:
  """Mean average precision, if any of the attributes varies.

  Args:
    target: whose features are read.
    people: whose photographs these are.
    by: the reader.
    what: attributes, "kept" or "hidden".
    logits: [N, A, 2] of "features" and of "clean" ones.
    labels: [N, A], -1 unknown.
  """
  if not labels.size:
    return
  released, clean = (
    attributes.mean_average_precision(
      logits[field], labels, people.test.identities
    )
    for field in ("features", "clean")
  )
  if released is None or clean is None:
    return
  yield Finding(
    subject=target.name,
    claim=TOGETHER,
    wanted=finding.TOLD,
    by=by,
    metric="mAP",
    **released.figures._asdict(),
    total=len(labels),
    floor=released.constant,
    ceiling=clean.figures,
    where={"what": what, "count": released.varied},
  )
