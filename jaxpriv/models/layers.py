"""Layers that several networks share."""

import contextlib
import contextvars
import functools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxpriv import platforms
from jaxpriv.im2col import im2col

Dtype = Any

LEAKY_SLOPE = 0.2


def leaky_relu(x: jax.Array) -> jax.Array:
  return nn.leaky_relu(x, LEAKY_SLOPE)


def norm(
  kind: str,
  train: bool,
  dtype: Dtype,
  name: str | None = None,
  scale_init: Callable = nn.initializers.ones,
) -> Callable[[jax.Array], jax.Array]:
  """BatchNorm ("batch") or GroupNorm ("group"), which DP training needs.

  Statistics and parameters are float32 whatever the compute precision `dtype`.
  The size of groups is the greatest common divisor of 8 and all channels.
  """
  if kind == "batch":
    return nn.BatchNorm(
      use_running_average=not train,
      momentum=0.9,
      epsilon=1e-5,
      dtype=dtype,
      scale_init=scale_init,
      name=name,
    )
  if kind == "group":
    return lambda x: nn.GroupNorm(
      num_groups=None,
      group_size=math.gcd(8, x.shape[-1]),
      dtype=dtype,
      scale_init=scale_init,
      name=name,
    )(x)
  raise ValueError(f"norm must be 'batch' or 'group', got {kind!r}")


def gated(
  x: jax.Array, gates: Mapping[int, jax.Array] | None, stage: int
) -> jax.Array:
  """Multiplies the output of a stage by its gate, if it has one.

  Args:
    x: [B, H, W, C].
    gates: stage -> weights that broadcast against [B, H, W, C].
    stage: of which x is the output, from 1.
  """
  if not gates or stage not in gates:
    return x
  return x * gates[stage].astype(x.dtype)


def max_pool(x: jax.Array, window: int, stride: int) -> jax.Array:
  """Max pooling, "SAME", as a maximum of shifted slices.

  The gradient of XLA's own pooling takes longer on a CPU than all convolutions
  of a small network together; the gradient of this one is elementwise. Values
  that tie share it.

  Args:
    x: [B, H, W, C]; H and W divide by stride.
    window: side of the window, at least stride.
    stride: 1 or more.

  Returns:
    [B, H / stride, W / stride, C]
  """
  # Rows, then columns: fewer comparisons, and a gradient that XLA does not fuse
  # into one loop over the whole window.
  return _max_along(_max_along(x, 1, window, stride), 2, window, stride)


def _max_along(x, axis, window, stride):
  length = x.shape[axis]
  before = (window - stride) // 2
  edges = [(0, 0)] * x.ndim
  edges[axis] = (before, window - stride - before)
  padded = jnp.pad(x, edges, constant_values=-jnp.inf)
  slices = (
    jax.lax.slice_in_dim(padded, i, i + length - stride + 1, stride, axis)
    for i in range(window)
  )
  return functools.reduce(jnp.maximum, slices)


_IN_A_LOOP = contextvars.ContextVar("in_a_loop", default=False)


@contextlib.contextmanager
def in_a_loop() -> Iterator[None]:
  """For tracing the body of a loop: convolutions on CPU are matrix products.

  XLA's own run some twenty times slower in a loop there; as products they take
  less than twice the time of convolutions outside of one. The alternative, to
  unroll the loop, compiles each step again.
  """
  token = _IN_A_LOOP.set(True)
  try:
    yield
  finally:
    _IN_A_LOOP.reset(token)


def conv_general_dilated(
  x: jax.Array, kernel: jax.Array, strides, padding, **options
) -> jax.Array:
  """`lax.conv_general_dilated` as `nn.Conv` calls it, for images NHWC.

  Where an image is smaller than the kernel, XLA swaps the two, for which the
  CPU has no fast code (`launch.benchmark layers`: more than ten times slower).
  There, and `in_a_loop`, the convolution is computed as a matrix product of
  windows (`im2col`). Nor is XLA always fast with three channels: a fourth,
  empty one helps.

  Args:
    x: [B, H, W, C].
    kernel: [h, w, C, features].
    strides: two numbers.
    padding: "SAME", "VALID" or ((low, high), (low, high)).
    **options: further arguments of `lax.conv_general_dilated`.

  Returns:
    [B, H', W', features]
  """
  window = kernel.shape[:2]
  if platforms.on_cpu() and _plain(x, options):
    if isinstance(padding, str):
      padding = jax.lax.padtype_to_pads(x.shape[1:3], window, strides, padding)
    sizes = [
      (size + low + high - length) // stride + 1
      for size, length, stride, (low, high) in zip(
        x.shape[1:3], window, strides, padding, strict=True
      )
    ]
    if _IN_A_LOOP.get() or math.prod(sizes) < math.prod(window):
      flat = kernel.reshape(-1, kernel.shape[-1])
      return im2col(x, window, strides, padding) @ flat
    if x.shape[-1] == 3:
      # Padded by a literal zero, which `privacy.products` recognises as zero.
      x, kernel = (
        jax.lax.pad(
          a, a.dtype.type(0), [(0, int(i == axis), 0) for i in range(4)]
        )
        for a, axis in ((x, 3), (kernel, 2))
      )
  return jax.lax.conv_general_dilated(x, kernel, strides, padding, **options)


