"""The networks of StyleGAN2: images of noise and of a condition.

Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", CVPR
2020. The mapping network makes w of noise and the condition; the synthesis
network draws an image, in which w scales the channels of each convolution; the
discriminator tells images from photographs that fit the condition. Images are
in [-1, 1], those drawn only about: there is no bound.

Channels are `base` / side, and `most` at most:

| synthesis at 256 px, base 2^14 | output |
|---|---|
| constant | 4, 4, 512 |
| modulated conv 3x3 | 4, 4, 512 |
| up conv 3x3, conv 3x3, both modulated | 8, 8, 512; 16, 16, 512; 32, 32, 512; 64, 64, 256; 128, 128, 128; 256, 256, 64 |
| to RGB at each side, modulated conv 1x1; sides doubled and summed | 256, 256, 3 |

| discriminator at 256 px, base 2^14 | output |
|---|---|
| conv 1x1 | 256, 256, 64 |
| residual, down | 128, 128, 128; 64, 64, 256; 32, 32, 512; 16, 16, 512; 8, 8, 512; 4, 4, 512 |
| deviation within groups, conv 3x3 | 4, 4, 513; 4, 4, 512 |
| fc; fc and projection of the condition; fc that reads it | 512; 1; its numbers |

All activations are leaky ReLUs, times the root of 2. Parameters are standard
normal and scaled when used, by the root of the fan-in (equalised learning rate,
Karras et al., "Progressive Growing of GANs", ICLR 2018), so that one step of
Adam moves all layers alike; rates of the paper suppose it.

Decided here: w is one for all layers, without mixing of styles; the condition
is embedded by one layer, and not normalised, since how far a head is turned is
a length.
"""  # noqa: E501

import functools
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxpriv.models import modulated

_HALF = 1 / math.sqrt(2)


class Mapping(nn.Module):
  """Noise [..., latent] and conditions [..., K] -> w [..., width], float32.

  Attributes:
    width: numbers of w, and units of a layer.
    layers: how many there are.
    rate: times that of the other networks is the learning rate.
  """

  width: int = 512
  layers: int = 8
  rate: float = 0.01

  @nn.compact
  def __call__(
    self, latent: jax.Array, condition: jax.Array, *, train: bool = False
  ) -> jax.Array:
    squares = jnp.square(latent).mean(-1, keepdims=True)
    x = latent * jax.lax.rsqrt(squares + 1e-8)
    if condition.shape[-1]:
      embedded = modulated.Dense(self.width, name="condition")(condition)
      x = jnp.concatenate([x, embedded], -1)
    for i in range(self.layers):
      x = modulated.active(
        modulated.Dense(self.width, self.rate, name=f"layer_{i}")(x)
      )
    return x


class StyledConv(nn.Module):
  """[B, H, W, C] and w [B, N] -> [B, H, W, features], or of twice the sides.

  Attributes:
    window: side of the kernel.
    up: whether sides are doubled.
    colours: whether this is a layer to RGB: without demodulation, noise and
      activation.
  """

  features: int
  window: int = 3
  up: bool = False
  colours: bool = False

  @nn.compact
  def __call__(
    self, x: jax.Array, w: jax.Array, noise: jax.Array | None = None
  ) -> jax.Array:
    shape = (self.window, self.window, x.shape[-1], self.features)
    kernel = self.param("kernel", nn.initializers.normal(1.0), shape)
    style = modulated.Dense(x.shape[-1], bias=1.0, name="style")(w)
    kernel = kernel / math.sqrt(math.prod(shape[:3]))
    plain = not self.colours
    y = modulated.modulated_conv(x, kernel, style, demodulate=plain, up=self.up)
    bias = self.param("bias", nn.initializers.zeros, (self.features,))
    if not plain:
      return y + bias.astype(y.dtype)
    strength = self.param("noise", nn.initializers.zeros, ())
    if noise is not None:
      y = y + (strength * noise[..., None]).astype(y.dtype)
    return modulated.active(y + bias.astype(y.dtype))


def _sides(side: int) -> list[int]:
  """4, 8, ..., side.

  Raises:
    ValueError: it is no power of 2, or below 8.
  """
  if side < 8 or side & (side - 1):
    raise ValueError(
      f"images of side {side}: sides are doubled from 4 pixels on, so take a"
      " power of 2, 8 or more"
    )
  return [2**i for i in range(2, side.bit_length())]


