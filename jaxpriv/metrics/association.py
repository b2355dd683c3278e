"""Statistical dependence of two quantities, and associations of embeddings."""

import itertools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import nctdtr, stdtr, stdtrit

EXACT_LIMIT = 10_000  # partitions that are all looked at
_BLOCK = 2**20  # numbers that are drawn at once


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


class Association(NamedTuple):
  """The outcome of `association_test`.

  Attributes:
    effect_size: d, between -2 and 2; above 0 where X goes with A, Y with B.
    p_value: one-sided, in (0, 1].
    statistic: the sum of s(w) over X, less that over Y.
    n: embeddings of X, and of Y.
    exact: whether all partitions were looked at.
    permutations: how many were, the observed one among them.
  """

  effect_size: float
  p_value: float
  statistic: float
  n: int
  exact: bool
  permutations: int


def association_test(
  x: np.ndarray,
  y: np.ndarray,
  a: np.ndarray,
  b: np.ndarray,
  num_permutations: int = 9999,
  seed: int = 0,
) -> Association:
  """Image embedding association test (iEAT): does X go with A, and Y with B?

  A picture w is associated with A rather than B by s(w) = mean over A of
  cos(w, a) - mean over B of cos(w, b). The effect size is d = (mean over X of
  s - mean over Y of s) / the deviation of s in both, with 2n - 1 in its
  denominator. p is the share of partitions of the pictures into two halves
  whose statistic is the observed one or more: of all partitions if they are no
  more than `EXACT_LIMIT` (n <= 7), else of random ones and the observed one.
  Steed and Caliskan, "Image representations learned with unsupervised
  pre-training contain human-like biases", FAccT 2021, as they computed it.

  Sums that rounding alone can tell apart count as equal, so that p is one of
  the pictures and not of their order. Where all s(w) are equal, d is 0, p is 1.

  Args:
    x: [n, D], embeddings of the target X, of any length but 0.
    y: [n, D], of the target Y.
    a: [P, D], of the attribute A.
    b: [Q, D], of the attribute B.
    num_permutations: random partitions, where not all are looked at.
    seed: of the draws.

  Raises:
    ValueError: X and Y are not of one size, a set is empty, embeddings are
      zero, not finite or of several dimensions, or num_permutations is below 1.
  """
  if num_permutations < 1:
    raise ValueError(f"num_permutations is {num_permutations}: give 1 or more")
  sets = {k: _unit(k, rows) for k, rows in zip("XYAB", (x, y, a, b))}
  if len({rows.shape[1] for rows in sets.values()}) > 1:
    told = ", ".join(f"{k} {rows.shape[1]}" for k, rows in sets.items())
    raise ValueError(f"the embeddings are of several dimensions: {told}")
  n = len(sets["X"])
  if len(sets["Y"]) != n:
    raise ValueError(
      f"X has {n} embeddings and Y {len(sets['Y'])}: give as many of both, or"
      " they are not the halves of one set"
    )
  # A mean of cosines with unit vectors is the product with their mean.
  direction = sets["A"].mean(0) - sets["B"].mean(0)
  s = np.concatenate([sets["X"], sets["Y"]]) @ direction
  observed = s[:n].sum()
  # The most by which two sums of n such products can be off.
  rounding = 4 * n * (len(direction) + n) * np.finfo(np.float64).eps
  spread = s.std(ddof=1) if np.ptp(s) > rounding else math.inf
  # Sorted, since draws from one order would be others from another one.
  pool = np.sort(s)
  exact = math.comb(2 * n, n) <= EXACT_LIMIT
  if exact:
    sums = pool[list(itertools.combinations(range(2 * n), n))].sum(1)
  else:
    sums = np.append(_random_sums(pool, num_permutations, seed), observed)
  return Association(
    effect_size=float((s[:n].mean() - s[n:].mean()) / spread),
    p_value=float(np.mean(sums >= observed - rounding)),
    statistic=float(observed - s[n:].sum()),
    n=n,
    exact=exact,
    permutations=len(sums),
  )


