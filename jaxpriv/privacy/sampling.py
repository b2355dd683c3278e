"""Poisson sampling: what the accountant takes for granted of a batch.

Every unit of the data is in the batch of a step with probability q, on its own.
Batches that are shuffled and cut to a size have no such amplification. A batch
is a function of (seed, step): nothing is remembered, a run resumes anywhere,
and all processes of a cluster draw the same batch and take their rows of it.
"""

import math
from typing import NamedTuple

import numpy as np


class PoissonSampling(NamedTuple):
  """Batches of n units, each drawn with probability q, as rows of fixed number.

  Attributes:
    units: n, of the data set.
    probability: q, in (0, 1].
    seed: of all batches.
    rows: of a batch; the rest is padding. A larger draw is an error, see
      `batch`: take `rows_for`, and it will not happen.
  """

  units: int
  probability: float
  seed: int
  rows: int

  def batch(self, step: int) -> np.ndarray:
    """The units of a step: int64 [rows], ascending, -1 for padding.

    Raises:
      OverflowError: more units were drawn than there are rows. To leave some
        out in silence is another mechanism than the accounted one.
    """
    # Philox: a generator for each step at no cost, and no two steps alike.
    key = np.array([self.seed, step], np.uint64)
    random = np.random.Generator(np.random.Philox(key=key))
    # So many units, and any so many of them: the same as a coin for each.
    count = int(random.binomial(self.units, self.probability))
    if count > self.rows:
      raise OverflowError(
        f"step {step} drew {count} of {self.units} units, and a batch has"
        f" {self.rows} rows: set a larger batch"
      )
    drawn = random.choice(self.units, count, replace=False, shuffle=False)
    padding = np.full(self.rows - count, -1, np.int64)
    return np.concatenate([np.sort(drawn).astype(np.int64), padding])


def rows_for(units: int, probability: float, multiple: int = 1) -> int:
  """Rows enough for every batch that anybody will ever see drawn.

  Eight standard deviations and eight units above the mean: at any n and q a
  draw is larger less than once in 10^9 steps.

  Args:
    units: n.
    probability: q.
    multiple: the number of devices and microbatches that rows divide among.
  """
  mean = units * probability
  enough = mean + 8 * math.sqrt(mean * (1 - probability)) + 8
  rows = min(math.ceil(enough), units)
  return -(-rows // multiple) * multiple
