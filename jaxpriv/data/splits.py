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
  """Deals groups of records to splits: all records of a person, or single ones.

  People are ordered by a hash of (seed, name), which does not depend on library
  versions, and cut by the shares of people, not of images. The order of two
  people does not depend on who else is there. But shares are exact, even of few
  people, so adding or removing somebody may move people near a cut to the other
  side. The caller must check that nobody who was trained on is scored.

  Images of unknown identity (-1) go to the first split, which is assumed to be
  the training split. They are useless for measuring identity, and may show a
  person of a later split, so a claim that needs disjoint people does not count
  them. Drop them beforehand where that matters.

  Args:
    identities: int [N], the person of each image, the group of each scene, or a
      number of its own for each image if single images are dealt; -1 unknown.
    shares: split -> share of the people, summing to 1; the first is training.
    seed: chooses who goes where.
    names: the person behind each number of `identities`. Needed where the
      number of a person depends on who else is there, as a rank among sorted
      names does; without names the number itself is hashed.

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
  # Names of folders may hold bytes that are no text.
  name = f"{seed}/{person}".encode("utf-8", "surrogateescape")
  return hashlib.blake2b(name).digest()
