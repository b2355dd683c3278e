"""Disjoint splits: no person, or no image, is in two of them."""

import hashlib
import math
from collections.abc import Mapping, Sequence

import numpy as np

from jaxpriv.data.records import DataError


def split_groups(
  identities: np.ndarray,
  shares: Mapping[str, float],
  seed: int,
  names: Sequence[str] = (),
) -> dict[str, np.ndarray]:
  """Deals groups of records to splits: those of a person, or each on its own.

  People are ordered by a hash of (seed, name), which no library version
  changes, and cut by the shares of people, not of images. The order of people
  does not depend on who else is there, but shares are exact, also of few
  people, so whoever comes or goes may push others next to a cut over it. That
  nobody trained on is scored is for the caller to check.

  Images of unknown identity (-1) go to the first split, which is taken for the
  training one. They can be no use to a measurement of identity; that one of
  them shows a person of a later split cannot be ruled out, so they are counted
  in no claim that needs disjoint people. Drop them first where that matters.

  Args:
    identities: int [N], the person of each image, or of scenes the group, or
      another number for each where images are dealt out; -1 unknown.
    shares: split -> share of the people, summing to 1; the first is training.
    seed: chooses who goes where.
    names: the person behind each number of `identities`. Needed where a number
      says how many others are there, as it does among sorted names; without
      names the number itself is hashed.

  Returns:
    split -> int64 indices into `identities`, ascending.

  Raises:
    DataError: the shares do not sum to 1, or a split would get no person.
  """
  if not math.isclose(sum(shares.values()), 1, abs_tol=1e-6) or any(
    share <= 0 for share in shares.values()
  ):
    raise DataError(
      f"Shares of splits must be positive and sum to 1; got {dict(shares)}."
    )
  identities = np.asarray(identities)
  people = sorted(
    set(identities[identities >= 0].tolist()),
    key=lambda person: _rank(seed, names[person] if names else person),
  )
  # Rounding the running total keeps every split within one of its share.
  cuts = np.rint(np.cumsum(list(shares.values())) * len(people)).astype(int)
  splits, start = {}, 0
  for name, stop in zip(shares, cuts.tolist()):
    members = people[start:stop]
    if not members:
      raise DataError(
        f"The split {name!r} ({shares[name]:.0%}) would get nobody: there are"
        f" only {len(people)} people with a known identity. Use more images,"
        " a larger share, or images labelled with identities."
      )
    chosen = np.isin(identities, members)
    if start == 0:
      chosen |= identities < 0
    splits[name] = np.flatnonzero(chosen)
    start = stop
  return splits


def _rank(seed: int, person: int | str) -> bytes:
  return hashlib.blake2b(f"{seed}/{person}".encode()).digest()
