"""Draws have the distribution that the accountant assumes."""

import math

import numpy as np
import pytest
from scipy import stats

from jaxpriv.privacy import clipping
from jaxpriv.privacy.sampling import PoissonSampling, RecordDraw, rows_for

UNITS, Q, STEPS = 200, 0.1, 4000


@pytest.fixture(scope="module")
def drawn():
  """bool [STEPS, UNITS]: the units in each batch."""
  sampling = PoissonSampling(UNITS, Q, 7, rows_for(UNITS, Q))
  drawn_units = np.zeros((STEPS, UNITS), bool)
  for step in range(STEPS):
    batch = sampling.batch(step)
    drawn_units[step, batch[batch >= 0]] = True
    assert len(batch) == sampling.rows
    assert (np.diff(batch[batch >= 0]) > 0).all()
  return drawn_units


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


@pytest.mark.parametrize("devices", [1, 3, 8])
@pytest.mark.parametrize("size", [1, 4, 7, 64, 1000])
def test_microbatches_are_equal_and_few_and_rows_are_not_many_more(
  devices, size
):
  for units, q in ((10, 0.1), (468, 24 / 468), (20000, 64 / 20000), (5000, 1)):
    plain = rows_for(units, q, devices)
    rows = rows_for(units, q, devices, size)
    each, least = rows // devices, plain // devices
    parts = math.ceil(least / size)
    assert rows % (devices * parts) == 0 and each // parts <= size
    assert plain <= rows < plain + devices * parts
    clipped = clipping.clipped_grad(sum, 1.0, microbatch_size=size)
    assert clipped._microbatches(each, convolves=False) == parts


def rows_of(draw, step, rows_per_unit):
  return draw(step).reshape(-1, rows_per_unit)


@pytest.mark.parametrize("devices", [1, 4])
def test_records_of_units_are_drawn_together(devices):
  """A unit's rows are distinct records of its own, up to rows_per_unit."""
  lengths = [1, 2, 3, 5, 9] * 8
  numbers = np.random.default_rng(0).permutation(sum(lengths))
  records = np.split(numbers, np.cumsum(lengths)[:-1])
  sampling = PoissonSampling(40, 0.3, 5, 40)
  draw = RecordDraw(sampling, records, 3, devices)
  owner = {r: u for u, own in enumerate(records) for r in own}
  seen = set()
  for step in range(50):
    units = set()
    for row in rows_of(draw, step, 3):
      mine = row[row >= 0]
      if not len(mine):
        continue
      (unit,) = {owner[r] for r in mine}
      assert len(set(mine)) == len(mine) == min(lengths[unit], 3)
      assert unit not in units
      units.add(unit)
      seen |= set(mine)
    drawn = sampling.batch(step)
    assert units == set(drawn[drawn >= 0])
    np.testing.assert_array_equal(draw(step), draw(step))
  assert seen == set(numbers)  # none of the nine is left out for good


def test_units_are_dealt_out_evenly_and_padding_is_last():
  records = list(np.arange(64)[:, None])
  draw = RecordDraw(PoissonSampling(64, 0.4, 1, 64), records, 1, 4)
  for step in range(20):
    parts = draw(step).reshape(4, 16) >= 0
    counts = parts.sum(1)
    assert counts.max() - counts.min() <= 1
    for part, count in zip(parts, counts, strict=True):
      assert part[:count].all()


def test_units_are_those_of_the_plan():
  with pytest.raises(ValueError, match="for 10 units, .* have 9"):
    RecordDraw(PoissonSampling(10, 0.5, 0, 10), [np.arange(2)] * 9, 1, 1)
