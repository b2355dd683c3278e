"""The networks of StarGAN v2: images of one domain in the style of another.

Choi, Uh, Yoo, Ha, "StarGAN v2: Diverse Image Synthesis for Multiple Domains",
CVPR 2020. A style is a vector, drawn by the mapping network from noise or read
off a reference image by the style encoder; the generator draws the source image
in it. All images here are in [-1, 1], and there are no statistics of a batch.

Channels are `width` at full size and double with each halving, up to `most`.
The paper has a width of 2^14 / side, and 512 at most:

| generator at 256 px | output |
|---|---|
| conv 3x3 | 256, 256, 64 |
| residual, instance norm, down | 128, 128, 128; 64, 64, 256; 32, 32, 512; 16, 16, 512 |
| residual, instance norm, twice | 16, 16, 512 |
| residual, adaptive norm, twice | 16, 16, 512 |
| residual, adaptive norm, up | 32, 32, 512; 64, 64, 256; 128, 128, 128; 256, 256, 64 |
| instance norm, leaky ReLU, conv 1x1 | 256, 256, 3 |

The style encoder and the discriminator are a conv 3x3, residual blocks down to
4 x 4, a conv 4x4, and a dense layer for each domain. Sums of residual blocks
are divided by the root of 2. It has 33,892,995 parameters at 256 px.
"""  # noqa: E501

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxpriv.models import layers
from jaxpriv.models.layers import leaky_relu

# He et al. 2015, by the fan-in, for a ReLU; the paper's for all layers.
INIT = nn.initializers.variance_scaling(2.0, "fan_in", "normal")
_HALF = 1 / math.sqrt(2)
# Sides at which the high-pass skip passes features on.
_PASSED = (32, 64, 128)


def instance_norm(x: jax.Array) -> jax.Array:
  """Each channel of each image [B, H, W, C] with mean 0 and variance 1."""
  y = x.astype(jnp.float32)
  y = y - y.mean((1, 2), keepdims=True)
  y = y * jax.lax.rsqrt(jnp.square(y).mean((1, 2), keepdims=True) + 1e-5)
  return y.astype(x.dtype)


class InstanceNorm(nn.Module):
  """`instance_norm` with a learned scale and bias for each channel."""

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    scale = self.param("scale", nn.initializers.ones, x.shape[-1:])
    bias = self.param("bias", nn.initializers.zeros, x.shape[-1:])
    return instance_norm(x) * scale.astype(x.dtype) + bias.astype(x.dtype)


class AdaptiveNorm(nn.Module):
  """AdaIN: `instance_norm` with a scale and bias by style [B, S].

  Huang and Belongie, "Arbitrary Style Transfer in Real-time with Adaptive
  Instance Normalization", ICCV 2017.
  """

  @nn.compact
  def __call__(self, x: jax.Array, style: jax.Array) -> jax.Array:
    both = _dense(2 * x.shape[-1], jnp.float32)(style)
    scale, bias = jnp.split(both[:, None, None].astype(x.dtype), 2, -1)
    return instance_norm(x) * (1 + scale) + bias


def _conv(features, window, dtype, *, bias=True, padding="SAME", name=None):
  return layers.Conv(
    features,
    (window, window),
    padding=padding,
    use_bias=bias,
    kernel_init=INIT,
    dtype=dtype,
    name=name,
  )


def _dense(features, dtype, name=None):
  return nn.Dense(features, kernel_init=INIT, dtype=dtype, name=name)


