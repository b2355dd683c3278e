"""How features are inverted: by networks, by alignment and by search.

`linear` has least squares; `scene` lists the attacks that use them.
Networks are trained by the engine, on people whom they are not scored on.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from jaxpriv.metrics import identification, statistics
from jaxpriv.metrics import image as image_metrics
from jaxpriv.models.poisoning import DeepPoisoningModule, Reconstructor
from jaxpriv.training import mesh as mesh_lib
from jaxpriv.training import recipes
from jaxpriv.training.method import Outputs, Phase

BLOCK = 128

# The paper does not specify its five other reconstructors; these vary the
# properties it lists.
VARIANTS: Mapping[str, Mapping[str, Any]] = {
  "R1, residual": dict(residual=True),
  "R2, one block": dict(blocks=1),
  "R3, factor 4": dict(factor=4),
  "R4, stretched": dict(output="min_max"),
  "R5, residual, three blocks": dict(residual=True, blocks=3),
}


def inverter(
  name: str,
  network: ConfigDict,
  side: int,
  options: ConfigDict,
  features: Callable | None = None,
  **changes: Any,
) -> Phase:
  """An attacker's inverter; see `recipes.reconstruction`."""
  model = Reconstructor(side, **{**network, **changes})
  if features is None:
    return recipes.reconstruction(name, model, options)
  return recipes.reconstruction(name, model, options, features=features)


def aligner(
  name: str,
  options: ConfigDict,
  decide: Callable,
  featurize: Callable,
) -> Phase:
  """A5: maps released features to what looks like clean ones, without pairs.

  It matches the mean and the covariance of channels, over positions and batch,
  of clean features of other photographs, and the classes that D gives.

  Args:
    name: of the phase.
    options: of it.
    decide: (features, images, frozen) -> logits [B, A, 2].
    featurize: (images, frozen) -> f(images).

  Returns:
    a phase on batches of released "features" beside unrelated "image"s; its
    predict function "align" maps the former.
  """
  model = DeepPoisoningModule(2, norm="group")

  def moments(z, keep):
    weight = jnp.broadcast_to(keep[:, None, None], z.shape[:3]).reshape(-1)
    z = z.reshape(-1, z.shape[-1])
    total = jnp.maximum(weight.sum(), 1)
    mean = weight @ z / total
    z = (z - mean) * weight[:, None]
    return mean, z.T @ z / total

  def loss(apply, batch, frozen):
    images = batch["image"]
    z = batch["features"].astype(jnp.float32)
    aligned = apply(z)
    real = featurize(images, frozen)
    keep = jnp.logical_not(batch["padding"]).astype(jnp.float32)
    (mean, spread), (mean_, spread_) = (
      moments(aligned, keep),
      moments(real, keep),
    )
    distance = jnp.sum(jnp.square(mean - mean_)) / jnp.sum(jnp.square(mean_))
    distance += jnp.sum(jnp.square(spread - spread_)) / jnp.sum(
      jnp.square(spread_)
    )
    before = jax.nn.softmax(decide(z, images, frozen))
    after = jax.nn.log_softmax(decide(aligned, images, frozen))
    apart = -jnp.sum(before * after, axis=(1, 2))
    return apart + distance, {"distance": distance, "cross_entropy": apart}

  def align(apply, batch, frozen):
    return apply(batch["features"].astype(jnp.float32))

  return recipes.supervised_phase(
    name,
    model,
    loss,
    options,
    needs=("target",),
    inputs=lambda batch, frozen: batch["features"].astype(jnp.float32),
    validated=False,
    outputs=Outputs(align=align),
  )


