"""Checks that parameters of another run fit the settings of this one."""

import hashlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jaxpriv.data.records import DataError
from jaxpriv.data.sources import words
from jaxpriv.methods.deep_poisoning import split as split_lib
from jaxpriv.methods.deep_poisoning.split import (
  CLASSIFIER,
  POISONING,
  RECONSTRUCTOR,
  split_attributes,
)
from jaxpriv.models import splitting
from jaxpriv.training import mesh as mesh_lib
from jaxpriv.training import transfer

# Settings that must be those of the other run for a phase to be taken over
# untrained; later phases inherit those of earlier ones.
MADE_WITH = {
  CLASSIFIER: (
    "model.task",
    "model.backbone",
    "model.featurizer",
    "model.nopeek",
    "model.obfuscation",
    "data.image_size",
  ),
  RECONSTRUCTOR: ("model.layer", "model.reconstructor"),
  POISONING: (
    "model.layer",
    "model.module",
    "model.dpm",
    "model.shredder",
    "model.shredding",
    "model.weight",
    "model.absolute",
    "model.distillation",
    "model.refreshed",
  ),
}


def featurizer_sha256(config: ConfigDict, state: Mapping[str, Any]) -> str:
  """A hash of the featurizer f: its parameters, statistics and shape.

  Args:
    config: of the run.
    state: of its classifier.
  """
  split, model = split_lib.make(config), config.model
  weights = mesh_lib.fetch(split.classifier({CLASSIFIER: state}))
  before, _ = split_lib.halves(split)
  # Settings behind the cut are left out; the names of the parameters tell how
  # many blocks precede it.
  settings = model[model.backbone].to_dict()
  shaping = {k: settings.get(k) for k in ("norm", "stem", "width")}
  digest = hashlib.sha256(
    f"{model.layer} {model.backbone} {sorted(shaping.items())}".encode()
  )
  for name, value in sorted(splitting.parameters(weights, before).items()):
    digest.update(name.encode() + np.ascontiguousarray(value).tobytes())
  return digest.hexdigest()


def check_pretrained(config: ConfigDict, source: Any, load: Any) -> None:
  """Checks that phases taken over and phases trained here fit together.

  Phases of 0 steps must have been trained with the settings of this run, and
  feature pools made by the featurizer that it begins from.

  Args:
    config: of the run.
    source: of its data.
    load: name of a phase -> its state in config.pretrained.

  Raises:
    DataError: they are not, or there is none to begin from.
  """
  chosen = words(config.pretrained_phases) or tuple(MADE_WITH)
  copied = transfer.check_copied(
    config, MADE_WITH, load, _otherwise_made(config)
  )
  stray = RECONSTRUCTOR in copied and CLASSIFIER not in copied
  if stray and _steps(config, POISONING):
    raise DataError(
      f"{RECONSTRUCTOR} is taken over from config.pretrained ="
      f" {config.pretrained}, and the {CLASSIFIER} whose features it inverts is"
      f" not: take over both, with --config.phases.{CLASSIFIER}.steps=0, or"
      " train both"
    )
  if config.data.source != "feature_pools":
    return
  for name in (RECONSTRUCTOR, POISONING):
    if _steps(config, name):
      raise DataError(
        f"data.source=feature_pools trains a decider, and has no photographs of"
        f" others for {name} to learn from: give"
        f" --config.phases.{name}.steps=0"
      )
  if CLASSIFIER not in chosen:
    raise DataError(
      f"config.pretrained_phases leaves out {CLASSIFIER}, and features of pools"
      " mean something only to the network that made them: name it, too"
    )
  if not config.pretrained:
    raise DataError(
      "data.source=feature_pools: features mean something only to the network"
      " that made them. Name it with --config.pretrained=POOL: any pool, as all"
      " hold it, or the run that it was trained in"
    )
  state = load(CLASSIFIER)
  if state is None:
    raise DataError(
      f"config.pretrained = {config.pretrained} holds no {CLASSIFIER}"
    )
  source.check_featurizer(featurizer_sha256(config, state))
  kept, theirs = split_attributes(config)[0], source.pools[0].attribute_names
  if kept != theirs:
    raise DataError(
      f"the task here is {', '.join(kept)}, and the pools are labelled with"
      f" {', '.join(theirs)}, in this order: give"
      f" --config.model.kept={','.join(theirs)}"
    )
  split = split_lib.make(config)
  side = config.data.image_size
  images = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
  shape = jax.eval_shape(split.features, images, {CLASSIFIER: state}).shape[1:]
  if shape != source.pools[0].shape:
    raise DataError(
      f"photographs of {side} px become features {shape} here, and the pools"
      f" hold {source.pools[0].shape}: config.data.image_size is not theirs"
    )


def _steps(config: ConfigDict, name: str) -> int:
  return config.phases[name].steps


def _otherwise_made(config: ConfigDict) -> Any:
  """Differences of a classifier that no setting alone tells."""

  def further(name, there):
    if name != CLASSIFIER:
      return []
    backbone = config.model.backbone
    return [
      f"{setting}: {theirs}, here {mine}"
      for setting, mine, theirs in (
        (
          f"model.{backbone}",
          config.model[backbone],
          there.model.get(backbone),
        ),
        ("model.kept", split_attributes(config)[0], split_attributes(there)[0]),
      )
      if mine != theirs
    ]

  return further
