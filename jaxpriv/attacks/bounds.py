"""Bounds of all attacks on features: unprotected ones, and no knowledge."""

from collections.abc import Iterator

from jaxpriv.attacks.scene import BOUNDS, Scene
from jaxpriv.attacks.threat import People
from jaxpriv.metrics.finding import Finding
from jaxpriv.training.mechanism import Target

PRODUCTS = ("features",)
FIRST = True  # the pictures of the other attacks stand beside these
SHOWN = 10  # photographs in the report


def attack(target: Target, people: People) -> Iterator[Finding]:
  """The bounds of the mechanism under attack; controls have the same."""
  if target.control:
    return
  scene = Scene(target, people)
  people.strips = people.strips or [{"images": [], "captions": []}] * SHOWN
  scene.show("original", people.test.arrays["image"])
  for name, figures in scene.bounds().items():
    yield from scene.findings(name, figures, knows=BOUNDS[name])
  scene.show("from clean features", scene.clean_images())
