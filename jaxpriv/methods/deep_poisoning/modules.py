"""The modules that may stand between f and D: P, learned noise, or nothing.

A module is a network, a draw for each image, and a penalty that it is trained
by besides the task.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from jaxpriv.methods.deep_poisoning.split import visible
from jaxpriv.models.poisoning import DeepPoisoningModule, LearnedNoise

Metrics = dict[str, jax.Array]


class Poisoned(NamedTuple):
  """A batch whose features were poisoned, as penalties see it.

  Attributes:
    images: x, [B, S, S, 3].
    clean: f(x), [B, H, W, C].
    features: P(f(x)), as released.
    logits: D of features.
    decide: D, features -> logits.
    inverters: name -> features to images.
  """

  images: jax.Array
  clean: jax.Array
  features: jax.Array
  logits: jax.Array
  decide: Callable[[jax.Array], jax.Array]
  inverters: Mapping[str, Callable[[jax.Array], jax.Array]]


class Module(NamedTuple):
  """A module between f and D.

  Attributes:
    net: a linen module, (features, what was drawn) -> features; None releases
      f(x) itself.
    draw: (keys [B], code) -> what each image draws, the net's second argument.
      A code [B, C] is taken in place of a drawn one.
    penalty: (losses [B] of the task, Poisoned) -> (losses [B], metrics).
  """

  net: Any
  draw: Callable[[jax.Array, jax.Array | None], jax.Array | None]
  penalty: Callable[[jax.Array, Poisoned], tuple[jax.Array, Metrics]]


def make(config: ConfigDict) -> Module:
  """The module of `config.model.module`."""
  kinds = {"dpm": _dpm, "shredder": _shredder, "none": _nothing}
  return kinds[config.model.module](config.model, jnp.dtype(config.dtype))


def _dpm(model: ConfigDict, dtype: Any) -> Module:
  """P of (4) to (6): inverters see little of what it lets through."""
  length = model.dpm.code

  def draw(keys, code):
    if not length:
      return None
    if code is not None:
      return code
    return jax.vmap(lambda key: jax.random.normal(key, (length,)))(keys)

  def penalty(losses, batch):
    metrics = {}
    if model.distillation:
      clean = batch.decide(batch.clean)
      divergence = jnp.sum(
        jax.nn.softmax(clean)
        * (jax.nn.log_softmax(clean) - jax.nn.log_softmax(batch.logits)),
        axis=(1, 2),
      )
      losses = losses + model.distillation * divergence
      metrics["divergence"] = divergence
    for name, invert in batch.inverters.items():
      seen = visible(batch.images, invert(batch.features), model.absolute)
      losses = losses + model.weight * seen
      metrics[name] = seen
    return losses, metrics

  return Module(DeepPoisoningModule(dtype=dtype, **model.dpm), draw, penalty)


def _shredder(model: ConfigDict, dtype: Any) -> Module:
  """Learned noise; its size is rewarded, not what an inverter misses."""
  del dtype
  net = LearnedNoise(**model.shredder)

  def draw(keys, code):
    del code
    return jax.vmap(lambda key: jax.random.randint(key, (), 0, net.count))(keys)

  def penalty(losses, batch):
    size = jnp.mean(jnp.abs(batch.features - batch.clean), axis=(1, 2, 3))
    return losses - model.shredding * jnp.log(size + 1e-6), {"noise": size}

  return Module(net, draw, penalty)


def _nothing(model: ConfigDict, dtype: Any) -> Module:
  """Releases f(x); the filters and noise of `model.after` are all there is."""
  del model, dtype
  return Module(
    None, lambda keys, code: None, lambda losses, batch: (losses, {})
  )
