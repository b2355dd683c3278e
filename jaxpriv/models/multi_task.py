"""Networks that solve five tasks at once on a region of a photograph.

`HyperFace` is that of Ranjan et al., "HyperFace: A Deep Multi-Task Learning
Framework", TPAMI 2019: AlexNet with fused features of three depths, because
early layers are best for landmarks and pose, late ones for gender.

| layer | what | output |
|---|---|---|
| conv1, pool1 | 11x11/4, 96; max 3/2; LRN | 27, 27, 96 |
| conv2, pool2 | 5x5, 256; max 3/2; LRN | 13, 13, 256 |
| conv3, conv4, conv5 | 3x3, 384, 384, 256 | 13, 13, 256 |
| pool5 | max 3/2 | 6, 6, 256 |
| conv1a | 4x4/4, 256, of pool1 | 6, 6, 256 |
| conv3a | 2x2/2, 256, of conv3 | 6, 6, 256 |
| conv_all | the three joined; 1x1, 192 | 6, 6, 192 |
| fc_full | 3072 | 3072 |
| heads | 512, then a task's outputs | 2, 42, 21, 3, 2 |

It has 33,821,318 parameters, and no layer mixes examples. `SmallMultiTask` does
the same at small sides, with GroupNorm.
"""

import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxpriv.models import layers

# Outputs of each task: face or not; 21 points x, y; seen or not; yaw, pitch,
# roll; female or male.
OUTPUTS = {
  "detection": 2,
  "landmarks": 42,
  "visibility": 21,
  "pose": 3,
  "gender": 2,
}
TASKS = tuple(OUTPUTS)


class MultiTask(nn.Module):
  """Regions [N, S, S, 3] in [0, 1] -> (task -> [N, outputs], [tasks]).

  The second output are the log-variances of Kendall, Gal and Cipolla,
  "Multi-Task Learning Using Uncertainty to Weigh Losses", CVPR 2018: learned
  weights of the tasks.

  Attributes:
    backbone: regions to features [N, F].
    units: units of the layer before each task's outputs; 0 for no such layer.
    log_variances: their initial values.
    dropout: rate before the outputs and before `units`.
  """

  backbone: nn.Module
  units: int = 512
  log_variances: tuple[float, ...] = (0.0,) * len(TASKS)
  dropout: float = 0.0
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, regions: jax.Array, train: bool):
    first = jnp.asarray(self.log_variances, jnp.float32)
    logs = self.param("log_variances", lambda key: first)
    drop = lambda x: nn.Dropout(self.dropout, deterministic=not train)(x)
    x = drop(self.backbone(regions, train=train))
    outputs = {}
    for task, count in OUTPUTS.items():
      y = x
      if self.units:
        y = nn.Dense(self.units, dtype=self.dtype, name=f"{task}_fc")(x)
        y = drop(nn.relu(y))
      y = nn.Dense(count, dtype=jnp.float32, name=task)(y)
      outputs[task] = y.astype(jnp.float32)
    return outputs, logs


def local_response_norm(
  x: jax.Array, size: int = 5, alpha: float = 1e-4, beta: float = 0.75
) -> jax.Array:
  """AlexNet's normalisation over neighbouring channels, [..., C]."""
  half = size // 2
  squares = jnp.pad(jnp.square(x), [(0, 0)] * (x.ndim - 1) + [(half, half)])
  channels = x.shape[-1]
  total = sum(squares[..., i : i + channels] for i in range(size))
  return x / (1 + alpha / size * total) ** beta


class HyperFace(nn.Module):
  """Regions [N, 227, 227, 3] in [0, 1] -> features [N, 3072].

  Attributes:
    width: channels of the first convolution, 96 in the paper; the others are in
      proportion.
    features: units of fc_full.
  """

  width: int = 96
  features: int = 3072
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, regions: jax.Array, train: bool) -> jax.Array:
    def conv(features, window, x, stride=1, padding="SAME", name=None):
      layer = layers.Conv(
        features * self.width // 96,
        (window, window),
        strides=stride,
        padding=padding,
        dtype=self.dtype,
        name=name,
      )
      return nn.relu(layer(x))

    pool = lambda x: nn.max_pool(x, (3, 3), (2, 2))
    x = (regions * 2 - 1).astype(self.dtype)
    pool1 = local_response_norm(pool(conv(96, 11, x, 4, "VALID", "conv1")))
    x = local_response_norm(pool(conv(256, 5, pool1, name="conv2")))
    conv3 = conv(384, 3, x, name="conv3")
    x = conv(384, 3, conv3, name="conv4")
    pool5 = pool(conv(256, 3, x, name="conv5"))
    conv1a = conv(256, 4, pool1, 4, "VALID", "conv1a")
    conv3a = conv(256, 2, conv3, 2, "VALID", "conv3a")
    x = jnp.concatenate([conv1a, conv3a, pool5], -1)
    x = conv(192, 1, x, name="conv_all")
    x = x.reshape(x.shape[0], -1)
    return nn.relu(nn.Dense(self.features, dtype=self.dtype, name="fc_full")(x))


