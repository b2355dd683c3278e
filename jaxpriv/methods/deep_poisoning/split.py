"""The classifier C = D o f: where it is cut, and its task."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jaxpriv.data.records import DataError
from jaxpriv.data.sources import words
from jaxpriv.errors import SettingError
from jaxpriv.metrics import image as image_metrics
from jaxpriv.models import backbones, poisoning, splitting
from jaxpriv.training.builders import variables

CLASSIFIER, RECONSTRUCTOR, POISONING = (
  "classifier",
  "reconstructor",
  "poisoning",
)
BACKBONES = ("resnet", "vgg")  # whose layers can be named to cut at
MODULES = ("dpm", "shredder", "none")
TASKS = ("attributes", "identity")
FEATURIZERS = ("plain", "nopeek", "obfuscator")


class SplitClassifier(NamedTuple):
  """The classifier C, where it is cut into f and D, and what it classifies.

  Attributes:
    config: of the run.
    network: the classifier C.
    outputs: shape of an image's logits: (kept, 2), or (1, people).
    layer: where it is cut.
    kept: columns of the attributes that are the task.
    hidden: the others.
  """

  config: ConfigDict
  network: Any
  outputs: tuple[int, int]
  layer: str
  kept: tuple[int, ...]
  hidden: tuple[int, ...]

  def classifier(self, frozen: Mapping[str, Any]) -> dict[str, Any]:
    """The variables of C."""
    own = variables(frozen[CLASSIFIER])
    if self.config.model.featurizer == "obfuscator":
      return {"params": own["params"][CLASSIFIER]}
    return own

  def features(self, images, frozen) -> jax.Array:
    """f(x), float32 [B, H, W, C]."""
    halves = splitting.split(self.network, self.layer, train=False)
    z = halves.featurizer(self.classifier(frozen), images)
    return z.astype(jnp.float32)

  def decide(self, features, images, frozen) -> jax.Array:
    """D(z): logits [B, *outputs]."""
    halves = splitting.split(self.network, self.layer, train=False)
    return self.logits(
      halves.decider(self.classifier(frozen), features, images)
    )

  def logits(self, output: jax.Array) -> jax.Array:
    return output.reshape(len(output), *self.outputs)

  def task(self, batch) -> jax.Array:
    """The labels of the task, [B, kept], -1 unknown."""
    if not self.identity():
      return self.labels(batch, self.kept)
    labels = batch["identity"][:, None]
    return jnp.where(labels < self.outputs[1], labels, -1)

  def labels(self, batch, which: tuple[int, ...]) -> jax.Array:
    return batch["attributes"][:, np.array(which, int)]

  def identity(self) -> bool:
    return self.config.model.task == "identity"

  def pooled(self) -> bool:
    return self.config.data.source == "feature_pools"


def make(config: ConfigDict) -> SplitClassifier:
  """The split, once the settings are found to fit together.

  Raises:
    DataError: the data has no attribute, or not those of the task; or people
      are split by person where the task is to tell them apart.
    ValueError: a setting has an unknown value.
  """
  model = config.model
  for setting, value, choice in (
    ("module", model.module, MODULES),
    ("featurizer", model.featurizer, FEATURIZERS),
    ("backbone", model.backbone, BACKBONES),
    ("task", model.task, TASKS),
  ):
    if value not in choice:
      raise SettingError(
        f"config.model.{setting} is one of {', '.join(choice)}, not {value!r}"
      )
  kept, hidden = split_attributes(config)
  for wrong, message in (
    (
      model.module == "none" and config.phases[POISONING].steps,
      "module=none learns nothing: give --config.phases.poisoning.steps=0",
    ),
    (
      model.refreshed and model.module != "dpm",
      "refreshed=True is of module=dpm",
    ),
    (
      model.featurizer != "plain" and config.data.source == "feature_pools",
      f"featurizer={model.featurizer} trains a featurizer, and that of pools"
      " stays as it is: give plain",
    ),
  ):
    if wrong:
      raise SettingError(f"config.model.{message}")
  if model.task == "identity" and config.data.split_by != "image":
    raise DataError(
      "config.model.task=identity tells known people apart: it takes"
      " data.split_by=image, so that everybody is trained on"
    )
  names = list(config.data.attributes)
  outputs = (len(kept), 2)
  if model.task == "identity":
    outputs = (1, config.data.num_people)
  network = backbones.make(
    model.backbone,
    features=outputs[0] * outputs[1],
    dtype=jnp.dtype(config.dtype),
    **model[model.backbone],
  )
  columns = lambda chosen: tuple(names.index(name) for name in chosen)
  return SplitClassifier(
    config, network, outputs, model.layer, columns(kept), columns(hidden)
  )


def visible(
  images: jax.Array, reconstructed: jax.Array, absolute: bool = False
) -> jax.Array:
  """max(SSIM, 0) of each pair, [B], or |SSIM|.

  A photographic negative has an SSIM near -1. The maximum does not reward it,
  but has no gradient there to leave it by; the absolute value has one.
  """
  ssim = image_metrics.ssim(images, reconstructed)
  return jnp.abs(ssim) if absolute else jnp.maximum(ssim, 0)


def split_attributes(config: ConfigDict) -> tuple[tuple[str, ...], ...]:
  """The names of those kept and of those hidden."""
  names = tuple(config.data.attributes)
  if config.model.task == "identity":
    return (), names
  kept = words(config.model.kept) or names[: -(-len(names) // 2)]
  unknown = [name for name in kept if name not in names]
  if not names or unknown:
    raise DataError(
      f"config.model.kept names {', '.join(unknown) or 'no attribute'}, and"
      f" these photographs have {', '.join(names) or 'none'}: add columns of 0"
      " and 1 to labels.csv, or name others"
    )
  return kept, tuple(name for name in names if name not in kept)


def draws(config: ConfigDict) -> bool:
  """Tells whether the released features depend on the secret."""
  model = config.model
  keyed = model.module == "dpm" and model.dpm.code
  return bool(model.after.noise or keyed or model.module == "shredder")


def task_labels(
  config: ConfigDict, rows: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
  """The labels of the task: name -> [N], -1 unknown.

  Args:
    config: of the run.
    rows: fields of records, stacked.
  """
  if config.model.task == "identity":
    return {"identity": rows["identity"]}
  names = list(config.data.attributes)
  kept, _ = split_attributes(config)
  return {name: rows["attributes"][:, names.index(name)] for name in kept}


def reconstructor(config: ConfigDict) -> poisoning.Reconstructor:
  """R0, which P is trained against."""
  return poisoning.Reconstructor(
    config.data.image_size,
    dtype=jnp.dtype(config.dtype),
    **config.model.reconstructor,
  )


def halves(split: SplitClassifier):
  """(names of the parameters of f, of D); see `splitting.halves`."""
  side = split.config.data.image_size
  images = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
  return splitting.halves(split.network, split.layer, images, train=False)
