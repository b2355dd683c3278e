"""IResNet, the residual network that ArcFace and MagFace are trained with.

Duta et al., "Improved Residual Networks", ICPR 2020, in the form of Deng et
al., CVPR 2019. For depths (d1, d2, d3, d4), width w, an image of side s and the
default stem:

| layer | what | output |
|---|---|---|
| input | (x - .5) / .5 | s, s, 3 |
| stem | conv 3x3 stride 1, norm, PReLU | s, s, w |
| stage 1 | d1 blocks, the first of stride 2 | s/2, s/2, w |
| stage 2 | d2 blocks, the first of stride 2 | s/4, s/4, 2w |
| stage 3 | d3 blocks, the first of stride 2 | s/8, s/8, 4w |
| stage 4 | d4 blocks, the first of stride 2 | s/16, s/16, 8w |
| head | norm, flatten, dropout, fc, norm with scale fixed at 1 | features |

A block is norm, conv 3x3, norm, PReLU, conv 3x3 (stride), norm, added to its
input, which passes a 1x1 conv and norm where the shape changes. Kernels are
initialised by He's fan-out rule, as in MagFace, not by N(0, .1), as in
arcface_torch, which is tuned to 64 channels. At 112 px and width 64, STAGES[50]
has 43.59 M parameters.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxpriv.models import layers

STAGES = {
  18: (2, 2, 2, 2),
  34: (3, 4, 6, 3),
  50: (3, 4, 14, 3),
  100: (3, 13, 30, 3),
}


class PReLU(nn.Module):
  """max(x, 0) + slope min(x, 0), one slope per channel, .25 at first."""

  param_dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    slope = self.param(
      "slope",
      nn.initializers.constant(0.25),
      x.shape[-1:],
      self.param_dtype,
    )
    return jnp.where(x >= 0, x, slope.astype(x.dtype) * x)


class Block(nn.Module):
  """[B, H, W, C] -> [B, H / stride, W / stride, features]."""

  features: int
  stride: int = 1
  norm: str = "batch"
  dtype: Any = jnp.float32
  param_dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    def conv(x, size, stride):
      return layers.residual_conv(
        self.features, size, stride, self.dtype, self.param_dtype
      )(x)

    def norm(x):
      return layers.norm(self.norm, train, self.dtype)(x)

    y = conv(norm(x), 3, 1)
    y = PReLU(self.param_dtype)(norm(y))
    y = norm(conv(y, 3, self.stride))
    if self.stride != 1 or x.shape[-1] != self.features:
      x = norm(conv(x, 1, self.stride))
    return x + y


class IResNet(nn.Module):
  """Images [B, H, W, 3] in [0, 1] -> embeddings [B, features], float32.

  Training with `norm="batch"` needs `mutable=["batch_stats"]`; with dropout, a
  `dropout` key. Embeddings are not normalised: the margin heads do that.
  `gates` multiply outputs of stages: see `layers.gated`.

  Attributes:
    depths: blocks per stage, of `STAGES`.
    width: channels of the stem: 64 in the papers.
    features: size of the embedding.
    norm: "batch", or "group" for training with differential privacy. The norm
      after fc is batch or none: any norm within one example would fix the
      length of the embedding, from which MagFace reads quality.
    dropout: rate before fc: 0 in arcface_torch, .4 in MagFace.
    stem_stride: 1 in the papers, 2 for a quarter of the work.
    dtype: compute precision; fc and later layers are always float32.
    param_dtype: precision of convolutions and slopes.
  """

  depths: Sequence[int] = STAGES[50]
  width: int = 64
  features: int = 512
  norm: str = "batch"
  dropout: float = 0.0
  stem_stride: int = 1
  dtype: Any = jnp.float32
  param_dtype: Any = jnp.float32

  def stage(self, number: int) -> tuple[int, int]:
    """Stride and channels of the output of a stage."""
    return self.stem_stride * 2**number, self.width * 2 ** (number - 1)

  @nn.compact
  def __call__(
    self,
    images: jax.Array,
    train: bool,
    gates: Mapping[int, jax.Array] | None = None,
  ) -> jax.Array:
    x = ((images - 0.5) / 0.5).astype(self.dtype)
    stem = (self.width, 3, self.stem_stride, self.dtype, self.param_dtype)
    x = layers.norm(self.norm, train, self.dtype)(
      layers.residual_conv(*stem)(x)
    )
    x = PReLU(self.param_dtype)(x)
    for stage, depth in enumerate(self.depths, 1):
      for i in range(depth):
        x = Block(
          self.stage(stage)[1],
          1 if i else 2,
          self.norm,
          self.dtype,
          self.param_dtype,
          name=f"stage{stage}_block{i + 1}",
        )(x, train)
      x = layers.gated(x, gates, stage)
    x = layers.norm(self.norm, train, self.dtype)(x)
    x = x.reshape(x.shape[0], -1).astype(jnp.float32)
    x = nn.Dropout(self.dropout, deterministic=not train)(x)
    x = nn.Dense(self.features, name="fc")(x)
    if self.norm == "batch":
      x = nn.BatchNorm(
        use_running_average=not train,
        momentum=0.9,
        epsilon=1e-5,
        use_scale=False,
        name="embedding_norm",
      )(x)
    return x
