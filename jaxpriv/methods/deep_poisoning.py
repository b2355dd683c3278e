"""Deep poisoning: features are shared that anyone can classify, not invert.

Guo, Dolhansky, Hsin, Phong Dinh, Canton Ferrer, Wang, "Deep Poisoning: Towards
Robust Image Data Sharing against Visual Disclosure", WACV 2021. A classifier
C = D o f (2) is trained by (1) and cut at a layer; a reconstructor R by (3) to
invert f; then a module P is trained through f, D and R, all frozen, by

  CE(D(P(f(x))), y) + lambda * max(SSIM(x, R(P(f(x)))), 0)            (4) to (6)

Released is P(f(x)) with its label. The paper minimises SSIM itself, which
rewards a photographic negative; here it is not pushed below 0. To this may be
added KL(D(f(x)) || D(P(f(x)))), so that other deciders agree too.

`config.model.module` chooses what stands in the place of P: "dpm", "shredder"
(learned noise) or "none"; noise and filters of `config.model.after` come behind
it. `config.model.refreshed` lets an adversary learn to invert P while P is
trained. `config.model.dpm.code` keys P: each image draws a secret code.
`config.model.featurizer` is "plain", "nopeek" (distance correlation of images
and features is minimised: Vepakomma et al., "NoPeek", 2020) or "obfuscator"
(the featurizer plays against a reconstructor and an adversary that reads hidden
attributes: Li et al., "DeepObfuscator", 2021).

The attributes of the data are split: the first half (`config.model.kept`) is
the task, the others are to stay hidden. With `config.model.task = "identity"`
the task is who it is, or which class of ImageNet, and all attributes are
hidden; that takes data.split_by = "image".
"""

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jaxpriv.data.records import DataError
from jaxpriv.data.sources import words
from jaxpriv.metrics import association
from jaxpriv.metrics import image as image_metrics
from jaxpriv.models import poisoning, splitting
from jaxpriv.models.heads import AttributePredictor
from jaxpriv.models.resnet import ResNet
from jaxpriv.models.vggnet import VGGNet
from jaxpriv.training import builders, tasks
from jaxpriv.training import mesh as mesh_lib
from jaxpriv.training import workdir as workdir_lib
from jaxpriv.training.builders import masked_mean, variables
from jaxpriv.training.method import Method, Phase
from jaxpriv.training.optimizers import make_optimizer

CLASSIFIER, RECONSTRUCTOR, POISONING = (
  "classifier",
  "reconstructor",
  "poisoning",
)
BACKBONES = {"resnet": ResNet, "vgg": VGGNet}
MODULES = ("dpm", "shredder", "none")
TASKS = ("attributes", "identity")
FEATURIZERS = ("plain", "nopeek", "obfuscator")
# Of config.model, what a phase that is taken over as it is was trained with;
# every later phase rests on the former, too.
MADE_WITH = {
  CLASSIFIER: ("task", "backbone", "featurizer", "nopeek", "obfuscation"),
  RECONSTRUCTOR: ("layer", "reconstructor"),
  POISONING: ("layer", "module", "dpm", "shredder"),
}


class Parts(NamedTuple):
  """What the phases of one mechanism share.

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
    found = variables(frozen[CLASSIFIER])
    if self.config.model.featurizer == "obfuscator":
      return {"params": found["params"][CLASSIFIER]}
    return found

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


def phases(config: ConfigDict) -> list[Phase]:
  """Classifier, reconstructor and poisoning; the last has "features".

  Its predict function "features" returns what is released, float32
  [B, H, W, C]; "supposed" the same with batch["code"] (float32 [B,
  model.dpm.code]) for a key and without noise; "logits" is what the classifier
  makes of batch["features"], float32 [B, kept, 2] or [B, 1, people].

  Args:
    config: with model, phases, data.attributes.

  Raises:
    DataError: the data has no attribute.
    ValueError: a setting names what there is not.
  """
  parts = _parts(config)
  options = config.phases
  game = config.model.featurizer == "obfuscator"
  return [
    (_obfuscator if game else _classifier)(parts, options[CLASSIFIER]),
    tasks.reconstruction(
      RECONSTRUCTOR,
      reconstructor(config),
      options[RECONSTRUCTOR],
      features=lambda batch, frozen: parts.features(batch["image"], frozen),
      needs=(CLASSIFIER,),
    ),
    _of_secret(_poisoning(parts, options[POISONING]), config.model.secret),
  ]


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
  """Whether what is released depends on the secret."""
  model = config.model
  keyed = model.module == "dpm" and model.dpm.code
  return bool(model.after.noise or keyed or model.module == "shredder")


def task_labels(
  config: ConfigDict, rows: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
  """What the classifier is to say of records: name -> labels [N], -1 unknown.

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


