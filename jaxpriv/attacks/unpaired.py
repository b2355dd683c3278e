"""A5: released features of some people beside photographs of others."""

from collections.abc import Iterator

import numpy as np

from jaxpriv.attacks import inversion
from jaxpriv.attacks.scene import Scene, fitted
from jaxpriv.attacks.threat import People
from jaxpriv.metrics.finding import Finding
from jaxpriv.training.mechanism import Target, Trained
from jaxpriv.training.method import need

PRODUCTS = ("features",)
KNOWS = "released features, and photographs of others; no pair"


def attack(target: Target, people: People) -> Iterator[Finding]:
  """Makes features look like clean ones, and inverts those."""
  scene = Scene(target, people)
  trained = target.trained
  first = trained.phase_with("clean_features")
  if first is None:
    return
  logits = need(trained.last.method.outputs.logits, "logits")
  clean = need(first.method.outputs.clean_features, "clean_features")

  def decide(z, images, frozen):
    held = Trained(trained.phases, frozen["target"])
    batch = {"features": z, "image": images}
    return logits(held.state(held.last), held.frozen(held.last), batch)

  def featurize(images, frozen):
    held = Trained(trained.phases, frozen["target"])
    return clean(held.state(first), held.frozen(first), {"image": images})

  known = scene.known()
  # Photographs of one half of the attackers' people, features of the others.
  people_known = np.unique(known.identities)
  seen = np.isin(known.identities, people_known[: len(people_known) // 2])
  rows = min(int(seen.sum()), int((~seen).sum()))
  schedule = scene.longer_schedule(rows)
  phase = inversion.aligner(
    f"aligner_{target.name}", schedule, decide, featurize
  )
  photographs = known.take(np.flatnonzero(seen)[:rows])
  others = known.arrays["features"][np.flatnonzero(~seen)[-rows:]]
  half = photographs.replace(features=others)
  held = {"target": dict(trained.states)}
  state = scene.train(phase, half, schedule, frozen=held)
  aligned = scene.apply(
    phase.method.outputs.align, state, scene.test(), finish=fitted
  )
  images = scene.reconstruct(*scene.clean_inverter(), aligned)
  yield from scene.rebuilt("A5 unpaired", images, KNOWS)
  scene.show("A5", images)
