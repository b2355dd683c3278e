"""Modulated convolutions, and what doubles and halves images beside them.

Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", CVPR
2020. Sides are doubled and halved with the filter 1, 3, 3, 1 along both axes;
outside of an image is 0.
"""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxpriv import platforms
from jaxpriv.models import layers

_GAIN = math.sqrt(2)
# The binomial filter that sides are halved with, and, doubled, doubled with.
_TAPS = (1 / 8, 3 / 8, 3 / 8, 1 / 8)


def active(x: jax.Array) -> jax.Array:
  """A leaky ReLU that keeps the scale of what it is given."""
  return layers.leaky_relu(x) * _GAIN


class Dense(nn.Module):
  """[..., N] -> [..., features], float32.

  Attributes:
    rate: times that of others is the learning rate of this layer.
    bias: its initial value.
  """

  features: int
  rate: float = 1.0
  bias: float = 0.0

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    shape = (x.shape[-1], self.features)
    init = nn.initializers.normal(1 / self.rate)
    kernel = self.param("kernel", init, shape)
    init = nn.initializers.constant(self.bias / self.rate)
    bias = self.param("bias", init, (self.features,))
    return (x @ kernel / math.sqrt(len(kernel)) + bias) * self.rate


def convolved(
  x: jax.Array, kernel: jax.Array, stride: int = 1, padding: str = "SAME"
) -> jax.Array:
  """A convolution of [B, H, W, C] by [h, w, C, features] in the type of x."""
  return layers.conv_general_dilated(
    x,
    kernel.astype(x.dtype),
    (stride, stride),
    padding,
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
  )


def _along(x: jax.Array, axis: int, edge: int) -> jax.Array:
  """`_TAPS` along an axis with `edge` zeros at both ends; 2 edge - 3 longer."""
  edges = [(0, 0)] * x.ndim
  edges[axis] = (edge, edge)
  padded = jnp.pad(x, edges)
  length = padded.shape[axis] - 3
  moved = [
    tap * jax.lax.slice_in_dim(padded, i, i + length, axis=axis)
    for i, tap in enumerate(_TAPS)
  ]
  return functools.reduce(jnp.add, moved)


def smooth(x: jax.Array, edge: int) -> jax.Array:
  """[B, H, W, C] filtered, with sides 2 edge - 3 longer."""
  return _along(_along(x, 1, edge), 2, edge)


def _doubled_along(x: jax.Array, axis: int, margin: int) -> jax.Array:
  length = x.shape[axis]
  edges = [(0, 0)] * x.ndim
  edges[axis] = (2, 2)
  padded = jnp.pad(x, edges)
  before, here, after = (
    jax.lax.slice_in_dim(padded, i, i + length + 2, axis=axis) for i in range(3)
  )
  near = 2 * _TAPS[1] * here
  pairs = near + 2 * _TAPS[0] * before, near + 2 * _TAPS[0] * after
  shape = list(x.shape)
  shape[axis] = 2 * length + 4
  both = jnp.stack(pairs, axis + 1).reshape(shape)
  return jax.lax.slice_in_dim(
    both, 2 - margin, 2 * length + 2 + margin, axis=axis
  )


def doubled(x: jax.Array, margin: int = 0) -> jax.Array:
  """[B, H, W, C] -> [B, 2 H + 2 margin, 2 W + 2 margin, C], bilinear.

  That is zeros between pixels, then the filter 1, 3, 3, 1. Outside of the image
  is 0.
  """
  return _doubled_along(_doubled_along(x, 1, margin), 2, margin)


def halved(x: jax.Array) -> jax.Array:
  """[B, H, W, C] -> [B, H / 2, W / 2, C], after the filter 1, 3, 3, 1."""
  return smooth(x, 1)[:, ::2, ::2]


def _up_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """A convolution 3x3 of `doubled` images, [B, 2 H, 2 W, features].

  Filter and convolution commute. Where dilated convolutions are fast, the
  convolution comes first, of zeros between pixels: a quarter of the products.
  """
  if platforms.on_cpu():
    return convolved(doubled(x, 1), kernel, padding="VALID")
  y = jax.lax.conv_general_dilated(
    x,
    kernel.astype(x.dtype),
    (1, 1),
    ((2, 2), (2, 2)),
    lhs_dilation=(2, 2),
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
  )
  return 4 * smooth(y, 1)


def modulated_conv(
  x: jax.Array,
  kernel: jax.Array,
  style: jax.Array,
  *,
  demodulate: bool = True,
  up: bool = False,
) -> jax.Array:
  """A convolution whose kernel each image scales for itself.

  Equations (1) and (3): with w' = style_i w, over the norm of w' for each
  output channel. The input is scaled before, and the output after, one
  convolution that all images share: a kernel for each image would be a grouped
  convolution, which is slow, and is not split over devices.

  Args:
    x: [B, H, W, C].
    kernel: [h, w, C, features], float32.
    style: [B, C], float32.
    demodulate: whether the norm is divided by.
    up: whether `doubled` images are convolved; the kernel is then 3x3.

  Returns:
    [B, H, W, features], or of twice the sides
  """
  convolve = _up_conv if up else convolved
  y = convolve(x * style[:, None, None].astype(x.dtype), kernel)
  if demodulate:
    squares = jnp.square(kernel).sum((0, 1))
    energy = jnp.matmul(jnp.square(style), squares, precision="highest")
    scale = jax.lax.rsqrt(energy + 1e-8)
    y = y * scale[:, None, None].astype(y.dtype)
  return y
