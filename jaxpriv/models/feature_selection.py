"""The Feature Selection Network: a shared trunk and one FC group an attribute.

Liu et al. 2023, section III-B and Fig. 6. At 224 pixels:

| part | layer -> output | parameters |
|---|---|---|
| trunk | c64 112, c128 56, c256 28, c512 14, c512 14, c512 14 | 6,272,576 |
| group | flatten 100,352, FC 512, FC 512, FC 2 | 51,644,418 each |

Each trunk module is convolution, norm, LeakyReLU, max pooling. The paper's six
halving pools would leave 3.5 pixels and not the 14 it states, so the last two
pools have stride 1 and window 3.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxpriv.models import layers
from jaxpriv.models.layers import ConvBlock, Dtype, leaky_relu


class FeatureSelectionNetwork(nn.Module):
  """Images [B, S, S, 3] in [0, 1] -> logits [B, attributes, 2], float32.

  Attributes:
    attributes: m, the number of FC groups.
    widths: channels of the trunk's six modules.
    pool_strides: strides of their max pools; 2 has window 2, 1 has window 3.
    group_units: units of the first two FC layers of each group.
    dropout: rate before the second and third.
  """

  attributes: int
  widths: tuple[int, ...] = (64, 128, 256, 512, 512, 512)
  pool_strides: tuple[int, ...] = (2, 2, 2, 2, 1, 1)
  group_units: tuple[int, int] = (512, 512)
  dropout: float = 0.5
  norm: str = "batch"
  dtype: Dtype = jnp.float32

  def setup(self):
    self.modules_ = [
      ConvBlock(n, norm=self.norm, activation=leaky_relu, dtype=self.dtype)
      for n in self.widths
    ]
    self.groups = [
      FCGroup(self.group_units, self.dropout, self.dtype)
      for _ in range(self.attributes)
    ]

  def trunk(self, images: jax.Array, train: bool = False) -> jax.Array:
    """Returns d [B, S/16, S/16, widths[-1]], the desired feature map."""
    x = (images * 2 - 1).astype(self.dtype)
    for module, stride in zip(self.modules_, self.pool_strides, strict=True):
      x = module(x, train)
      x = layers.max_pool(x, 2 if stride == 2 else 3, stride)
    return x

  def classify(self, d: jax.Array, train: bool = False) -> jax.Array:
    """Returns logits from d."""
    logits = [group(d, train) for group in self.groups]
    return jnp.stack(logits, axis=1).astype(jnp.float32)

  def __call__(self, images: jax.Array, train: bool) -> jax.Array:
    return self.classify(self.trunk(images, train), train)


class FCGroup(nn.Module):
  """[B, h, w, C] -> logits [B, 2]."""

  units: tuple[int, int]
  dropout: float
  dtype: Dtype = jnp.float32

  @nn.compact
  def __call__(self, d: jax.Array, train: bool) -> jax.Array:
    x = d.reshape(d.shape[0], -1)
    for units in self.units:
      x = leaky_relu(nn.Dense(units, dtype=self.dtype)(x))
      x = nn.Dropout(self.dropout, deterministic=not train)(x)
    return nn.Dense(2, dtype=self.dtype)(x)