def _plain(x, options) -> bool:
  dilations = (options.get("lhs_dilation"), options.get("rhs_dilation"))
  return (
    x.ndim == 4
    and options.get("feature_group_count", 1) == 1
    and all(set(d or (1,)) == {1} for d in dilations)
  )


Conv = functools.partial(nn.Conv, conv_general_dilated=conv_general_dilated)


# He's fan-out rule: gradients keep their scale at any width.
CONV_INIT = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


def residual_conv(
  features: int,
  size: int,
  stride: int,
  dtype: Dtype,
  param_dtype: Dtype = jnp.float32,
  name: str | None = None,
) -> nn.Module:
  """A convolution of residual networks: square, without bias.

  The padding is explicit: "SAME" would pad strided convolutions unevenly.
  """
  return Conv(
    features,
    (size, size),
    strides=stride,
    padding=size // 2,
    use_bias=False,
    kernel_init=CONV_INIT,
    dtype=dtype,
    param_dtype=param_dtype,
    name=name,
  )


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
    x = Conv(
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


def transposed_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """4x4 transposed convolution of stride 2, "SAME", as `lax.conv_transpose`.

  On a CPU, where the gradient of a dilated convolution is slow, it is computed
  as one ordinary 3x3 convolution whose channels are the four phases of the
  output, with the same parameters and the same result (`launch.benchmark
  layers` measures both).

  Args:
    x: [B, H, W, C].
    kernel: [4, 4, C, features].

  Returns:
    [B, 2 H, 2 W, features]
  """
  dimensions = ("NHWC", "HWIO", "NHWC")
  if not platforms.on_cpu():
    return jax.lax.conv_transpose(
      x, kernel, (2, 2), "SAME", dimension_numbers=dimensions
    )
  # Output 2i + a sees inputs i - 1 + a and i + a, through taps a and 2 + a.
  phases = [
    jnp.pad(kernel[a::2, b::2], ((a, 1 - a), (b, 1 - b), (0, 0), (0, 0)))
    for a in range(2)
    for b in range(2)
  ]
  channels, features = kernel.shape[2:]
  y = conv_general_dilated(
    x,
    jnp.stack(phases, -2).reshape(3, 3, channels, 4 * features),
    (1, 1),
    "SAME",
    dimension_numbers=dimensions,
  )
  return depth_to_space(y, 2)


def depth_to_space(x: jax.Array, factor: int) -> jax.Array:
  """[B, H, W, factor^2 C] -> [B, factor H, factor W, C]."""
  batch, height, width, depth = x.shape
  x = x.reshape(batch, height, width, factor, factor, depth // factor**2)
  x = x.transpose(0, 1, 3, 2, 4, 5)
  return x.reshape(batch, factor * height, factor * width, -1)


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
    kernel = self.param(
      "kernel",
      nn.initializers.lecun_normal(),
      (4, 4, x.shape[-1], self.features),
      jnp.float32,
    )
    x = transposed_conv(x.astype(self.dtype), kernel.astype(self.dtype))
    if not self.norm:
      bias = self.param("bias", nn.initializers.zeros, (self.features,))
      x = x + bias.astype(self.dtype)
    if self.norm:
      x = norm(self.norm, train, self.dtype)(x)
    return self.activation(x)


class StandardizedConv(nn.Module):
  """A convolution whose kernels have mean 0 and variance 1 / fan-in.

  Weight standardisation (Qiao et al., "Micro-Batch Training with Batch-Channel
  Normalization and Weight Standardization", 2019), with a gain, as De et al.,
  "Unlocking High-Accuracy Differentially Private Image Classification through
  Scale", 2022, use it with GroupNorm in place of BatchNorm.
  """

  features: int
  kernel_size: tuple[int, int]
  strides: int = 1
  padding: str = "SAME"
  use_bias: bool = False
  dtype: Dtype = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    shape = (*self.kernel_size, x.shape[-1], self.features)
    init = nn.initializers.lecun_normal()
    kernel = self.param("kernel", init, shape, jnp.float32)
    gain = self.param("gain", nn.initializers.ones, (self.features,))
    fan_in = math.prod(shape[:-1])
    mean = kernel.mean((0, 1, 2), keepdims=True)
    variance = kernel.var((0, 1, 2), keepdims=True)
    kernel = (kernel - mean) * jax.lax.rsqrt(fan_in * variance + 1e-4) * gain
    x, kernel = x.astype(self.dtype), kernel.astype(self.dtype)
    strides = (self.strides, self.strides)
    if platforms.on_cpu():
      # The fastest way to the per-example gradients that DP-SGD needs.
      flat = kernel.reshape(-1, self.features)
      y = im2col(x, self.kernel_size, strides, self.padding) @ flat
    else:
      y = jax.lax.conv_general_dilated(
        x,
        kernel,
        strides,
        self.padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
      )
    if self.use_bias:
      bias = self.param("bias", nn.initializers.zeros, (self.features,))
      y = y + bias.astype(y.dtype)
    return y
