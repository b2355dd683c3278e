"""Anchors of a face detector: where they lie, and which face each is to find.

As in RetinaFace (Deng et al., CVPR 2020) and SSD (Liu et al., ECCV 2016): each
cell of three maps has square anchors of two sizes, offsets of boxes and points
are relative to the anchor, and an anchor is to find a face that it overlaps
enough. All is in pixels, whose edges are whole numbers; points, too: those of
records, which are whole at centres, lie half a pixel further.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxpriv.metrics import detection

STEPS = (8, 16, 32)
SIZES = (16, 32, 64, 128, 256, 512)
# Offsets are divided by these: places, and logarithms of sizes.
PLACE, SIZE = 0.1, 0.2
# Overlaps from which on an anchor finds a face, and with which a face may still
# claim one if no other is left to it.
POSITIVE, LEAST = 0.35, 0.2


def grid(
  height: int,
  width: int,
  sizes: Sequence[float] = SIZES,
  steps: Sequence[int] = STEPS,
) -> np.ndarray:
  """The anchors of an image, in the order of a network's outputs.

  Args:
    height: of the image in pixels.
    width: likewise.
    sizes: sides of the anchors in pixels, as many for each level.
    steps: the stride of each level, whose map has ceil(height / step) rows.

  Returns:
    float32 [A, 4], centre x and y, width and height: level after level, row
    after row, and all of a cell together. 16,800 at 640 px.

  Raises:
    ValueError: sizes cannot be dealt to the levels, or a number is not
      positive.
  """
  each, rest = divmod(len(sizes), len(steps))
  if rest or not each:
    raise ValueError(
      f"{len(sizes)} sizes of anchors for {len(steps)} levels: give as many to"
      " each"
    )
  if min(height, width, *sizes, *steps) <= 0:
    raise ValueError("sides of images and anchors, and steps, must be positive")
  levels = []
  for i, step in enumerate(steps):
    rows, columns = -(-height // step), -(-width // step)
    y, x, side = np.meshgrid(
      (np.arange(rows) + 0.5) * step,
      (np.arange(columns) + 0.5) * step,
      sizes[i * each : (i + 1) * each],
      indexing="ij",
    )
    levels.append(np.stack([x, y, side, side], -1).reshape(-1, 4))
  return np.concatenate(levels).astype(np.float32)


def corners(anchors: jax.Array) -> jax.Array:
  """Anchors [..., 4] as boxes x0, y0, x1, y1."""
  centre, half = anchors[..., :2], anchors[..., 2:] / 2
  return jnp.concatenate([centre - half, centre + half], -1)


def encode(anchors: jax.Array, boxes: jax.Array) -> jax.Array:
  """Offsets [..., 4] of boxes [..., 4], x0 y0 x1 y1, from anchors [..., 4].

  Those of boxes without an area are not finite.
  """
  low, high = boxes[..., :2], boxes[..., 2:]
  place = ((low + high) / 2 - anchors[..., :2]) / (PLACE * anchors[..., 2:])
  size = jnp.log((high - low) / anchors[..., 2:]) / SIZE
  return jnp.concatenate([place, size], -1)


def decode(anchors: jax.Array, offsets: jax.Array) -> jax.Array:
  """Boxes [..., 4], x0 y0 x1 y1, of offsets from anchors; inverts `encode`."""
  centre = anchors[..., :2] + PLACE * offsets[..., :2] * anchors[..., 2:]
  half = jnp.exp(SIZE * offsets[..., 2:]) * anchors[..., 2:] / 2
  return jnp.concatenate([centre - half, centre + half], -1)


def encode_points(anchors: jax.Array, points: jax.Array) -> jax.Array:
  """Offsets [..., 2 K] of points [..., K, 2] from anchors [..., 4]."""
  places = points - anchors[..., None, :2]
  offsets = places / (PLACE * anchors[..., None, 2:])
  return offsets.reshape(*offsets.shape[:-2], -1)


def decode_points(anchors: jax.Array, offsets: jax.Array) -> jax.Array:
  """Points [..., K, 2] of offsets [..., 2 K]; inverts `encode_points`."""
  offsets = offsets.reshape(*offsets.shape[:-1], -1, 2)
  return anchors[..., None, :2] + PLACE * offsets * anchors[..., None, 2:]


def match(
  anchors: jax.Array,
  boxes: jax.Array,
  valid: jax.Array,
  positive: float = POSITIVE,
  least: float = LEAST,
) -> jax.Array:
  """Assigns faces of an image to the anchors that are to find them.

  An anchor is to find the face that it overlaps most, if by `positive` at
  least. Further, each face owns the anchor that overlaps it most, if by `least`
  at least, whatever other face that anchor overlaps more. Where several faces
  claim one anchor, it goes to the face that fewest anchors overlap by `least`
  (then to the earlier one), and the others, in the same order, own the best of
  those that nobody owns. So a face owns one unless faces own all that overlap
  it. In Pytorch_Retinaface a later face takes the anchor of an earlier one, and
  even one that overlaps nothing by `least` takes over an anchor.

  Shapes are static; call it under `jax.jit`, and `jax.vmap` for many images.

  Args:
    anchors: [A, 4], centre x and y, width and height.
    boxes: [N, 4], x0 y0 x1 y1, N at least 1.
    valid: bool [N], which rows are faces. Others are found by no anchor, and
      neither are boxes without an area.
    positive: intersection over union, above 0.
    least: likewise.

  Returns:
    int32 [A], the row of the face, -1 where there is none to find.

  Raises:
    ValueError: a threshold is not in (0, 1], or shapes do not match.
  """
  anchors, boxes, valid = map(jnp.asarray, (anchors, boxes, valid))
  if not (0 < positive <= 1 and 0 < least <= 1):
    raise ValueError(
      f"overlaps must be above 0 and at most 1, not {positive} and {least}"
    )
  if boxes.shape != (len(valid), 4) or not len(valid):
    raise ValueError(
      f"boxes must be [N, 4] and valid [N], N at least 1, not"
      f" {list(boxes.shape)} and {list(valid.shape)}"
    )
  overlap = detection.iou(boxes[:, None], corners(anchors)[None])
  overlap = jnp.where(valid[:, None], overlap, -1)
  found = jnp.where(overlap.max(0) >= positive, overlap.argmax(0), -1)
  own = _own(overlap, least)
  place = jnp.where(own < 0, len(anchors), own)
  rows = jnp.arange(len(boxes))
  return found.at[place].set(rows, mode="drop").astype(jnp.int32)


def _own(overlap, least):
  """The anchor that each face owns, int [N], -1 where it owns none."""
  enough = overlap >= least
  best = overlap.argmax(1)
  order = jnp.argsort(enough.sum(1), stable=True)
  turn = jnp.argsort(order)
  rivals = enough.any(1) & (best == best[:, None]) & (turn < turn[:, None])
  first = enough.any(1) & ~rivals.any(1)
  own = jnp.where(first, best, -1)
  place = jnp.where(first, best, overlap.shape[1])
  taken = jnp.zeros(overlap.shape[1], bool).at[place].set(True, mode="drop")

  def choose(i, carry):
    own, taken = carry
    face = order[i]
    left = jnp.where(taken | first[face], -1, overlap[face])
    anchor = left.argmax()
    gets = left[anchor] >= least
    own = own.at[face].set(jnp.where(gets, anchor, own[face]))
    return own, taken.at[anchor].set(taken[anchor] | gets)

  return jax.lax.fori_loop(0, len(overlap), choose, (own, taken))[0]
