"""Batches in which each kind of record is there as often as any other."""

import numpy as np


class BalancedDraw:
  """step -> [rows], record numbers, of each kind in turn.

  Of a kind records are shuffled, and every epoch of it has an order of its own:
  those of a rare kind come back sooner.

  Args:
    records: their numbers [N].
    kinds: of each [N], such as its domain.
    rows: of a batch.
    seed: determines the order.
  """

  def __init__(
    self, records: np.ndarray, kinds: np.ndarray, rows: int, seed: int
  ):
    import grain  # here only: programs start without it

    self._rows = rows
    self._parts = [
      grain.MapDataset.source(np.asarray(records[kinds == kind], np.int64))
      .seed(seed + number)
      .shuffle()
      .repeat()
      for number, kind in enumerate(np.unique(kinds))
    ]

  def __call__(self, step: int) -> np.ndarray:
    places = step * self._rows + np.arange(self._rows)
    turns, parts = divmod(places, len(self._parts))
    return np.array(
      [
        self._parts[part][turn]
        for turn, part in zip(turns.tolist(), parts.tolist(), strict=True)
      ],
      np.int64,
    )
