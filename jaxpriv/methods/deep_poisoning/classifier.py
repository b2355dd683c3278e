"""The classifier phase: plain, NoPeek's or DeepObfuscator's."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jaxpriv.methods.deep_poisoning.split import (
  CLASSIFIER,
  SplitClassifier,
  halves,
  reconstructor,
  split_attributes,
  task_labels,
  visible,
)
from jaxpriv.metrics import association
from jaxpriv.models import poisoning, splitting
from jaxpriv.models.heads import AttributePredictor
from jaxpriv.training import recipes
from jaxpriv.training.builders import Move, Player, variables
from jaxpriv.training.method import Outputs, Phase
from jaxpriv.training.optimizers import make_optimizer


def plain(split: SplitClassifier, options: ConfigDict) -> Phase:
  """C by (1); with feature pools D alone, on own features and pooled ones."""
  observe = splitting.observe(split.layer)
  featurize = splitting.featurize(split.layer)
  decide = splitting.decide(split.layer)
  weight = split.config.model.nopeek

  def loss(apply, batch, frozen):
    images = batch["image"]
    if split.pooled():
      # Poisoned features of others stand in for those that f would make.
      own = apply(images, method=featurize, train=False)
      pooled = batch["pooled"][:, None, None, None]
      z = jnp.where(pooled, batch["features"].astype(own.dtype), own)
      logits = apply(z, images, method=decide)
    else:
      z, logits = apply(images, method=observe)
    logits, labels = split.logits(logits), split.task(batch)
    losses = recipes.attribute_losses(logits, labels)
    metrics = {"accuracy": recipes.attribute_accuracy(logits, labels)}
    if split.config.model.featurizer == "nopeek":
      correlation = association.distance_correlation(
        images, z, batch["padding"]
      )
      losses = losses + weight * correlation
      metrics["distance_correlation"] = correlation
    return losses, metrics

  def features(apply, batch, frozen):
    return apply(batch["image"], method=featurize).astype(jnp.float32)

  def labels(apply, batch, frozen):
    logits = split.logits(apply(batch["image"]))
    return jnp.argmax(logits, axis=-1).astype(jnp.int32)

  def scores(apply, batch, frozen):
    labels = split.task(batch)
    logits = split.logits(apply(batch["image"]))
    right = (jnp.argmax(logits, axis=-1) == labels).astype(jnp.float32)
    right = jnp.where(labels >= 0, right, jnp.nan)
    names = split_attributes(split.config)[0] or ("identity",)
    return {f"{name}_accuracy": right[:, i] for i, name in enumerate(names)}

  if split.pooled():
    options = options.copy_and_resolve_references()
    options.trainable = halves(split)[1]
  return recipes.supervised_phase(
    CLASSIFIER,
    split.network,
    loss,
    options,
    outputs=Outputs(clean_features=features, labels=labels, scores=scores),
  )


def baseline(
  arrays: Mapping[str, np.ndarray], config: ConfigDict
) -> dict[str, float]:
  """Scores of the best constant answer."""
  scores = {}
  for name, labels in task_labels(config, arrays).items():
    known = labels[labels >= 0]
    if len(known):
      scores[f"{name}_accuracy"] = np.bincount(known).max() / len(known)
  return scores


def obfuscator(split: SplitClassifier, options: ConfigDict) -> Phase:
  """DeepObfuscator: C against an inverter and a reader of hidden attributes."""
  model = split.config.model
  observe = splitting.observe(split.layer)
  featurize = splitting.featurize(split.layer)
  rival = reconstructor(split.config)
  reader = AttributePredictor(
    poisoning.FeatureNet(32, hidden=32), max(len(split.hidden), 1)
  )

  def utility(applies, batch):
    z, logits = applies[CLASSIFIER](batch["image"], method=observe)
    logits, labels = split.logits(logits), split.task(batch)
    accuracy = recipes.attribute_accuracy(logits, labels)
    return z, recipes.attribute_losses(logits, labels), accuracy

  def privacy(applies, z, batch):
    if not split.hidden:
      return jnp.zeros(len(z))
    return recipes.attribute_losses(
      applies["reader"](z), split.labels(batch, split.hidden)
    )

  def classify(applies, batch, frozen, key):
    z, losses, accuracy = utility(applies, batch)
    seen = visible(batch["image"], applies["rival"](z))
    # An unreadable attribute scores log 2. A higher loss would mean that it is
    # read the wrong way round, and so could be read.
    limit = len(split.hidden) * jnp.log(2.0)
    unread = jnp.minimum(privacy(applies, z, batch), limit)
    losses = losses + model.obfuscation * (seen - unread)
    return losses, {"accuracy": accuracy, "ssim": seen}

  def features_of(applies, batch):
    return jax.lax.stop_gradient(
      applies[CLASSIFIER](batch["image"], method=featurize)
    )

  def invert(applies, batch, frozen, key):
    images = applies["rival"](features_of(applies, batch))
    return jnp.abs(batch["image"] - images).mean((1, 2, 3)), {}

  def read(applies, batch, frozen, key):
    return privacy(applies, features_of(applies, batch), batch), {}

  def shaped(batch, frozen, key):
    z = jax.eval_shape(
      lambda x: split.network.init_with_output(
        jax.random.key(0), x, method=featurize, train=False
      )[0],
      batch["image"],
    )
    return jnp.zeros(z.shape)

  optimizer = lambda: make_optimizer(options)
  return recipes.adversarial_phase(
    CLASSIFIER,
    {
      CLASSIFIER: Player(split.network, optimizer()),
      "rival": Player(rival, optimizer(), shaped),
      "reader": Player(reader, optimizer(), shaped),
    },
    {
      CLASSIFIER: Move((CLASSIFIER,), classify),
      "rival": Move(("rival",), invert),
      "reader": Move(("reader",), read),
    },
    options,
    outputs=Outputs(
      clean_features=lambda applies, batch, frozen: applies[CLASSIFIER](
        batch["image"], method=featurize
      ).astype(jnp.float32),
      labels=lambda applies, batch, frozen: jnp.argmax(
        split.logits(applies[CLASSIFIER](batch["image"])), axis=-1
      ).astype(jnp.int32),
    ),
  )


def public_classifier(
  config: ConfigDict, state: Mapping[str, Any]
) -> dict[str, Any]:
  """The state of the classifier without its adversaries."""
  public = variables(state)
  if config.model.featurizer == "obfuscator":
    public["params"] = {CLASSIFIER: public["params"][CLASSIFIER]}
  return public
