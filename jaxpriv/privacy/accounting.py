"""The privacy budget that DP-SGD spends, computed by dp_accounting.

Each step draws every unit (an image, or a person) independently with the
sampling probability q, and adds Gaussian noise of sigma times the sensitivity.
That is the Poisson-subsampled Gaussian mechanism, composed T times;
neighbouring data sets differ by adding or removing one unit.

dp_accounting takes longer to import than JAX, and every program imports this
module, so dp_accounting is imported where it is used.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from absl import logging

if TYPE_CHECKING:
  import dp_accounting

ACCOUNTANTS = ("pld", "rdp")
# Coarser upper bounds, with which only `calibrate` begins.
QUICK, COARSE = "quick", "coarse"
# Grid spacing of privacy losses, by accountant.
GRIDS = {"pld": 1e-4, COARSE: 1e-3}

# Smallest noise multiplier considered; below it the guarantee is vacuous.
SMALLEST_NOISE = 0.2


def event(
  sampling_probability: float, noise_multiplier: float, steps: int
) -> dp_accounting.DpEvent:
  """`steps` steps as dp_accounting describes them.

  Raises:
    ValueError: a number is outside its range; the message says which.
  """
  if not 0 < sampling_probability <= 1:
    raise ValueError(
      f"sampling_probability = {sampling_probability}: it is the share of the"
      " data in an average batch, above 0 and at most 1"
    )
  if not noise_multiplier >= 0:
    raise ValueError(f"noise_multiplier = {noise_multiplier} is negative")
  if steps < 0 or steps != int(steps):
    raise ValueError(f"steps = {steps}: it must be a whole number, 0 or more")
  import dp_accounting

  one: dp_accounting.DpEvent = dp_accounting.GaussianDpEvent(noise_multiplier)
  if sampling_probability < 1:
    one = dp_accounting.PoissonSampledDpEvent(sampling_probability, one)
  return dp_accounting.SelfComposedDpEvent(one, int(steps))


def epsilon(
  sampling_probability: float,
  noise_multiplier: float,
  steps: int,
  delta: float,
  accountant: str = "pld",
) -> float:
  """The epsilon of (epsilon, delta)-DP after `steps` steps.

  "pld" rounds privacy losses up to a grid of 1e-4. Above an epsilon of 100 the
  grid is ten times coarser, above 1000 a hundred times, and so on; the result
  is still an upper bound, to about four digits. A loss above ten million in one
  step counts as inf.

  Args:
    sampling_probability: q, in (0, 1].
    noise_multiplier: sigma, noise over sensitivity; 0 is no privacy.
    steps: T.
    delta: in (0, 1); it means little unless below 1 / number of units.
    accountant: "pld" (tighter) or "rdp" (faster).

  Raises:
    ValueError: a number is outside its range.
  """
  spent = event(sampling_probability, noise_multiplier, steps)
  return epsilon_of([spent], delta, accountant)


def epsilon_of(
  events: Sequence[dp_accounting.DpEvent], delta: float, accountant: str = "pld"
) -> float:
  """The epsilon of several events, from `event`, on the same data."""
  _check_delta(delta)
  total = _accountant(accountant)
  events = [e for e in events if e.count]
  if not events:
    return 0.0
  if any(_noiseless(e.event) for e in events):
    return math.inf
  if accountant in GRIDS:
    return _by_pld(tuple(events), delta, GRIDS[accountant])
  return _compose(total, events).get_epsilon(delta)


def true_positive_bounds(
  events: Sequence[dp_accounting.DpEvent],
  false_positives: Sequence[float],
  accountant: str = "pld",
) -> list[float]:
  """The most members that an attacker on who was trained on can find.

  Of every (epsilon, delta) that holds, a test with a rate of false positives f
  has a rate of true positives of at most exp(epsilon) f + delta, and of at most
  1 - exp(-epsilon) (1 - delta - f) (Kairouz et al., "The Composition Theorem
  for Differential Privacy", 2015); the least over epsilon counts.

  Args:
    events: from `event`, on the same data.
    false_positives: rates, each in (0, 1).
    accountant: as in `epsilon`.

  Returns:
    a rate of true positives for each rate of false ones.
  """
  if any(not 0 < rate < 1 for rate in false_positives):
    raise ValueError(f"rates must lie in (0, 1), not {false_positives}")
  events = [e for e in events if e.count]
  if not events:
    return list(false_positives)  # nothing is told: it can only guess
  nothing = [1.0] * len(false_positives)  # anybody may be found
  if any(_noiseless(e.event) for e in events):
    return nothing
  largest = 0.0 if accountant == "rdp" else max(map(_largest_loss, events))
  if largest > 1e7:
    return nothing
  total = _accountant(accountant)
  if accountant in GRIDS:
    from dp_accounting import pld

    grid = max(GRIDS[COARSE], 1e-5 * largest)
    total = pld.PLDAccountant(value_discretization_interval=grid)
  _compose(total, events)
  # Beyond the last one, exp(epsilon) f is above 1.
  epsilons = np.linspace(0, -math.log(min(false_positives)), 200)
  deltas = np.array([total.get_delta(float(e)) for e in epsilons])
  return [
    float(
      min(
        1.0,
        (np.exp(epsilons) * f + deltas).min(),
        (1 - np.exp(-epsilons) * (1 - deltas - f)).min(),
      )
    )
    for f in false_positives
  ]


@functools.lru_cache(maxsize=64)  # a run asks for its epsilon several times
def _by_pld(events, delta, grid) -> float:
  """Epsilon on a grid of the given spacing; coarser if epsilon is above 100."""
  largest = max(_largest_loss(one) for one in events)
  if largest > 1e7:  # rounding would overflow
    return math.inf
  from dp_accounting import pld

  def spent(grid):
    total = pld.PLDAccountant(value_discretization_interval=grid)
    return _compose(total, events).get_epsilon(delta)

  coarsest = max(1e-2, 1e-5 * largest)
  bound = spent(coarsest)
  while grid * 1e6 < bound < math.inf:
    grid *= 10
  return spent(grid) if grid < coarsest else bound


def _largest_loss(composed) -> float:
  """Loss of one step (of all steps if unsampled) at ten standard deviations."""
  import dp_accounting

  inner = composed.event
  if isinstance(inner, dp_accounting.GaussianDpEvent):
    sigma = inner.noise_multiplier / math.sqrt(composed.count)
  else:
    sigma = inner.event.noise_multiplier
  return (0.5 + 10 * sigma) / sigma**2


def _compose(total, events):
  for one in events:
    total.compose(one)
  return total


def _noiseless(one):
  inner = getattr(one, "event", one)
  return not inner.noise_multiplier


def calibrate_noise_multiplier(
  target_epsilon: float,
  delta: float,
  sampling_probability: float,
  steps: int,
  accountant: str = "pld",
) -> float:
  """The smallest noise multiplier that keeps to a budget.

  Args:
    target_epsilon: above 0.
    delta: see `epsilon`.
    sampling_probability: see `epsilon`.
    steps: see `epsilon`; at least 1.
    accountant: see `epsilon`.

  Returns:
    sigma, to a relative 1e-4 and never less than the budget requires.

  Raises:
    ValueError: a number is outside its range.
  """
  _check_delta(delta)
  if not target_epsilon > 0:
    raise ValueError(
      f"target_epsilon = {target_epsilon}: a budget is above 0; there is no"
      " training with less"
    )
  if steps < 1:
    raise ValueError(f"steps = {steps}: there is nothing to spend a budget on")
  event(sampling_probability, 1.0, steps)  # raises if a number is out of range

  return calibrate(
    lambda sigma, accountant: epsilon(
      sampling_probability, sigma, steps, delta, accountant
    ),
    target_epsilon,
    accountant,
  )


def calibrate(
  spent: Callable[[float, str], float], target: float, accountant: str
) -> float:
  """The smallest noise multiplier of any event, to a relative 1e-4.

  Args:
    spent: (noise multiplier, accountant) -> epsilon.
    target: epsilon.
    accountant: see `epsilon`.

  Raises:
    ValueError: no noise keeps to the target, as at a delta below 1e-15.
  """
  from scipy import optimize

  _accountant(accountant)  # raises if it is unknown
  if accountant == "pld":
    logging.info("Finding the noise for epsilon = %g: some seconds", target)
  excesses: dict[tuple[float, str], float] = {}

  def excess(log_sigma, accountant):
    """Logarithm of the spent epsilon over the target; each is computed once."""
    if log_sigma > 50:
      raise ValueError(
        f"no noise keeps to epsilon = {target} at this delta, as {accountant}"
        " reckons: raise either"
      )
    key = (log_sigma, accountant)
    if key not in excesses:
      value = spent(math.exp(log_sigma), accountant)
      excesses[key] = math.log(min(max(value, 1e-12), 1e12) / target)
    return excesses[key]

  # A start that is computed in a moment and close enough.
  start = math.log(SMALLEST_NOISE)
  while excess(start, QUICK) > 0:
    start += math.log(2)
  # At little noise the fine grid is slow; there the coarse one is fast and
  # agrees to three digits or more.
  first = COARSE if accountant == "pld" and target >= 0.1 else accountant
  low, high = _bracket(lambda x: excess(x, first), start)
  if low < high:
    high = optimize.brentq(excess, low, high, (first,), xtol=1e-5)
  elif first == COARSE and excess(low, first) < -1e-3:
    return SMALLEST_NOISE  # an upper bound of epsilon already allows it
  slope = (excess(high + 0.01, first) - excess(high, first)) / 0.01
  return math.exp(_polish(lambda x: excess(x, accountant), high, slope))


def _bracket(excess, start) -> tuple[float, float]:
  """(too little, enough) noise near start; equal if any noise is enough."""
  smallest = math.log(SMALLEST_NOISE)
  low = high = max(start, smallest)
  while excess(high) > 0:
    low, high = high, high + 0.3
  while low == high and low > smallest:
    low = max(low - 0.3, smallest)
    if excess(low) <= 0:
      high = low
  return low, high


def _polish(excess, x, slope) -> float:
  """The least x where excess(x) <= 0, to 1e-4 and never below it."""
  smallest = math.log(SMALLEST_NOISE)
  too_little, enough = -math.inf, math.inf
  before = None
  for step in itertools.count(1):
    here = excess(x)
    if before is not None:
      slope = (here - before[1]) / (x - before[0])
    before = x, here
    slope = min(max(slope, -20.0), -1e-3)
    tolerance = -1e-4 * slope
    if here > 0:
      too_little = x
    else:
      enough = x
      if here >= -tolerance or x <= smallest:
        break
    if enough - too_little <= 1e-4:
      break
    move = -(here + 0.4 * tolerance) / slope
    x = max(x + min(max(move, -1.0), 1.0), smallest)
    # The grid makes excess a step function, which misleads the secant method:
    # bisect now and then.
    bracketed = enough - too_little < math.inf
    if not too_little < x < enough or (bracketed and step % 4 == 0):
      x = (too_little + enough) / 2
  return enough


def _check_delta(delta):
  if not 0 < delta < 1:
    raise ValueError(f"delta = {delta}: it is a probability, above 0, below 1")


def _accountant(name):
  from dp_accounting import pld, rdp

  if name == QUICK:  # integer orders only: a fast upper bound
    return rdp.RdpAccountant(orders=range(2, 128))
  accountants = {
    "pld": pld.PLDAccountant,
    COARSE: pld.PLDAccountant,
    "rdp": rdp.RdpAccountant,
  }
  if name not in accountants:
    raise ValueError(
      f"accountant {name!r} is unknown; one of {', '.join(ACCOUNTANTS)}"
    )
  return accountants[name]()
