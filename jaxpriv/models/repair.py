"""A network that repairs images: an attacker's, for masks, blur and mosaic.

A U-Net of gated convolutions, elu(a) * sigmoid(g), with which a network learns
where there is something to see (Yu et al., "Free-Form Image Inpainting with
Gated Convolution", ICCV 2019). It sees the image and what of it is visible, and
may see its own result again (`rounds`), for holes that are wider than it can
see (Li et al., "Recurrent Feature Reasoning for Image Inpainting", CVPR 2020,
whose network is another one). At side S:

| layer | output |
|---|---|
| image, mask | S, S, 4 |
| gated conv 3x3 for each width, but for the first of stride 2 | S / 2^i, w[i] |
| two gated convs of dilation 2 and 4, each added | S / 2^n, w[n] |
| doubled, beside the layer of that size: gated conv | S / 2^i, w[i] |
| conv 3x3, sigmoid | S, S, 3 |
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp


class GatedConv(nn.Module):
  """[B, H, W, C] -> [B, H / stride, W / stride, features]."""

  features: int
  stride: int = 1
  dilation: int = 1
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    x = nn.Conv(
      2 * self.features,
      (3, 3),
      self.stride,
      kernel_dilation=self.dilation,
      dtype=self.dtype,
    )(x)
    content, gate = jnp.split(x, 2, axis=-1)
    return nn.elu(content) * nn.sigmoid(gate)


class Repairer(nn.Module):
  """Images [B, S, S, 3] and masks [B, S, S] -> repaired images in [0, 1].

  Attributes:
    widths: channels at each size, from the whole side down; S is a multiple of
      2^(n - 1).
    rounds: how often it sees the image; after the first time with its own
      result in place of what is hidden.
    dtype: compute precision.
  """

  widths: tuple[int, ...] = (32, 64, 128, 256)
  rounds: int = 1
  dtype: Any = jnp.float32

  def setup(self):
    block = lambda width, stride=1, dilation=1: GatedConv(
      width, stride, dilation, self.dtype
    )
    self.down = [
      block(width, 2 if i else 1) for i, width in enumerate(self.widths)
    ]
    self.wide = [block(self.widths[-1], 1, dilation) for dilation in (2, 4)]
    self.up = [block(width) for width in self.widths[-2::-1]]
    self.out = nn.Conv(3, (3, 3), dtype=jnp.float32)

  def __call__(
    self, images: jax.Array, keep: jax.Array, train: bool = False
  ) -> jax.Array:
    """Returns all pixels as the network has them, those that are kept, too."""
    del train
    shown = keep[..., None].astype(images.dtype)
    seen = images * shown
    result = self._once(seen, shown)
    for _ in range(self.rounds - 1):
      result = self._once(seen + result * (1 - shown), shown)
    return result

  def _once(self, images, shown):
    x = jnp.concatenate([images - 0.5, shown], -1).astype(self.dtype)
    sizes = []
    for layer in self.down:
      x = layer(x)
      sizes.append(x)
    for layer in self.wide:
      x = x + layer(x)
    for layer, beside in zip(self.up, sizes[-2::-1], strict=True):
      x = jnp.repeat(jnp.repeat(x, 2, 1), 2, 2)
      x = layer(jnp.concatenate([x, beside], -1))
    return nn.sigmoid(self.out(x.astype(jnp.float32)))
