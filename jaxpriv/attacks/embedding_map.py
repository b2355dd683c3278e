"""The embedding map: from what is released to what a public recogniser says.

Whoever may run a mechanism, or holds some photographs beside what was released
of them, learns a map from the latter to the recogniser's embeddings of the
former. Mapped releases are then linked with photographs, and with each other.
It needs no inverter, and is found in minutes where it exists (arXiv 2602.13168,
2026, where it links protected templates).

| map | learns |
|---|---|
| ridge | a linear map; people who are held out choose the penalty |
| network | a convolution and two dense layers, by the cosine |
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from absl import logging
from ml_collections import ConfigDict

from jaxpriv.attacks import reidentification
from jaxpriv.attacks.scene import Scene
from jaxpriv.attacks.threat import People, Reader
from jaxpriv.data.memory import InMemory
from jaxpriv.metrics.finding import Finding
from jaxpriv.models.poisoning import FeatureNet
from jaxpriv.ranges import COUNT, NATURAL
from jaxpriv.training import progress, recipes
from jaxpriv.training.mechanism import FEATURES, IMAGE, Target
from jaxpriv.training.method import Outputs

PRODUCTS = (IMAGE, FEATURES)
RANGES = {"pairs": COUNT, "network": NATURAL}
BLOCK = 512  # rows that are multiplied at once
NUMBERS = 64 * 64 * 3  # of a release that is mapped
OWN, ANOTHER = "the same secret", "another secret"
HELD_OUT = 5  # one in so many of the attackers' people chooses the penalty
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)


def attack(
  target: Target,
  people: People,
  pairs: Sequence[int] = (256, 4096),
  network: int = 64,
) -> Iterator[Finding]:
  """Links people by mapped releases, for each public recogniser.

  Where releases depend on a secret, the most pairs are once more made with
  another one, as by an attacker who has the mechanism and no pair of its owner.

  Args:
    target: the mechanism or a control.
    people: the attackers' have photographs beside what is released of them.
    pairs: how many of these, in ascending order.
    network: its hidden units, learned with most pairs; 0: least squares alone.
  """
  order = np.random.default_rng(people.config.seed).permutation(
    len(people.known)
  )
  numbers = sorted({min(count, len(order)) for count in pairs})
  rows = order[: numbers[-1]]
  most = people.known.take(rows)
  sources = {}
  if target.again is not None:
    other = target._replace(name=f"{target.name}_again", trained=target.again)
    sources[ANOTHER] = small(_released(other, people, most, "most"))
  sources[OWN] = small(_released(target, people, most, "most"))
  after = small(_released(target, people, people.test, "test"))
  products = {name: inner_products(before) for name, before in sources.items()}
  identities = people.test.identities
  for reader in [people.recogniser(), *people.witnesses()]:
    wanted = unit(reader.read(most))
    originals = people.read(reader)
    plain = reidentification.undisguised(originals, identities)
    results = {}
    for secret, before in sources.items():
      for n in numbers if secret == OWN else numbers[-1:]:
        with progress.slow(f"Fitting a linear map to {n:,} pairs"):
          linear = ridge(
            before[:n],
            wanted[:n],
            most.identities[:n],
            products[secret][:n, :n],
          )
        results["ridge", n, secret] = linear(after)
    if network:
      results["network", numbers[-1], OWN] = _network(
        target, people, reader, most, sources[OWN], wanted, after, network
      )
    for (kind, count, secret), mapped in results.items():
      for rank in reidentification.attacks(originals, mapped, identities):
        if count < numbers[-1] and not rank.first:
          continue
        where = {} if secret == OWN else {"pairs_of": secret}
        yield reidentification.disguised_finding(
          target,
          rank._replace(attack=f"embedding map, {kind}, {rank.attack}"),
          reader,
          plain,
          pairs=count,
          **where,
        )


def _released(
  target: Target, people: People, photographs: InMemory, name: str
) -> np.ndarray:
  """Images uint8 [N, S, S, 3] or features float [N, h, w, C] of photographs."""
  if IMAGE in target.products:
    return people.image(target, photographs).arrays["image"]
  return Scene(target, people).released(photographs, name)


def small(released: np.ndarray) -> np.ndarray:
  """[N, H, W, C] -> means of blocks, of at most `NUMBERS` numbers each.

  Faces are recognised at that size, and a linear map of more numbers takes more
  memory than it is worth.
  """
  size, channels = released.shape[1], released.shape[-1]
  factor = 1
  while (size // factor) ** 2 * channels > NUMBERS and factor < size:
    factor += 1
  if factor == 1:
    return released
  side = size // factor
  parts = []
  for i in range(0, len(released), BLOCK):
    block = released[i : i + BLOCK, : side * factor, : side * factor]
    block = block.reshape(len(block), side, factor, side, factor, channels)
    mean = block.mean((2, 4), dtype=np.float32)
    if released.dtype == np.uint8:
      mean = np.round(mean)
    parts.append(mean.astype(released.dtype))
  return np.concatenate(parts)


def unit(embeddings: np.ndarray) -> np.ndarray:
  """Rows [N, D] of length one; those of length zero stay."""
  norms = np.linalg.norm(embeddings, axis=1, keepdims=True)
  return (embeddings / np.maximum(norms, 1e-12)).astype(np.float32)


class Ridge(NamedTuple):
  """x -> (x - centre) weight + shift, of flattened rows scaled to [0, 1]."""

  weight: np.ndarray
  centre: np.ndarray
  shift: np.ndarray

  def __call__(self, released: np.ndarray) -> np.ndarray:
    """[N, ...] -> [N, D]."""
    parts = [
      (_flat(released[i : i + BLOCK]) - self.centre) @ self.weight + self.shift
      for i in range(0, len(released), BLOCK)
    ]
    return np.concatenate(parts)


def inner_products(released: np.ndarray) -> np.ndarray:
  """Those of rows [N, ...], float64 [N, N]: small penalties leave no room."""
  x = _flat(released).astype(np.float64)
  return x @ x.T


def ridge(
  released: np.ndarray,
  wanted: np.ndarray,
  identities: np.ndarray,
  products: np.ndarray,
) -> Ridge:
  """Least squares with a penalty that suits people who are held out.

  By the matrix of inner products of rows, of which there are fewer than pixels.

  Args:
    released: [N, ...], uint8, or floats.
    wanted: [N, D], the embeddings of the photographs.
    identities: int [N], at least two people.
    products: `inner_products` of the rows.
  """
  x, y = _flat(released).astype(np.float64), wanted.astype(np.float64)
  centre, shift = x.mean(0), y.mean(0)
  x, y = x - centre, y - shift
  means = products.mean(0)
  gram = products - means - means[:, None] + means.mean()
  # Above zero where all releases are one.
  scale = max(np.trace(gram) / len(gram), 1e-12)
  held = np.isin(identities, np.unique(identities)[::HELD_OUT])
  values, vectors = np.linalg.eigh(gram[np.ix_(~held, ~held)])
  turned = vectors.T @ y[~held]

  def error(penalty):
    inner = vectors @ (turned / (values + penalty * scale)[:, None])
    guess = unit(gram[np.ix_(held, ~held)] @ inner)
    return -float((guess * unit(y[held])).sum(1).mean())

  penalty = min(PENALTIES, key=error)
  logging.info("embedding map: penalty %g of %d pairs", penalty, len(x))
  inner = np.linalg.solve(gram + penalty * scale * np.eye(len(gram)), y)
  parts = (x.T @ inner, centre, shift)
  return Ridge(*(part.astype(np.float32) for part in parts))


def _flat(released: np.ndarray) -> np.ndarray:
  rows = released.reshape(len(released), -1).astype(np.float32)
  return rows / 255 if released.dtype == np.uint8 else rows


def _network(
  target: Target,
  people: People,
  reader: Reader,
  most: InMemory,
  before: np.ndarray,
  wanted: np.ndarray,
  after: np.ndarray,
  hidden: int,
) -> np.ndarray:
  """Mapped releases [N, D] of the test people, by a network."""
  options = people.options.phases.map
  model = FeatureNet(wanted.shape[1], hidden)

  def loss(apply, batch, frozen):
    del frozen
    guess, right = apply(batch["released"]), batch["wanted"]
    # `right` is of unit length. The gradient of a norm is NaN at zero, where a
    # network of few units begins, if none of them answers.
    length = jnp.sqrt(jnp.square(guess).sum(1) + 1e-12)
    return 1 - (guess * right).sum(1) / length, {}

  name = reader.name.replace(" ", "_")
  phase = recipes.supervised_phase(
    f"map_{name}_{target.name}",
    model,
    loss,
    options,
    inputs=lambda batch, frozen: batch["released"],
    outputs=Outputs(
      embed=lambda apply, batch, frozen: apply(batch["released"])
    ),
  )
  scaled = lambda x: x.astype(np.float32) / 255 if x.dtype == np.uint8 else x
  known = InMemory(
    {
      "identity": most.arrays["identity"],
      "released": scaled(before),
      "wanted": wanted,
    },
    (),
  )
  settings = ConfigDict(dict(hidden=hidden))
  state = people.train(phase, known, options, settings)
  shown = InMemory(
    {"identity": people.test.identities, "released": scaled(after)}, ()
  )
  return people.apply(phase.method.outputs.embed, state, {}, shown)
