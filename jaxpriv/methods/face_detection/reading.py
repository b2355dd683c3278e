"""Faces that a trained RetinaFace finds in whole images."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxpriv.data.records import ARCFACE_LANDMARKS
from jaxpriv.methods.face_detection import loss as loss_lib
from jaxpriv.metrics import anchors as anchors_lib
from jaxpriv.metrics import nms as nms_lib
from jaxpriv.training import pictures

POINTS = len(ARCFACE_LANDMARKS)
SURE = 0.5  # the least score of a box that is drawn
_LEAST = 32  # pixels of a side that an image is scaled down to


def scaled(images: jax.Array, scale: float) -> jax.Array:
  """Images [B, H, W, C] at a scale, sides rounded to multiples of 32."""
  if scale == 1:
    return images
  batch, *sides, channels = images.shape
  sides = [max(round(x * scale / _LEAST), 1) * _LEAST for x in sides]
  return jax.image.resize(images, (batch, *sides, channels), "linear")


def candidates(
  apply: Callable, images: jax.Array, scale: float, sizes: Sequence[float]
) -> tuple[jax.Array, jax.Array]:
  """Scores, boxes and points that the anchors give at one scale.

  Returns:
    scores [B, A], and boxes and points [B, A, 4 + 2 K] in pixels of `images`.
  """
  seen = scaled(images, scale)
  height, width = seen.shape[1:3]
  anchors = jnp.asarray(anchors_lib.grid(height, width, sizes))
  said = apply(seen)
  scores = jax.nn.sigmoid(loss_lib.margin(said["scores"]))
  boxes = anchors_lib.decode(anchors, said["boxes"])
  points = anchors_lib.decode_points(anchors, said["points"])
  places = jnp.concatenate([boxes, points.reshape(*scores.shape, -1)], -1)
  back = jnp.array([images.shape[2] / width, images.shape[1] / height])
  return scores, places * jnp.tile(back, 2 + POINTS)


def detect(
  apply: Callable, batch: Mapping[str, jax.Array], options: Any
) -> dict[str, jax.Array]:
  """The faces of whole images, after suppression.

  Args:
    apply: images [B, H, W, 3] -> outputs of the network.
    batch: with `image` [B, H, W, 3].
    options: with sizes of anchors; test_scales, at all of which the images are
      looked at; threshold, which scores must exceed; candidates, how many boxes
      at most are compared; overlap, above which one of two boxes goes; and
      keep, K.

  Returns:
    boxes [B, K, 4], scores [B, K] in [0, 1], best first, and landmarks
    [B, K, 5, 2], in pixels of the images. Rows that are no face are 0.
  """
  images = batch["image"]
  height, width = images.shape[1:3]
  looks = [
    candidates(apply, images, scale, options.sizes)
    for scale in options.test_scales
  ]
  scores, places = (jnp.concatenate(part, 1) for part in zip(*looks))

  def one(scores, places):
    best, which = jax.lax.top_k(scores, min(options.candidates, len(scores)))
    places = places[which]
    kept = nms_lib.nms(
      places[:, :4],
      best,
      options.overlap,
      best > options.threshold,
      inclusive=True,  # as in the figures that are published
    )
    best, which = jax.lax.top_k(
      jnp.where(kept, best, 0), min(options.keep, len(best))
    )
    places = jnp.where(best[:, None] > 0, places[which], 0)
    limit = jnp.array([width, height] * 2, jnp.float32)
    points = places[:, 4:].reshape(-1, POINTS, 2) - 0.5
    return {
      "boxes": jnp.clip(places[:, :4], 0, limit),
      "scores": best,
      "landmarks": jnp.where(best[:, None, None] > 0, points, 0),
    }

  return jax.vmap(one)(scores, places)


def sample(
  apply: Callable, batch: Mapping[str, jax.Array], options: Any
) -> dict[str, jax.Array]:
  """Scenes with the boxes and points that are labelled, and that are found."""
  images, found = batch["image"], detect(apply, batch, options)
  sure = found["scores"] > SURE
  return {
    "labelled": drawn(
      images, batch["boxes"], batch["landmarks"][:, :, :POINTS], batch["valid"]
    ),
    "read": drawn(images, found["boxes"], found["landmarks"], sure),
  }


def drawn(
  images: jax.Array, boxes: jax.Array, points: jax.Array, valid: jax.Array
) -> jax.Array:
  """Square images [B, S, S, 3] with boxes [B, N, 4] and points [B, N, K, 2].

  Only those of faces that are `valid`, bool [B, N].
  """
  side = images.shape[1]
  place = jnp.arange(side) + 0.5
  x0, y0, x1, y1 = jnp.moveaxis(boxes, -1, 0)[..., None]

  def near(edge):
    return abs(place - edge) <= 0.75

  across = (place > x0 - 0.75) & (place < x1 + 0.75)
  down = (place > y0 - 0.75) & (place < y1 + 0.75)
  edges = (
    down[..., :, None] & (near(x0) | near(x1))[..., None, :]
    | (near(y0) | near(y1))[..., :, None] & across[..., None, :]
  )  # fmt: skip
  line = (edges & valid[..., None, None]).any(1)[..., None]
  images = jnp.where(line, jnp.array([1.0, 0.8, 0.1]), images)
  points = jnp.where(valid[..., None, None], points, jnp.nan)
  points = points.reshape(len(points), -1, 2)
  return pictures.dotted(images, (points + 0.5) / side - 0.5)
