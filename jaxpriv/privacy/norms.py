"""Norms of gradients in float32 that are never below the true ones.

A norm that is computed too small lets an example add more than the clip norm,
and whoever places an example may choose one with such a norm. So sums have a
bounded depth, squares that would underflow are scaled, and where terms of both
signs may cancel, a bound of the rounding error is added.

The bound is that of Higham, "Accuracy and Stability of Numerical Algorithms",
2nd edition, equations (3.3) to (3.5): a sum of n terms, in whatever order, has
an error of at most g(n) times the sum of their sizes, g(n) = n u / (1 - n u), u
being 2^-24; and so has a dot product of length n.
"""

import functools
import math

import jax
import jax.numpy as jnp

# 1 - n u is above 0.99 for all sums in this module.
UNIT = 2.0**-24 / 0.99

# The largest number of terms whose order of addition is left to the compiler.
_LAST = 32

# Smaller squares are subnormal and may be flushed to zero.
_SMALLEST_SQUARE = 2.0**-126

# float32 throughout: by default, accelerators round the factors of a product.
_einsum = functools.partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)


def depth(terms: int) -> int:
  """The most additions that a term goes through in a `total` of so many."""
  halvings = 0
  while terms > _LAST:
    halvings, terms = halvings + 3, -(-terms // 8)
  return halvings + terms


def total(x: jax.Array) -> jax.Array:
  """Sums over the last axis of x [..., n], by at most `depth(n)` additions."""
  while x.shape[-1] > _LAST:
    missing = -x.shape[-1] % 8
    if missing:
      x = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, missing)])
    x = _pairwise(jnp.split(x, 8, -1))
    # Otherwise XLA fuses all rounds, and its code grows as their product.
    x = jax.lax.optimization_barrier(x)
  return x.sum(-1)


def _pairwise(parts):
  while len(parts) > 1:
    parts = [
      sum(parts[i + 1 : i + 2], parts[i]) for i in range(0, len(parts), 2)
    ]
  return parts[0]


def lengths(x: jax.Array) -> jax.Array:
  """Euclidean norms [B] of the rows of x [B, ...], float32.

  The relative error is below 1e-5 for norms from 0 to 1e19; beyond, squares and
  the norm become infinite. The norm of a row does not depend on other rows.
  """
  x = x.astype(jnp.float32).reshape(len(x), -1)
  plain = jnp.sqrt(total(jnp.square(x)))
  # Squares that underflow are then less than 2^-20 of the sum.
  enough = math.sqrt(x.shape[1] * _SMALLEST_SQUARE) * 2**10

  def scaled():
    largest = jnp.max(jnp.abs(x), 1)
    unit = x / jnp.where(largest > 0, largest, 1)[:, None]
    rescaled = largest * jnp.sqrt(total(jnp.square(unit)))
    return jnp.where(plain < enough, rescaled, plain)

  return jax.lax.cond(jnp.any(plain < enough), scaled, lambda: plain)


def product_lengths(a: jax.Array, g: jax.Array) -> jax.Array:
  """Norms [B] of a^T g without the products; too large rather than too small.

  The squared norm is the sum over positions t, s of (a_t . a_s) (g_t . g_s)
  (Goodfellow 2015). Its terms may cancel, so the largest possible rounding
  error is added: the share `slack` of the square of sum_t |a_t| |g_t|.

  Args:
    a: [B, T, P] float32.
    g: [B, T, O] float32.
  """
  rows, positions = a.shape[:2]
  each = lambda x: lengths(x.reshape(rows * positions, -1)).reshape(rows, -1)
  size_a, size_g = each(a), each(g)
  if positions == 1:
    return (size_a * size_g)[:, 0]
  sizes = size_a * size_g
  size = total(sizes)
  share = sizes / jnp.where(size > 0, size, 1)[:, None]
  # Dot products of rows of length 1 neither under- nor overflow.
  like_a, like_g = _gram(_unit(a, size_a)), _gram(_unit(g, size_g))
  terms = share[:, :, None] * share[:, None, :] * like_a * like_g
  square = total(terms.reshape(rows, -1))
  bound = slack(positions, a.shape[2], g.shape[2])
  return size * jnp.sqrt(jnp.maximum(square, 0) + bound)


def slack(positions: int, inputs: int, outputs: int) -> float:
  """The share of (sum_t |a_t| |g_t|)^2 that `product_lengths` adds.

  It covers the errors of two dot products and of the sum of their products,
  relative to the sizes of the terms, and 16 roundings for all else that happens
  to each term.
  """
  dots = _gram_depth(inputs) + _gram_depth(outputs)
  return UNIT * (dots + depth(positions**2) + 16)


def _unit(x, size):
  return x / jnp.where(size > 0, size, 1)[..., None]


def _block(size) -> int:
  """The length of the blocks into which a dot product of that length is cut."""
  return max(64, -(-size // 32))


def _gram(x):
  """Dot products [B, T, T] of the rows of x [B, T, N], in blocks of N."""
  size = x.shape[2]
  blocks = [x[..., i : i + _block(size)] for i in range(0, size, _block(size))]
  return _pairwise([_einsum("btn,bsn->bts", x, x) for x in blocks])


def _gram_depth(size):
  block = _block(size)
  return min(size, block) + math.ceil(math.log2(-(-size // block)))
