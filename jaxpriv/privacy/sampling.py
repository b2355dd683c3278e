"""Poisson sampling of batches, as the accountant assumes.

Every unit of the data is in the batch of a step with probability q,
independently. Shuffled batches of fixed size do not have this amplification. A
batch is a function of (seed, step): there is no state, a run resumes anywhere,
and all processes of a cluster draw the same batch and take their rows of it.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class PoissonSampling(NamedTuple):
  """Batches of n units, each drawn with probability q, as rows of fixed number.

  Attributes:
    units: n, of the data set.
    probability: q, in (0, 1].
    seed: the seed of all batches.
    rows: rows of a batch; unused ones are padding. A larger draw is an error,
      see `batch`; with `rows_for` rows it practically never happens.
  """

  units: int
  probability: float
  seed: int
  rows: int

  def batch(self, step: int) -> np.ndarray:
    """The units of a step: int64 [rows], ascending, -1 for padding.

    Raises:
      OverflowError: more units were drawn than there are rows. Leaving some out
        silently would be another mechanism than the accounted one.
    """
    return self._draw(step)[0]

  def _draw(self, step):
    """(units, the generator after they were drawn)."""
    # Philox: a generator of its own for each step, at no cost.
    key = np.array([self.seed, step], np.uint64)
    random = np.random.Generator(np.random.Philox(key=key))
    # A binomial number of units, and a uniform choice of so many, have the same
    # distribution as a coin for each unit.
    count = int(random.binomial(self.units, self.probability))
    if count > self.rows:
      raise OverflowError(
        f"step {step} drew {count} of {self.units} units, and a batch has"
        f" {self.rows} rows: set a larger batch"
      )
    drawn = random.choice(self.units, count, replace=False, shuffle=False)
    padding = np.full(self.rows - count, -1, np.int64)
    units = np.concatenate([np.sort(drawn).astype(np.int64), padding])
    return units, random


class RecordDraw:
  """step -> the records of a batch, unit after unit, -1 for padding.

  Args:
    sampling: draws the units.
    records: the record numbers of each unit.
    rows_per_unit: the number of records drawn at random from a unit that has
      more.
    devices: units are dealt to so many devices in turn, so that their numbers
      differ by one at most, and the padding of each comes last.
  """

  def __init__(
    self,
    sampling: PoissonSampling,
    records: Sequence[np.ndarray],
    rows_per_unit: int,
    devices: int,
  ):
    if len(records) != sampling.units:
      raise ValueError(
        f"the plan is for {sampling.units} units, and the data have"
        f" {len(records)}"
      )
    self._sampling = sampling
    self._lengths = np.array([len(r) for r in records])
    self._starts = np.cumsum(self._lengths) - self._lengths
    self._records = np.concatenate(records).astype(np.int64)
    self._rows, self._devices = rows_per_unit, devices

  def __call__(self, step: int) -> np.ndarray:
    units, random = self._sampling._draw(step)
    rows = np.full((len(units), self._rows), -1, np.int64)
    for row, unit in zip(rows, units[units >= 0], strict=False):
      length = self._lengths[unit]
      some = slice(None, length)
      if length > self._rows:
        some = random.choice(length, self._rows, replace=False)
      start = self._starts[unit]
      chosen = self._records[start : start + length][some]
      row[: len(chosen)] = chosen
    return rows.reshape(-1, self._devices, self._rows).swapaxes(0, 1).ravel()


def rows_for(
  units: int,
  probability: float,
  devices: int = 1,
  microbatch_size: int | None = None,
) -> int:
  """Rows that suffice for every batch, but with probability below 1e-9 a step.

  They are eight standard deviations and eight units above the mean, at any n
  and q.

  Args:
    units: n.
    probability: q.
    devices: rows divide among them,
    microbatch_size: and those of a device into equal microbatches of so many at
      most, of which there are no more than it takes.
  """
  mean = units * probability
  enough = mean + 8 * math.sqrt(mean * (1 - probability)) + 8
  rows = min(math.ceil(enough), units)
  each = -(-rows // devices)
  parts = -(-each // (microbatch_size or each))
  return devices * parts * -(-each // parts)