def _halved(x: jax.Array) -> jax.Array:
  """Means of 2 x 2 pixels."""
  b, h, w, c = x.shape
  return x.reshape(b, h // 2, 2, w // 2, 2, c).mean((2, 4))


def _doubled(x: jax.Array) -> jax.Array:
  """Each pixel four times."""
  b, h, w, c = x.shape
  x = jnp.broadcast_to(x[:, :, None, :, None], (b, h, 2, w, 2, c))
  return x.reshape(b, 2 * h, 2 * w, c)


class ResidualBlock(nn.Module):
  """[B, H, W, C] -> [B, H / 2, W / 2, features], or of H, W.

  Attributes:
    norm: whether instances are normalised before both convolutions.
    down: whether sides are halved.
  """

  features: int
  norm: bool
  down: bool
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    normed = lambda y: InstanceNorm()(y) if self.norm else y
    halved = _halved if self.down else lambda y: y
    y = leaky_relu(normed(x))
    y = halved(_conv(x.shape[-1], 3, self.dtype)(y))
    y = _conv(self.features, 3, self.dtype)(leaky_relu(normed(y)))
    # The 1x1 convolution and the mean commute: the smaller one comes first.
    x = halved(x)
    if x.shape[-1] != self.features:
      x = _conv(self.features, 1, self.dtype, bias=False, name="skip")(x)
    return (x + y) * _HALF


class StyledBlock(nn.Module):
  """[B, H, W, C] and style [B, S] -> [B, 2 H, 2 W, features], or of H, W.

  Attributes:
    up: whether sides are doubled.
    skip: whether the input is added; not where a high-pass skip passes it on.
  """

  features: int
  up: bool
  skip: bool = True
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, style: jax.Array) -> jax.Array:
    doubled = _doubled if self.up else lambda y: y
    y = doubled(leaky_relu(AdaptiveNorm()(x, style)))
    y = _conv(self.features, 3, self.dtype)(y)
    y = leaky_relu(AdaptiveNorm()(y, style))
    y = _conv(self.features, 3, self.dtype)(y)
    if not self.skip:
      return y
    if x.shape[-1] != self.features:
      x = _conv(self.features, 1, self.dtype, bias=False, name="skip")(x)
    return (doubled(x) + y) * _HALF


def high_pass(x: jax.Array) -> jax.Array:
  """Each pixel of [B, H, W, C] eight times, less its eight neighbours."""
  rows = jnp.pad(x, ((0, 0), (1, 1), (0, 0), (0, 0)))
  rows = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]
  both = jnp.pad(rows, ((0, 0), (0, 0), (1, 1), (0, 0)))
  return 9 * x - both[:, :, :-2] - both[:, :, 1:-1] - both[:, :, 2:]


class Generator(nn.Module):
  """Images [B, S, S, 3] and styles [B, style] -> images [B, S, S, 3].

  Images are in [-1, 1], those that come out only about: there is no bound.

  Attributes:
    width: channels at full size; 0: 2^14 / S, as in the paper.
    most: channels at the most.
    halvings: how often sides are halved; 0: down to 16, and to 8 with
      high_pass, as in the paper.
    high_pass: 0, or what the features of the high-pass skip are divided by
      (the paper's w_hpf, 1 for CelebA-HQ): the smaller, the more of the source
      is kept. It passes details within `keep` on, where they are to stay.
    dtype: compute precision; norms have float32 statistics.
  """

  width: int = 0
  most: int = 512
  halvings: int = 0
  high_pass: float = 0.0
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
    self,
    images: jax.Array,
    style: jax.Array,
    keep: jax.Array | None = None,
    *,
    train: bool = False,
  ) -> jax.Array:
    """Draws images in a style.

    Args:
      images: [B, S, S, 3].
      style: [B, style].
      keep: [B, S, S, 1] in [0, 1], where a high-pass skip keeps details;
        everywhere if it is None.
      train: nothing depends on it.
    """
    side = images.shape[1]
    halvings = self.halvings or _halvings(side, 8 if self.high_pass else 16)
    if side % 2**halvings or not halvings:
      raise ValueError(
        f"images of side {side} cannot be halved {halvings} times"
      )
    width = self.width or 2**14 // side
    widths = [min(width * 2**i, self.most) for i in range(halvings + 1)]
    passed: dict[int, jax.Array] = {}
    x = _conv(widths[0], 3, self.dtype)(images.astype(self.dtype))
    for features in widths[1:]:
      passed[x.shape[1]] = x
      x = ResidualBlock(features, True, True, self.dtype)(x)
    for _ in range(2):
      x = ResidualBlock(widths[-1], True, False, self.dtype)(x)
    skip = not self.high_pass
    for _ in range(2):
      x = StyledBlock(widths[-1], False, skip, self.dtype)(x, style)
    for features in reversed(widths[:-1]):
      x = StyledBlock(features, True, skip, self.dtype)(x, style)
      if self.high_pass and x.shape[1] in _PASSED:
        x += self._details(passed[x.shape[1]], keep)
    x = leaky_relu(InstanceNorm()(x))
    return _conv(3, 1, self.dtype)(x).astype(jnp.float32)

  def _details(self, x, keep):
    if keep is not None:
      size = (*x.shape[:3], 1)
      x *= jax.image.resize(keep, size, "linear").astype(x.dtype)
    return high_pass(x) / self.high_pass


