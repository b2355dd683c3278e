"""C, whose features are shared: plain, by NoPeek, or DeepObfuscator's."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jaxpriv.methods.deep_poisoning.parts import (
  CLASSIFIER,
  Parts,
  halves,
  reconstructor,
  split_attributes,
  task_labels,
  visible,
)
from jaxpriv.metrics import association
from jaxpriv.models import poisoning, splitting
from jaxpriv.models.heads import AttributePredictor
from jaxpriv.training import tasks
from jaxpriv.training.builders import Move, Player, masked_mean, variables
from jaxpriv.training.method import Outputs, Phase
from jaxpriv.training.optimizers import make_optimizer


def plain(parts: Parts, options: ConfigDict) -> Phase:
  """C by (1); with feature pools, D alone, on one's own features and theirs."""
  observe = splitting.observe(parts.layer)
  featurize = splitting.featurize(parts.layer)
  decide = splitting.decide(parts.layer)
  weight = parts.config.model.nopeek

  def loss(apply, batch, frozen):
    images = batch["image"]
    if parts.pooled():
      # What others have poisoned stands in for what f, as it is, would make.
      own = apply(images, method=featurize, train=False)
      pooled = batch["pooled"][:, None, None, None]
      z = jnp.where(pooled, batch["features"].astype(own.dtype), own)
      logits = apply(z, images, method=decide)
    else:
      z, logits = apply(images, method=observe)
    logits, labels = parts.logits(logits), parts.task(batch)
    losses = tasks.attribute_losses(logits, labels)
    metrics = {"accuracy": tasks.attribute_accuracy(logits, labels)}
    if parts.config.model.featurizer == "nopeek":
      correlation = association.distance_correlation(
        images, z, batch["padding"]
      )
      losses = losses + weight * correlation
      metrics["distance_correlation"] = correlation
    return losses, metrics

  def features(apply, batch, frozen):
    return apply(batch["image"], method=featurize).astype(jnp.float32)

  def labels(apply, batch, frozen):
    logits = parts.logits(apply(batch["image"]))
    return jnp.argmax(logits, axis=-1).astype(jnp.int32)

  def scores(apply, batch, frozen):
    labels = parts.task(batch)
    logits = parts.logits(apply(batch["image"]))
    right = (jnp.argmax(logits, axis=-1) == labels).astype(jnp.float32)
    right = jnp.where(labels >= 0, right, jnp.nan)
    names = split_attributes(parts.config)[0] or ("identity",)
    return {f"{name}_accuracy": right[:, i] for i, name in enumerate(names)}

  if parts.pooled():
    options = options.copy_and_resolve_references()
    options.trainable = halves(parts)[1]
  return tasks.supervised_phase(
    CLASSIFIER,
    parts.network,
    loss,
    options,
    outputs=Outputs(clean_features=features, labels=labels, scores=scores),
  )


def baseline(
  arrays: Mapping[str, np.ndarray], config: ConfigDict
) -> dict[str, float]:
  """What the best constant answer scores."""
  found = {}
  for name, labels in task_labels(config, arrays).items():
    known = labels[labels >= 0]
    if len(known):
      found[f"{name}_accuracy"] = np.bincount(known).max() / len(known)
  return found


def obfuscator(parts: Parts, options: ConfigDict) -> Phase:
  """DeepObfuscator: C against an inverter and a reader of hidden attributes."""
  model = parts.config.model
  observe = splitting.observe(parts.layer)
  featurize = splitting.featurize(parts.layer)
  rival = reconstructor(parts.config)
  reader = AttributePredictor(
    poisoning.FeatureNet(32, hidden=32), max(len(parts.hidden), 1)
  )

  def utility(applies, batch):
    z, logits = applies[CLASSIFIER](batch["image"], method=observe)
    logits, labels = parts.logits(logits), parts.task(batch)
    accuracy = tasks.attribute_accuracy(logits, labels)
    return z, tasks.attribute_losses(logits, labels), accuracy

  def privacy(applies, z, batch):
    if not parts.hidden:
      return jnp.zeros(len(z))
    return tasks.attribute_losses(
      applies["reader"](z), parts.labels(batch, parts.hidden)
    )

  def classify(applies, batch, frozen, key):
    z, losses, accuracy = utility(applies, batch)
    seen = visible(batch["image"], applies["rival"](z))
    # What cannot be read scores log 2 an attribute: more would be a code.
    limit = len(parts.hidden) * jnp.log(2.0)
    unread = jnp.minimum(privacy(applies, z, batch), limit)
    losses = losses + model.obfuscation * (seen - unread)
    return masked_mean(losses, batch), {
      "accuracy": masked_mean(accuracy, batch),
      "ssim": masked_mean(seen, batch),
    }

  def features_of(applies, batch):
    return jax.lax.stop_gradient(
      applies[CLASSIFIER](batch["image"], method=featurize)
    )

  def invert(applies, batch, frozen, key):
    images = applies["rival"](features_of(applies, batch))
    error = jnp.mean(jnp.abs(batch["image"] - images), axis=(1, 2, 3))
    return masked_mean(error, batch), {}

  def read(applies, batch, frozen, key):
    return masked_mean(
      privacy(applies, features_of(applies, batch), batch), batch
    ), {}

  def shaped(batch, frozen, key):
    z = jax.eval_shape(
      lambda x: parts.network.init_with_output(
        jax.random.key(0), x, method=featurize, train=False
      )[0],
      batch["image"],
    )
    return jnp.zeros(z.shape)

  optimizer = lambda: make_optimizer(options)
  return tasks.adversarial_phase(
    CLASSIFIER,
    {
      CLASSIFIER: Player(parts.network, optimizer()),
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
        parts.logits(applies[CLASSIFIER](batch["image"])), axis=-1
      ).astype(jnp.int32),
    ),
  )


def public_classifier(
  config: ConfigDict, state: Mapping[str, Any]
) -> dict[str, Any]:
  """The state of the classifier without whoever it was trained against."""
  found = variables(state)
  if config.model.featurizer == "obfuscator":
    found["params"] = {CLASSIFIER: found["params"][CLASSIFIER]}
  return found
