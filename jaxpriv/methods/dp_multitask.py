"""DP multi-task learning of faces: what is released is the model.

Zhang et al., "A Privacy-Preserving Multi-Task Learning Framework for Face
Detection, Landmark Localization, Pose Estimation, and Gender Recognition",
Frontiers in Neurorobotics 13:112, 2019: HyperFace (see `models.multi_task`)
trained by DP-SGD, its tasks weighed by homoscedastic uncertainty. Regions of a
photograph are read for five tasks; the loss of a region is

  sum over tasks t of  w_t exp(-s_t) L_t + s_t / 2

(Kendall, Gal and Cipolla 2018) over the tasks whose label it has, w_t being 1
for cross-entropies and 1/2 for squared errors. The log-variances s_t are
parameters like others: in the same gradient of an example, clipped, in a group
of their own, and noised. All regions of a photograph are of one example.

Without `config.dp` it is HyperFace with learned weights, not private.
"""

import warnings
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from jaxpriv.data import regions
from jaxpriv.data.dataset import Data
from jaxpriv.data.records import AFLW_LANDMARKS, LANDMARKS, DataError
from jaxpriv.data.sources import words
from jaxpriv.metrics import detection
from jaxpriv.models import backbones, multi_task
from jaxpriv.models.multi_task import TASKS
from jaxpriv.training import mechanism, run, tasks
from jaxpriv.training.mechanism import Load, Score, Target, Trained
from jaxpriv.training.method import Outputs, Phase

NAME = "multi_task"
GENDER = "Male"
BACKBONES = ("hyperface", "small")

# Overlap with a face from which a region shows it, and below which it does not;
# those between are nobody's (Ranjan et al. 2019, section 3.2).
FACE, NO_FACE = 0.5, 0.35

# Of `records.LANDMARKS` the 21 of AFLW.
POINTS = len(LANDMARKS) - len(AFLW_LANDMARKS)

# Fields of a record that tasks cannot do without, besides the box.
NEEDS = {
  "landmarks": "landmarks",
  "visibility": "visibility",
  "pose": "pose",
}


def phases(config: ConfigDict) -> list[Phase]:
  """One phase.

  Args:
    config: with model, phases and data.attributes.

  Raises:
    DataError: a task has no labels.
  """
  names = tuple(config.data.attributes)
  chosen = words(config.model.tasks)
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
  gender = names.index(GENDER) if GENDER in names else None
  first = np.asarray(config.model.log_variances, np.float32)
  options = config.model.copy_and_resolve_references()
  options.tasks = chosen
  cell = options.small.gradients
  if options.architecture == "small" and cell and options.side % cell:
    raise DataError(
      f"config.model.small.gradients = {cell}: cells of that side do not fill"
      f" regions of side config.model.side = {options.side}; use a divisor"
    )
  dtype = jnp.dtype(config.dtype)
  if options.architecture not in BACKBONES:
    raise DataError(
      f"config.model.architecture = {options.architecture!r}: choose of"
      f" {', '.join(BACKBONES)}"
    )
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
    return {**batch, **_views(key, batch, options)}

  def loss(apply, batch, frozen):
    views = batch if "crops" in batch else _fixed_views(batch, options)
    count = views["crops"].shape[1]
    flat = lambda x: x.reshape(-1, *x.shape[2:])
    outputs, logs = apply(flat(views["crops"]))
    targets = _targets(batch, views, gender)
    targets = {k: (flat(v), flat(m)) for k, (v, m) in targets.items()}
    losses = {t: _task_loss(t, outputs[t], *targets[t]) for t in options.tasks}
    reach = options.log_variance_range
    logs = jnp.clip(logs, first - reach, first + reach)
    total = jnp.zeros(len(flat(views["crops"])))
    metrics = {}
    for task, value in losses.items():
      known = _known(targets[task][1])
      s = logs[TASKS.index(task)]
      weight = 1.0 if task in ("detection", "gender") else 0.5
      total += jnp.where(known, weight * jnp.exp(-s) * value + s / 2, 0)
      metrics[task] = value.reshape(-1, count).mean(1)
    return total.reshape(-1, count).mean(1), metrics

  def inputs(batch, frozen):
    return _fixed_views(batch, options)["crops"][:, 0]

  outputs = Outputs(
    scores=lambda a, b, f: _scores(a, b, options, gender),
    read=lambda a, b, f: _read(a, b, options),
    sample=lambda a, b, f: _sample(a, b, options),
  )
  if "detection" in chosen:
    detect = lambda a, b, f: _detect(a, b, options)
    outputs = outputs._replace(detect=detect)
  return [
    tasks.supervised_phase(
      NAME,
      model,
      loss,
      config.phases[NAME],
      inputs=inputs,
      transform=transform,
      outputs=outputs,
    )
  ]


