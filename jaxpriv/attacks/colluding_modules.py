"""A4: as A3, with modules that other entities have trained."""

from collections.abc import Iterator

import jax

from jaxpriv.attacks.own_modules import invert_all
from jaxpriv.attacks.scene import Scene
from jaxpriv.attacks.threat import People
from jaxpriv.data.dataset import Data
from jaxpriv.metrics.finding import Finding
from jaxpriv.training.mechanism import Target

PRODUCTS = ("features",)
KNOWS = "modules of other entities; no pair"


def ready(target: Target, data: Data, mesh: jax.sharding.Mesh) -> None:
  """Loads the modules, so that one that is missing is missed at once.

  Raises:
    DataError: one is not there, or does not fit.
  """
  if target.colluders is not None:
    for _ in target.colluders(data, mesh):
      pass


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
