"""The loss of RetinaFace, for each image by itself.

Deng et al., CVPR 2020, equation (1), with the weights and the mining of
Pytorch_Retinaface, which divides by the anchors that find a face in the whole
batch. Here an image is an example, whose loss no other image changes: its sums
are divided by its own anchors that find a face, and the loss of a batch is the
mean of images. An image of few faces so weighs as much as one of many.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import optax

from jaxpriv.metrics import anchors as anchors_lib


def margin(scores: jax.Array) -> jax.Array:
  """How likely a face is, as the logit of its probability.

  Args:
    scores: [..., 2], logits of no face and of a face, or [..., 1], of a face.

  Returns:
    [...]; its sigmoid is the softmax of two logits.
  """
  if scores.shape[-1] == 1:
    return scores[..., 0]
  return scores[..., 1] - scores[..., 0]


def losses(
  said: Mapping[str, jax.Array],
  anchors: jax.Array,
  found: jax.Array,
  boxes: jax.Array,
  points: jax.Array,
  negatives: float = 7,
) -> dict[str, jax.Array]:
  """The losses of one image; `jax.vmap` makes them of many.

  Each is a sum over anchors, divided by how many it is taken of: the anchors
  that find a face, at least 1; for points, those whose face has all of them.

  Args:
    said: scores [A, 1 or 2], boxes [A, 4] and points [A, 2 K], of the network.
    anchors: [A, 4]; see `jaxpriv.metrics.anchors.grid`.
    found: int [A], the face of each anchor, -1 without one; see `match` there.
    boxes: [N, 4] of the faces.
    points: [N, K, 2] of the faces, NaN unknown.
    negatives: anchors without a face that are learned from, those of the
      greatest loss, for each one with a face. An image without a face so
      teaches nothing.

  Returns:
    detection, the cross-entropy of faces and of these negatives; box and
    landmarks, Huber losses of offsets (smooth L1), summed over coordinates; and
    faces, how many anchors find one. All are [].
  """
  face = found >= 0
  count = face.sum()
  row = jnp.maximum(found, 0)
  logit = margin(said["scores"])
  # The best that can be said of another anchor is 0, as if it were not there.
  wrong = jnp.where(face, 0, jax.nn.softplus(logit))
  hardest = -jnp.sort(-wrong)
  kept = jnp.arange(len(wrong)) < jnp.minimum(negatives * count, len(wrong) - 1)
  right = jnp.where(face, jax.nn.softplus(-logit), 0)
  detection = right.sum() + jnp.where(kept, hardest, 0).sum()

  def offsets(name, targets, known):
    # Unknown ones are NaN, and must go before anything is computed of them.
    known = known[:, None]
    error = jnp.where(known, said[name] - jnp.where(known, targets, 0), 0)
    return optax.losses.huber_loss(error).sum() / jnp.maximum(known.sum(), 1)

  all_known = jnp.isfinite(points).all((1, 2))
  return {
    "detection": detection / jnp.maximum(count, 1),
    "box": offsets("boxes", anchors_lib.encode(anchors, boxes[row]), face),
    "landmarks": offsets(
      "points",
      anchors_lib.encode_points(anchors, points[row]),
      face & all_known[row],
    ),
    "faces": count.astype(jnp.float32),
  }
