"""The Deep Poisoning Module, and reconstructors of images from features.

Guo et al., "Deep Poisoning: Towards Robust Image Data Sharing against Visual
Disclosure", WACV 2021, section 4. The module is "4 residual blocks from
ResNet", of the shape of the features. Reconstructors are inverse bottlenecks
(convolution, norm, convolution, norm, convolution, ReLU), so many before each
enlargement; widths within them, which the paper leaves open, are chosen here.

The reconstructor R0 that the module is trained against, at conv4_1:

| layer | output |
|---|---|
| features | 14, 14, 1024 |
| 2 inverse bottlenecks, up 2 | 28, 28, 512 |
| 2 inverse bottlenecks, up 2 | 56, 56, 256 |
| 2 inverse bottlenecks, up 2 | 112, 112, 128 |
| 2 inverse bottlenecks, up 2 | 224, 224, 64 |
| conv 3x3, norm, ReLU; conv 3x3 | 224, 224, 3 |
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxpriv.models import layers
from jaxpriv.models.layers import residual_conv as conv
from jaxpriv.models.resnet import Bottleneck


class DeepPoisoningModule(nn.Module):
  """Features [B, H, W, C] -> poisoned features [B, H, W, C].

  4,468,736 parameters at conv4_1 of ResNet-50 (C = 1024), 1,120,256 at conv3_1,
  281,600 at conv2_3.

  Attributes:
    blocks: bottleneck blocks.
    norm: "batch" or "group".
  """

  blocks: int = 4
  norm: str = "batch"
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, features: jax.Array, train: bool) -> jax.Array:
    x = features.astype(self.dtype)
    for _ in range(self.blocks):
      x = Bottleneck(features.shape[-1], 1, self.norm, self.dtype)(x, train)
    return x


class InverseBottleneck(nn.Module):
  """[B, H, W, C] -> [B, H, W, features], half as wide within."""

  features: int
  residual: bool = False
  norm: str = "batch"
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    norm = lambda x: layers.norm(self.norm, train, self.dtype)(x)
    inner = max(self.features // 2, 8)
    y = norm(conv(inner, 1, 1, self.dtype)(x))
    y = norm(conv(inner, 3, 1, self.dtype)(y))
    y = conv(self.features, 1, 1, self.dtype)(y)
    if self.residual:
      if x.shape != y.shape:
        x = conv(self.features, 1, 1, self.dtype)(x)
      y = x + y
    return nn.relu(y)


class Reconstructor(nn.Module):
  """Features [B, s, s, C] -> images [B, side, side, 3] in [0, 1], float32.

  Attributes:
    side: of the images; side / s is a power of factor.
    blocks: inverse bottlenecks before each enlargement.
    factor: of an enlargement (nearest neighbour), 2 or 4; as many times fewer
      channels.
    residual: blocks are added to their input.
    output: "clamp", or "min_max": each image is stretched to [0, 1].
    norm: "batch" or "group".
  """

  side: int = 224
  blocks: int = 2
  factor: int = 2
  residual: bool = False
  output: str = "clamp"
  norm: str = "batch"
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, features: jax.Array, train: bool) -> jax.Array:
    x = features.astype(self.dtype)
    width = x.shape[-1]
    first = 2  # the first stage halves, whatever the factor
    while x.shape[1] < self.side:
      width = max(width // first, 8)
      first = self.factor
      for _ in range(self.blocks):
        x = InverseBottleneck(width, self.residual, self.norm, self.dtype)(
          x, train
        )
      x = x.repeat(self.factor, 1).repeat(self.factor, 2)
    if x.shape[1] != self.side:
      raise ValueError(
        f"features of side {features.shape[1]} do not become images of side"
        f" {self.side} by enlarging them {self.factor} times"
      )
    x = conv(width, 3, 1, self.dtype)(x)
    x = nn.relu(layers.norm(self.norm, train, self.dtype)(x))
    x = conv(3, 3, 1, jnp.float32)(x.astype(jnp.float32))
    return _to_image(x, self.output)


def _to_image(x, output):
  if output == "clamp":
    # Around grey: dark and bright are as far away.
    return jnp.clip(x + 0.5, 0, 1)
  if output == "min_max":
    low = x.min((1, 2, 3), keepdims=True)
    high = x.max((1, 2, 3), keepdims=True)
    return (x - low) / jnp.maximum(high - low, 1e-6)
  raise ValueError(f"output must be 'clamp' or 'min_max', got {output!r}")