def _cut(image, region, options):
  """Regions [R, 3] with what is around them, as the network sees them."""
  around = region * jnp.array([1, 1, options.context], jnp.float32)
  return regions.cut(image, around, options.side)


def _views(key, batch, options) -> dict[str, jax.Array]:
  """Random regions of each photograph, half of them mirrored."""
  size = batch["image"].shape[1]
  near, anywhere = options.near, options.anywhere

  def one(row, image, box):
    first, second = jax.random.split(jax.random.fold_in(key, row))
    drawn = regions.draw(first, box, size, near, anywhere)
    mirrored = jax.random.bernoulli(second, shape=(near + anywhere,))
    crops = _cut(image, drawn, options)
    flip = mirrored[:, None, None, None]
    crops = jnp.where(flip, crops[:, :, ::-1], crops)
    return {"crops": crops, "regions": drawn, "mirrored": mirrored}

  rows = jnp.arange(len(batch["image"]))
  return jax.vmap(one)(rows, batch["image"], batch["box"])


def _fixed_views(batch, options) -> dict[str, jax.Array]:
  """The face and a corner: what is looked at where nothing is drawn."""
  size = batch["image"].shape[1]
  corner = jnp.array([size / 4, size / 4, size / 2], jnp.float32)
  face = regions.square_of(batch["box"])
  face = jnp.where(jnp.isfinite(face), face, jnp.full(3, size / 2))
  both = jnp.stack([face, jnp.broadcast_to(corner, face.shape)], 1)
  crops = jax.vmap(lambda i, r: _cut(i, r, options))(batch["image"], both)
  return {
    "crops": crops,
    "regions": both,
    "mirrored": jnp.zeros(both.shape[:2], bool),
  }


def _targets(batch, views, gender) -> dict[str, tuple]:
  """task -> (labels [B, R, ...], which are known [B, R, ...])."""
  region, mirrored = views["regions"], views["mirrored"][..., None]
  overlap = detection.iou(regions.box_of(region), batch["box"][:, None])
  boxed = jnp.isfinite(batch["box"]).all(-1)[:, None]
  shows, near = overlap >= FACE, overlap > NO_FACE
  points = batch["landmarks"][:, None, POINTS:]
  points = (points - region[..., None, :2]) / region[..., None, 2:]
  flipped = points[:, :, regions.MIRRORED] * jnp.array([-1.0, 1.0])
  points = jnp.where(mirrored[..., None], flipped, points)
  seen = jnp.broadcast_to(
    batch["visibility"][:, None, POINTS:], points.shape[:-1]
  )
  seen = jnp.where(mirrored, seen[..., regions.MIRRORED], seen)
  located = (seen == 1) & jnp.isfinite(points).all(-1) & near[..., None]
  pose = jnp.broadcast_to(batch["pose"][:, None], (*near.shape, 3))
  pose = jnp.where(mirrored, pose * jnp.array([-1.0, 1.0, -1.0]), pose)
  made = {
    "detection": (shows.astype(jnp.int32), boxed & (shows | ~near)),
    "landmarks": (points, located),
    "visibility": (seen.astype(jnp.float32), (seen >= 0) & near[..., None]),
    "pose": (pose, jnp.isfinite(pose) & shows[..., None]),
  }
  if gender is not None:
    label = batch["attributes"][:, None, gender].astype(jnp.int32)
    label = jnp.broadcast_to(label, shows.shape)
    made["gender"] = (label, (label >= 0) & shows)
  return made


def _known(mask):
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
  # The label of what is unknown is NaN: out before it is squared.
  error = jnp.where(known, output - jnp.where(known, label, 0), 0)
  return jnp.square(error).reshape(len(error), -1).sum(1) / output[0].size


