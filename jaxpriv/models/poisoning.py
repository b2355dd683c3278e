"""The Deep Poisoning Module, and reconstructors of images from features.

Guo et al., "Deep Poisoning: Towards Robust Image Data Sharing against Visual
Disclosure", WACV 2021, section 4. The module is "4 residual blocks from
ResNet", of the shape of the features. Reconstructors are inverse bottlenecks
(convolution, norm, convolution, norm, convolution, ReLU), a number of them
before each enlargement; the paper leaves the widths within them open.

The reconstructor R0 that the module is trained against, at conv4_1:

| layer | output |
|---|---|
| features | 14, 14, 1024 |
| 2 inverse bottlenecks, up 2 | 28, 28, 512 |
| 2 inverse bottlenecks, up 2 | 56, 56, 256 |
| 2 inverse bottlenecks, up 2 | 112, 112, 128 |
| 2 inverse bottlenecks, up 2 | 224, 224, 64 |
| conv 3x3, norm, ReLU; conv 3x3 | 224, 224, 3 |
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxpriv.models import layers
from jaxpriv.models.layers import residual_conv as conv
from jaxpriv.models.resnet import Bottleneck


class DeepPoisoningModule(nn.Module):
  """Features [B, H, W, C], not negative -> poisoned features [B, H, W, C].


  4,468,736 parameters at conv4_1 of ResNet-50 (C = 1024), 1,120,256 at conv3_1,
  281,600 at conv2_3.

  Attributes:
    blocks: bottleneck blocks.
    code: length of a key [B, code] that scales and shifts the channels before
      each block, so that every sample is poisoned differently; 0 is the paper's
      module, the same map for all.
    spread: initial standard deviation of these scales (about 1) and shifts
      (about 0); training changes it.
    norm: "batch" or "group".
    dtype: compute precision.
    identity: start as the identity. The module then learns faster but stays
      closer to the features, so that more inverters succeed.
  """

  blocks: int = 4
  code: int = 0
  spread: float = 1.0
  norm: str = "batch"
  dtype: Any = jnp.float32
  identity: bool = False

  @nn.compact
  def __call__(
    self, features: jax.Array, key: jax.Array | None = None, *, train: bool
  ) -> jax.Array:
    x = features.astype(self.dtype)
    channels = features.shape[-1]
    if self.code and key is None:  # initialisation
      key = jnp.zeros((len(x), self.code))
    for _ in range(self.blocks):
      if self.code:
        change = nn.Dense(
          2 * channels,
          dtype=self.dtype,
          kernel_init=nn.initializers.normal(self.spread * self.code**-0.5),
        )(key)
        scale, shift = jnp.split(change[:, None, None], 2, axis=-1)
        x = x * (1 + scale) + shift
      block = Bottleneck(
        channels, 1, self.norm, self.dtype, identity=self.identity
      )
      x = block(x, train)
    return x


class LearnedNoise(nn.Module):
  """Features [B, H, W, C] + one of `count` learned tensors for each.

  Mireshghallah et al., "Shredder: Learning Noise Distributions to Protect
  Inference Privacy", ASPLOS 2020: tensors begin as Laplace noise and are
  trained with the network frozen.

  Attributes:
    count: number of tensors.
    scale: scale of the Laplace distribution.
  """

  count: int = 8
  scale: float = 1.0

  @nn.compact
  def __call__(
    self, features: jax.Array, choice: jax.Array | None = None, *, train: bool
  ) -> jax.Array:
    noise = self.param(
      "noise",
      lambda key, shape: self.scale * jax.random.laplace(key, shape),
      (self.count, *features.shape[1:]),
    )
    if choice is None:  # initialisation
      choice = jnp.zeros(len(features), jnp.int32)
    return features + noise[choice]


class FeatureNet(nn.Module):
  """Features [B, H, W, C] -> [B, features], float32: the network of probes.

  Attributes:
    features: number of outputs.
    hidden: channels of a convolution of stride 2 and units of a dense layer
      before the last one; 0 is a linear map.
    norm: the norm of the convolution.
  """

  features: int = 128
  hidden: int = 0
  norm: str = "group"

  @nn.compact
  def __call__(self, features: jax.Array, train: bool) -> jax.Array:
    x = features.astype(jnp.float32)
    if self.hidden:
      x = conv(self.hidden, 3, 2, jnp.float32)(x)
      x = nn.relu(layers.norm(self.norm, train, jnp.float32)(x))
      x = nn.relu(nn.Dense(self.hidden)(x.reshape(len(x), -1)))
    return nn.Dense(self.features)(x.reshape(len(x), -1))


def content_keys(
  images: jax.Array, secret: int, tracks: jax.Array | None = None
) -> jax.Array:
  """Random keys [B], a function of a secret and of every bit of an image.

  Different images get independent keys; the same image always gets the same
  key, on any device and in any batch.

  Args:
    images: float32 [B, H, W, C].
    secret: below 2^64; whoever has it and the image can compute the key.
    tracks: int [B], of a video; those of one track have one key, which does not
      depend on the image. A negative number is no track.
  """
  root = jax.random.fold_in(
    jax.random.key(secret & 0xFFFFFFFF), (secret >> 32) & 0xFFFFFFFF
  )
  bits = jax.lax.bitcast_convert_type(
    images.astype(jnp.float32).reshape(len(images), -1), jnp.uint32
  )
  place = jnp.arange(bits.shape[1], dtype=jnp.uint32)
  mixed = (bits ^ (bits >> 15)) * (2 * place * jnp.uint32(2654435761) + 1)
  words = jnp.stack([mixed.sum(1), (mixed ^ (mixed >> 13)).sum(1)], axis=1)

  def one(word):
    key = jax.random.fold_in(root, word[0])
    return jax.random.fold_in(key, word[1])

  keys = jax.vmap(one)(words)
  if tracks is None:
    return keys
  by_track = jax.vmap(
    lambda track: jax.random.fold_in(root, track.astype(jnp.uint32))
  )(tracks)
  return jax.vmap(lambda known, a, b: jax.lax.select(known, a, b))(
    tracks >= 0, by_track, keys
  )


def gaussian_filter(features: jax.Array, sigma: float) -> jax.Array:
  """Blurs each channel of [B, H, W, C]; sigma in cells, edges repeated."""
  radius = max(int(3 * sigma + 0.5), 1)
  weights = jnp.exp(-0.5 * (jnp.arange(-radius, radius + 1) / sigma) ** 2)
  return _filtered(features, weights / weights.sum())


def mean_filter(features: jax.Array, side: int) -> jax.Array:
  """Means over windows of side x side cells, side odd, edges repeated."""
  return _filtered(features, jnp.full(side, 1 / side))


def _filtered(x, weights):
  radius = len(weights) // 2
  for axis in (1, 2):
    around = [(0, 0)] * (x.ndim - 1)
    around[axis - 1] = (radius, radius)
    # Each by itself: a batch would be sliced, too, for edges of no width, and
    # in the gradient devices would send each other rows of zeros.
    pad = functools.partial(jnp.pad, pad_width=around, mode="edge")
    padded = jax.vmap(pad)(x)
    size = x.shape[axis]
    x = sum(
      weights[i] * jax.lax.slice_in_dim(padded, i, i + size, axis=axis)
      for i in range(len(weights))
    )
  return x


class InverseBottleneck(nn.Module):
  """[B, H, W, C] -> [B, H, W, features], `expansion` times as wide within."""

  features: int
  residual: bool = False
  norm: str = "batch"
  dtype: Any = jnp.float32
  expansion: float = 0.5

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    norm = lambda x: layers.norm(self.norm, train, self.dtype)(x)
    inner = max(round(self.expansion * self.features), 8)
    y = norm(conv(inner, 1, 1, self.dtype)(x))
    y = norm(conv(inner, 3, 1, self.dtype)(y))
    y = conv(self.features, 1, 1, self.dtype)(y)
    if self.residual:
      if x.shape != y.shape:
        x = conv(self.features, 1, 1, self.dtype)(x)
      y = x + y
    return nn.relu(y)


class Reconstructor(nn.Module):
  """Features [B, s, s, C] -> images [B, side, side, 3] in [0, 1], float32.

  Attributes:
    side: side of the images, a multiple of s.
    blocks: inverse bottlenecks before each enlargement.
    factor: factor of an enlargement (nearest neighbour), 2 or 4, by which it
      also divides the channels. The last enlarges by whatever remains.
    residual: blocks are added to their input.
    output: "clamp", or "min_max": each image is stretched to [0, 1].
    norm: "batch" or "group".
    dtype: compute precision.
    shuffle: the last enlargement rearranges channels of the output into the
      image (Shi et al., CVPR 2016), so that nothing is computed at full size.
    expansion: width within a block over its own: narrow blocks lose information
      that a small network's few channels hold.
  """

  side: int = 224
  blocks: int = 2
  factor: int = 2
  residual: bool = False
  output: str = "clamp"
  norm: str = "batch"
  dtype: Any = jnp.float32
  shuffle: bool = False
  expansion: float = 0.5

  @nn.compact
  def __call__(self, features: jax.Array, train: bool) -> jax.Array:
    x = features.astype(self.dtype)
    factors = self._factors(x.shape[1])
    width = x.shape[-1]
    last = 1
    for stage, factor in enumerate(factors):
      # The first stage halves the channels, whatever the factor.
      width = max(width // (factors[stage - 1] if stage else 2), 8)
      for _ in range(self.blocks):
        x = InverseBottleneck(
          width, self.residual, self.norm, self.dtype, self.expansion
        )(x, train)
      if self.shuffle and stage == len(factors) - 1:
        last = factor
      else:
        x = x.repeat(factor, 1).repeat(factor, 2)
    x = conv(width, 3, 1, self.dtype)(x)
    x = nn.relu(layers.norm(self.norm, train, self.dtype)(x))
    x = conv(3 * last**2, 3, 1, jnp.float32)(x.astype(jnp.float32))
    x = layers.depth_to_space(x, last)
    return _to_image(x, self.output)

  def _factors(self, side: int) -> list[int]:
    """The factor of each stage; the last enlarges by whatever remains."""
    ratio, left = divmod(self.side, side)
    factors = []
    while ratio > 1 and not left:
      factors.append(min(self.factor, ratio))
      ratio, left = divmod(ratio, factors[-1])
    if left or not factors:
      raise ValueError(
        f"features of side {side} do not become images of side {self.side} by"
        f" enlarging them {self.factor} times"
      )
    return factors


def _to_image(x, output):
  if output == "clamp":
    # Centred on grey, so that dark and bright are equally far away.
    return jnp.clip(x + 0.5, 0, 1)
  if output == "min_max":
    low = x.min((1, 2, 3), keepdims=True)
    high = x.max((1, 2, 3), keepdims=True)
    return (x - low) / jnp.maximum(high - low, 1e-6)
  raise ValueError(f"output must be 'clamp' or 'min_max', got {output!r}")
