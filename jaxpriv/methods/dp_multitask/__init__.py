"""DP multi-task learning of faces: the model is released.

Zhang et al., "A Privacy-Preserving Multi-Task Learning Framework for Face
Detection, Landmark Localization, Pose Estimation, and Gender Recognition",
Frontiers in Neurorobotics 13:112, 2019: HyperFace (see `models.multi_task`)
trained by DP-SGD, its tasks weighed by homoscedastic uncertainty. Regions of a
photograph are read for five tasks; the loss of a region is

  sum over tasks t of  w_t exp(-s_t) L_t + s_t / 2

(Kendall, Gal and Cipolla 2018) over the tasks whose label it has, w_t being 1
for cross-entropies and 1/2 for squared errors. The log-variances s_t are
parameters like others: their gradient is part of that of an example, clipped
in a group of its own, and noised. All regions of a photograph make one example.

Without `config.dp` it is HyperFace with learned weights, not private.
"""

import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from jaxpriv.data.dataset import Data
from jaxpriv.data.records import DataError
from jaxpriv.data.sources import words
from jaxpriv.methods.dp_multitask import reading
from jaxpriv.methods.dp_multitask import views as views_lib
from jaxpriv.models import backbones, multi_task
from jaxpriv.models.multi_task import TASKS
from jaxpriv.training import mechanism, recipes, run, transfer
from jaxpriv.training.mechanism import Load, Score, Target, Trained
from jaxpriv.training.method import Outputs, Phase

NAME = "multi_task"
GENDER = "Male"
BACKBONES = ("hyperface", "small")

# task -> field of a record that it needs besides the box.
NEEDS = {
  "landmarks": "landmarks",
  "visibility": "visibility",
  "pose": "pose",
}
MADE_WITH = {
  NAME: (
    *("model.architecture", "model.small", "model.hyperface", "model.units"),
    *("model.tasks", "model.side", "model.context"),
  )
}


def phases(config: ConfigDict) -> list[Phase]:
  """One phase.

  Args:
    config: with model, phases and data.attributes.

  Raises:
    DataError: a task has no labels.
  """
  _check_settings(config)
  gender = _gender(config)
  first = np.asarray(config.model.log_variances, np.float32)
  options = config.model.copy_and_resolve_references()
  options.tasks = words(config.model.tasks)
  dtype = jnp.dtype(config.dtype)
  backbone = backbones.make(
    options.architecture, dtype=dtype, **options[options.architecture]
  )
  model = multi_task.MultiTask(
    backbone,
    options.units,
    tuple(options.log_variances),
    options.dropout,
    dtype,
  )

  def transform(key, batch):
    return {**batch, **views_lib.drawn(key, batch, options)}

  def loss(apply, batch, frozen):
    views = batch if "crops" in batch else views_lib.fixed(batch, options)
    count = views["crops"].shape[1]
    flat = lambda x: x.reshape(-1, *x.shape[2:])
    outputs, logs = apply(flat(views["crops"]))
    targets = views_lib.labels(batch, views, gender)
    targets = {k: (flat(v), flat(m)) for k, (v, m) in targets.items()}
    losses = {t: _task_loss(t, outputs[t], *targets[t]) for t in options.tasks}
    reach = options.log_variance_range
    logs = jnp.clip(logs, first - reach, first + reach)
    total = jnp.zeros(len(flat(views["crops"])))
    metrics = {}
    for task, value in losses.items():
      known = _any_known(targets[task][1])
      s = logs[TASKS.index(task)]
      weight = 1.0 if task in ("detection", "gender") else 0.5
      total += jnp.where(known, weight * jnp.exp(-s) * value + s / 2, 0)
      metrics[task] = value.reshape(-1, count).mean(1)
    return total.reshape(-1, count).mean(1), metrics

  def inputs(batch, frozen):
    return views_lib.fixed(batch, options)["crops"][:, 0]

  outputs = Outputs(
    scores=lambda a, b, f: reading.scores(a, b, options, gender),
    read=lambda a, b, f: reading.read(a, b, options),
    sample=lambda a, b, f: reading.sample(a, b, options),
  )
  if "detection" in options.tasks:
    detect = lambda a, b, f: reading.detect(a, b, options)
    outputs = outputs._replace(detect=detect)
  return [
    recipes.supervised_phase(
      NAME,
      model,
      loss,
      config.phases[NAME],
      inputs=inputs,
      transform=transform,
      outputs=outputs,
    )
  ]


