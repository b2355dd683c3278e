"""Black box, Gaussian blur, pixelation: what people use without measuring.

They need no training and protect little: recognisers trained on their outputs
identify blurred faces almost as well as clear ones (Hao et al., "Robustness
Analysis of Face Obscuration", 2019). They are here to be attacked like
everything else.

The three are also plain functions of images [B, H, W, C] in [0, 1].
"""

from functools import partial

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from jaxpriv.data import alignment
from jaxpriv.data.filters import gaussian_blur
from jaxpriv.errors import SettingError
from jaxpriv.training.method import Outputs, Phase, untrained

KINDS = ("black_box", "gaussian_blur", "pixelation")


def phases(config: ConfigDict) -> list[Phase]:
  """One phase without training.

  Args:
    config: with model.kind, one of `KINDS`, and model.strength, a share of the
      shorter image side: the height of the bar, the sigma of the blur, or the
      side of a pixelation block; and data.align.

  Returns:
    a phase "baseline", whose output "image" is [B, H, W, C].
  """
  kind, strength = config.model.kind, config.model.strength
  if kind not in KINDS:
    raise SettingError(f"config.model.kind is one of {KINDS}, not {kind!r}")
  if not 0 < strength <= 1:
    raise SettingError(
      "config.model.strength is a share of the image side, in (0, 1], not"
      f" {strength}"
    )
  align = config.data.align
  protect, keep = partial(_protect, kind, strength, align), None
  if kind == "black_box":

    def keep(state, frozen, batch):
      return ~bar(batch["image"], batch.get("landmarks"), strength, align)

  method = untrained(Outputs(image=protect, keep=keep))
  return [Phase("baseline", (), method)]


def _protect(kind, strength, align, state, frozen, batch):
  images = batch["image"]
  if kind == "black_box":
    return black_box(images, batch.get("landmarks"), strength, align)
  if kind == "gaussian_blur":
    return gaussian_blur(images, strength * min(images.shape[1:3]))
  return pixelate(images, max(round(1 / strength), 1))


def black_box(
  images: jax.Array,
  landmarks: jax.Array | None = None,
  height: float = 0.2,
  align: str = "landmarks",
) -> jax.Array:
  """Covers both eyes of [B, H, W, C] with a black bar; see `bar`."""
  covered = bar(images, landmarks, height, align)
  return jnp.where(covered[..., None], 0, images)


def bar(
  images: jax.Array,
  landmarks: jax.Array | None = None,
  height: float = 0.2,
  align: str = "landmarks",
) -> jax.Array:
  """The pixels of a bar over both eyes, along the line through them.

  The bar reaches half the distance of the eyes beyond each of them.

  Args:
    images: [B, H, W, C].
    landmarks: [B, K, 2] in pixels as in `jaxpriv.data.records`, of which the
      first two are the eyes; rows where these are not known, or all if None,
      get the place of the eyes in an aligned face.
    height: of the bar, as a share of the shorter image side.
    align: how faces were framed.

  Returns:
    bool [B, H, W].
  """
  rows, columns = images.shape[1:3]
  side = min(rows, columns)
  offset = jnp.array([columns - side, rows - side]) / 2
  aligned = jnp.asarray(alignment.template(side, align)[:2]) + offset
  eyes = jnp.broadcast_to(aligned, (len(images), 2, 2)).astype(jnp.float32)
  if landmarks is not None:
    given = landmarks[:, :2]
    known = jnp.isfinite(given).all((1, 2), keepdims=True)
    eyes = jnp.where(known, given, eyes)

  middle = eyes.mean(1)
  between = eyes[:, 1] - eyes[:, 0]
  # A profile may show both eyes in one place: the bar is then level.
  distance = jnp.linalg.norm(between, axis=-1, keepdims=True)
  along = jnp.where(
    distance > 0, between / jnp.maximum(distance, 1e-6), jnp.array([1.0, 0])
  )
  # A bar shorter than it is high would not cover a face seen from the side.
  reach = jnp.maximum(distance, height * side)[:, None]

  y, x = jnp.meshgrid(jnp.arange(rows), jnp.arange(columns), indexing="ij")
  dx = x - middle[:, 0, None, None]
  dy = y - middle[:, 1, None, None]
  ax, ay = along[:, 0, None, None], along[:, 1, None, None]
  covered = jnp.abs(dx * ax + dy * ay) <= reach
  return covered & (jnp.abs(dy * ax - dx * ay) <= height * side / 2)


def pixelate(images: jax.Array, blocks: int) -> jax.Array:
  """Replaces blocks x blocks tiles of [B, H, W, C] by their means.

  Sides need not divide by `blocks`; tiles then differ by one pixel.
  """
  rows, columns = images.shape[1:3]
  if not 1 <= blocks <= min(rows, columns):
    raise ValueError(
      f"{blocks} blocks do not fit a side of {min(rows, columns)} pixels"
    )
  row, column = (jnp.arange(n) * blocks // n for n in (rows, columns))

  def averaging(tile):
    member = (tile == jnp.arange(blocks)[:, None]).astype(images.dtype)
    return member / member.sum(1, keepdims=True)

  means = jnp.einsum(
    "ph,qw,bhwc->bpqc",
    averaging(row),
    averaging(column),
    images,
    precision="highest",
  )
  return means[:, row][:, :, column]
