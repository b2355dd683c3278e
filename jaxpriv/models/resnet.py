"""ResNet with the layer names of He et al., at which it can be split.

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, table 1,
with the stride in the 3x3 convolution. At 224 px and width 64:

| layer | what | output of ResNet-50, -101 | of -18, -34 |
|---|---|---|---|
| input | (x - .5) / .5 | 224, 224, 3 | |
| conv1 | 7x7, 64, stride 2 | 112, 112, 64 | |
| | max pooling 3x3, stride 2 | 56, 56, 64 | |
| conv2_1 ... | blocks | 56, 56, 256 | 56, 56, 64 |
| conv3_1 ... | blocks, the first of stride 2 | 28, 28, 512 | 28, 28, 128 |
| conv4_1 ... | blocks, the first of stride 2 | 14, 14, 1024 | 14, 14, 256 |
| conv5_1 ... | blocks, the first of stride 2 | 7, 7, 2048 | 7, 7, 512 |
| fc | mean over positions (or all of them), Dense | features | features |

conv4_1 is the output of the first block of stage conv4_x. With 1,000 outputs
ResNet-18 has 11,689,512 parameters, ResNet-34 21,797,672, both of basic blocks,
ResNet-50 25,557,032 and ResNet-101 44,549,160, of bottlenecks.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxpriv.models import layers
from jaxpriv.models.layers import residual_conv as conv

DEPTHS = {
  18: (2, 2, 2, 2),
  34: (3, 4, 6, 3),
  50: (3, 4, 6, 3),
  101: (3, 4, 23, 3),
}


class Bottleneck(nn.Module):
  """[B, H, W, C] -> [B, H / stride, W / stride, features].

  1x1, 3x3 and 1x1 convolutions, a quarter as wide within, added to the input.

  Attributes:
    features: channels of the output.
    stride: stride of the 3x3 convolution.
    norm: "batch" or "group".
    dtype: compute precision.
    identity: the block starts as the identity on non-negative inputs: the scale
      of the last norm starts at 0.
  """

  features: int
  stride: int = 1
  norm: str = "batch"
  dtype: Any = jnp.float32
  identity: bool = False

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    norm = lambda x: layers.norm(self.norm, train, self.dtype)(x)
    inner = self.features // 4
    y = nn.relu(norm(conv(inner, 1, 1, self.dtype)(x)))
    y = nn.relu(norm(conv(inner, 3, self.stride, self.dtype)(y)))
    y = conv(self.features, 1, 1, self.dtype)(y)
    scale = nn.initializers.zeros if self.identity else nn.initializers.ones
    y = layers.norm(self.norm, train, self.dtype, scale_init=scale)(y)
    if y.shape != x.shape:
      x = norm(conv(self.features, 1, self.stride, self.dtype)(x))
    return nn.relu(x + y)


class Basic(nn.Module):
  """[B, H, W, C] -> [B, H / stride, W / stride, features].

  Two 3x3 convolutions, the first of the given stride, added to the input; the
  attributes are those of `Bottleneck`.
  """

  features: int
  stride: int = 1
  norm: str = "batch"
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    norm = lambda x: layers.norm(self.norm, train, self.dtype)(x)
    y = nn.relu(norm(conv(self.features, 3, self.stride, self.dtype)(x)))
    y = norm(conv(self.features, 3, 1, self.dtype)(y))
    if y.shape != x.shape:
      x = norm(conv(self.features, 1, self.stride, self.dtype)(x))
    return nn.relu(x + y)


# Kinds of blocks: the module, and how much wider than conv1 its first stage is.
BLOCKS: Mapping[str, tuple[Any, int]] = {
  "basic": (Basic, 1),
  "bottleneck": (Bottleneck, 4),
}


class ResNet(nn.Module):
  """Images [B, S, S, 3] in [0, 1] -> logits [B, features], float32.

  `gates` multiply outputs of stages: see `layers.gated`. Stage 1 is conv2_x.

  Attributes:
    depths: blocks of conv2_x to the last stage: one of `DEPTHS`, or fewer
      stages.
    width: channels of conv1; conv2_x has four times as many, or as many if its
      blocks are basic.
    features: number of outputs.
    stem: side and stride of conv1, and whether it is pooled: (7, 2, True) in
      the paper, (3, 1, False) for small images.
    norm: "batch", or "group" for training with differential privacy.
    dtype: compute precision; the head is always float32.
    pooled: the head sees the mean over positions; if false, all positions, for
      small aligned faces.
    block: one of `BLOCKS`: "basic" for ResNet-18 and -34.
  """

  depths: Sequence[int] = DEPTHS[50]
  width: int = 64
  features: int = 1000
  stem: tuple[int, int, bool] = (7, 2, True)
  norm: str = "batch"
  dtype: Any = jnp.float32
  pooled: bool = True
  block: str = "bottleneck"

  def stage(self, number: int) -> tuple[int, int]:
    """Stride and channels of the output of a stage."""
    _, stride, pooled = self.stem
    _, expansion = BLOCKS[self.block]
    wider = 2 ** (number - 1)
    return stride * (1 + pooled) * wider, expansion * self.width * wider

  @nn.compact
  def __call__(
    self,
    images: jax.Array,
    train: bool,
    gates: Mapping[int, jax.Array] | None = None,
  ) -> jax.Array:
    if self.block not in BLOCKS:
      raise ValueError(
        f"block is one of {', '.join(BLOCKS)}, not {self.block!r}"
      )
    block, _ = BLOCKS[self.block]
    side, stride, pooled = self.stem
    x = ((images - 0.5) / 0.5).astype(self.dtype)
    x = conv(self.width, side, stride, self.dtype, name="conv1")(x)
    x = nn.relu(layers.norm(self.norm, train, self.dtype, "norm1")(x))
    if pooled:
      x = layers.max_pool(x, 3, 2)
    for stage, depth in enumerate(self.depths, 1):
      for i in range(depth):
        x = block(
          self.stage(stage)[1],
          2 if stage > 1 and not i else 1,
          self.norm,
          self.dtype,
          name=f"conv{stage + 1}_{i + 1}",
        )(x, train)
      x = layers.gated(x, gates, stage)
    x = x.astype(jnp.float32)
    x = x.mean((1, 2)) if self.pooled else x.reshape(len(x), -1)
    return nn.Dense(self.features, name="fc")(x)
