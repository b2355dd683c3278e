"""Gathers the input window of every output of a convolution (im2col).

The convolution is then a matrix product. The module stands below the packages,
since both networks (on CPU) and per-example gradients need it.
"""

import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp


def im2col(
  x: jax.Array,
  window: Sequence[int],
  strides: Sequence[int],
  padding: str | Sequence[tuple[int, int]],
  input_dilation: Sequence[int] | None = None,
  kernel_dilation: Sequence[int] | None = None,
) -> jax.Array:
  """The input window of each output of a convolution, as one vector.

  Args:
    x: [..., H, W, C], or any other number of spatial dimensions, as many as
      window has.
    window: (h, w).
    strides: two numbers.
    padding: "SAME", "VALID" or ((low, high), (low, high)); negative numbers
      crop.
    input_dilation: two numbers, 1 more than the zeros between two inputs.
    kernel_dilation: two numbers, the distance between neighbouring inputs of
      one output.

  Returns:
    [..., H', W', h * w * C], in the order of a kernel [h, w, C, features].
  """
  dimensions = len(window)
  between = input_dilation or (1,) * dimensions
  apart = kernel_dilation or (1,) * dimensions
  if isinstance(padding, str):
    padding = jax.lax.padtype_to_pads(
      x.shape[-1 - dimensions : -1], window, strides, padding
    )
  edges = [
    (low, high, b - 1) for (low, high), b in zip(padding, between, strict=True)
  ]
  still = [(0, 0, 0)] * (x.ndim - dimensions - 1)
  x = jax.lax.pad(x, jnp.zeros((), x.dtype), [*still, *edges, (0, 0, 0)])
  lengths = [
    (n - (w - 1) * d - 1) // s * s + 1
    for n, w, s, d in zip(
      x.shape[-1 - dimensions : -1], window, strides, apart, strict=True
    )
  ]
  shifts = itertools.product(
    *(range(0, w * d, d) for w, d in zip(window, apart, strict=True))
  )
  return jnp.concatenate(
    [
      x[
        (
          ...,
          *(
            slice(i, i + n, s)
            for i, n, s in zip(shift, lengths, strides, strict=True)
          ),
          slice(None),
        )
      ]
      for shift in shifts
    ],
    -1,
  )
