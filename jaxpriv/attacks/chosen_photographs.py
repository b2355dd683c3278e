"""A2: the attacker may have photographs of its own poisoned, without end."""

from collections.abc import Iterator

from jaxpriv.attacks.scene import Scene
from jaxpriv.attacks.threat import People
from jaxpriv.metrics.finding import Finding
from jaxpriv.training.mechanism import Target, Trained
from jaxpriv.training.method import need

PRODUCTS = ("features",)
KNOWS = "may have photographs of its own poisoned, without end"


def attack(target: Target, people: People) -> Iterator[Finding]:
  """Trains an inverter through the mechanism: each step poisons another batch.

  The states of the mechanism are passed as frozen["target"].
  """
  scene = Scene(target, people)
  trained = target.trained
  fn = need(trained.last.method.outputs.features, "features")

  def features(batch, frozen):
    held = Trained(trained.phases, frozen["target"])
    return fn(held.state(held.last), held.frozen(held.last), batch)

  # Augmented, they are many more photographs.
  schedule = scene.longer_schedule(len(people.known), augment=True)
  phase = scene.inverter("chosen", options=schedule, features=features)
  state = scene.train(
    phase, scene.known(), schedule, frozen={"target": dict(trained.states)}
  )
  released = scene.test().arrays["features"]
  images = scene.reconstruct(phase, state, released)
  yield from scene.rebuilt("A2 chosen photographs", images, KNOWS)
  scene.show("A2", images)
