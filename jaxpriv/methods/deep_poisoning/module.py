"""P, the module that poisons features, and what stands in its place."""

from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from jaxpriv.methods.deep_poisoning.parts import (
  CLASSIFIER,
  POISONING,
  RECONSTRUCTOR,
  Parts,
  reconstructor,
  visible,
)
from jaxpriv.models import poisoning
from jaxpriv.training import tasks
from jaxpriv.training.builders import Move, Player, masked_mean, variables
from jaxpriv.training.method import Method, Outputs, Phase, untrained
from jaxpriv.training.optimizers import make_optimizer


def after(
  settings: ConfigDict, z: jax.Array, keys: jax.Array | None
) -> jax.Array:
  """Filters of what is released, and noise if there are keys to draw it by."""
  if settings.gaussian:
    z = poisoning.gaussian_filter(z, settings.gaussian)
  if settings.mean:
    z = poisoning.mean_filter(z, settings.mean)
  if settings.noise and keys is not None:
    # Relative to the features' own size, whatever the network.
    power = jnp.mean(jnp.square(z), axis=(1, 2, 3), keepdims=True)
    size = jnp.sqrt(power + 1e-12)
    drawn = jax.vmap(lambda k: jax.random.normal(k, z.shape[1:]))(keys)
    z = z + settings.noise * size * drawn
  return z


def phase(parts: Parts, options: ConfigDict) -> Phase:
  """P by (4) to (6), or learned noise, or nothing; see `phases`."""
  model = parts.config.model
  needs = (CLASSIFIER, RECONSTRUCTOR)
  dtype = jnp.dtype(parts.config.dtype)
  if model.module == "shredder":
    module: Any = poisoning.LearnedNoise(**model.shredder)
  else:
    module = poisoning.DeepPoisoningModule(dtype=dtype, **model.dpm)
  inverter = reconstructor(parts.config)

  def released(apply, z, images, code=None):
    """P(z); with a code [B, C] it is that of whoever lacks the secret."""
    keys = poisoning.content_keys(images, model.secret)
    inner, outer = jnp.moveaxis(jax.vmap(jax.random.split)(keys), 1, 0)
    if code is not None:
      outer = None
    if model.module == "shredder":
      draw = lambda k: jax.random.randint(k, (), 0, module.count)
      z = apply(z, jax.vmap(draw)(inner))
    elif model.module == "dpm":
      if not model.dpm.code:
        code = None
      elif code is None:
        draw = lambda k: jax.random.normal(k, (model.dpm.code,))
        code = jax.vmap(draw)(inner)
      z = apply(z, code)
    return after(model.after, z.astype(jnp.float32), outer)

  def terms(apply, batch, frozen, inverters):
    """Losses [B] of (6), their metrics, and what is released."""
    images = batch["image"]
    z = parts.features(images, frozen)
    poisoned = released(apply, z, images)
    logits = parts.decide(poisoned, images, frozen)
    labels = parts.task(batch)
    losses = tasks.attribute_losses(logits, labels)
    metrics = {"accuracy": tasks.attribute_accuracy(logits, labels)}
    if model.module == "shredder":
      # What noise is worth: its size, in place of what an inverter sees.
      size = jnp.mean(jnp.abs(poisoned - z), axis=(1, 2, 3))
      return losses - model.shredding * jnp.log(size + 1e-6), {
        **metrics,
        "noise": size,
      }
    if model.distillation:
      clean = parts.decide(z, images, frozen)
      divergence = jnp.sum(
        jax.nn.softmax(clean)
        * (jax.nn.log_softmax(clean) - jax.nn.log_softmax(logits)),
        axis=(1, 2),
      )
      losses = losses + model.distillation * divergence
      metrics["divergence"] = divergence
    for name, invert in inverters.items():
      seen = visible(images, invert(poisoned), model.absolute)
      losses = losses + model.weight * seen
      metrics[name] = seen
    return losses, metrics

  def frozen_inverter(frozen):
    weights = variables(frozen[RECONSTRUCTOR])
    return lambda z: inverter.apply(weights, z, train=False)

  def features(apply, batch, frozen):
    images = batch["image"]
    return released(apply, parts.features(images, frozen), images)

  def logits(apply, batch, frozen):
    z = batch["features"].astype(jnp.float32)
    return parts.decide(z, batch["image"], frozen)

  def sample(apply, batch, frozen):
    images = batch["image"]
    z, invert = parts.features(images, frozen), frozen_inverter(frozen)
    return {
      "original": images,
      "clean": invert(z),
      "poisoned": invert(released(apply, z, images)),
    }

  def features_given_code(apply, batch, frozen):
    images = batch["image"]
    z = parts.features(images, frozen)
    return released(apply, z, images, batch["code"])

  outputs = Outputs(
    features=features,
    features_given_code=features_given_code,
    logits=logits,
    sample=sample,
  )

  if model.module == "none":
    unchanged = lambda fn: lambda state, frozen, batch: fn(None, batch, frozen)
    method = untrained(outputs.map(unchanged))
    return Phase(POISONING, needs, method)

  if model.refreshed and model.module == "dpm":
    return _refreshed(
      parts, options, module, inverter, terms, released, frozen_inverter,
      outputs, needs,
    )  # fmt: skip

  def loss(apply, batch, frozen):
    return terms(apply, batch, frozen, {"ssim": frozen_inverter(frozen)})

  return tasks.supervised_phase(
    POISONING,
    module,
    loss,
    options,
    needs=needs,
    inputs=lambda batch, frozen: parts.features(batch["image"], frozen),
    outputs=outputs,
  )


