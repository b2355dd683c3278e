"""Draws have the distribution that is accounted for."""

import numpy as np
import pytest
from scipy import stats

from jaxpriv.privacy.sampling import PoissonSampling, rows_for

UNITS, Q, STEPS = 200, 0.1, 4000


@pytest.fixture(scope="module")
def drawn():
  """bool [STEPS, UNITS]: who is in which batch."""
  sampling = PoissonSampling(UNITS, Q, 7, rows_for(UNITS, Q))
  found = np.zeros((STEPS, UNITS), bool)
  for step in range(STEPS):
    batch = sampling.batch(step)
    found[step, batch[batch >= 0]] = True
    assert len(batch) == sampling.rows
    assert (np.diff(batch[batch >= 0]) > 0).all()
  return found


def test_everybody_is_drawn_equally_often(drawn):
  counts = drawn.sum(0)
  statistic = np.sum((counts - STEPS * Q) ** 2) / (STEPS * Q * (1 - Q))
  assert 1e-4 < stats.chi2.cdf(statistic, UNITS) < 1 - 1e-4


def test_sizes_vary_as_coins_do(drawn):
  sizes = drawn.sum(1)
  variance = UNITS * Q * (1 - Q)
  ratio = sizes.var() / variance
  # The variance of a sample variance is 2 / STEPS, about.
  assert abs(ratio - 1) < 4 * np.sqrt(2 / STEPS)
  assert abs(sizes.mean() - UNITS * Q) < 4 * np.sqrt(variance / STEPS)


def test_units_and_steps_are_independent(drawn):
  centred = (drawn - Q) / np.sqrt(Q * (1 - Q))
  between_units = centred.T @ centred / STEPS
  off = between_units[~np.eye(UNITS, dtype=bool)]
  assert np.abs(off).max() < 6 / np.sqrt(STEPS)
  one_later = (centred[1:] * centred[:-1]).mean()
  assert abs(one_later) < 4 / np.sqrt(STEPS * UNITS)


def test_a_batch_is_a_function_of_seed_and_step():
  one = PoissonSampling(1000, 0.05, 3, 100)
  for step in (0, 1, 17, 10**9):
    np.testing.assert_array_equal(
      one.batch(step), PoissonSampling(1000, 0.05, 3, 100).batch(step)
    )
  assert (one.batch(5) != one.batch(6)).any()
  assert (one.batch(5) != one._replace(seed=4).batch(5)).any()
  # (seed, step) is not seed + step, nor one number after the other.
  assert (one.batch(4) != one._replace(seed=4).batch(3)).any()


def test_an_empty_batch_is_a_batch():
  assert (PoissonSampling(1, 1e-9, 0, 4).batch(0) == -1).all()


def test_all_units_at_once():
  batch = PoissonSampling(10, 1.0, 0, rows_for(10, 1.0, 8)).batch(0)
  assert batch.tolist() == [*range(10), *[-1] * 6]


def test_too_many_are_an_error_not_a_smaller_batch():
  with pytest.raises(OverflowError, match=r"drew \d+ of 100 units.* 3 rows"):
    PoissonSampling(100, 0.5, 0, 3).batch(0)


@pytest.mark.parametrize(
  ("units", "q"),
  [(10, 0.1), (20000, 64 / 20000), (10**6, 1e-6), (50000, 0.08)],
)
def test_rows_are_enough(units, q):
  rows = rows_for(units, q, 8)
  assert rows % 8 == 0
  assert stats.binom.sf(rows, units, q) < 1e-9