class Synthesis(nn.Module):
  """w [B, N] -> images [B, side, side, 3], float32.

  Attributes:
    side: of the images, a power of 2.
    base: channels at side s are base / s,
    most: and this at most.
    dtype: compute precision; styles and sums of colours are float32.
  """

  side: int
  base: int = 2**14
  most: int = 512
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
    self, w: jax.Array, keys: jax.Array | None = None, *, train: bool = False
  ) -> jax.Array:
    """Draws images.

    Args:
      w: [B, N].
      keys: random keys [B], which draw the noise of each image; None: there is
        none, and an image is a function of w.
      train: nothing depends on it.
    """
    width = lambda side: max(min(self.base // side, self.most), 1)
    init = nn.initializers.normal(1.0)
    constant = self.param("constant", init, (4, 4, width(4)))
    x = jnp.broadcast_to(constant, (len(w), *constant.shape))
    x, colours, count = x.astype(self.dtype), [], 0
    for side in _sides(self.side):
      for kind in ("conv",) if side == 4 else ("up", "conv"):
        noise = None
        if keys is not None:
          draw = lambda key, count=count, side=side: jax.random.normal(
            jax.random.fold_in(key, count), (side, side)
          )
          noise = jax.vmap(draw)(keys)
        layer = StyledConv(width(side), up=kind == "up", name=f"{kind}_{side}")
        x, count = layer(x, w, noise), count + 1
      layer = StyledConv(3, 1, colours=True, name=f"rgb_{side}")
      colours.append(layer(x, w).astype(jnp.float32))
    return functools.reduce(lambda x, y: modulated.doubled(x) + y, colours)


class _Conv(nn.Module):
  """[B, H, W, C] -> [B, H, W, features], or of half the sides."""

  features: int
  window: int = 3
  down: bool = False
  active: bool = True

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    shape = (self.window, self.window, x.shape[-1], self.features)
    kernel = self.param("kernel", nn.initializers.normal(1.0), shape)
    kernel = kernel / math.sqrt(math.prod(shape[:3]))
    if self.down:
      y = modulated.convolved(modulated.smooth(x, 2), kernel, 2, "VALID")
    else:
      y = modulated.convolved(x, kernel)
    if not self.active:
      return y
    bias = self.param("bias", nn.initializers.zeros, (self.features,))
    return modulated.active(y + bias.astype(y.dtype))


def group_deviation(x: jax.Array, keep: jax.Array, size: int) -> jax.Array:
  """The deviation of each group of images, a number of each image [B].

  Of each feature over the images of a group, then the mean over features: it
  tells whether drawn images are all alike (Karras et al., "Progressive Growing
  of GANs", ICLR 2018). Groups are neighbouring rows, whatever devices they are
  on; where the batch does not divide by `size`, they are of the greatest common
  divisor.

  Args:
    x: [B, H, W, C].
    keep: bool [B], false for rows that no group is to see.
    size: images of a group.
  """
  size = math.gcd(len(x), size)
  y = x.reshape(-1, size, *x.shape[1:]).astype(jnp.float32)
  kept = keep.reshape(-1, size, 1, 1, 1)
  count = jnp.maximum(kept.sum(1, keepdims=True), 1)
  mean = jnp.where(kept, y, 0).sum(1, keepdims=True) / count
  squares = jnp.where(kept, jnp.square(y - mean), 0).sum(1) / count[:, 0]
  return jnp.repeat(jnp.sqrt(squares + 1e-8).mean((1, 2, 3)), size)


class Discriminator(nn.Module):
  """Images [B, S, S, 3] and conditions [B, K] -> [B, 1 or 1 + K], float32.

  The first is a logit, one of the image alone, and the product of its features
  with an embedding of the condition: Miyato and Koyama, "cGANs with Projection
  Discriminator", ICLR 2018. What follows is the condition as it is read in the
  image: Odena et al., "Conditional Image Synthesis with Auxiliary Classifier
  GANs", ICML 2017.

  Attributes:
    base: channels at side s are base / s,
    most: and this at most.
    group: images of a group, whose deviation is a feature; 0: it is left out,
      and images do not see each other.
    reads: whether the condition is read in images.
    dtype: compute precision; layers after the last convolution are float32.
  """

  base: int = 2**14
  most: int = 512
  group: int = 4
  reads: bool = False
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
    self,
    images: jax.Array,
    condition: jax.Array,
    keep: jax.Array | None = None,
    *,
    train: bool = False,
  ) -> jax.Array:
    """Returns logits of being a photograph, and conditions if they are read.

    Args:
      images: [B, S, S, 3], S a power of 2.
      condition: [B, K].
      keep: bool [B], false for rows that are no examples; None: all are.
      train: nothing depends on it.
    """
    width = lambda side: max(min(self.base // side, self.most), 1)
    sides = _sides(images.shape[1])[::-1]
    x = images.astype(self.dtype)
    x = _Conv(width(sides[0]), 1, name="rgb")(x)
    for side, half in zip(sides, sides[1:]):
      y = _Conv(width(side), name=f"conv_{side}")(x)
      y = _Conv(width(half), down=True, name=f"down_{side}")(y)
      skip = _Conv(width(half), 1, active=False, name=f"skip_{side}")
      x = (skip(modulated.halved(x)) + y) * _HALF
    if self.group:
      keep = jnp.ones(len(x), bool) if keep is None else keep
      spread = group_deviation(x, keep, self.group).astype(x.dtype)
      spread = jnp.broadcast_to(spread[:, None, None, None], (*x.shape[:3], 1))
      x = jnp.concatenate([x, spread], -1)
    x = _Conv(width(4), name="conv_4")(x).astype(jnp.float32)
    x = modulated.active(
      modulated.Dense(width(4), name="features")(x.reshape(len(x), -1))
    )
    logits = modulated.Dense(1, name="logit")(x)
    if condition.shape[-1]:
      embedded = modulated.Dense(width(4), name="condition")(condition)
      fit = (embedded * x).sum(1, keepdims=True)
      logits += fit / math.sqrt(width(4))
    if self.reads:
      read = modulated.Dense(condition.shape[-1], name="read")(x)
      logits = jnp.concatenate([logits, read], -1)
    return logits
