"""A5: released features of some people beside photographs of others."""

from collections.abc import Iterator

from jaxpriv.attacks import inversion
from jaxpriv.attacks.reconstruction import Scene, fitted
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
    return clean(frozen["target"][first.name], {}, {"image": images})

  known = scene.known()
  features = known.arrays["features"]
  middle = len(features) // 2
  schedule = scene.longer_schedule(middle)
  phase = inversion.aligner(
    f"aligner_{target.name}", schedule, decide, featurize
  )
  half = known.take(slice(0, middle)).replace(features=features[-middle:])
  held = {"target": dict(trained.states)}
  state = scene.train(phase, half, schedule, frozen=held)
  aligned = scene.apply(
    phase.method.outputs.align, state, scene.test(), finish=fitted
  )
  images = scene.reconstruct(*scene.clean_inverter(), aligned)
  yield from scene.rebuilt("A5 unpaired", images, KNOWS)
  scene.show("A5", images)