def search(
  release: Callable[[Any, jax.Array, jax.Array], jax.Array],
  states: Any,
  mesh: jax.sharding.Mesh,
  features: np.ndarray,
  start: np.ndarray,
  code: int = 0,
  smoothness: float | np.ndarray = 0.02,
  steps: int = 300,
  rate: float = 0.03,
) -> np.ndarray:
  """A6: photographs, and keys, whose features come nearest to these.

  Squared distance and total variation (Mahendran, Vedaldi, "Understanding Deep
  Image Representations by Inverting Them", CVPR 2015), by Adam.

  Args:
    release: (states, images [B, S, S, 3], keys [B, code]) -> P(f(images)),
      differentiable.
    states: passed on to it.
    mesh: of the states; the rows are shared out among its devices.
    features: [B, H, W, C].
    start: [B, S, S, 3], where the search begins.
    code: length of a key; it begins at 0, the mean of all.
    smoothness: weight of the total variation, of all or of each, [B].
    steps: of Adam.
    rate: of Adam.

  Returns:
    images [B, S, S, 3] in [0, 1].
  """
  optimizer = optax.adam(optax.cosine_decay_schedule(rate, steps))

  def loss(sought, target, weight, states):
    x, keys = sought
    images = jnp.clip(x, 0, 1)
    error = release(states, images, keys) - target
    error = jnp.mean(jnp.square(error), axis=(1, 2, 3))
    error /= jnp.mean(jnp.square(target), axis=(1, 2, 3)) + 1e-12
    variation = sum(
      jnp.mean(jnp.abs(jnp.diff(images, axis=axis)), axis=(1, 2, 3))
      for axis in (1, 2)
    )
    # Clipped pixels have no gradient: this term draws them back.
    return jnp.sum(error + weight * variation) + jnp.sum(jnp.square(x - images))

  def step(sought, moments, target, weight, states):
    gradient = jax.grad(loss)(sought, target, weight, states)
    updates, moments = optimizer.update(gradient, moments)
    return optax.apply_updates(sought, updates), moments

  step = mesh_lib.jit(step, mesh)
  weights = np.broadcast_to(np.float32(smoothness), len(features))
  results = []
  for i in range(0, len(features), BLOCK):
    rows = min(BLOCK, len(features) - i)
    # Further copies of the last row, so that every device has as many.
    index = np.minimum(np.arange(rows + -rows % mesh.size), rows - 1) + i
    target, weight, images, keys = jax.device_put(
      (
        np.asarray(features[index], np.float32),
        weights[index],
        np.asarray(start[index], np.float32),
        np.zeros((len(index), code), np.float32),
      ),
      mesh_lib.batch_sharding(mesh),
    )
    with jax.set_mesh(mesh):
      sought = images, keys
      moments = optimizer.init(sought)
      for _ in range(steps):
        sought, moments = step(sought, moments, target, weight, states)
    results.append(np.clip(mesh_lib.fetch(sought[0])[:rows], 0, 1))
  return np.concatenate(results)


SMOOTHNESS = (0.002, 0.02, 0.2, 2.0)


def smoothest(
  search: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray],
  images: np.ndarray,
  features: np.ndarray,
  start: np.ndarray,
) -> float | None:
  """The smoothness that rebuilds an attacker's own photographs best.

  Args:
    search: (start, features, smoothness [B]) -> images, as `search`.
    images: uint8 [N, S, S, 3], which the search should find.
    features: [N, H, W, C], theirs.
    start: [N, S, S, 3], where the search begins.

  Returns:
    one of SMOOTHNESS, or None where the start is better than all results.
  """
  count = len(SMOOTHNESS)
  results = search(
    np.tile(start, (count, 1, 1, 1)),
    np.tile(features, (count, 1, 1, 1)),
    np.repeat(np.asarray(SMOOTHNESS, np.float32), len(images)),
  )
  target = images.astype(np.float32) / 255
  seen = lambda result: float(np.mean(image_metrics.ssim(target, result)))
  best, chosen = seen(start), None
  for smoothness, result in zip(
    SMOOTHNESS, np.split(results, count), strict=True
  ):
    if seen(result) > best:
      best, chosen = seen(result), smoothness
  return chosen


def linked(gallery: np.ndarray, probes: np.ndarray) -> statistics.Proportion:
  """How often row i of the gallery is nearest to row i of the probes."""
  rows = np.arange(len(gallery))
  flat = lambda x: x.reshape(len(x), -1).astype(np.float32)
  ranks = identification.rank1(flat(gallery), rows, flat(probes), rows)
  return statistics.proportion(ranks.hits, ranks.total)
