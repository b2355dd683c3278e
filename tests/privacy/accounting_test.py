"""Budgets against dp_accounting's own calibration and published settings."""

import math
import statistics

import dp_accounting
import pytest
from dp_accounting import pld, rdp

from jaxpriv.privacy import accounting


@pytest.mark.parametrize(
  ("q", "sigma", "steps", "delta", "by_rdp", "by_pld"),
  [
    (256 / 60000, 1.1, 14062, 1e-5, 2.596556, 2.381686),
    (64 / 20000, 1.0, 3125, 1e-5, 1.190870, 0.928787),
    (1024 / 20000, 2.0, 1000, 1e-5, 4.133641, 3.800956),
    (1.0, 10.0, 100, 1e-5, 4.728507, 4.377179),
  ],
)
def test_known_settings(q, sigma, steps, delta, by_rdp, by_pld):
  result = accounting.epsilon(q, sigma, steps, delta, "rdp")
  assert result == pytest.approx(by_rdp, rel=1e-4)
  result = accounting.epsilon(q, sigma, steps, delta)
  assert result == pytest.approx(by_pld, rel=1e-3)


def test_the_unsampled_gaussian_is_the_analytic_one():
  """Balle and Wang 2018, theorem 8, at mu = sqrt(T) / sigma = 1."""
  result = accounting.epsilon(1.0, 10.0, 100, 1e-5)
  normal = lambda x: 0.5 * math.erfc(-x / math.sqrt(2))
  delta = normal(0.5 - result) - math.exp(result) * normal(-0.5 - result)
  assert delta == pytest.approx(1e-5, rel=1e-3)


@pytest.mark.parametrize("accountant", ["rdp", "pld"])
def test_calibration_is_that_of_dp_accounting(accountant):
  q, steps, delta, target = 1024 / 20000, 1000, 1e-5, 3.0
  sigma = accounting.calibrate_noise_multiplier(
    target, delta, q, steps, accountant
  )
  spent = accounting.epsilon(q, sigma, steps, delta, accountant)
  assert spent <= target < spent * (1 + 1e-3)
  make = dict(rdp=rdp.RdpAccountant, pld=pld.PLDAccountant)[accountant]
  theirs = dp_accounting.calibrate_dp_mechanism(
    make,
    lambda sigma: accounting.event(q, sigma, steps),
    target,
    delta,
    dp_accounting.ExplicitBracketInterval(1.0, 4.0),
    tol=1e-4,
  )
  assert sigma == pytest.approx(theirs, rel=1e-3)


@pytest.mark.parametrize(
  "target,steps,fine",
  [(0.01, 512, 40), (0.1, 20000, 9), (1.0, 512, 3), (3.0, 512, 3),
   (50.0, 512, 3)],
)  # fmt: skip
def test_calibration_asks_little_and_nothing_twice(target, steps, fine, caplog):
  """At little noise, each evaluation on the fine grid takes seconds."""
  asked = []

  def spent(sigma, accountant):
    asked.append((accountant, sigma))
    event = accounting.event(0.1, sigma, steps)
    return accounting.epsilon_of([event], 1e-6, accountant)

  with caplog.at_level("INFO"):
    sigma = accounting.calibrate(spent, target, "pld")
  assert f"Finding the noise for epsilon = {target:g}" in caplog.text
  assert len(set(asked)) == len(asked)
  assert [name for name, _ in asked].count("pld") <= fine
  assert accounting.epsilon(0.1, sigma, steps, 1e-6) <= target
  less = accounting.epsilon(0.1, sigma * (1 - 1.1e-4), steps, 1e-6)
  assert less > target


@pytest.mark.parametrize("jump", [0.3, 1.0, 7.3])
def test_calibration_ends_where_epsilon_jumps(jump):
  """No noise multiplier spends exactly the target."""
  spent = lambda sigma, accountant: 9.0 if sigma < jump else 0.5
  sigma = accounting.calibrate(spent, 3.0, "pld")
  assert jump <= sigma <= jump * (1 + 1.1e-4)


def test_noise_that_nobody_has_is_refused():
  with pytest.raises(ValueError, match="no noise keeps to epsilon = 3.0"):
    accounting.calibrate(
      lambda sigma, accountant: 2.0 if accountant == "quick" else math.inf,
      3.0,
      "pld",
    )


