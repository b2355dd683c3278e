"""Layers that several networks share."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

Dtype = Any

LEAKY_SLOPE = 0.2


def leaky_relu(x: jax.Array) -> jax.Array:
  return nn.leaky_relu(x, LEAKY_SLOPE)


def norm(
  kind: str, train: bool, dtype: Dtype, name: str | None = None
) -> nn.Module:
  """BatchNorm ("batch") or GroupNorm ("group"), which DP training needs.

  Statistics and parameters are float32 whatever `dtype` is computed in.
  """
  if kind == "batch":
    return nn.BatchNorm(
      use_running_average=not train,
      momentum=0.9,
      epsilon=1e-5,
      dtype=dtype,
      name=name,
    )
  if kind == "group":
    return nn.GroupNorm(num_groups=None, group_size=8, dtype=dtype, name=name)
  raise ValueError(f"norm must be 'batch' or 'group', got {kind!r}")


class ConvBlock(nn.Module):
  """3x3 convolution, normalisation, activation.

  [B, H, W, C] -> [B, H / stride, W / stride, features]

  Attributes:
    norm: "batch", "group", or "" for none (the convolution then has a bias).
  """

  features: int
  stride: int = 1
  norm: str = "batch"
  activation: Callable[[jax.Array], jax.Array] = nn.relu
  dtype: Dtype = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    x = nn.Conv(
      self.features,
      (3, 3),
      strides=self.stride,
      padding=1,
      use_bias=not self.norm,
      dtype=self.dtype,
    )(x)
    if self.norm:
      x = norm(self.norm, train, self.dtype)(x)
    return self.activation(x)


class UpBlock(nn.Module):
  """4x4 transposed convolution of stride 2, normalisation, activation.

  [B, H, W, C] -> [B, 2 H, 2 W, features]
  """

  features: int
  norm: str = "batch"
  activation: Callable[[jax.Array], jax.Array] = nn.relu
  dtype: Dtype = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    x = nn.ConvTranspose(
      self.features,
      (4, 4),
      strides=(2, 2),
      padding="SAME",
      use_bias=not self.norm,
      dtype=self.dtype,
    )(x)
    if self.norm:
      x = norm(self.norm, train, self.dtype)(x)
    return self.activation(x)
