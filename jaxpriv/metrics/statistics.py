"""Intervals for counted outcomes."""

import math
from statistics import NormalDist
from typing import NamedTuple


class Proportion(NamedTuple):
  """`hits` out of `total`, the rate, and the ends of its Wilson interval."""

  hits: int
  total: int
  rate: float
  low: float
  high: float


def wilson_interval(
  k: int, n: int, confidence: float = 0.95
) -> tuple[float, float]:
  """Score interval of a binomial proportion (Wilson, JASA 22, 1927).

  Unlike the normal approximation it says something at zero hits: 0 of 1143
  still allows a rate of .0034.

  Args:
    k: hits.
    n: trials; with none, nothing is known and the interval is (0, 1).
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
  # The ends are exact where every or no trial hits; rounding would miss them.
  low = 0.0 if k == 0 else max(centre - half, 0.0)
  high = 1.0 if k == n else min(centre + half, 1.0)
  return float(low), float(high)


def proportion(k: int, n: int, confidence: float = 0.95) -> Proportion:
  """Counts with their rate and interval; the rate of no trial is an error."""
  if n == 0:
    raise ValueError("a rate over no trial is not defined")
  low, high = wilson_interval(k, n, confidence)
  return Proportion(int(k), int(n), k / n, low, high)
