"""A4: as A3, with modules that other entities have trained."""

from collections.abc import Iterator

from jaxpriv.attacks.own_modules import invert_all
from jaxpriv.attacks.scene import Scene
from jaxpriv.attacks.threat import People
from jaxpriv.metrics.finding import Finding
from jaxpriv.training.mechanism import Target

PRODUCTS = ("features",)
KNOWS = "modules of other entities; no pair"


def attack(target: Target, people: People) -> Iterator[Finding]:
  """Inverts the modules of `Target.colluders`, if there are any."""
  if target.colluders is None or people.data is None:
    return
  others = list(target.colluders(people.data, people.mesh))
  if not others:
    return
  scene = Scene(target, people)
  images = invert_all(scene, "colluders", others)
  yield from scene.rebuilt(f"A4 modules of {len(others)} others", images, KNOWS)
  scene.show("A4", images)