def _parts(config: ConfigDict) -> Parts:
  model = config.model
  for setting, value, choice in (
    ("module", model.module, MODULES),
    ("featurizer", model.featurizer, FEATURIZERS),
    ("backbone", model.backbone, tuple(BACKBONES)),
    ("task", model.task, TASKS),
  ):
    if value not in choice:
      raise ValueError(
        f"config.model.{setting} is one of {', '.join(choice)}, not {value!r}"
      )
  kept, hidden = split_attributes(config)
  for wrong, said in (
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
      raise ValueError(f"config.model.{said}")
  if model.task == "identity" and config.data.split_by != "image":
    raise DataError(
      "config.model.task=identity tells known people apart: it takes"
      " data.split_by=image, so that everybody is trained on"
    )
  names = list(config.data.attributes)
  outputs = (len(kept), 2)
  if model.task == "identity":
    outputs = (1, config.data.num_people)
  network = BACKBONES[model.backbone](
    features=outputs[0] * outputs[1],
    dtype=jnp.dtype(config.dtype),
    **model[model.backbone],
  )
  columns = lambda chosen: tuple(names.index(name) for name in chosen)
  return Parts(
    config, network, outputs, model.layer, columns(kept), columns(hidden)
  )


def featurizer_sha256(config: ConfigDict, state: Mapping[str, Any]) -> str:
  """A hash of what makes features of images: f's parameters and statistics.

  Args:
    config: of the run.
    state: of its classifier.
  """
  parts, model = _parts(config), config.model
  found = mesh_lib.fetch(parts.classifier({CLASSIFIER: state}))
  before, _ = _halves(parts)
  # Of what is behind the cut nothing: how many blocks precede it is in the
  # names of the parameters.
  settings = model[model.backbone].to_dict()
  shaping = {k: settings.get(k) for k in ("norm", "stem", "width")}
  digest = hashlib.sha256(
    f"{model.layer} {model.backbone} {sorted(shaping.items())}".encode()
  )
  for name, value in sorted(splitting.parameters(found, before).items()):
    digest.update(name.encode() + np.ascontiguousarray(value).tobytes())
  return digest.hexdigest()


def check_pretrained(config: ConfigDict, source: Any, load: Any) -> None:
  """Checks that what is taken over and what is trained here fit together.

  Phases of 0 steps are to be of the settings of this run, and feature pools of
  the featurizer that it begins from.

  Args:
    config: of the run.
    source: of its data.
    load: name of a phase -> its state in config.pretrained.

  Raises:
    DataError: they are not, or there is none to begin from.
  """
  chosen = words(config.pretrained_phases) or tuple(MADE_WITH)
  if config.pretrained:
    copied = [
      name for name in MADE_WITH
      if name in chosen and not _steps(config, name) and load(name)
    ]  # fmt: skip
    _check_copies(config, copied)
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
  parts = _parts(config)
  side = config.data.image_size
  images = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
  shape = jax.eval_shape(parts.features, images, {CLASSIFIER: state}).shape[1:]
  if shape != source.pools[0].shape:
    raise DataError(
      f"photographs of {side} px become features {shape} here, and the pools"
      f" hold {source.pools[0].shape}: config.data.image_size is not theirs"
    )


def _steps(config: ConfigDict, name: str) -> int:
  return config.phases[name].steps


def _check_copies(config: ConfigDict, copied: list[str]) -> None:
  """Raises DataError if a phase was trained with other settings than these."""
  if not copied:
    return
  here, there = config, workdir_lib.load_config(config.pretrained)
  wrong = []
  for name in copied:
    for setting in MADE_WITH[name]:
      mine, theirs = here.model[setting], there.model.get(setting)
      if _values(mine) != _values(theirs):
        wrong.append(f"model.{setting}: {theirs}, here {mine}")
  if CLASSIFIER in copied:
    backbone = here.model.backbone
    for setting, mine, theirs in (
      (f"model.{backbone}", here.model[backbone], there.model.get(backbone)),
      ("data.image_size", here.data.image_size, there.data.image_size),
      ("model.kept", split_attributes(here)[0], split_attributes(there)[0]),
    ):
      if _values(mine) != _values(theirs):
        wrong.append(f"{setting}: {theirs}, here {mine}")
  if wrong:
    raise DataError(
      f"config.pretrained = {config.pretrained}: its"
      f" {' and '.join(copied)} would be taken over as they are, and were"
      f" trained with {'; '.join(wrong)}. Train them here, by"
      " --config.phases.NAME.steps, or give the settings of that run"
    )
  stray = RECONSTRUCTOR in copied and CLASSIFIER not in copied
  if stray and _steps(config, POISONING):
    raise DataError(
      f"{RECONSTRUCTOR} is taken over from config.pretrained ="
      f" {config.pretrained}, and the {CLASSIFIER} whose features it inverts is"
      f" not: take over both, with --config.phases.{CLASSIFIER}.steps=0, or"
      " train both"
    )


def _values(setting: Any) -> Any:
  """A setting as a file holds it."""
  if isinstance(setting, ConfigDict):
    return {name: _values(value) for name, value in setting.items()}
  return list(setting) if isinstance(setting, tuple) else setting


def public_classifier(
  config: ConfigDict, state: Mapping[str, Any]
) -> dict[str, Any]:
  """The state of the classifier without whoever it was trained against."""
  found = variables(state)
  if config.model.featurizer == "obfuscator":
    found["params"] = {CLASSIFIER: found["params"][CLASSIFIER]}
  return found


def _halves(parts: Parts):
  side = parts.config.data.image_size
  images = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
  return splitting.halves(parts.network, parts.layer, images, train=False)


# The classifier


def _classifier(parts: Parts, options: ConfigDict) -> Phase:
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
      losses, metrics = (
        losses + weight * correlation,
        {
          **metrics,
          "distance_correlation": correlation,
        },
      )
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
    options.trainable = _halves(parts)[1]
  return tasks.supervised_phase(
    CLASSIFIER,
    parts.network,
    loss,
    options,
    predict={"features": features, "labels": labels, "scores": scores},
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


def _obfuscator(parts: Parts, options: ConfigDict) -> Phase:
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
  method = builders.adversarial(
    {
      CLASSIFIER: builders.Player(parts.network, classify, optimizer()),
      "rival": builders.Player(rival, invert, optimizer(), shaped),
      "reader": builders.Player(reader, read, optimizer(), shaped),
    },
    predict={
      "features": lambda applies, batch, frozen: applies[CLASSIFIER](
        batch["image"], method=featurize
      ).astype(jnp.float32),
      "labels": lambda applies, batch, frozen: jnp.argmax(
        parts.logits(applies[CLASSIFIER](batch["image"])), axis=-1
      ).astype(jnp.int32),
    },
  )
  return Phase(CLASSIFIER, (), tasks.combined(method, options))


# The module


def visible(
  images: jax.Array, reconstructed: jax.Array, absolute: bool = False
) -> jax.Array:
  """max(SSIM, 0) of each pair, [B], or |SSIM|.

  A photographic negative has an SSIM near -1. The first does not reward it, but
  gives it nothing to leave for either; the second does.
  """
  ssim = image_metrics.ssim(images, reconstructed)
  return jnp.abs(ssim) if absolute else jnp.maximum(ssim, 0)


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


def _poisoning(parts: Parts, options: ConfigDict) -> Phase:
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

  def supposed(apply, batch, frozen):
    images = batch["image"]
    z = parts.features(images, frozen)
    return released(apply, z, images, batch["code"])

  predict = {
    "features": features,
    "supposed": supposed,
    "logits": logits,
    "sample": sample,
  }

  if model.module == "none":
    method = Method(
      init=lambda key, batch, frozen: {},
      step=lambda state, frozen, batch, key: (state, {}),
      predict={
        name: lambda state, frozen, batch, fn=fn: fn(None, batch, frozen)
        for name, fn in predict.items()
      },
    )
    return Phase(POISONING, needs, method)

  if model.refreshed and model.module == "dpm":
    return Phase(
      POISONING,
      needs,
      _refreshed(
        parts, options, module, inverter, terms, released, frozen_inverter,
        predict,
      ),
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
    predict=predict,
  )


def _of_secret(phase: Phase, secret: int) -> Phase:
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
  parts, options, module, inverter, terms, released, frozen_inverter, predict
) -> Method:
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

  method = builders.adversarial(
    {
      "dpm": builders.Player(module, poison, make_optimizer(options), inputs),
      "rival": builders.Player(
        inverter, invert, make_optimizer(options), inputs
      ),
    },
    predict={
      name: lambda applies, batch, frozen, fn=fn: fn(
        applies["dpm"], batch, frozen
      )
      for name, fn in predict.items()
    },
  )
  return tasks.combined(method, options)
