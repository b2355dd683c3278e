"""Pairs of photographs for face verification, in folds without shared people.

View 2 of LFW (Huang et al., technical report 07-49, 2007) lists them in a file:

  10  300                          folds, and pairs of each kind in a fold
  Ann_Aye  1  4                    photographs 1 and 4 of one person
  Ann_Aye  2  Ben_Bee  1           photographs of two people

In each fold the pairs of one person come first. Photograph 4 of Ann_Aye is the
file Ann_Aye_0004, whatever its folder and its ending.
"""

import os
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from etils import epath

from jaxpriv import files
from jaxpriv.data.records import DataError


class Pairs(NamedTuple):
  """N pairs of rows of photographs; those of a fold are neighbours.

  Attributes:
    left: int [N].
    right: int [N].
    same: bool [N], whether both show one person.
    fold: int [N], ascending.
  """

  left: np.ndarray
  right: np.ndarray
  same: np.ndarray
  fold: np.ndarray


def draw(
  identities: np.ndarray, folds: int = 10, most: int = 600, seed: int = 0
) -> Pairs:
  """As many pairs of one person as of two people, in folds of their own people.

  Args:
    identities: int [N] of photographs.
    folds: in how many groups to deal the people out; at least 2.
    most: pairs in a fold; there are fewer where photographs are few, but in
      each fold equally many of both kinds.
    seed: of the choice.

  Raises:
    DataError: too few people have two photographs.
  """
  rng = np.random.default_rng(seed)
  people, counts = np.unique(identities, return_counts=True)
  several = rng.permutation(people[(people >= 0) & (counts > 1)])
  if folds < 2 or len(several) < 2 * folds:
    raise DataError(
      f"verification in {folds} folds needs {2 * max(folds, 2)} people with two"
      f" photographs each, and there are {len(several)}: set"
      " config.attacks.verification.folds, or enlarge the test split"
    )
  parts = []
  for fold in range(folds):
    mine = several[fold::folds]
    rows = np.flatnonzero(np.isin(identities, mine))
    left, right = np.triu_indices(len(rows), 1)
    same = identities[rows[left]] == identities[rows[right]]
    kinds = [np.flatnonzero(same), np.flatnonzero(~same)]
    count = min(most // 2, *map(len, kinds))
    chosen = np.concatenate([rng.permutation(k)[:count] for k in kinds])
    # The order of a pair says which of the two is the query.
    ends = rng.permuted(
      np.stack([rows[left[chosen]], rows[right[chosen]]], 1), axis=1
    )
    parts.append((ends, np.arange(2 * count) < count))
  ends = np.concatenate([part for part, _ in parts])
  same = np.concatenate([part for _, part in parts])
  sizes = [len(part) for _, part in parts]
  number = np.repeat(np.arange(folds), sizes)
  return Pairs(ends[:, 0], ends[:, 1], same, number)


def read(path: str | os.PathLike, names: Sequence[str]) -> tuple[Pairs, int]:
  """Reads a list of pairs.

  Args:
    path: of the file.
    names: of photographs, such as paths; row i is names[i].

  Returns:
    the pairs of which both photographs are there, and how many others there
    are.

  Raises:
    DataError: the file is not such a list, or names no photograph of these.
  """
  file = epath.Path(files.expanded(path))
  try:
    lines = [line.split() for line in file.read_text("utf-8").splitlines()]
  except (OSError, UnicodeDecodeError) as error:
    raise DataError(f"{path}: cannot be read as pairs: {error}") from error
  lines = [line for line in lines if line]
  if not lines or len(lines[0]) != 2 or not _numbers(lines[0]):
    raise DataError(
      f"{path}: the first line is to be two numbers, folds and pairs of each"
      " kind in a fold, as in pairs.txt of LFW"
    )
  folds, half = map(int, lines[0])
  if len(lines) - 1 != 2 * folds * half:
    raise DataError(
      f"{path}: {folds} folds of {half} pairs of each kind are"
      f" {2 * folds * half} lines, and there are {len(lines) - 1}"
    )
  at = {
    os.path.splitext(os.path.basename(n))[0]: i for i, n in enumerate(names)
  }
  found, absent = [], 0
  for number, line in enumerate(lines[1:]):
    ends = [at.get(stem) for stem in _stems(line, number + 2, path)]
    if None in ends:
      absent += 1
    else:
      found.append((*ends, len(line) == 3, number // (2 * half)))
  if not found:
    raise DataError(
      f"{path}: none of its {len(lines) - 1} pairs is among the"
      f" {len(names)} photographs. They are found by their names, such as"
      f" {_stems(lines[1], 2, path)[0]}.jpg, and the first one here is"
      f" {names[0] if names else 'none'}"
    )
  left, right, same, fold = map(np.array, zip(*found, strict=True))
  return Pairs(left, right, same, fold), absent


def _stems(line: Sequence[str], number: int, path) -> tuple[str, str]:
  if len(line) == 3 and _numbers(line[1:]):
    people, photographs = (line[0], line[0]), line[1:]
  elif len(line) == 4 and _numbers(line[1::2]):
    people, photographs = (line[0], line[2]), line[1::2]
  else:
    raise DataError(
      f"{path}, line {number}: {' '.join(line)!r} is neither a person and two"
      " numbers nor two people with a number each"
    )
  first, second = (
    f"{person}_{int(n):04d}"
    for person, n in zip(people, photographs, strict=True)
  )
  return first, second


def _numbers(words: Iterable[str]) -> bool:
  return all(word.isascii() and word.isdigit() for word in words)
