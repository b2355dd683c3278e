"""A0: R0, and inverters of clean features that the module has not met."""

from collections.abc import Iterator

from jaxpriv.attacks import inversion
from jaxpriv.attacks.scene import Scene
from jaxpriv.attacks.threat import People
from jaxpriv.metrics.finding import Finding
from jaxpriv.ranges import NATURAL
from jaxpriv.training.mechanism import Target

PRODUCTS = ("features",)
RANGES = {"unseen": NATURAL}
KNOWS = "the public featurizer, and photographs of its own"


def attack(
  target: Target, people: People, unseen: int = 5
) -> Iterator[Finding]:
  """Inverts with R0, R0 trained anew, and `unseen` of inversion.VARIANTS.

  A control faces the first two.
  """
  scene = Scene(target, people)
  phase = target.trained.phase_with("reconstruct")
  released = scene.test().arrays["features"]
  if phase is not None:
    images = scene.reconstruct(phase, target.trained.state(phase), released)
    yield from scene.rebuilt("A0 R0", images, KNOWS)
    scene.show("by R0", images)
  images = scene.reconstruct(*scene.clean_inverter(), released)
  yield from scene.rebuilt("A0 R0 trained anew", images, KNOWS)
  if target.control:
    return
  known = scene.known()
  known = known.replace(features=known.arrays["clean"])
  schedule = scene.longer_schedule(len(known))
  for name, changes in list(inversion.VARIANTS.items())[:unseen]:
    variant = scene.inverter(name.split(",")[0], options=schedule, **changes)
    state = scene.train(variant, known, schedule)
    images = scene.reconstruct(variant, state, released)
    yield from scene.rebuilt(f"A0 {name}", images, KNOWS)
