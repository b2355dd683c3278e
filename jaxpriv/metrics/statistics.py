"""Intervals for counted outcomes and for means."""

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

RESAMPLES = 1000


class Proportion(NamedTuple):
  """`hits` out of `total`, the rate, and the ends of its 95% interval."""

  hits: int
  total: int
  rate: float
  low: float
  high: float


def wilson_interval(
  k: int, n: int, confidence: float = 0.95
) -> tuple[float, float]:
  """Score interval of a binomial proportion (Wilson, JASA 22, 1927).

  Unlike the normal approximation it is informative at zero hits: 0 of 1143
  still allows a rate of .0034.

  Args:
    k: hits.
    n: trials; without any, the interval is (0, 1).
    confidence: two-sided coverage, in (0, 1).

  Returns:
    (low, high).

  Raises:
    ValueError: if not 0 <= k <= n, or confidence is outside (0, 1).
  """
  if not 0 <= k <= n:
    raise ValueError(f"{k} hits of {n} trials: hits must lie in [0, trials]")
  if not 0 < confidence < 1:
    raise ValueError(f"confidence must lie in (0, 1), not {confidence}")
  if n == 0:
    return 0.0, 1.0
  z2 = NormalDist().inv_cdf((1 + confidence) / 2) ** 2
  centre = (k + z2 / 2) / (n + z2)
  half = math.sqrt(z2 * (k * (n - k) / n + z2 / 4)) / (n + z2)
  # The ends are set exactly where all or no trials hit; rounding would miss.
  low = 0.0 if k == 0 else max(centre - half, 0.0)
  high = 1.0 if k == n else min(centre + half, 1.0)
  return float(low), float(high)


def proportion(k: int, n: int, confidence: float = 0.95) -> Proportion:
  """Counts with their rate and interval; without trials it is an error."""
  if n == 0:
    raise ValueError("a rate over no trial is not defined")
  low, high = wilson_interval(k, n, confidence)
  return Proportion(int(k), int(n), k / n, low, high)


def grouped_proportion(
  hits: np.ndarray, groups: np.ndarray, confidence: float = 0.95, seed: int = 0
) -> Proportion:
  """Counts with a rate whose interval knows that trials come in groups.

  Photographs of one person are found together, or missed together. The interval
  is that of groups drawn with replacement (bootstrap, Efron 1979), but never
  narrower than Wilson's, which alone is informative where nobody is found.

  Args:
    hits: [N] booleans, the outcomes of the trials.
    groups: [N], the group, such as the person, of each.
    confidence: two-sided coverage, in (0, 1).
    seed: of the draws.

  Raises:
    ValueError: there is no trial.
  """
  hits = np.asarray(hits, bool)
  single = proportion(int(hits.sum()), len(hits), confidence)
  _, groups = np.unique(groups, return_inverse=True)
  counts = np.stack([np.bincount(groups, hits), np.bincount(groups)])
  people = counts.shape[1]
  rng = np.random.default_rng(seed)
  drawn = rng.multinomial(people, np.full(people, 1 / people), RESAMPLES)
  found, tried = counts @ drawn.T
  tail = (1 - confidence) / 2
  low, high = np.quantile(found / tried, [tail, 1 - tail])
  return single._replace(
    low=min(single.low, float(low)), high=max(single.high, float(high))
  )


class Mean(NamedTuple):
  """A mean of `total` values and the ends of its interval."""

  value: float
  low: float
  high: float
  total: int


def mean_interval(
  values: np.ndarray, groups: np.ndarray, confidence: float = 0.95
) -> Mean:
  """The mean of known values, with an interval by groups.

  Values of one group, such as the photographs of one person, are not
  independent: the variance is that of sums over groups (the cluster-robust
  one), and the interval is Student's, of one degree of freedom less than there
  are groups.

  Args:
    values: [N]; NaN is unknown and left out.
    groups: [N], the group, such as the person, of each value.
    confidence: two-sided coverage, in (0, 1).

  Raises:
    ValueError: no value is known.
  """
  values, groups = np.asarray(values, np.float64), np.asarray(groups)
  finite = np.isfinite(values)
  if not finite.any():
    raise ValueError("the mean of no known value is not defined")
  values = values[finite]
  _, groups = np.unique(groups[finite], return_inverse=True)
  mean = values.mean()
  sums = np.bincount(groups, values - mean)
  count = len(sums)
  variance = (sums**2).sum() * count / max(count - 1, 1) / len(values) ** 2
  half = math.inf
  if count > 1:
    half = stdtrit(count - 1, (1 + confidence) / 2) * math.sqrt(variance)
  return Mean(float(mean), float(mean - half), float(mean + half), len(values))


def bootstrap_interval(
  statistic: Callable[[np.ndarray], float],
  count: int,
  confidence: float = 0.95,
  resamples: int = 200,
  seed: int = 0,
) -> tuple[float, float]:
  """Percentile interval (Efron 1979) of a statistic of numbered items.

  Args:
    statistic: indices [count], with repetitions -> a number.
    count: number of items.
    confidence: two-sided coverage.
    resamples: number of draws of all items, with replacement.
    seed: the seed of the draws.
  """
  rng = np.random.default_rng(seed)
  drawn = [statistic(rng.integers(0, count, count)) for _ in range(resamples)]
  tail = (1 - confidence) / 2
  low, high = np.quantile(drawn, [tail, 1 - tail])
  return float(low), float(high)


def holm(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
  """p values adjusted for their number (Holm, Scand. J. Statist. 6, 1979).

  Rejecting where the adjusted p is at most alpha, the chance of any false
  rejection is at most alpha, however the tests depend on each other.

  Args:
    p_values: [N], in [0, 1].

  Returns:
    float64 [N], in the same order.

  Raises:
    ValueError: they are no list of numbers in [0, 1].
  """
  values = np.asarray(p_values, np.float64)
  if values.ndim != 1 or not ((values >= 0) & (values <= 1)).all():
    raise ValueError(f"p values must be a list of numbers in [0, 1]: {values}")
  order = np.argsort(values, kind="stable")
  factors = np.arange(len(values), 0, -1)
  adjusted = np.empty_like(values)
  adjusted[order] = np.maximum.accumulate(values[order] * factors)
  return np.minimum(adjusted, 1)