def test_little_noise_fits_in_memory():
  """On the fine grid it would not; epsilon is nearly mu^2 / 2 + 4.265 mu."""
  mu = math.sqrt(1000) / 0.25
  result = accounting.epsilon(1.0, 0.25, 1000, 1e-5)
  assert result == pytest.approx(mu**2 / 2 + 4.265 * mu, rel=1e-3)
  assert accounting.epsilon(0.1, 1e-4, 100, 1e-5) == math.inf


def test_a_coarser_grid_above_100_is_a_bound_as_good():
  total = pld.PLDAccountant().compose(accounting.event(0.1, 0.42, 512))
  fine = total.get_epsilon(1e-6)
  result = accounting.epsilon(0.1, 0.42, 512, 1e-6)
  assert fine > 100
  assert fine <= result <= fine * (1 + 1e-4)


def test_the_ends():
  assert accounting.epsilon(0.1, 1.0, 0, 1e-5) == 0
  assert accounting.epsilon(0.1, 0.0, 5, 1e-5) == math.inf
  assert accounting.calibrate_noise_multiplier(1e6, 1e-5, 1e-3, 1) == (
    accounting.SMALLEST_NOISE
  )


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    ((1.5, 1.0, 10, 1e-5), "sampling_probability = 1.5"),
    ((0.0, 1.0, 10, 1e-5), "sampling_probability = 0"),
    ((0.1, -1.0, 10, 1e-5), "noise_multiplier = -1"),
    ((0.1, math.nan, 10, 1e-5), "noise_multiplier = nan"),
    ((0.1, 1.0, 1.5, 1e-5), "steps = 1.5"),
    ((0.1, 1.0, 10, 0.0), "delta = 0"),
    ((0.1, 1.0, 10, 1e-5, "gdp"), "'gdp' is unknown; one of pld, rdp"),
  ],
)
def test_numbers_out_of_range(arguments, message):
  with pytest.raises(ValueError, match=message):
    accounting.epsilon(*arguments)


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    ((0.0, 1e-5, 0.1, 10), "target_epsilon = 0"),
    ((-1.0, 1e-5, 0.1, 10), "target_epsilon = -1"),
    ((1.0, 1.0, 0.1, 10), "delta = 1"),
    ((1.0, 1e-5, 2.0, 10), "sampling_probability = 2"),
    ((1.0, 1e-5, 0.1, 0), "steps = 0"),
  ],
)
def test_budgets_out_of_range(arguments, message):
  with pytest.raises(ValueError, match=message):
    accounting.calibrate_noise_multiplier(*arguments)


@pytest.mark.parametrize("accountant", ["pld", "rdp"])
@pytest.mark.parametrize(("sigma", "steps"), [(4.0, 1), (2.0, 4), (10.0, 300)])
def test_no_attacker_does_better_than_the_best_test(accountant, sigma, steps):
  """For unsampled Gaussian noise it is known (Neyman and Pearson).

  By privacy losses the bound is met; by moments it is looser.
  """
  rates = (0.001, 0.01, 0.1)
  event = accounting.event(1.0, sigma, steps)
  bounds = accounting.true_positive_bounds([event], rates, accountant)
  normal = statistics.NormalDist()
  mu = math.sqrt(steps) / sigma
  for rate, bound in zip(rates, bounds, strict=True):
    exact = normal.cdf(normal.inv_cdf(rate) + mu)
    assert exact <= bound <= 1
    if accountant == "pld":
      assert bound <= exact * 1.02 + 1e-4
  assert bounds == sorted(bounds)


def test_bounds_on_attackers_at_both_ends():
  rates = (0.01, 0.5)
  bounds = accounting.true_positive_bounds
  assert bounds([], rates) == [0.01, 0.5]
  assert bounds([accounting.event(0.1, 0.0, 3)], rates) == [1.0, 1.0]
  quiet = bounds([accounting.event(0.01, 20.0, 10)], rates)
  assert quiet == pytest.approx(rates, rel=0.05)
  two = [accounting.event(0.1, 1.0, 30), accounting.event(0.05, 1.0, 100)]
  one, both = bounds(two[:1], rates), bounds(two, rates)
  assert all(a < b for a, b in zip(one, both, strict=True))
  with pytest.raises(ValueError, match="rates must lie"):
    bounds(two, (0.0,))


def test_an_epsilon_is_reckoned_once(monkeypatch):
  spent = [accounting.event(0.01, 1.1, 33)]
  first = accounting.epsilon_of(spent, 1e-5)
  monkeypatch.setattr(accounting, "_compose", None)  # not to be called again
  assert accounting.epsilon_of(spent, 1e-5) == first
