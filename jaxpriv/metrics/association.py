"""Statistical dependence of two quantities."""

import jax
import jax.numpy as jnp


def distance_correlation(
  a: jax.Array, b: jax.Array, padding: jax.Array
) -> jax.Array:
  """Distance correlation of the rows of two arrays [B, ...], in [0, 1].

  Szekely, Rizzo, Bakirov, "Measuring and testing dependence by correlation of
  distances", 2007, biased estimate. Rows where padding [B] is true are ignored.
  """
  keep = jnp.logical_not(padding).astype(jnp.float32)
  count = jnp.maximum(keep.sum(), 1)
  pairs = keep[:, None] * keep[None]

  def centred(x):
    x = x.astype(jnp.float32).reshape(len(x), -1)
    squares = jnp.sum(x * x, axis=1)
    # Small differences of large numbers: bfloat16 is too coarse.
    products = jnp.matmul(x, x.T, precision="highest")
    gram = squares[:, None] + squares[None] - 2 * products
    # The diagonal is 0, where the root has no finite gradient.
    distance = jnp.sqrt(jnp.maximum(gram, 0) + 1e-6) * pairs
    rows = distance.sum(1) / count
    return (distance - rows[:, None] - rows[None] + rows @ keep / count) * pairs

  x, y = centred(a), centred(b)
  # A product of roots: the product of variances may underflow in float32.
  scale = jnp.sqrt(jnp.sum(x * x)) * jnp.sqrt(jnp.sum(y * y))
  return jnp.sqrt(jnp.maximum(jnp.sum(x * y), 0) / jnp.maximum(scale, 1e-12))
