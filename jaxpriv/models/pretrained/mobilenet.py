"""MobileNetV1, whose norms are folded: trunk of faceres and of the detector.

Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile
Vision Applications", 2017, table 1, at width 1. At 224 px:

| layer | what | output |
|---|---|---|
| input | | 224, 224, 3 |
| 0 | 3x3, 32, stride 2 | 112, 112, 32 |
| 1 | depthwise 3x3, then 1x1 | 112, 112, 64 |
| 2, 3 | of stride 2, 1 | 56, 56, 128 |
| 4, 5 | of stride 2, 1 | 28, 28, 256 |
| 6 to 11 | of stride 2, 1 ... | 14, 14, 512 |
| 12, 13 | of stride 2, 1 | 7, 7, 1024 |

Every convolution is followed by a bias and by min(max(x, 0), 6).
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax

from jaxpriv.models.pretrained import layers

BLOCKS = range(1, 14)
_HALVING = (2, 4, 6, 12)


class Block(NamedTuple):
  """A depthwise separable convolution.

  Attributes:
    depthwise: [3, 3, C, 1].
    depthwise_bias: [C].
    pointwise: [1, 1, C, features].
    pointwise_bias: [features].
  """

  depthwise: jax.Array
  depthwise_bias: jax.Array
  pointwise: jax.Array
  pointwise_bias: jax.Array


class MobileNet(NamedTuple):
  """The parameters: kernel [3, 3, 3, 32], bias [32], and thirteen blocks."""

  kernel: jax.Array
  bias: jax.Array
  blocks: Sequence[Block]


def apply(params: MobileNet, x: jax.Array) -> list[jax.Array]:
  """Images [B, H, W, 3], normalised -> the outputs of layers 0 to 13."""
  x = layers.relu6(layers.conv(x, params.kernel, 2) + params.bias)
  outputs = [x]
  for number, block in zip(BLOCKS, params.blocks, strict=True):
    stride = 2 if number in _HALVING else 1
    x = layers.depthwise(x, block.depthwise, stride) + block.depthwise_bias
    x = layers.conv(layers.relu6(x), block.pointwise) + block.pointwise_bias
    x = layers.relu6(x)
    outputs.append(x)
  return outputs
