"""A6: the module itself is known, and no key or noise of the photograph."""

from collections.abc import Iterator

import numpy as np
from absl import logging

from jaxpriv.attacks import inversion, linear
from jaxpriv.attacks.scene import Scene, finite, plain
from jaxpriv.attacks.threat import People
from jaxpriv.metrics.finding import Finding
from jaxpriv.ranges import COUNT, NATURAL
from jaxpriv.training import published
from jaxpriv.training.mechanism import Target, Trained

PRODUCTS = ("features",)
RANGES = {"searched": NATURAL, "steps": COUNT}
KNOWS = "the module itself, and no key or noise of the photograph"
TRIED = 16  # photographs of its own, by which it chooses how to search
PAIRS = 1024  # least squares gain nothing of more


def attack(
  target: Target, people: People, searched: int = 64, steps: int = 300
) -> Iterator[Finding]:
  """Searches photograph and key, for `searched` of the test photographs.

  Each search takes that many `steps` of Adam.
  """
  if not searched:
    return
  scene = Scene(target, people)
  trained, again = target.trained, target.again
  last = trained.last
  given_code = last.method.outputs.features_given_code
  if given_code is None:
    return
  rows = spread(people.test.identities, searched, people.config.seed)

  def release(states, images, code):
    held = Trained(trained.phases, states)
    batch = {"image": images, "code": code}
    return given_code(held.state(last), held.frozen(last), batch)

  # With the module, an attacker makes pairs under keys of its own. Some are
  # held out, to choose the smoothness by.
  some = scene.known().take(slice(0, PAIRS))
  tried = min(TRIED, len(some) // 2)
  pairs = some.arrays["features"]
  if again is not None:
    fn, state, frozen = again.bound("features")
    pairs = scene.apply(
      fn, state, plain(some), frozen, finish=published.features
    )
  to_clean = linear.least_squares(pairs[tried:], some.arrays["clean"][tried:])
  inverter, weights = scene.clean_inverter()

  def begin(photographs, features):
    mapped = photographs.replace(features=to_clean(features))
    images = scene.apply(inverter.method.outputs.reconstruct, weights, mapped)
    return finite(images, "A6, at first")

  def search(start, features, smoothness):
    return inversion.search(
      release,
      dict(trained.states),
      people.mesh,
      features,
      start,
      target.code_size,
      smoothness,
      steps,
    )

  own = some.take(slice(0, tried))
  smoothness = inversion.smoothest(
    search, own.arrays["image"], pairs[:tried], begin(own, pairs[:tried])
  )
  logging.info("%s, A6: smoothness %s", target.name, smoothness)
  few = scene.test().take(rows)
  features = few.arrays["features"]
  images = begin(few, features)
  if smoothness is not None:
    images = search(images, features, smoothness)
  yield from scene.rebuilt(
    "A6 leaked module", finite(images, "A6"), KNOWS, rows
  )


def spread(identities: np.ndarray, count: int, seed: int) -> np.ndarray:
  """About `count` rows: two photographs of as many people as that is."""
  people, counts = np.unique(identities, return_counts=True)
  people = np.random.default_rng(seed).permutation(people[counts > 1])
  rows: list[int] = []
  for person in people[: max(count // 2, 2)]:
    rows.extend(np.flatnonzero(identities == person)[:2].tolist())
  return np.sort(np.array(rows))
