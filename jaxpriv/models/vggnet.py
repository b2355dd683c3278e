"""A plain convolutional network: a second opinion on identity and attributes.

Modelled on VGG (Simonyan, Zisserman, ICLR 2015; Parkhi et al., BMVC 2015), with
norms and a pooled head, and nothing in common with IResNet but the convolution.
Attackers read identity and attributes with it, so that no figure rests on the
architecture that a loss was computed with. For depths (d1, ..., dn), width w
and an image of side s:

| layer | what | output |
|---|---|---|
| input | (x - .5) / .5 | s, s, 3 |
| blocki | di times conv 3x3, norm, ReLU; max-pool 2 | s/2^i, s/2^i, wi |
| head | mean over positions, dropout, fc | features |

with wi = min(2^(i-1), 8) w.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxpriv.models import layers


class Block(nn.Module):
  """[B, H, W, C] -> [B, H / 2, W / 2, features]."""

  depth: int
  features: int
  norm: str = "batch"
  dtype: Any = jnp.float32
  param_dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    for _ in range(self.depth):
      x = layers.Conv(
        self.features,
        (3, 3),
        padding=1,
        use_bias=False,
        kernel_init=nn.initializers.he_normal(),
        dtype=self.dtype,
        param_dtype=self.param_dtype,
      )(x)
      x = nn.relu(layers.norm(self.norm, train, self.dtype)(x))
    return layers.max_pool(x, 2, 2)


class VGGNet(nn.Module):
  """Images [B, H, W, 3] in [0, 1] -> [B, features], float32.

  Attributes:
    depths: convolutions per stage; (2, 2, 3, 3, 3) are VGG-16's.
    width: channels of the first stage: 64 in the paper.
    features: outputs: an embedding's size, or the number of logits.
    norm: "batch", or "group" for training with differential privacy.
    dropout: rate before fc.
    dtype: compute precision; the head is always float32.
    param_dtype: precision of the convolutions.
  """

  depths: Sequence[int] = (1, 1, 2, 2)
  width: int = 64
  features: int = 512
  norm: str = "batch"
  dropout: float = 0.0
  dtype: Any = jnp.float32
  param_dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, images: jax.Array, train: bool) -> jax.Array:
    x = ((images - 0.5) / 0.5).astype(self.dtype)
    for stage, depth in enumerate(self.depths):
      x = Block(
        depth,
        self.width * min(2**stage, 8),
        self.norm,
        self.dtype,
        self.param_dtype,
        name=f"block{stage + 1}",
      )(x, train)
    x = x.astype(jnp.float32).mean((1, 2))
    x = nn.Dropout(self.dropout, deterministic=not train)(x)
    return nn.Dense(self.features, name="fc")(x)