def _unit(name: str, rows: np.ndarray) -> np.ndarray:
  """Embeddings [N, D] of unit length, float64."""
  rows = np.asarray(rows, np.float64)
  if rows.ndim != 2 or not rows.size:
    raise ValueError(
      f"{name} is of shape {list(rows.shape)}: give embeddings [n, D], one at"
      " least"
    )
  largest = np.abs(rows).max(1, keepdims=True)
  if not np.isfinite(largest).all():
    raise ValueError(f"{name} has embeddings that are not finite")
  if not largest.all():
    raise ValueError(f"{name} has embeddings of zeros, which have no direction")
  rows = rows / largest  # else squares may overflow
  return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _random_sums(pool: np.ndarray, count: int, seed: int) -> np.ndarray:
  """Sums [count] of random halves of a pool [2n]."""
  rng = np.random.default_rng(seed)
  rows = max(1, _BLOCK // len(pool))
  sums = []
  for start in range(0, count, rows):
    keys = rng.random((min(rows, count - start), len(pool)))
    half = np.argpartition(keys, len(pool) // 2 - 1)[:, : len(pool) // 2]
    sums.append(pool[half].sum(1))
  return np.concatenate(sums)


def lowest_p(n: int, num_permutations: int = 9999) -> float:
  """The lowest p that `association_test` can give for n pictures of X and Y."""
  if n < 1:
    raise ValueError(f"n is {n}: a test has a picture of X and of Y at least")
  partitions = math.comb(2 * n, n)
  return 1 / (partitions if partitions <= EXACT_LIMIT else num_permutations + 1)


def p_of_effect(effect_size: float, n: int) -> float:
  """About the p that an effect size d of n pictures of X and Y has.

  Student's t with 2n - 2 degrees of freedom in the place of permutations. The
  thirty values that the authors of the test published, n from 4 to 40, are
  within .09 of it. So a d and a p that are far from it are not of one test.

  Raises:
    ValueError: n is below 2, or d is as large as no n pictures have it.
  """
  largest = _largest(n)
  if not abs(effect_size) <= largest:
    raise ValueError(
      f"an effect size of {effect_size} is none: for n = {n} they are within"
      f" {largest:.4g}"
    )
  share = effect_size / largest
  rest = math.sqrt(max(1 - share * share, 0))
  t = math.inf if not rest else math.sqrt(2 * n - 2) * share / rest
  return float(stdtr(2 * n - 2, -math.copysign(t, share)))


def least_effect(n: int, level: float = 0.05) -> float:
  """About the least d that n pictures of X and Y need for a p of `level`.

  The inverse of `p_of_effect`; infinite where no partition is that rare.

  Raises:
    ValueError: level is outside (0, 0.5], or n is below 1.
  """
  if not 0 < level <= 0.5:
    raise ValueError(f"level must lie in (0, 0.5], not {level}")
  if lowest_p(n) > level or n < 2:
    return math.inf
  t = stdtrit(2 * n - 2, 1 - level)
  return float(_largest(n) * t / math.sqrt(t * t + 2 * n - 2))


def power(n: int, effect_size: float, level: float = 0.05) -> float:
  """About the chance that n pictures of X and Y show an effect there is.

  That of Student's one-sided test of s(w), normal in X and in Y alike, whose
  means lie effect_size deviations of both together apart.

  Args:
    n: pictures of X, and of Y.
    effect_size: d of all pictures that might have been taken, in (-2, 2).
    level: p up to which an effect is shown.

  Raises:
    ValueError: n is below 1, effect_size or level out of range.
  """
  if not abs(effect_size) < 2:
    raise ValueError(f"effect_size must lie in (-2, 2), not {effect_size}")
  if math.isinf(least_effect(n, level)):
    return 0.0
  within = effect_size / math.sqrt(1 - effect_size**2 / 4)
  t = stdtrit(2 * n - 2, 1 - level)
  return float(1 - nctdtr(2 * n - 2, within * math.sqrt(n / 2), t))


def _largest(n: int) -> float:
  """The largest d of n pictures of X and of Y: all alike within each."""
  if n < 2:
    raise ValueError(f"n is {n}: effect sizes have a spread from 2 on")
  return math.sqrt(2 * (2 * n - 1) / n)
