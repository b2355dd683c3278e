"""A source of many records, of which a few are drawn: to measure speed."""

import time

import numpy as np

from jaxpriv.data import pipeline
from jaxpriv.data.memory import InMemory
from jaxpriv.data.records import Batch, Record, Source

# Records are drawn for so many seconds at most, and so many of them.
DRAWING, MOST_DRAWN = 15.0, 1024


class Repeated(InMemory):
  """As many records as a source has, of which a few are drawn.

  The others repeat them, with the people and attributes of those few. What is
  read of a source as a whole, such as how many people there are, is unchanged.
  """

  def __init__(self, source: Source, seconds: float = DRAWING):
    """Draws the first records.

    Args:
      source: drawn as it is read.
      seconds: after which no more are drawn.
    """
    then, parts, drawn = time.perf_counter(), [], 0
    most = min(len(source), MOST_DRAWN)
    while drawn < most:
      rows = np.arange(drawn, min(2 * drawn + 8, most))
      parts.append(pipeline.gather(source, rows))
      drawn += len(rows)
      # The next part takes as long as all before it.
      if 2 * (time.perf_counter() - then) > seconds:
        break
    arrays = {
      name: np.concatenate([part[name] for part in parts])
      for name in parts[0]
      if name not in ("index", "padding")
    }
    super().__init__(arrays, source.attribute_names)
    self.identities = source.identities
    self.identity_names = source.identity_names
    self.max_faces = source.max_faces
    self.drawn = drawn

  def __getitem__(self, index: int) -> Record:
    return super().__getitem__(index % self.drawn)

  def batch(self, indices: np.ndarray) -> Batch:
    return super().batch(indices % self.drawn)
