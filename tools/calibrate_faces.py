"""Measures how hard the procedural faces are: linear eyes against a network.

  python -m tools.calibrate_faces --steps=3000

trains a small network on other people, then prints a table: how many of 200
unseen people the network and a linear probe recognise, and how well each reads
the attributes of unseen people. The identity probe learns from 8 photographs of
each person, the network sees one.
"""

import functools
import json
import time

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import app, flags, logging

from jaxpriv.data.procedural import (
  ATTRIBUTE_NAMES,
  ProceduralFaces,
  calibration,
)

_PEOPLE = flags.DEFINE_integer("people", 4000, "People to train on.")
_SHOTS = flags.DEFINE_integer("photographs", 10, "Photographs of each.")
_STEPS = flags.DEFINE_integer("steps", 3000, "Training steps.")
_BATCH = flags.DEFINE_integer("batch", 128, "Photographs a step.")
_SEED = flags.DEFINE_integer("seed", 1, "Seed of people and network.")

_PROBE_PEOPLE = 200
_SCALE = 20.0  # scale of the cosines in the softmax over people


class Network(nn.Module):
  """Six convolutions, an embedding of unit length, and attribute logits.

  [B, 64, 64, 3] -> 32 x 32 x 24 -> 16 x 16 x 48 -> 8 x 8 x 96 -> 4 x 4 x 192
  -> [B, 128].
  """

  people: int

  @nn.compact
  def __call__(self, images, train: bool):
    norm = functools.partial(nn.BatchNorm, not train, momentum=0.95)
    x = (images.astype(jnp.float32) / 255.0 - 0.45) * 4.0
    layers = (24, 2), (48, 2), (48, 1), (96, 2), (96, 1), (192, 2)
    for width, stride in layers:
      y = nn.Conv(width, (3, 3), (stride, stride), use_bias=False)(x)
      y = nn.relu(norm()(y))
      x = x + y if x.shape == y.shape else y
    features = nn.relu(norm()(nn.Dense(256)(x.reshape(len(x), -1))))
    x = norm()(nn.Dense(128)(features))
    unit = x / jnp.linalg.norm(x, axis=-1, keepdims=True)
    centres = self.param(
      "centres", nn.initializers.normal(), (128, self.people)
    )
    centres = centres / jnp.linalg.norm(centres, axis=0)
    attributes = nn.Dense(len(ATTRIBUTE_NAMES))(features)
    return unit, unit @ centres, attributes


def _images(source, indices):
  """Images and attributes, drawn a thousand at a time."""
  parts = [
    source.batch(indices[i : i + 1024]) for i in range(0, len(indices), 1024)
  ]
  return tuple(
    np.concatenate([part[key] for part in parts])
    for key in ("image", "attributes")
  )


def train(source, people: int, steps: int, batch: int, seed: int):
  """Trains on the first `people` of a source; returns images -> outputs."""
  network = Network(people)
  indices = np.flatnonzero(source.identities < people)
  images, attributes = _images(source, indices)
  identities = source.identities[indices]
  variables = network.init(jax.random.key(seed), images[:2], True)
  schedule = optax.cosine_onecycle_schedule(steps, 4e-3)
  optimizer = optax.adamw(schedule, weight_decay=1e-4)

  def loss(params, statistics, x, person, labels):
    variables = {"params": params, "batch_stats": statistics}
    (_, cosines, logits), new = network.apply(
      variables, x, True, mutable=["batch_stats"]
    )
    cross = optax.softmax_cross_entropy_with_integer_labels
    value = cross(_SCALE * cosines, person).mean()
    value += 4.0 * optax.sigmoid_binary_cross_entropy(logits, labels).mean()
    return value, new["batch_stats"]

  @jax.jit
  def step(state, x, person, labels):
    params, statistics, moments = state
    (value, statistics), gradient = jax.value_and_grad(loss, has_aux=True)(
      params, statistics, x, person, labels
    )
    updates, moments = optimizer.update(gradient, moments, params)
    return (optax.apply_updates(params, updates), statistics, moments), value

  params = variables["params"]
  state = (params, variables["batch_stats"], optimizer.init(params))
  rng = np.random.default_rng(seed)
  started = time.time()
  for i in range(1, steps + 1):
    rows = rng.integers(0, len(images), batch)
    state, value = step(state, images[rows], identities[rows], attributes[rows])
    if i % 100 == 0:
      logging.info("step %d loss %.3f %.0f s", i, value, time.time() - started)

  @jax.jit
  def outputs(x):
    variables = {"params": state[0], "batch_stats": state[1]}
    return network.apply(variables, x, False)

  return outputs


def judge(source, outputs, people: int) -> dict[str, float]:
  """Rank-1 of the people after the first `people`, one photograph known."""
  unseen = (source.identities >= people) & (
    source.identities < people + _PROBE_PEOPLE
  )
  images, labels = _images(source, np.flatnonzero(unseen))
  parts = [outputs(images[i : i + 500]) for i in range(0, len(images), 500)]
  unit = np.concatenate([part[0] for part in parts])
  logits = np.concatenate([part[2] for part in parts])
  shots = source.images_per_identity
  unit = unit.reshape(_PROBE_PEOPLE, shots, -1)
  scores = np.einsum("psd,gd->psg", unit[:, 1:], unit[:, 0])
  truth = np.arange(_PROBE_PEOPLE)[:, None]
  result = {"identity": float((scores.argmax(-1) == truth).mean())}
  right = ((logits > 0) == (labels > 0)).mean(0)
  return result | dict(zip(ATTRIBUTE_NAMES, right.tolist(), strict=True))


def main(argv: list[str]) -> None:
  del argv
  people = _PEOPLE.value
  source = ProceduralFaces(
    people + _PROBE_PEOPLE, _SHOTS.value, 64, _SEED.value
  )
  outputs = train(source, people, _STEPS.value, _BATCH.value, _SEED.value)
  network = judge(source, outputs, people)
  linear = {"identity": calibration.identity_probe(seed=_SEED.value)}
  linear |= calibration.attribute_probes(seed=_SEED.value)
  print(f"{'':20} constant  linear  network")
  for name, probe in linear.items():
    print(
      f"{name:20} {probe.baseline:8.3f} {probe.accuracy:7.3f}"
      f" {network[name]:8.3f}"
    )
  print(
    json.dumps(
      {"linear": {k: v[0] for k, v in linear.items()}, "network": network}
    )
  )


if __name__ == "__main__":
  app.run(main)
