"""A3: inverters of modules that the attacker trains as the owner did."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from jaxpriv.attacks.scene import Scene, fitted, plain
from jaxpriv.attacks.threat import People
from jaxpriv.data import memory
from jaxpriv.data.memory import InMemory
from jaxpriv.metrics.finding import Finding
from jaxpriv.ranges import NATURAL
from jaxpriv.training.mechanism import Target
from jaxpriv.training.method import Phase

PRODUCTS = ("features",)
RANGES = {"modules": NATURAL}
KNOWS = "featurizer, decider, R0, and how the module is trained; no pair"


def attack(
  target: Target, people: People, modules: int = 3
) -> Iterator[Finding]:
  """Trains `modules` of them, and an inverter of all."""
  if target.copies is None or not modules:
    return
  scene = Scene(target, people)
  own = []
  for seed in range(modules):
    phase = target.copies(seed)
    state = people.train(
      phase,
      plain(scene.known()),
      people.options.phases.module,
      people.config.model,
      frozen=target.trained.frozen(target.trained.last),
      renumber=False,  # D knows people by these numbers, if they are the task
    )
    own.append((phase, state))
  images = invert_all(scene, "modules", own)
  name = f"A3 {len(own)} modules of its own"
  yield from scene.rebuilt(name, images, KNOWS)
  scene.show("A3", images)


def invert_all(
  scene: Scene, name: str, modules: list[tuple[Phase, Any]]
) -> np.ndarray:
  """Test images rebuilt by an inverter of other modules than the target's."""
  trained = scene.target.trained
  # The photographs are shared out: more modules do not make more of them.
  parts = []
  for i, (phase, state) in enumerate(modules):
    part = scene.known().take(slice(i, None, len(modules)))
    features = scene.apply(
      phase.method.outputs.features,
      state,
      part,
      trained.frozen(trained.last),
      finish=fitted,
    )
    parts.append(plain(part).replace(features=features))
  count = len(scene.people.known)
  arrays = {
    field: memory.gather(
      (part.arrays[field] for part in parts), count, scene.options.memory
    )
    for field in parts[0].arrays
  }
  schedule = scene.longer_schedule(count)
  phase = scene.inverter(name, options=schedule)
  known = InMemory(arrays, parts[0].attribute_names)
  state = scene.train(phase, known, schedule)
  return scene.reconstruct(phase, state, scene.test().arrays["features"])
