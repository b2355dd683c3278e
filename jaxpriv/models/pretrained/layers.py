"""Layers of the pretrained networks, as functions of their parameters.

Images are [B, H, W, C], kernels [h, w, C, features].
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from jaxpriv import platforms
from jaxpriv.models import layers

Params = Mapping[str, jax.Array]

_NHWC = ("NHWC", "HWIO", "NHWC")


def conv(
  x: jax.Array, kernel: jax.Array, stride: int = 1, padding: str = "SAME"
) -> jax.Array:
  """A convolution without bias, padded as TensorFlow does."""
  if kernel.shape[:2] == (1, 1):
    return x[:, ::stride, ::stride] @ kernel[0, 0]
  return layers.conv_general_dilated(
    x, kernel, (stride, stride), padding, dimension_numbers=_NHWC
  )


def depthwise(
  x: jax.Array, kernel: jax.Array, stride: int = 1, padding: str = "SAME"
) -> jax.Array:
  """A convolution of each channel on its own, without bias.

  As a sum of shifted images: XLA has no fast code for grouped convolutions on a
  CPU (four times slower in MobileNetV1).

  Args:
    x: [B, H, W, C].
    kernel: [h, w, C, 1].
    stride: in both directions.
    padding: "SAME" as TensorFlow pads, or "VALID".

  Returns:
    [B, H', W', C]
  """
  if not platforms.on_cpu():
    return jax.lax.conv_general_dilated(
      x,
      kernel.transpose(0, 1, 3, 2),
      (stride, stride),
      padding,
      dimension_numbers=_NHWC,
      feature_group_count=x.shape[-1],
    )
  window = kernel.shape[:2]
  edges = jax.lax.padtype_to_pads(
    x.shape[1:3], window, (stride, stride), padding
  )
  x = jnp.pad(x, ((0, 0), *edges, (0, 0)))
  height, width = (
    (size - side) // stride * stride + 1
    for size, side in zip(x.shape[1:3], window)
  )
  y = jnp.zeros((), x.dtype)
  for i in range(window[0]):
    for j in range(window[1]):
      shifted = x[:, i : i + height : stride, j : j + width : stride]
      y = y + shifted * kernel[i, j, :, 0]
  # Otherwise XLA computes the sum again for every output channel that needs it.
  return jax.lax.optimization_barrier(y)


def separable(
  params: Params, name: str, x: jax.Array, stride: int = 1
) -> jax.Array:
  """Depthwise, then 1x1 convolution, then bias: `name`/depthwise_filter ..."""
  x = depthwise(x, params[f"{name}/depthwise_filter"], stride)
  return conv(x, params[f"{name}/pointwise_filter"]) + params[f"{name}/bias"]


def dense(params: Params, name: str, x: jax.Array) -> jax.Array:
  """[B, C] -> [B, features]: `name`/weights and `name`/bias."""
  return x @ params[f"{name}/weights"] + params[f"{name}/bias"]


def max_pool(
  x: jax.Array, window: int, stride: int, padding: str = "SAME"
) -> jax.Array:
  """[B, H, W, C] -> [B, H', W', C], padded as TensorFlow does."""
  return jax.lax.reduce_window(
    x,
    -jnp.inf,
    jax.lax.max,
    (1, window, window, 1),
    (1, stride, stride, 1),
    padding,
  )


def relu6(x: jax.Array) -> jax.Array:
  return jnp.clip(x, 0, 6)
