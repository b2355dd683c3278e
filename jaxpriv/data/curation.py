"""Chooses images out of more, so that there are as many of each kind as asked.

A generator draws more of some people than of others. What is chosen is written
down, and who is short is told: nobody is drawn twice to fill a place.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

Class = tuple[int, ...]


class Selection(NamedTuple):
  """A choice of images, and how it came about.

  Attributes:
    indices: int64 [N] of the images chosen, ascending.
    classes: int64 [N, F], what was read of each.
    candidates: class -> how many images were read as it, of classes asked for.
    counts: class -> how many were chosen.
    short: class -> how many are missing, of classes of which some are.
    unknown: images of which something could not be read.
  """

  indices: np.ndarray
  classes: np.ndarray
  candidates: dict[Class, int]
  counts: dict[Class, int]
  short: dict[Class, int]
  unknown: int

  def told(self, names: Sequence[Sequence[str]] = ()) -> str:
    """Who is short, in a sentence; "" if nobody is.

    Args:
      names: of the values of each of the F numbers; numbers if it is empty.
    """
    spelled = lambda kind: " ".join(
      names[i][value] if names else str(value) for i, value in enumerate(kind)
    )
    parts = [
      f"{spelled(kind)}: {self.counts[kind]} of {self.counts[kind] + missing}"
      for kind, missing in self.short.items()
    ]
    return f"Too few candidates of {'; '.join(parts)}." if parts else ""


def balanced(total: int, levels: Sequence[int]) -> dict[Class, int]:
  """How many of each class make `total`, none more than one above another.

  Args:
    total: of all classes.
    levels: how many values each number has, such as (2, 6) for gender and
      classes of skin.

  Raises:
    ValueError: total is negative, or a number has no values.
  """
  if total < 0 or any(level < 1 for level in levels):
    raise ValueError(
      f"{total} images of classes of {tuple(levels)} values: give 0 or more"
      " images, and 1 or more values"
    )
  kinds = list(itertools.product(*map(range, levels)))
  each, more = divmod(total, len(kinds))
  return {kind: each + (i < more) for i, kind in enumerate(kinds)}


def curate(
  images: np.ndarray,
  wanted: Mapping[Class, int],
  read: Callable[[np.ndarray], np.ndarray],
) -> Selection:
  """Chooses the first images of each class, as many as are wanted.

  Args:
    images: [M, ...], candidates in the order in which they are taken.
    wanted: class, F numbers -> how many; others are not chosen.
    read: images -> int [M, F], the class of each, such as gender and class of
      skin; below 0 is unknown, and such an image is not chosen. Who reads it
      should not be who drew it: a condition is what was asked for, not what is
      seen.

  Raises:
    ValueError: what was read is not of that shape, or a number wanted is
      negative.
  """
  classes = np.asarray(read(images))
  lengths = {len(kind) for kind in wanted}
  if (
    classes.ndim != 2
    or len(classes) != len(images)
    or not np.issubdtype(classes.dtype, np.integer)
    or lengths - {classes.shape[1]}
  ):
    raise ValueError(
      f"read gave {classes.dtype} {classes.shape} for {len(images)} images, and"
      f" classes wanted are of {sorted(lengths)} numbers: give integers"
      " [images, numbers of a class]"
    )
  negative = [kind for kind, count in wanted.items() if count < 0]
  if negative:
    raise ValueError(
      f"fewer than none are wanted of {negative}: give 0 or more"
    )
  classes = classes.astype(np.int64)
  chosen, candidates, counts, short = [], {}, {}, {}
  for kind, count in wanted.items():
    rows = np.flatnonzero((classes == np.array(kind)).all(1))
    rows = rows[(classes[rows] >= 0).all(1)]
    candidates[kind], counts[kind] = len(rows), min(count, len(rows))
    if len(rows) < count:
      short[kind] = count - len(rows)
    chosen.append(rows[:count])
  indices = np.sort(np.concatenate([np.zeros(0, np.int64), *chosen]))
  unknown = int((classes < 0).any(1).sum())
  return Selection(
    indices, classes[indices], candidates, counts, short, unknown
  )
