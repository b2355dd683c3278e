"""Norms of gradients in float32 that are never below the true ones.

A norm that comes out too small lets an example add more than the clip norm, and
whoever places an example may choose one whose norm does. So sums are of a
bounded depth, squares that would underflow are scaled, and where terms of both
signs may cancel the bound of what rounding hides of them is added.

The bound is that of Higham, "Accuracy and Stability of Numerical Algorithms",
2nd edition, equations (3.3) to (3.5): a sum of n terms, in whatever order, has
an error of at most g(n) times the sum of their sizes, g(n) = n u / (1 - n u), u
being 2^-24; and so has a dot product of length n.
"""

import functools
import math

import jax
import jax.numpy as jnp

# 1 - n u is above 0.99 for all that is summed here.
UNIT = 2.0**-24 / 0.99

# Terms that are added up in an order which the compiler may choose, at most.
_LAST = 32

# Below it a square is, or may be flushed to, zero.
_SMALLEST_SQUARE = 2.0**-126

# float32 throughout: accelerators would round what norms are made of.
_einsum = functools.partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)


def depth(terms: int) -> int:
  """How many additions a term goes through in `total` of that many, at most."""
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
    # Else XLA fuses all rounds into one, whose code grows as their product.
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

  To a relative 1e-5 from 0 up to 1e19, where squares become infinite and so
  does the norm. That of a row does not depend on the other rows.
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
  (Goodfellow 2015). Its terms may cancel, so that what rounding may hide, a
  share of the square of sum_t |a_t| |g_t|, is added: `slack`.

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

  The errors of two dot products and of the sum of their products, relative to
  the sizes of what is summed; and 16 for what is done to each term besides.
  """
  dots = _gram_depth(inputs) + _gram_depth(outputs)
  return UNIT * (dots + depth(positions**2) + 16)


def _unit(x, size):
  return x / jnp.where(size > 0, size, 1)[..., None]


def _block(size) -> int:
  """Length of the dot products that one of that length is the sum of."""
  return max(64, -(-size // 32))


def _gram(x):
  """Dot products [B, T, T] of the rows of x [B, T, N], in blocks of N."""
  size = x.shape[2]
  blocks = [x[..., i : i + _block(size)] for i in range(0, size, _block(size))]
  return _pairwise([_einsum("btn,bsn->bts", x, x) for x in blocks])


def _gram_depth(size):
  block = _block(size)
  return min(size, block) + math.ceil(math.log2(-(-size // block)))