def _faces(apply, batch, options):
  """(face as a region [B, 3], what is seen of it, outputs of the network)."""
  face = regions.square_of(batch["box"])
  safe = jnp.where(jnp.isfinite(face), face, 1.0)
  crops = jax.vmap(lambda i, r: _cut(i, r[None], options)[0])(
    batch["image"], safe
  )
  return face, crops, apply(crops)[0]


def _read(apply, batch, options) -> dict[str, jax.Array]:
  """What the network reads in the face of `box` [B, 4].

  Returns:
    landmarks [B, 21, 2] in pixels, as `records.AFLW_LANDMARKS`; visibility
    [B, 21]; pose [B, 3], radians; male [B], a probability. Only of the tasks
    that were learned.
  """
  face, _, outputs = _faces(apply, batch, options)
  points = outputs["landmarks"].reshape(len(face), -1, 2)
  made = {
    "landmarks": face[:, None, :2] + points * face[:, None, 2:],
    "visibility": jnp.clip(outputs["visibility"], 0, 1),
    "pose": outputs["pose"],
    "gender": jax.nn.softmax(outputs["gender"])[:, 1],
  }
  made = {task: y for task, y in made.items() if task in options.tasks}
  return {"male" if task == "gender" else task: y for task, y in made.items()}


def _scores(apply, batch, options, gender) -> Mapping[str, jax.Array]:
  """How well the face in its box is read, [B] each, NaN where unlabelled."""
  face, _, outputs = _faces(apply, batch, options)
  views = {
    "regions": face[:, None],
    "mirrored": jnp.zeros((len(face), 1), bool),
  }
  targets = {
    k: (v[:, 0], m[:, 0])
    for k, (v, m) in _targets(batch, views, gender).items()
  }

  def mean(values, known):
    return jnp.where(known, values, 0).sum(1) / jnp.where(
      known.any(1), known.sum(1), jnp.nan
    )

  made = {}
  if "landmarks" in options.tasks:
    points, known = targets["landmarks"]
    # In units of the side of the box: of the region, that is.
    distance = jnp.linalg.norm(
      outputs["landmarks"].reshape(points.shape) - points, axis=-1
    )
    made["landmark_error"] = mean(distance, known)
  if "visibility" in options.tasks:
    seen, known = targets["visibility"]
    right = (outputs["visibility"] > 0.5) == (seen > 0.5)
    made["visibility_accuracy"] = mean(right, known)
  if "pose" in options.tasks:
    pose, known = targets["pose"]
    error = jnp.abs(outputs["pose"] - pose) * (180 / np.pi)
    made["pose_error"] = mean(error, known)
    known = known[:, 0]
    made["yaw_within_15"] = jnp.where(known, error[:, 0] <= 15, jnp.nan)
  if "gender" in options.tasks:
    label, known = targets["gender"]
    right = outputs["gender"].argmax(-1) == label
    made["gender_accuracy"] = jnp.where(known, right, jnp.nan)
  return {k: v.astype(jnp.float32) for k, v in made.items()}


def pyramid(size: int, options) -> np.ndarray:
  """Windows [W, 3] of a photograph, small to large, each a part further on."""
  windows = []
  side = options.smallest * size
  while side <= size * 1.001:
    count = max(int(np.ceil((size - side) / (options.stride * side))), 1) + 1
    steps = np.linspace(side / 2, size - side / 2, count if side < size else 1)
    windows += [(x, y, side) for y in steps for x in steps]
    side *= options.growth
  return np.array(windows, np.float32)


def _detect(apply, batch, options) -> dict[str, jax.Array]:
  """The most face-like windows of each photograph.

  Returns:
    boxes [B, K, 4] and scores [B, K] in [0, 1], best first, overlapping: NMS
    follows, `metrics.detection.suppress`.
  """
  size = batch["image"].shape[1]
  windows = jnp.asarray(pyramid(size, options.pyramid))

  def one(image):
    crops = _cut(image, windows, options)
    outputs, _ = apply(crops)
    score = jax.nn.softmax(outputs["detection"])[:, 1]
    best, which = jax.lax.top_k(score, min(options.pyramid.keep, len(windows)))
    return {"boxes": regions.box_of(windows[which]), "scores": best}

  return jax.lax.map(one, batch["image"])


