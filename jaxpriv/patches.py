"""What the outputs of a convolution are made of: it is then a product.

Below everything, since networks (on CPU) and per-example gradients need it.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp


def patches(
  x: jax.Array,
  window: Sequence[int],
  strides: Sequence[int],
  padding: str | Sequence[tuple[int, int]],
) -> jax.Array:
  """The inputs of each output of a convolution.

  Args:
    x: [..., H, W, C].
    window: (h, w).
    strides: two numbers.
    padding: "SAME", "VALID" or ((low, high), (low, high)).

  Returns:
    [..., H', W', h * w * C], in the order of a kernel [h, w, C, features].
  """
  if isinstance(padding, str):
    padding = jax.lax.padtype_to_pads(x.shape[-3:-1], window, strides, padding)
  x = jnp.pad(x, (*[(0, 0)] * (x.ndim - 3), *padding, (0, 0)))
  rows, columns = (
    (n - w) // s * s + 1
    for n, w, s in zip(x.shape[-3:-1], window, strides, strict=True)
  )
  return jnp.concatenate(
    [
      x[..., i : i + rows : strides[0], j : j + columns : strides[1], :]
      for i in range(window[0])
      for j in range(window[1])
    ],
    -1,
  )
