"""Chooses images out of more, so that there are as many of each kind as asked.

A generator draws more of some people than of others. What is chosen is written
down, and who is short is told: nobody is drawn twice to fill a place.
"""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

Class = tuple[int, ...]


class Curator:
  """Takes the first images of each class, as many as are wanted.

  Attributes:
    wanted: class, F numbers -> how many; images of others are not taken.
    candidates: class -> how many were seen.
    counts: class -> how many were taken.
    unknown: images seen of which something could not be read.
  """

  def __init__(self, wanted: Mapping[Class, int]):
    """Begins with nothing.

    Args:
      wanted: see above.

    Raises:
      ValueError: a number is negative, or classes are of other lengths.
    """
    negative = [kind for kind, count in wanted.items() if count < 0]
    if negative:
      raise ValueError(
        f"fewer than none are wanted of {negative}: give 0 or more"
      )
    if len({len(kind) for kind in wanted}) != 1:
      raise ValueError(f"classes are of as many numbers each: {list(wanted)}")
    self.wanted = dict(wanted)
    self.candidates = dict.fromkeys(wanted, 0)
    self.counts = dict.fromkeys(wanted, 0)
    self.unknown = 0

  def take(self, classes: np.ndarray) -> np.ndarray:
    """Takes some of the next images; returns bool [N], true for those taken.

    Args:
      classes: int [N, F], such as gender and class of skin; below 0 is unknown,
        and such an image is not taken. Who reads it should not be who drew it:
        a condition is what was asked for, not what is seen.

    Raises:
      ValueError: they are not of that shape.
    """
    classes, length = np.asarray(classes), len(next(iter(self.wanted)))
    if (
      classes.ndim != 2
      or classes.shape[1] != length
      or not np.issubdtype(classes.dtype, np.integer)
    ):
      raise ValueError(
        f"classes are {classes.dtype} {classes.shape}: give integers [images,"
        f" {length}]"
      )
    taken = np.zeros(len(classes), bool)
    for i, kind in enumerate(map(tuple, classes.tolist())):
      if min(kind) < 0:
        self.unknown += 1
      elif kind in self.wanted:
        self.candidates[kind] += 1
        taken[i] = self.counts[kind] < self.wanted[kind]
        self.counts[kind] += int(taken[i])
    return taken

  @property
  def short(self) -> dict[Class, int]:
    """Class -> how many are missing, of those of which some are."""
    return {
      kind: count - self.counts[kind]
      for kind, count in self.wanted.items()
      if count > self.counts[kind]
    }

  def told(self, names: Sequence[Sequence[str]] = ()) -> str:
    """Who is short, in a sentence; "" if nobody is.

    Args:
      names: of the values of each of the F numbers; numbers if it is empty.
    """
    parts = [
      f"{spelled(kind, names)}: {self.counts[kind]} of {self.wanted[kind]}"
      for kind in self.short
    ]
    return f"Too few candidates of {'; '.join(parts)}." if parts else ""


def spelled(kind: Class, names: Sequence[Sequence[str]] = ()) -> str:
  """A class in words; arguments as of `Curator.told`."""
  return " ".join(
    names[i][value] if names else str(value) for i, value in enumerate(kind)
  )


def balanced(total: int, levels: Sequence[int]) -> dict[Class, int]:
  """How many of each class make `total`, none more than one above another.

  What is left over goes to classes that are as unlike as can be, so that
  neither one gender nor one skin gets it all.

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
  wanted = dict.fromkeys(kinds, each)
  left, given = list(kinds), [[0] * level for level in levels]
  for _ in range(more):
    had = lambda kind: [given[i][value] for i, value in enumerate(kind)]
    kind = min(left, key=lambda kind: (max(had(kind)), sum(had(kind))))
    left.remove(kind)
    wanted[kind] += 1
    for i, value in enumerate(kind):
      given[i][value] += 1
  return wanted