def _halvings(side: int, end: int) -> int:
  return max((side // end).bit_length() - 1, 0)


def of_domain(x: jax.Array, domain: jax.Array) -> jax.Array:
  """Rows of [B, domains, N] of domains [B], as [B, N]."""
  return jnp.take_along_axis(x, domain[:, None, None], axis=1)[:, 0]


class Mapping(nn.Module):
  """Noise [B, latent] and domains [B] -> styles [B, style], float32.

  Attributes:
    domains: how many there are.
    style: numbers of a style.
    hidden: units of a layer.
    shared: layers of all domains; each then has three and an output.
  """

  domains: int
  style: int = 64
  hidden: int = 512
  shared: int = 4

  @nn.compact
  def __call__(
    self, latent: jax.Array, domain: jax.Array, *, train: bool = False
  ) -> jax.Array:
    x = latent
    for _ in range(self.shared):
      x = nn.relu(_dense(self.hidden, jnp.float32)(x))
    styles = []
    for i in range(self.domains):
      y = x
      for j in range(3):
        name = f"domain_{i}_{j}"
        y = nn.relu(_dense(self.hidden, jnp.float32, name)(y))
      styles.append(_dense(self.style, jnp.float32, f"domain_{i}_style")(y))
    return of_domain(jnp.stack(styles, 1), domain)


class Encoder(nn.Module):
  """Images [B, S, S, 3] in [-1, 1] and domains [B] -> [B, outputs], float32.

  With as many outputs as a style has it is the style encoder, with one the
  discriminator, whose output is a logit of being real.

  Attributes:
    domains: how many there are.
    outputs: numbers of each domain.
    width: channels at full size; 0: 2^14 / S, as in the paper.
    most: channels at the most.
    dtype: compute precision.
  """

  domains: int
  outputs: int
  width: int = 0
  most: int = 512
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
    self, images: jax.Array, domain: jax.Array, *, train: bool = False
  ) -> jax.Array:
    side = images.shape[1]
    halvings = _halvings(side, 4)
    if side != 4 * 2**halvings or not halvings:
      raise ValueError(
        f"images of side {side} cannot be halved down to 4 pixels: take a power"
        " of 2, 8 or more"
      )
    features = self.width or 2**14 // side
    x = _conv(features, 3, self.dtype)(images.astype(self.dtype))
    for _ in range(halvings):
      features = min(2 * features, self.most)
      x = ResidualBlock(features, False, True, self.dtype)(x)
    x = _conv(features, 4, self.dtype, padding="VALID")(leaky_relu(x))
    x = leaky_relu(x).reshape(len(x), -1)
    x = _dense(self.domains * self.outputs, self.dtype)(x).astype(jnp.float32)
    return of_domain(x.reshape(-1, self.domains, self.outputs), domain)
