"""Rows for the clients of federated training, each of its own records only.

A draw is a function of the step, as in `privacy.sampling`, so that a run
resumes anywhere and all processes of a cluster draw the same.
"""

from collections.abc import Callable, Sequence

import numpy as np

Draw = Callable[[int], np.ndarray]


class ShuffledDraw:
  """step -> [rows] of one's own records; every epoch has an order of its own.

  Args:
    records: their numbers.
    rows: of a batch. Who has fewer records draws all of them, and -1, padding,
      after them.
    seed: determines the order.
  """

  def __init__(self, records: np.ndarray, rows: int, seed: int):
    import grain  # here only: programs start without it

    self._rows = rows
    drawn = min(rows, len(records))
    self._batches = (
      grain.MapDataset.source(np.asarray(records, np.int64))
      .seed(seed)
      .shuffle()
      .repeat()
      .batch(drawn, drop_remainder=True)
    )

  def __call__(self, step: int) -> np.ndarray:
    drawn = np.asarray(self._batches[step])
    padding = np.full(self._rows - len(drawn), -1, np.int64)
    return np.concatenate([drawn, padding])


class RoundDraw:
  """round -> the records of a round, client after client, -1 for padding.

  The rows of a client are those of its local steps, one after the other. Slots
  that hold no client follow, so that all divide among the devices.

  Args:
    draws: of each client, from the number of its local steps.
    local_steps: the local steps of each in a round.
    devices: see above.
  """

  def __init__(self, draws: Sequence[Draw], local_steps: int, devices: int):
    self._draws, self._steps = tuple(draws), local_steps
    self._empty = -len(self._draws) % devices

  def __call__(self, step: int) -> np.ndarray:
    first = step * self._steps
    rows = np.stack(
      [draw(first + i) for draw in self._draws for i in range(self._steps)]
    )
    shape = (self._empty * self._steps, rows.shape[1])
    return np.concatenate([rows, np.full(shape, -1, np.int64)]).ravel()
