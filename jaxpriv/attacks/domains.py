"""Whether releases show another domain, as they are to, and the same pose.

A network learns, from undisguised photographs of people and animals, which
domain a face is of and where its five points are. It then reads releases: what
they are to show is a cat, say, and its eyes are to be where the person's were:
in the image, and from where the eyes of cats are on average as far as the
person's were from where those of people are.
"""

from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax

from jaxpriv.attacks import gathering
from jaxpriv.attacks.threat import People
from jaxpriv.data.memory import InMemory
from jaxpriv.data.records import ARCFACE_LANDMARKS, DOMAINS, DataError
from jaxpriv.metrics import faces, finding, statistics
from jaxpriv.metrics.finding import Finding, Interval
from jaxpriv.models import backbones
from jaxpriv.models.heads import Readout
from jaxpriv.training import recipes
from jaxpriv.training.mechanism import Target
from jaxpriv.training.method import Outputs, Phase

PRODUCTS = ("image",)
_POINTS = len(ARCFACE_LANDMARKS)
READER = "domains"
BY = "reader of photographs"
# An error of so much of the side counts as much as guessing a domain.
NEAR = 0.1


def attack(target: Target, people: People, domain: str) -> Iterator[Finding]:
  """How many releases are read as of a domain, and how far their points are.

  Args:
    target: under attack.
    people: known, and test.
    domain: of the releases, one of `DOMAINS`.

  Raises:
    DataError: the attackers or the test people have no photographs of it.
  """
  data = people.data
  assert data is not None
  known = people.once(
    "everybody known", lambda: gathering.of_attackers(people.options, data)
  )
  tested = people.once(
    "everybody tested", lambda: gathering.of_test(people.options, data)
  )
  number = DOMAINS.index(domain)
  for who, photographs in ("attackers", known), ("test people", tested):
    if number not in photographs.arrays["domain"]:
      raise DataError(
        f"config.attacks.{READER}.domain = {domain}, and the photographs of the"
        f" {who} show none: leave {READER} out of config.evaluation.attacks, or"
        " give them some"
      )
  read = people.once("domains read", lambda: reader(people, known))
  of_domain = np.flatnonzero(tested.arrays["domain"] == number)
  released = people.image(target, people.test)
  named = lambda photographs: read(photographs)[0] == number
  rate = lambda photographs: statistics.grouped_proportion(
    named(photographs), photographs.identities
  )
  real = rate(tested.take(of_domain))
  yield finding.of(
    f"domain {domain}",
    finding.KEPT,
    "accuracy",
    rate(released),
    subject=target.name,
    by=BY,
    floor=rate(people.test).rate,
    ceiling=Interval(real.rate, real.low, real.high),
  )
  points, there = _points(people.test)
  if not there.any():
    return
  side = np.sqrt(_areas(people.test))
  error = lambda read: faces.landmark_error(read, points, there) / side
  rows = np.isfinite(error(points))
  mean = lambda read: statistics.mean_interval(
    error(read)[rows], people.test.identities[rows]
  )
  constant, known_there = _points(known)
  guess = faces.mean_of_known(constant, known_there[..., None], axis=0)[None]
  clean = mean(read(people.test)[1])
  shown = read(released)[1]
  # Points of cats lie elsewhere than those of people who are turned alike.
  means, of = _mean_points(known), people.test.arrays["domain"]
  figures = [("the image", shown, guess)]
  if np.isfinite(means[[number, *np.unique(of)]]).all():
    moved = means[of] - means[number]
    figures.append(("the mean of the domain", shown + moved, means[of]))
  for about, answer, nothing in figures:
    yield finding.of(
      "landmarks",
      finding.KEPT,
      "error / box side",
      mean(answer),
      subject=target.name,
      by=BY,
      floor=mean(np.broadcast_to(nothing, points.shape)).value,
      ceiling=Interval(clean.value, clean.low, clean.high),
      where={"about": about},
    )


def _mean_points(known: InMemory) -> np.ndarray:
  """Mean points [domains, 5, 2] of photographs; NaN where none is known."""
  points, there = _points(known)
  means = np.full((len(DOMAINS), *points.shape[1:]), np.nan)
  for domain in range(len(DOMAINS)):
    rows = known.arrays["domain"] == domain
    if there[rows].any(0).all():
      known_there = there[rows][..., None]
      means[domain] = faces.mean_of_known(points[rows], known_there, axis=0)
  return means


def _points(photographs: InMemory) -> tuple[np.ndarray, np.ndarray]:
  """Five points [N, 5, 2] in pixels, and which are known [N, 5]."""
  points = photographs.arrays["landmarks"][:, :_POINTS].astype(np.float64)
  return points, np.asarray(np.isfinite(points).all(-1))


def _areas(photographs: InMemory) -> np.ndarray:
  """Pixels [N] of the boxes of faces; of the image where there is no box."""
  boxes = photographs.arrays["box"].astype(np.float64)
  areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
  whole = photographs.arrays["image"].shape[1] ** 2
  return np.where(areas > 0, areas, whole)


def phase(people: People) -> Phase:
  """The reader: a domain and five points, in shares of the image's side."""
  options = people.options
  settings = {
    k: v for k, v in options.recogniser.items() if k != "architecture"
  }
  backbone = backbones.make(options.recogniser.architecture, **settings)
  model = Readout(backbone, len(DOMAINS) + 2 * _POINTS)

  def outputs(apply, batch):
    read = apply(batch["image"])
    points = read[:, len(DOMAINS) :].reshape(-1, _POINTS, 2)
    return read[:, : len(DOMAINS)], 0.5 + NEAR * points

  def loss(apply, batch, frozen):
    logits, points = outputs(apply, batch)
    label = batch["landmarks"][:, :_POINTS] / batch["image"].shape[1]
    known = jnp.isfinite(label).all(-1)
    apart = jnp.square(points - jnp.where(known[..., None], label, 0)).sum(-1)
    losses = optax.softmax_cross_entropy_with_integer_labels(
      logits, batch["domain"]
    )
    right = (logits.argmax(1) == batch["domain"]).astype(jnp.float32)
    far = jnp.where(known, apart, 0).sum(1) / jnp.maximum(known.sum(1), 1)
    return losses + far / NEAR**2, {"accuracy": right, "squared_error": far}

  def logits(apply, batch, frozen):
    named, points = outputs(apply, batch)
    return jnp.concatenate([named, points.reshape(len(points), -1)], 1)

  return recipes.supervised_phase(
    READER, model, loss, options.phases[READER], outputs=Outputs(logits=logits)
  )


def reader(people: People, known: InMemory) -> Any:
  """A function from photographs to their domains [N] and points [N, 5, 2]."""
  made = phase(people)
  state = people.train(
    made, known, people.options.phases[READER], people.options.recogniser
  )

  def read(photographs: InMemory) -> tuple[np.ndarray, np.ndarray]:
    both = people.apply(made.method.outputs.logits, state, {}, photographs)
    side = photographs.arrays["image"].shape[1]
    points = both[:, len(DOMAINS) :].reshape(-1, _POINTS, 2) * side
    return both[:, : len(DOMAINS)].argmax(1), points.astype(np.float64)

  return read
