import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, t

from jaxpriv.metrics import statistics


@given(
  st.integers(1, 20_000).flatmap(
    lambda n: st.tuples(st.integers(0, n), st.just(n))
  ),
  st.sampled_from([0.5, 0.9, 0.95, 0.99]),
)
def test_wilson_equals_scipy(counts, confidence):
  k, n = counts
  expected = binomtest(k, n).proportion_ci(confidence, method="wilson")
  low, high = statistics.wilson_interval(k, n, confidence)
  assert low == pytest.approx(expected.low, abs=1e-12)
  assert high == pytest.approx(expected.high, abs=1e-12)
  assert 0 <= low <= k / n <= high <= 1


def test_wilson_at_the_ends():
  assert statistics.wilson_interval(0, 0) == (0.0, 1.0)
  assert statistics.wilson_interval(0, 50)[0] == 0.0
  assert statistics.wilson_interval(50, 50)[1] == 1.0
  # Zero hits of 1143 do not show a rate below .3%.
  assert statistics.wilson_interval(0, 1143)[1] == pytest.approx(
    0.00335, abs=1e-5
  )


@pytest.mark.parametrize("k, n, c", [(-1, 3, 0.9), (4, 3, 0.9), (1, 3, 95)])
def test_wilson_rejects(k, n, c):
  with pytest.raises(ValueError):
    statistics.wilson_interval(k, n, c)


def test_proportion_is_plain_python():
  value = statistics.proportion(3, 4)
  assert value[:3] == (3, 4, 0.75)
  assert [type(x) for x in value] == [int, int, float, float, float]
  with pytest.raises(ValueError, match="no trial"):
    statistics.proportion(0, 0)


def test_an_interval_of_a_mean_by_people():
  """Ten copies of each person's value are as informative as one."""
  rng = np.random.default_rng(0)
  values = rng.normal(3, 2, 50)
  one = statistics.mean_interval(values, np.arange(50))
  half = t.ppf(0.975, 49) * values.std(ddof=1) / math.sqrt(50)
  assert one.value == pytest.approx(values.mean())
  assert one.high - one.value == pytest.approx(half)
  ten = statistics.mean_interval(
    np.repeat(values, 10), np.repeat(np.arange(50), 10)
  )
  assert ten.high - ten.low == pytest.approx(one.high - one.low)
  assert ten.total == 500
  unknown = statistics.mean_interval([*values, math.nan], np.arange(51))
  assert unknown == one
  assert statistics.mean_interval([1.0], [0]).high == math.inf
  with pytest.raises(ValueError, match="no known value"):
    statistics.mean_interval([math.nan], [0])


def test_a_rate_by_people():
  """Ten photographs of a person, found all or none, are one trial."""
  rng = np.random.default_rng(0)
  found = rng.random(80) < 0.3
  one = statistics.grouped_proportion(found, np.arange(80))
  wilson = statistics.proportion(int(found.sum()), 80)
  assert one[:3] == wilson[:3]
  # One a person: about as Wilson has it, and no narrower.
  assert 0 <= wilson.low - one.low < 0.02 and 0 <= one.high - wilson.high < 0.02
  ten = statistics.grouped_proportion(
    np.repeat(found, 10), np.repeat(np.arange(80), 10)
  )
  assert ten.total == 800
  assert ten.low == pytest.approx(one.low, abs=0.02)
  assert ten.high == pytest.approx(one.high, abs=0.02)
  nobody = statistics.grouped_proportion(np.zeros(50), np.arange(50) // 5)
  assert nobody.high == statistics.wilson_interval(0, 50)[1]


def test_a_rate_by_people_covers_the_truth():
  """Of 300 intervals about 95% hold the rate; Wilson's alone far fewer."""
  rng = np.random.default_rng(1)
  people = np.repeat(np.arange(60), 8)
  covered = {"people": 0, "photographs": 0}
  for _ in range(300):
    rate = rng.beta(0.6, 1.4, 60)  # its mean is 0.3
    hits = rng.random(480) < rate[people]
    by = statistics.grouped_proportion(hits, people)
    low, high = statistics.wilson_interval(int(hits.sum()), 480)
    covered["people"] += by.low <= 0.3 <= by.high
    covered["photographs"] += low <= 0.3 <= high
  assert covered["people"] > 0.9 * 300 > 0.8 * 300 > covered["photographs"]


def test_an_interval_by_resampling():
  """The bootstrap interval of a mean is about the normal one."""
  values = np.random.default_rng(1).normal(0, 1, 400)
  low, high = statistics.bootstrap_interval(
    lambda rows: values[rows].mean(), 400, resamples=2000
  )
  half = 1.96 * values.std() / 20
  assert low == pytest.approx(values.mean() - half, abs=0.015)
  assert high == pytest.approx(values.mean() + half, abs=0.015)


def rejected(p_values, alpha):
  """Holm's procedure as it is told: from the least p on, until one stays."""
  found, left = set(), len(p_values)
  for i in sorted(range(len(p_values)), key=lambda i: p_values[i]):
    if p_values[i] > alpha / left:
      break
    found.add(i)
    left -= 1
  return found


@given(st.lists(st.sampled_from([0.001, 0.01, 0.02, 0.2, 0.5, 1.0]) |
                st.floats(1e-6, 1), min_size=1, max_size=8))  # fmt: skip
def test_holm_rejects_what_its_procedure_does(p_values):
  adjusted = statistics.holm(p_values)
  for alpha in adjusted:
    above, below = alpha * (1 + 1e-9), alpha * (1 - 1e-9)
    assert set(np.flatnonzero(adjusted <= above)) == (
      rejected(p_values, above) if alpha < 1 else set(range(len(p_values)))
    )
    assert set(np.flatnonzero(adjusted <= below)) == rejected(p_values, below)


def test_holm_by_hand():
  adjusted = statistics.holm([0.03, 0.01, 0.04, 0.9])
  np.testing.assert_allclose(adjusted, [0.09, 0.04, 0.09, 0.9])
  assert statistics.holm([0.2]) == [0.2]
  assert statistics.holm([]).shape == (0,)


@pytest.mark.parametrize("bad", ([0.5, 1.1], [-0.1], [math.nan], [[0.5]], 0.5))
def test_holm_rejects(bad):
  with pytest.raises(ValueError, match="numbers in \\[0, 1\\]"):
    statistics.holm(bad)