def of_secret(phase: Phase, secret: int) -> Phase:
  """The phase, begun at parameters that depend on the secret, if there is one.

  Whoever knows how the module was trained, on photographs that they have too,
  could train it again. 0 is no secret.
  """
  if not secret:
    return phase

  def begun(method: Method) -> Method:
    def init(key, batch, frozen):
      low, high = secret & 0xFFFFFFFF, secret >> 32
      key = jax.random.fold_in(jax.random.fold_in(key, low), high)
      return method.init(key, batch, frozen)

    return method._replace(init=init)

  private = phase.private
  return phase._replace(
    method=begun(phase.method),
    private=private and (lambda plan: begun(private(plan))),
  )


def _refreshed(
  parts, options, module, inverter, terms, released, frozen_inverter, outputs,
  needs,
) -> Phase:  # fmt: skip
  """P against R0, and against a rival that goes on learning to invert it."""

  def poison(applies, batch, frozen, key):
    inverters = {
      "ssim": frozen_inverter(frozen),
      "rival_ssim": applies["rival"],
    }
    losses, metrics = terms(applies["dpm"], batch, frozen, inverters)
    means = {name: masked_mean(v, batch) for name, v in metrics.items()}
    return masked_mean(losses, batch), means

  def invert(applies, batch, frozen, key):
    images = batch["image"]
    z = parts.features(images, frozen)
    z = jax.lax.stop_gradient(released(applies["dpm"], z, images))
    error = jnp.mean(jnp.abs(images - applies["rival"](z)), axis=(1, 2, 3))
    return masked_mean(error, batch), {}

  def inputs(batch, frozen, key):
    return parts.features(batch["image"], frozen)

  player = lambda model: Player(model, make_optimizer(options), inputs)
  return tasks.adversarial_phase(
    POISONING,
    {"dpm": player(module), "rival": player(inverter)},
    {"dpm": Move(("dpm",), poison), "rival": Move(("rival",), invert)},
    options,
    needs=needs,
    outputs=outputs.map(
      lambda fn: (
        lambda applies, batch, frozen: fn(applies["dpm"], batch, frozen)
      )
    ),
  )