def oriented_gradients(x: jax.Array, cell: int = 4, bins: int = 8) -> jax.Array:
  """Histograms of oriented gradients, and mean colours, of cells.

  After Dalal and Triggs, "Histograms of Oriented Gradients for Human
  Detection", CVPR 2005. They are not learned and so cost no privacy: Tramer and
  Boneh, "Differentially Private Learning Needs Better Features (or Much More
  Data)", ICLR 2021.

  Args:
    x: [N, S, S, 3] in [0, 1], S a multiple of cell.
    cell: side of a cell in pixels.
    bins: directions, all around.

  Returns:
    [N, S / cell, S / cell, bins + 3], histograms of about unit length where
    there is an edge, and mean colours in [-1, 1].
  """
  count, side, _, _ = x.shape
  cells = side // cell
  # Channel by channel, as sums of slices: XLA on CPU is slow to reduce over
  # short axes.
  colours = [x[..., i] for i in range(3)]
  grey = jnp.pad(sum(colours) / 3, ((0, 0), (1, 1), (1, 1)), "edge")
  dx = grey[:, 1:-1, 2:] - grey[:, 1:-1, :-2]
  dy = grey[:, 2:, 1:-1] - grey[:, :-2, 1:-1]
  squares = jnp.square(dx) + jnp.square(dy) + 1e-8

  def pooled(y):
    rows = y.reshape(count, cells, cell, side)
    rows = sum(rows[:, :, i] for i in range(cell))
    return rows.reshape(count, cells, cells, cell).sum(-1) / cell**2

  def strength(direction):
    angle = 2 * math.pi * direction / bins
    along = jnp.maximum(dx * math.cos(angle) + dy * math.sin(angle), 0)
    # A direction's neighbours get a share: (cos)^3 falls off like a tent.
    return along**3 / squares

  histogram = jnp.stack([pooled(strength(i)) for i in range(bins)], -1)
  energy = jnp.sum(jnp.square(histogram), -1, keepdims=True)
  around = nn.avg_pool(energy, (3, 3), padding="SAME")
  histogram = histogram / jnp.sqrt(around + 1e-4)
  means = jnp.stack([pooled(colour) for colour in colours], -1)
  return jnp.concatenate([histogram, 2 * means - 1], -1)


class SmallMultiTask(nn.Module):
  """Regions [N, S, S, 3] in [0, 1] -> features [N, features].

  3x3 convolutions with GroupNorm, the first of stride 1, the others halving the
  side. If there are more than two, a further convolution brings the second to
  the side of the last one, and both are joined, as in HyperFace.

  Attributes:
    widths: channels of the convolutions, divisible by 8; there may be none.
    features: units of the last layer.
    gradients: side of the cells of `oriented_gradients`, which then are the
      input in place of pixels, minus their mean over the region. Nearly all
      faces share that mean, and noisy steps go furthest along features that
      differ. 0 for pixels.
    standardize: weight standardisation (Qiao et al. 2019) of convolutions.
  """

  widths: Sequence[int] = (16, 32, 64, 96)
  features: int = 256
  gradients: int = 0
  standardize: bool = False
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, regions: jax.Array, train: bool) -> jax.Array:
    kind = layers.StandardizedConv if self.standardize else layers.Conv

    def block(x, features, window, stride):
      x = kind(
        features,
        (window, window),
        strides=stride,
        padding="SAME" if window == 3 else "VALID",
        use_bias=False,
        dtype=self.dtype,
      )(x)
      return nn.relu(layers.norm("group", train, self.dtype)(x))

    if self.gradients:
      x = oriented_gradients(regions, self.gradients)
      x -= x.mean((1, 2), keepdims=True)
    else:
      x = regions * 2 - 1
    x = x.astype(self.dtype)
    early = None
    for i, features in enumerate(self.widths):
      x = block(x, features, 3, 2 if i else 1)
      early = x if i == 1 else early
    if early is not None and len(self.widths) > 2:
      window = early.shape[1] // x.shape[1]
      x = jnp.concatenate(
        [x, block(early, self.widths[-1], window, window)], -1
      )
      x = block(x, self.widths[-1], 1, 1)
    x = x.reshape(x.shape[0], -1)
    return nn.relu(nn.Dense(self.features, dtype=self.dtype)(x))
