"""A network that repairs images: fills in what is hidden, sharpens the blurred.

A U-Net of gated convolutions (Yu et al., "Free-Form Image Inpainting with Gated
Convolution", ICCV 2019), which learn where there is something to see; between
its two halves convolutions are dilated, so that the middle of a large hole sees
its rim. With several rounds the output is fed again, a rim of the hole taken as
known, until all of it is (Li et al., "Recurrent Feature Reasoning for Image
Inpainting", CVPR 2020, do so with features).

| layer, widths (32, 64, 128), at 224 px | output |
|---|---|
| image beside what is known | 224, 224, 4 |
| gated conv /2 | 112, 112, 32 |
| gated conv /2, gated conv | 56, 56, 64 |
| gated conv /2, gated conv | 28, 28, 128 |
| gated convs, dilated | 28, 28, 128 |
| up 2, beside the 64 above, gated conv | 56, 56, 64 |
| up 2, beside the 32 above, gated conv | 112, 112, 32 |
| conv, rearranged, added to the image | 224, 224, 3 |

No layer works at full size, which takes a quarter of the time: pixels that are
seen are copied.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxpriv.models import layers
from jaxpriv.models.layers import Dtype


class GatedConv(nn.Module):
  """[B, H, W, C] -> [B, H / stride, W / stride, features]: elu(a) sigmoid(g).

  Attributes:
    norm: "group", or "" for none; of a.
  """

  features: int
  stride: int = 1
  dilation: int = 1
  norm: str = ""
  dtype: Dtype = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    x = layers.Conv(
      2 * self.features,
      (3, 3),
      strides=self.stride,
      padding=self.dilation,
      kernel_dilation=self.dilation,
      dtype=self.dtype,
    )(x)
    a, g = jnp.split(x, 2, axis=-1)
    if self.norm:
      a = layers.norm(self.norm, train, self.dtype)(a)
    return nn.elu(a) * nn.sigmoid(g)


class RepairNet(nn.Module):
  """Released images [B, H, W, 3] -> photographs, float32 [B, H, W, 3].

  Sides need not divide by the strides. Values may lie beyond [0, 1], where they
  would have no gradient if they were clipped.

  Attributes:
    widths: channels at each scale, the finest first.
    dilations: of the convolutions at the coarsest scale.
    rounds: times that the network is applied.
    growth: pixels by which what is known grows between two rounds.
    norm: "group", or "" for none.
    dtype: compute precision.
  """

  widths: tuple[int, ...] = (32, 64, 128)
  dilations: tuple[int, ...] = (2, 4)
  rounds: int = 1
  growth: int = 8
  norm: str = ""
  dtype: Dtype = jnp.float32

  @nn.compact
  def __call__(
    self,
    images: jax.Array,
    keep: jax.Array | None = None,
    *,
    train: bool,
  ) -> jax.Array:
    """Repairs images.

    Args:
      images: [B, H, W, 3] as released. What stands where they do not show the
        photograph is looked at, too: it may be a blur.
      keep: bool [B, H, W], where they show it, which is left as it is; None:
        nowhere.
      train: of norms.
    """
    once = _UNet(self.widths, self.dilations, self.norm, self.dtype)
    kept = jnp.zeros(images.shape[:3], bool) if keep is None else keep
    kept = kept[..., None]
    known = kept.astype(images.dtype)
    shown, repaired = images, images
    for turn in range(self.rounds):
      if turn:
        known = _grown(known, self.growth)
        shown = jnp.where(known > kept, repaired, images)
      repaired = jnp.where(kept, images, once(shown, known, train))
    return repaired


class _UNet(nn.Module):
  """Images and what is known of them, [B, H, W, 1] -> images, float32."""

  widths: tuple[int, ...]
  dilations: tuple[int, ...]
  norm: str
  dtype: Dtype

  @nn.compact
  def __call__(
    self, images: jax.Array, known: jax.Array, train: bool
  ) -> jax.Array:
    gated = lambda features, stride=1, dilation=1: GatedConv(
      features, stride, dilation, self.norm, self.dtype
    )
    x = jnp.concatenate([images, known], axis=-1).astype(self.dtype)
    x = gated(self.widths[0], stride=2)(x, train)
    finer = []
    for width in self.widths[1:]:
      finer.append(x)
      x = gated(width, stride=2)(x, train)
      x = gated(width)(x, train)
    for dilation in self.dilations:
      x = gated(self.widths[-1], dilation=dilation)(x, train)
    for same in reversed(finer):
      height, width = same.shape[1:3]
      x = x.repeat(2, 1).repeat(2, 2)[:, :height, :width]
      x = gated(same.shape[-1])(jnp.concatenate([x, same], axis=-1), train)
    x = layers.Conv(12, (3, 3), dtype=jnp.float32)(x.astype(jnp.float32))
    height, width = images.shape[1:3]
    return images + layers.depth_to_space(x, 2)[:, :height, :width]


def _grown(known: jax.Array, pixels: int) -> jax.Array:
  """Widens the known area, [B, H, W, 1] in {0, 1}, by some pixels."""
  side = 2 * pixels + 1
  return jax.lax.stop_gradient(nn.max_pool(known, (side, side), padding="SAME"))
