"""RetinaFace, a face detector trained on scenes of many faces.

Deng et al., "RetinaFace: Single-shot Multi-level Face Localisation in the
Wild", CVPR 2020, as Pytorch_Retinaface trains it: anchors of three levels (see
`models.retinaface` and `metrics.anchors`), each of which says whether it sees a
face, where its box is, and where its eyes, nose and corners of the mouth are.

It protects nothing: it is what tells how well faces are still found in images
that were changed, or what a detector learns from such images.
"""

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from ml_collections import ConfigDict

from jaxpriv.data import augmentation
from jaxpriv.data.dataset import Data
from jaxpriv.data.records import DataError
from jaxpriv.methods.face_detection import crops, reading
from jaxpriv.methods.face_detection import loss as loss_lib
from jaxpriv.metrics import anchors as anchors_lib
from jaxpriv.models import retinaface
from jaxpriv.training import mechanism, recipes, transfer
from jaxpriv.training.mechanism import Load, Target, Trained
from jaxpriv.training.method import Outputs, Phase

NAME = "retinaface"
# It is no recogniser: people may be in all splits, as in WIDER FACE, where
# nobody is named.
CLOSED_SET = True
BACKBONES = ("mobilenet", "resnet50")
LOSSES = ("detection", "box", "landmarks")
MADE_WITH = {
  NAME: (
    *("model.backbone", "model.mobilenet", "model.resnet50", "model.features"),
    *("model.norm", "model.logits", "model.sizes"),
  )
}

_LOOKED_AT = 256  # scenes to train on that are searched for faces in advance


def phases(config: ConfigDict) -> list[Phase]:
  """One phase.

  Args:
    config: with model, phases and dtype.

  Raises:
    DataError: a setting of the model will not do.
  """
  _check_settings(config)
  options = config.model.copy_and_resolve_references()
  each = len(options.sizes) // len(anchors_lib.STEPS)
  model = retinaface.RetinaFace(
    _trunk(config),
    options.features,
    each,
    options.logits,
    options.norm,
    jnp.dtype(config.dtype),
  )

  def transform(key, batch):
    first, second = jax.random.split(key)
    side = options.side or batch["image"].shape[1]
    batch = crops.random_crops(first, batch, options.crops, side, options.tries)
    return augmentation.random_mirror(second, batch)

  def loss(apply, batch, frozen):
    height, width = batch["image"].shape[1:3]
    anchors = jnp.asarray(anchors_lib.grid(height, width, options.sizes))

    def one(said, boxes, points, valid):
      found = anchors_lib.match(
        anchors, boxes, valid, options.positive, options.least
      )
      return loss_lib.losses(
        said, anchors, found, boxes, points, options.negatives
      )

    # Points are at centres of pixels, boxes and anchors at edges.
    points = batch["landmarks"][:, :, : reading.POINTS] + 0.5
    parts = jax.vmap(one)(
      apply(batch["image"]), batch["boxes"], points, batch["valid"]
    )
    return sum(options.weights[name] * parts[name] for name in LOSSES), parts

  return [
    recipes.supervised_phase(
      NAME,
      model,
      loss,
      config.phases[NAME],
      transform=transform,
      outputs=Outputs(
        detect=lambda a, b, f: reading.detect(a, b, options),
        sample=lambda a, b, f: reading.sample(a, b, options),
      ),
    )
  ]


def _trunk(config: ConfigDict):
  model = config.model
  kind, options = {
    "mobilenet": (retinaface.MobileNet, model.mobilenet),
    "resnet50": (retinaface.ResNet, model.resnet50),
  }[model.backbone]
  return kind(norm=model.norm, dtype=jnp.dtype(config.dtype), **options)


def _check_settings(config: ConfigDict) -> None:
  """Raises DataError where no detector can be built."""
  model, levels = config.model, len(anchors_lib.STEPS)
  if model.backbone not in BACKBONES:
    raise DataError(
      f"config.model.backbone = {model.backbone!r}: choose of"
      f" {', '.join(BACKBONES)}"
    )
  if len(model.sizes) % levels or not model.sizes or min(model.sizes) <= 0:
    raise DataError(
      f"config.model.sizes = {tuple(model.sizes)}: name sides of anchors in"
      f" pixels, as many for each of {levels} levels"
    )
  if not model.crops or not all(0 < scale <= 1 for scale in model.crops):
    raise DataError(
      f"config.model.crops = {tuple(model.crops)}: name shares of the side,"
      " above 0 and at most 1"
    )
  if not model.test_scales or min(model.test_scales) <= 0:
    raise DataError(
      f"config.model.test_scales = {tuple(model.test_scales)}: name factors"
      " above 0, 1 for the images as they are"
    )
  for name in ("positive", "least", "overlap"):
    if not 0 < model[name] <= 1:
      raise DataError(
        f"config.model.{name} = {model[name]}: an overlap is above 0 and at"
        " most 1"
      )


def targets(config: ConfigDict, trained: Trained) -> list[Target]:
  """The one target: the model."""
  return [Target(config.mechanism, config, trained, (mechanism.MODEL,))]


def check(config: ConfigDict, data: Data, load: Load) -> None:
  """Checks that records are scenes, and that faces are seen in them.

  Raises:
    DataError: they are not, the first scenes to train on show no face, or the
      phase does not fit.
  """
  transfer.check_copied(config, MADE_WITH, load)
  if not data.source.max_faces:
    raise DataError(
      "a detector learns from whole pictures and all of their faces, and"
      " records here are of one face (config.data.max_faces = 0): set"
      " config.data.max_faces to the most faces of a picture, and"
      " config.data.align to whole"
    )
  few = min(len(data.splits["train"]), _LOOKED_AT)
  rows = next(data.epoch("train", batch_size=few, limit=few, everywhere=True))
  there = ~rows["padding"]
  faces = np.asarray(rows["valid"])[there].sum(1)
  empty = int((faces == 0).sum())
  if empty == len(faces):
    raise DataError(
      f"none of the first {few} pictures to train on shows a face: boxes are"
      " columns x0, y0, x1, y1 of labels.csv"
    )
  if empty:
    logging.warning(
      "%d of the first %d pictures to train on show no face: they teach"
      " nothing.",
      empty,
      len(faces),
    )
