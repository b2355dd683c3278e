"""The phase that protects: P is trained through f, D and R, all frozen."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from jaxpriv.methods.deep_poisoning import modules
from jaxpriv.methods.deep_poisoning.modules import Module, Poisoned
from jaxpriv.methods.deep_poisoning.release import Release
from jaxpriv.methods.deep_poisoning.split import (
  CLASSIFIER,
  POISONING,
  RECONSTRUCTOR,
  SplitClassifier,
  reconstructor,
)
from jaxpriv.training import recipes
from jaxpriv.training.builders import Move, Player, variables
from jaxpriv.training.method import Outputs, Phase, untrained
from jaxpriv.training.optimizers import make_optimizer

NEEDS = (CLASSIFIER, RECONSTRUCTOR)


def phase(split: SplitClassifier, options: ConfigDict) -> Phase:
  """P by (4) to (6), or learned noise, or nothing; see `phases`."""
  module = modules.make(split.config)
  release = Release(module, split.config.model)
  poisoner = _Poisoner(split, module, release, reconstructor(split.config))
  if module.net is None:
    return poisoner.untrained()
  if split.config.model.refreshed:
    return poisoner.against_rival(options)
  return poisoner.against_reconstructor(options)


class _Poisoner(NamedTuple):
  """Losses, outputs and games of a module.

  `apply` is its net, bound to parameters: (features, what was drawn) ->
  features.
  """

  split: SplitClassifier
  module: Module
  release: Release
  inverter: Any

  def untrained(self) -> Phase:
    """The phase of a module that learns nothing and lets everything through."""
    identity = lambda z, drawn: z
    outputs = self.outputs().map(
      lambda fn: lambda state, frozen, batch: fn(identity, batch, frozen)
    )
    return Phase(POISONING, NEEDS, untrained(outputs))

  def against_reconstructor(self, options: ConfigDict) -> Phase:
    """The module against R0, as it is."""

    def loss(apply, batch, frozen):
      inverters = {"ssim": self.reconstructor(frozen)}
      return self.losses(apply, batch, frozen, inverters)

    return recipes.supervised_phase(
      POISONING,
      self.module.net,
      loss,
      options,
      needs=NEEDS,
      inputs=lambda batch, frozen: self.clean(batch, frozen),
      outputs=self.outputs(),
    )

  def against_rival(self, options: ConfigDict) -> Phase:
    """P against R0, and against a rival that goes on learning to invert it."""

    def poison(applies, batch, frozen, key):
      inverters = {
        "ssim": self.reconstructor(frozen),
        "rival_ssim": applies["rival"],
      }
      return self.losses(applies["dpm"], batch, frozen, inverters)

    def invert(applies, batch, frozen, key):
      images = batch["image"]
      z = self.release(applies["dpm"], self.clean(batch, frozen), images)
      z = jax.lax.stop_gradient(z)
      error = jnp.abs(images - applies["rival"](z))
      return error.mean((1, 2, 3)), {}

    player = lambda model: Player(
      model,
      make_optimizer(options),
      lambda batch, frozen, key: self.clean(batch, frozen),
    )
    outputs = self.outputs().map(
      lambda fn: (
        lambda applies, batch, frozen: fn(applies["dpm"], batch, frozen)
      )
    )
    return recipes.adversarial_phase(
      POISONING,
      {"dpm": player(self.module.net), "rival": player(self.inverter)},
      {"dpm": Move(("dpm",), poison), "rival": Move(("rival",), invert)},
      options,
      needs=NEEDS,
      outputs=outputs,
    )

  def losses(
    self, apply, batch, frozen, inverters: Mapping[str, Callable]
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Losses [B] of (6), and metrics.

    Args:
      apply: the module's net, bound.
      batch: of photographs.
      frozen: states of the phases before.
      inverters: name of the metric -> features to images, which P is to foil.
    """
    images = batch["image"]
    clean = self.clean(batch, frozen)
    features = self.release(apply, clean, images)
    decide = lambda z: self.split.decide(z, images, frozen)
    logits, labels = decide(features), self.split.task(batch)
    losses = recipes.attribute_losses(logits, labels)
    accuracy = recipes.attribute_accuracy(logits, labels)
    losses, metrics = self.module.penalty(
      losses, Poisoned(images, clean, features, logits, decide, inverters)
    )
    return losses, {"accuracy": accuracy, **metrics}

  def outputs(self) -> Outputs:
    """The outputs of the phase, as functions of (apply, batch, frozen)."""

    def features(apply, batch, frozen):
      return self.release(apply, self.clean(batch, frozen), batch["image"])

    def features_given_code(apply, batch, frozen):
      z, images = self.clean(batch, frozen), batch["image"]
      return self.release(apply, z, images, batch["code"])

    def logits(apply, batch, frozen):
      z = batch["features"].astype(jnp.float32)
      return self.split.decide(z, batch["image"], frozen)

    def sample(apply, batch, frozen):
      images, invert = batch["image"], self.reconstructor(frozen)
      z = self.clean(batch, frozen)
      return {
        "original": images,
        "clean": invert(z),
        "poisoned": invert(self.release(apply, z, images)),
      }

    return Outputs(
      features=features,
      features_given_code=features_given_code,
      logits=logits,
      sample=sample,
    )

  def clean(self, batch, frozen) -> jax.Array:
    return self.split.features(batch["image"], frozen)

  def reconstructor(self, frozen) -> Callable[[jax.Array], jax.Array]:
    """R0, as it was trained: features -> images."""
    weights = variables(frozen[RECONSTRUCTOR])
    return lambda z: self.inverter.apply(weights, z, train=False)