def _sample(apply, batch, options) -> dict[str, jax.Array]:
  """The face, and its points as labelled and as read; rows in that order."""
  face, crops, outputs = _faces(apply, batch, options)
  points = batch["landmarks"][:, POINTS:]
  points = (points - face[:, None, :2]) / face[:, None, 2:]
  found = outputs["landmarks"].reshape(points.shape)
  points, found = points / options.context, found / options.context
  # Large enough to see a point on.
  shape = (len(crops), 128, 128, 3)
  big = jax.image.resize(crops, shape, "linear")
  return {
    "face": big,  # by name, as keys are sorted
    "labelled": _dotted(big, points),
    "read": _dotted(big, found),
  }


def _dotted(images, points):
  """Green dots at points [B, K, 2], shares of the side from the middle."""
  side = images.shape[1]
  place = (jnp.arange(side, dtype=jnp.float32) + 0.5) / side - 0.5
  x = place[None, None] - points[..., 0, None]
  y = place[None, None] - points[..., 1, None]
  near = jnp.square(x)[:, :, None, :] + jnp.square(y)[:, :, :, None]
  dot = (jnp.nan_to_num(near, nan=1.0).min(1) < (1.5 / side) ** 2)[..., None]
  return jnp.where(dot, jnp.array([0.1, 1.0, 0.2]), images)


def baseline(arrays: Mapping[str, np.ndarray], config: ConfigDict) -> dict:
  """What the best constant answer scores: the mean face, the commoner gender.

  Args:
    arrays: fields of the records that are scored, [N, ...].
    config: with data.attributes.

  Returns:
    score -> value, of those that are labelled.
  """
  box = np.asarray(arrays["box"], np.float64)
  side = np.sqrt(np.prod(box[:, 2:] - box[:, :2], -1))[:, None, None]
  centre = (box[:, None, :2] + box[:, None, 2:]) / 2
  points = (arrays["landmarks"][:, POINTS:] - centre) / side
  seen = arrays["visibility"][:, POINTS:]
  points = np.where((seen == 1)[..., None], points, np.nan)
  names = tuple(config.data.attributes)
  gender = np.zeros(0)
  if GENDER in names:
    gender = np.asarray(arrays["attributes"])[:, names.index(GENDER)]
    gender = gender[gender >= 0]
  made = {}
  with warnings.catch_warnings():
    warnings.simplefilter("ignore", RuntimeWarning)  # means of nothing: NaN
    distance = np.linalg.norm(points - np.nanmean(points, 0), axis=-1)
    made["landmark_error"] = np.nanmean(np.nanmean(distance, 1))
    seen = np.where(seen >= 0, seen, np.nan)
    same = np.where(
      np.isfinite(seen), seen == np.nanmean(seen, 0).round(), np.nan
    )
    made["visibility_accuracy"] = np.nanmean(np.nanmean(same, 1))
    pose = np.rad2deg(np.asarray(arrays["pose"], np.float64))
    made["pose_error"] = np.nanmean(np.abs(pose - np.nanmedian(pose, 0)))
    yaw = pose[np.isfinite(pose[:, 0]), 0]
    made["yaw_within_15"] = np.mean(np.abs(yaw - np.median(yaw)) <= 15)
    made["gender_accuracy"] = max(gender.mean(), 1 - gender.mean())
  return {k: float(v) for k, v in made.items() if np.isfinite(v)}


SCORES = {
  "detection_ap": ("detection", "AP"),
  "landmark_error": ("landmarks", "error / box side"),
  "visibility_accuracy": ("visibility", "accuracy"),
  "pose_error": ("pose", "mean error"),
  "yaw_within_15": ("pose", "within 15°"),
  "gender_accuracy": ("gender", "accuracy"),
}


def targets(config: ConfigDict, trained: Trained) -> list[Target]:
  """The model, which is what is released."""

  def scores(arrays):
    constants = baseline(arrays, config)
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
    DataError: they are not.
  """
  del load
  run.check_labels(required(config), data)


def required(config: ConfigDict) -> dict[str, str]:
  """Fields of records without which the tasks cannot be learned."""
  chosen = words(config.model.tasks)
  # What a region shows is told by its overlap with the box, for any task.
  fields = ("box", *(NEEDS[t] for t in chosen if t in NEEDS))
  return dict.fromkeys(fields, "config.model.tasks")
