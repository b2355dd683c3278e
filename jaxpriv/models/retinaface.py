"""RetinaFace: a single-shot face detector on a pyramid of three maps.

Deng et al., "RetinaFace: Single-shot Multi-level Face Localisation in the
Wild", CVPR 2020, in the form of Pytorch_Retinaface: three levels, two anchors a
cell. The context module is that of SSH (Najibi et al., ICCV 2017), the pyramid
that of Lin et al., CVPR 2017. At 640 px, with the MobileNet of width 0.25 and
64 features, or ResNet-50 and 256 (in brackets where it differs):

| layer | what | output |
|---|---|---|
| input | RGB in 0..255 less its mean | 640, 640, 3 |
| trunk | the maps of stride 8 | 80, 80, 64 (512) |
| | 16 | 40, 40, 128 (1024) |
| | 32 | 20, 20, 256 (2048) |
| lateral_1 to _3 | 1x1 of each | 80 / 40 / 20, 64 (256) |
| merge_2, merge_1 | 3x3, of the map plus the next one, doubled | |
| context_1 to _3 | SSH | 80 / 40 / 20, 64 (256) |
| scores_1 to _3 | 1x1, 2 anchors a cell | 2 logits each, or 1 |
| boxes_1 to _3 | 1x1 | 4 offsets each |
| points_1 to _3 | 1x1 | 10 offsets each, of five points |

The trunk of MobileNet, depthwise separable convolutions (Howard et al., 2017):

| layer | channels at width 0.25 | stride of the output |
|---|---|---|
| conv | 8 | 2 |
| 1 to 5 | 16, 32, 32, 64, 64 | 2, 4, 4, 8, 8 |
| 6 to 11 | 128 | 16 |
| 12, 13 | 256 | 32 |

They have 426,608 parameters (213,072 in the trunk), and 27,293,600
(23,508,032).
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxpriv.models import layers, resnet
from jaxpriv.models.layers import residual_conv
from jaxpriv.models.pretrained.layers import depthwise

# The mean colour of ImageNet, RGB, is subtracted; nothing is divided.
MEAN = (123.0, 117.0, 104.0)

# Channels at width 1, and whether the stride doubles; a map ends each row.
_BLOCKS = (
  ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1)),
  ((512, 2), *((512, 1),) * 5),
  ((1024, 2), (1024, 1)),
)
_SLOPE = 0.1


class Separable(nn.Module):
  """Depthwise 3x3, then 1x1, each normalised and activated.

  [B, H, W, C] -> [B, ceil(H / stride), ceil(W / stride), features]
  """

  features: int
  stride: int = 1
  norm: str = "batch"
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    act = functools.partial(nn.leaky_relu, negative_slope=_SLOPE)
    norm = lambda x: layers.norm(self.norm, train, self.dtype)(x)
    # Nine inputs each: fan-out would take them for nine times all channels.
    init = nn.initializers.normal((2 / 9) ** 0.5)
    kernel = self.param("depthwise", init, (3, 3, x.shape[-1], 1), jnp.float32)
    # Padded alike on all sides, which "SAME" would not do for strides.
    x = jnp.pad(x.astype(self.dtype), ((0, 0), (1, 1), (1, 1), (0, 0)))
    x = depthwise(x, kernel.astype(self.dtype), self.stride, "VALID")
    x = residual_conv(self.features, 1, 1, self.dtype)(act(norm(x)))
    return act(norm(x))


class MobileNet(nn.Module):
  """Images [B, H, W, 3] -> the maps of stride 8, 16 and 32; see the module.

  Attributes:
    width: channels as a share of those of MobileNetV1.
    norm: "batch", or "group" for training with differential privacy.
    dtype: compute precision; parameters are float32.
  """

  width: float = 0.25
  norm: str = "batch"
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> list[jax.Array]:
    channels = lambda count: max(round(self.width * count), 1)
    x = residual_conv(channels(32), 3, 2, self.dtype)(x)
    x = layers.norm(self.norm, train, self.dtype)(x)
    x = nn.leaky_relu(x, _SLOPE)
    maps, number = [], 0
    for blocks in _BLOCKS:
      for count, stride in blocks:
        number += 1
        block = Separable(
          channels(count), stride, self.norm, self.dtype, name=f"block_{number}"
        )
        x = block(x, train)
      maps.append(x)
    return maps


class ResNet(nn.Module):
  """Images [B, H, W, 3] -> the outputs of conv3_x, conv4_x and conv5_x.

  Layers and names are those of `jaxpriv.models.resnet`. H and W divide by 4.

  Attributes:
    depths: blocks of conv2_x to conv5_x.
    width: channels of conv1.
    norm: "batch", or "group" for training with differential privacy.
    dtype: compute precision; parameters are float32.
  """

  depths: Sequence[int] = resnet.DEPTHS[50]
  width: int = 64
  norm: str = "batch"
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> list[jax.Array]:
    x = residual_conv(self.width, 7, 2, self.dtype, name="conv1")(x)
    x = nn.relu(layers.norm(self.norm, train, self.dtype, "norm1")(x))
    x = layers.max_pool(x, 3, 2)
    maps = []
    for stage, depth in enumerate(self.depths, 2):
      for i in range(depth):
        x = resnet.Bottleneck(
          4 * self.width * 2 ** (stage - 2),
          2 if stage > 2 and not i else 1,
          self.norm,
          self.dtype,
          name=f"conv{stage}_{i + 1}",
        )(x, train)
      maps.append(x)
    return maps[1:]


class Context(nn.Module):
  """SSH: 3x3, 5x5 and 7x7 windows, the larger ones as 3x3 in a row.

  [B, H, W, C] -> [B, H, W, features], half of them of the smallest window.

  Attributes:
    features: channels of the output; divides by 4.
    slope: of the activations within.
    norm: "batch" or "group".
    dtype: compute precision.
  """

  features: int
  slope: float = 0.0
  norm: str = "batch"
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    def conv(x, features):
      x = residual_conv(features, 3, 1, self.dtype)(x)
      return layers.norm(self.norm, train, self.dtype)(x)

    act = functools.partial(nn.leaky_relu, negative_slope=self.slope)
    quarter = self.features // 4
    small = conv(x, self.features // 2)
    shared = act(conv(x, quarter))
    middle = conv(shared, quarter)
    large = conv(act(conv(shared, quarter)), quarter)
    return nn.relu(jnp.concatenate([small, middle, large], -1))


def doubled(x: jax.Array, height: int, width: int) -> jax.Array:
  """[B, h, w, C] -> [B, height, width, C], where h = ceil(height / 2).

  Each pixel becomes four, and the last row or column goes where the size is
  odd: what nearest neighbours, counted from the corner, are as well.
  """
  return x.repeat(2, 1).repeat(2, 2)[:, :height, :width]


class RetinaFace(nn.Module):
  """Images [B, H, W, 3] in [0, 1] -> what each of A anchors says, float32.

  Anchors are those of `jaxpriv.metrics.anchors`: level after level, row after
  row, all of a cell together. A is the sum over strides s of 8, 16 and 32 of
  `anchors` ceil(H / s) ceil(W / s).

  Attributes:
    trunk: images less their mean -> the three maps.
    features: channels of the pyramid; activations leak if they are 64 or fewer.
    anchors: of a cell.
    logits: 2, of no face and of a face (softmax), or 1, of a face (sigmoid).
    norm: "batch", or "group" for training with differential privacy.
    dtype: compute precision; parameters are float32.
  """

  trunk: nn.Module
  features: int = 64
  anchors: int = 2
  logits: int = 2
  norm: str = "batch"
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, images: jax.Array, train: bool) -> dict[str, jax.Array]:
    """Returns scores [B, A, logits], boxes [B, A, 4] and points [B, A, 10].

    Raises:
      ValueError: `features` does not divide by 4, or `logits` is neither 1
        nor 2.
    """
    if self.features % 4 or self.logits not in (1, 2):
      raise ValueError(
        "features must divide by 4, and logits be 1 or 2, not"
        f" {self.features} and {self.logits}"
      )
    slope = _SLOPE if self.features <= 64 else 0.0

    def conv(x, size, name):
      x = residual_conv(self.features, size, 1, self.dtype, name=name)(x)
      x = layers.norm(self.norm, train, self.dtype, f"{name}_norm")(x)
      return nn.leaky_relu(x, slope)

    x = images * 255 - jnp.array(MEAN, jnp.float32)
    maps = list(self.trunk(x.astype(self.dtype), train))
    maps = [conv(x, 1, f"lateral_{i}") for i, x in enumerate(maps, 1)]
    for i in (1, 0):
      above = doubled(maps[i + 1], *maps[i].shape[1:3])
      maps[i] = conv(maps[i] + above, 3, f"merge_{i + 1}")
    heads = {"scores": self.logits, "boxes": 4, "points": 10}
    said: dict[str, list[jax.Array]] = {name: [] for name in heads}
    for i, x in enumerate(maps, 1):
      x = Context(
        self.features, slope, self.norm, self.dtype, name=f"context_{i}"
      )(x, train)
      for name, numbers in heads.items():
        y = self._head(name, i, numbers)(x).astype(jnp.float32)
        said[name].append(y.reshape(len(y), -1, numbers))
    return {name: jnp.concatenate(rows, 1) for name, rows in said.items()}

  def _head(self, name: str, level: int, numbers: int) -> Callable:
    return layers.Conv(
      self.anchors * numbers, (1, 1), dtype=self.dtype, name=f"{name}_{level}"
    )
