"""The Privacy Removal Network: an autoencoder inside an autoencoder.

Liu et al., "Enhanced Embedded AutoEncoders: An Attribute-Preserving Face
De-identification Framework", 2023, section III-A and Fig. 3. The paper states
the numbers of layers and the shapes of x, r and y at 224 pixels; widths,
kernels and strides, which it leaves open, are the fields below. Layers are 3x3
convolutions with norm and ReLU unless noted; the numbers after them are sides
of their outputs.

| net | layers at 224 px | parameters |
|---|---|---|
| external | c64/2 112, c128/2 56, c256/2 28, c512/2 14, c512 14 | 3,912,256 |
| encoder | | |
| external | c512 14, t256 28, t128 56, t64 112, t3 224 sigmoid | 5,116,803 |
| decoder | | |
| internal | c512 14, c256/2 7, c256 7, c128 7, c128 7, c64 7 | 4,647,552 |
| encoder | | |
| internal | c128 7, c128 7, c256 7, c256 7, t512 14, c512 14 | 5,565,440 |
| decoder | (linear) | |

c: convolution, /2: of stride 2, t: 4x4 transposed convolution of stride 2.
The internal code, 7x7x64, is the bottleneck: all that is released passes it.

Two changes of the code are not the paper's. `pooled` makes it `code` numbers
without a place, their means over all positions; a dense layer spreads them
again. `noise` bounds each number by tanh to [-1, 1] and adds Gaussian noise,
which bounds what anybody can make of the release: `jaxpriv.privacy.leakage`.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxpriv.models.layers import ConvBlock, Dtype, UpBlock


class ExternalAutoEncoder(nn.Module):
  """Images [B, S, S, 3] <-> representations r [B, s, s, widths[-1]].

  s is S divided by all strides: S / 16.

  Attributes:
    widths: channels of the five encoder layers; the decoder mirrors them.
    strides: strides of the encoder layers, 1 or 2.
  """

  widths: tuple[int, ...] = (64, 128, 256, 512, 512)
  strides: tuple[int, ...] = (2, 2, 2, 2, 1)
  norm: str = "batch"
  dtype: Dtype = jnp.float32

  def setup(self):
    w = self.widths
    if len(w) != 5:
      raise ValueError(f"the external autoencoder has 5 widths, got {w}")
    block = dict(norm=self.norm, dtype=self.dtype)
    self.encoder = [
      ConvBlock(n, stride=s, **block)
      for n, s in zip(w, self.strides, strict=True)
    ]
    mirrored = zip(w[-2::-1], self.strides[:0:-1], strict=True)
    self.decoder = [_up(s)(n, **block) for n, s in mirrored]
    self.to_image = _up(self.strides[0])(
      3, norm="", activation=nn.sigmoid, dtype=self.dtype
    )

  def encode(self, images: jax.Array, train: bool = False) -> jax.Array:
    """Returns r, equation (1)."""
    downsampling = math.prod(self.strides)
    if images.shape[1] % downsampling:
      raise ValueError(
        f"images of side {images.shape[1]}: the side must be a multiple of"
        f" {downsampling}; set config.data.image_size"
      )
    x = (images * 2 - 1).astype(self.dtype)
    for layer in self.encoder:
      x = layer(x, train)
    return x

  def decode(self, r: jax.Array, train: bool = False) -> jax.Array:
    """Returns images, float32 in [0, 1], equation (2)."""
    for layer in self.decoder:
      r = layer(r, train)
    return self.to_image(r, train).astype(jnp.float32)

  def __call__(self, images: jax.Array, train: bool) -> jax.Array:
    return self.decode(self.encode(images, train), train)


def _up(stride: int) -> type[nn.Module]:
  return UpBlock if stride == 2 else ConvBlock


class _Spread(nn.Module):
  """[B, 1, 1, code] -> [B, side, side, features], each place by its own map."""

  features: int
  dtype: Dtype = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, side: int) -> jax.Array:
    x = nn.Dense(side * side * self.features, dtype=self.dtype)(x)
    return x.reshape(len(x), side, side, self.features)


class InternalAutoEncoder(nn.Module):
  """r [B, s, s, C] -> y [B, s, s, C] through a code [B, s/2, s/2, code].

  s is even.

  Attributes:
    features: C.
    widths: channels of the first five of the six encoder layers; the decoder
      mirrors them.
    code: channels of the sixth, the bottleneck: the output is a function of
      only s/2 * s/2 * code numbers.
    pooled: whether it is only `code` numbers.
    noise: standard deviation of what is added to each; 0: neither noise nor
      bound.
  """

  features: int = 512
  widths: tuple[int, ...] = (512, 256, 256, 128, 128)
  code: int = 64
  pooled: bool = False
  noise: float = 0.0
  norm: str = "batch"
  dtype: Dtype = jnp.float32

  def setup(self):
    w = self.widths
    if len(w) != 5:
      raise ValueError(f"the internal autoencoder has 5 widths, got {w}")
    block = dict(norm=self.norm, dtype=self.dtype)
    plain = self.noise or self.pooled
    last = ConvBlock(
      self.code, activation=(lambda x: x) if plain else nn.relu, **block
    )
    self.encoder = [
      ConvBlock(n, stride=s, **block)
      for n, s in zip(w, (1, 2, 1, 1, 1), strict=True)
    ] + [last]
    if self.pooled:
      self.spread = _Spread(w[-1], self.dtype)
    self.decoder = [ConvBlock(n, **block) for n in w[:0:-1]] + [
      UpBlock(w[0], **block)
    ]
    # No norm or activation: y is compared with d, which takes both signs.
    self.to_features = ConvBlock(
      self.features, norm="", activation=lambda x: x, dtype=self.dtype
    )

  def encode(self, r: jax.Array, train: bool = False) -> jax.Array:
    """The code before noise: [B, s/2, s/2, code]; pooled, [B, 1, 1, code]."""
    for layer in self.encoder:
      r = layer(r, train)
    if self.pooled:
      r = r.mean((1, 2), keepdims=True)
    return jnp.tanh(r.astype(jnp.float32)) if self.noise else r

  def __call__(
    self, r: jax.Array, drawn: jax.Array | None = None, *, train: bool
  ) -> jax.Array:
    """Returns y.

    Args:
      r: the representation.
      drawn: standard normals of the shape of the code, if there is noise.
      train: whether norms learn.
    """
    x = self.encode(r, train)
    if self.noise and drawn is not None:
      # In float32: of fewer digits the noise would be no Gaussian.
      x = x + self.noise * drawn
    x = x.astype(self.dtype)
    if self.pooled:
      x = self.spread(x, r.shape[1] // 2)
    for layer in self.decoder:
      x = layer(x, train)
    return self.to_features(x, train)