def _gender(config: ConfigDict) -> int | None:
  """The column of the attributes that says it, if there is one."""
  names = tuple(config.data.attributes)
  return names.index(GENDER) if GENDER in names else None


def _check_settings(config: ConfigDict) -> None:
  """Raises DataError where no network can be built, or a task has no labels."""
  names = tuple(config.data.attributes)
  model, chosen = config.model, words(config.model.tasks)
  if "gender" in chosen and GENDER not in names:
    raise DataError(
      f"the task gender is learned from the attribute {GENDER}, which these"
      f" data do not have (they have {', '.join(names) or 'none'}): add the"
      f" column, or leave the task out with --config.model.tasks="
      f"{','.join(t for t in chosen if t != 'gender')}"
    )
  if set(chosen) - set(TASKS) or not chosen:
    raise DataError(
      f"config.model.tasks = {', '.join(chosen) or 'none'}: choose"
      f" of {', '.join(TASKS)}"
    )
  cell = model.small.gradients
  if model.architecture == "small" and cell and model.side % cell:
    raise DataError(
      f"config.model.small.gradients = {cell}: cells of that side do not fill"
      f" regions of side config.model.side = {model.side}; use a divisor"
    )
  if model.architecture not in BACKBONES:
    raise DataError(
      f"config.model.architecture = {model.architecture!r}: choose of"
      f" {', '.join(BACKBONES)}"
    )


def _any_known(mask):
  return mask if mask.ndim == 1 else mask.any(tuple(range(1, mask.ndim)))


def _task_loss(task, output, label, known):
  """[N], 0 where the label is unknown; sums are divided by fixed numbers."""
  if task in ("detection", "gender"):
    value = optax.softmax_cross_entropy_with_integer_labels(
      output, jnp.where(known, label, 0)
    )
    return jnp.where(known, value, 0)
  output = output.reshape(label.shape)
  if task == "landmarks":
    known = jnp.broadcast_to(known[..., None], label.shape)
  # Unknown labels are NaN: they must go before the error is squared.
  error = jnp.where(known, output - jnp.where(known, label, 0), 0)
  return jnp.square(error).reshape(len(error), -1).sum(1) / output[0].size


SCORES = {
  "detection_ap": ("detection", "AP"),
  "landmark_error": ("landmarks", "error / box side"),
  "visibility_accuracy": ("visibility", "accuracy"),
  "pose_error": ("pose", "mean error"),
  "yaw_within_15": ("pose", "within 15°"),
  "gender_accuracy": ("gender", "accuracy"),
}


def targets(config: ConfigDict, trained: Trained) -> list[Target]:
  """The one target: the model."""

  def scores(arrays):
    constants = reading.baseline(arrays, _gender(config))
    return {
      name: Score(claim, metric, constants.get(name))
      for name, (claim, metric) in SCORES.items()
    }

  return [
    Target(config.mechanism, config, trained, (mechanism.MODEL,), scores=scores)
  ]


def check(config: ConfigDict, data: Data, load: Load) -> None:
  """Checks that faces are labelled as the tasks need.

  Raises:
    DataError: they are not, or the phase does not fit.
  """
  transfer.check_copied(config, MADE_WITH, load)
  run.check_labels(required(config), data)


def required(config: ConfigDict) -> dict[str, str]:
  """Fields of records without which the tasks cannot be learned."""
  chosen = words(config.model.tasks)
  # Every task needs the box: labels depend on a region's overlap with it.
  fields = ("box", *(NEEDS[t] for t in chosen if t in NEEDS))
  return dict.fromkeys(fields, "config.model.tasks")
