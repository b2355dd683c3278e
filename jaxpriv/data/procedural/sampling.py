"""People and photographs as dicts of factors, drawn by a counter-based hash.

Each factor is a hash of (seed, factor name, identity, photograph number) and of
nothing else, so a face does not depend on the batch it is drawn in, nor on
which other factors exist. A generator object per identity would cost some 20
microseconds each; the hash does whole batches at once.
"""

import zlib
from collections.abc import Mapping, Sequence

import numpy as np

from jaxpriv.data.procedural import factors as tables
from jaxpriv.data.records import DOMAINS
from jaxpriv.errors import SettingError

Factors = dict[str, np.ndarray]
Correlations = Mapping[tuple[str, str], float]


def _mix(x: np.ndarray) -> np.ndarray:
  """A bijection of uint32 without visible patterns (lowbias32)."""
  x = (x ^ (x >> np.uint32(16))) * np.uint32(0x7FEB352D)
  x = (x ^ (x >> np.uint32(15))) * np.uint32(0x846CA68B)
  return x ^ (x >> np.uint32(16))


def uniform(
  seed: int,
  names: Sequence[str],
  ids: np.ndarray,
  numbers: np.ndarray | None = None,
) -> np.ndarray:
  """Uniform numbers in [0, 1), float32 [N, len(names)], for counters [N]."""
  keys = np.array([zlib.crc32(n.encode()) for n in names], np.uint32)
  low, high = seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF
  h = _mix(_mix(keys ^ np.uint32(low)) + np.uint32(high))
  h = _mix(h[None, :] ^ np.asarray(ids, np.uint32)[:, None])
  if numbers is not None:
    counter = _mix(np.asarray(numbers, np.uint32) + np.uint32(0x9E3779B9))
    h = _mix(h + counter[:, None])
  return (h >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)


def person_table(domain: str) -> tables.Table:
  """Every person factor of a domain and its range."""
  table = dict(tables.PERSON)
  if domain != "human":
    table |= tables.ANIMAL_SHARED | tables.ANIMALS[domain]
  return table


def domains(
  domain: str, correlate: Correlations | None = None
) -> tuple[str, ...]:
  """The domains that a setting names: "cat", "human,cat", or "all".

  Raises:
    SettingError: on an unknown domain.
    ValueError: on an unknown correlation.
  """
  names = DOMAINS if domain == "all" else domain.split(",")
  for name in names:
    check(name, correlate)
  return tuple(names)


def check(domain: str, correlate: Correlations | None) -> None:
  """Raises errors as `domains` does."""
  if domain not in DOMAINS:
    raise SettingError(
      f"config.data.domain names {domain!r}: drawn are {', '.join(DOMAINS)}"
    )
  ranks = _levels(domain)
  seen = set()
  for (a, b), r in (correlate or {}).items():
    for name in (a, b):
      if name not in ranks:
        raise ValueError(
          f"correlate names {name!r}, which is no factor of domain"
          f" {domain!r}; choose from {sorted(ranks)}."
        )
    if not -1.0 <= r <= 1.0:
      raise ValueError(f"correlate[{a!r}, {b!r}] = {r} is not in [-1, 1].")
    follower = _ordered(ranks, a, b)[1]
    if a == b or follower in seen:
      raise ValueError(
        f"correlate makes {follower!r} follow two factors; a factor can"
        " follow one other factor only."
      )
    seen.add(follower)


def _levels(domain: str) -> dict[str, int]:
  people = list(person_table(domain)) + list(tables.PERSON_ATTRIBUTES)
  photos = list(tables.PHOTOGRAPH) + list(tables.PHOTOGRAPH_ATTRIBUTES)
  return dict.fromkeys(people, 0) | dict.fromkeys(photos, 1)


def _ordered(ranks: Mapping[str, int], a: str, b: str) -> tuple[str, str]:
  """Leader and follower: a photograph's factor follows a person's."""
  return (b, a) if ranks[a] > ranks[b] else (a, b)


def _correlated(
  u: Factors, leaders: Factors, seed, domain, correlate, ids, numbers
) -> Factors:
  """Lets followers copy their leaders' ranks with probability |r|.

  The copy keeps every factor uniform and makes r the rank correlation of the
  two; for two attributes of equal probability r is the correlation itself.
  """
  ranks = _levels(domain)
  for (a, b), r in (correlate or {}).items():
    leader, follower = _ordered(ranks, a, b)
    if follower not in u:
      continue
    source = u[leader] if leader in u else leaders[leader]
    name = f"correlate {leader} {follower}"
    copied = uniform(seed, [name], ids, numbers)[:, 0] < abs(r)
    rank = source if r >= 0 else np.float32(1.0 - 2.0**-24) - source
    u[follower] = np.where(copied, rank, u[follower])
  return u


def _scale(u: Factors, table: tables.Table, chances: Mapping) -> Factors:
  out = {}
  for name, value in u.items():
    if name in chances:
      out[name] = (value < chances[name]).astype(np.float32)
    else:
      low, high = table[name]
      out[name] = np.float32(low) + np.float32(high - low) * value
  return out


def _keys(names: Sequence[str], domain: str) -> list[str]:
  """Keys with the domain, so that cat 7 shares no factors with person 7."""
  return [f"{domain} {name}" for name in names]


def _person_ranks(seed, ids, domain, correlate) -> Factors:
  names = [*person_table(domain), *tables.PERSON_ATTRIBUTES]
  columns = np.ascontiguousarray(uniform(seed, _keys(names, domain), ids).T)
  u = dict(zip(names, columns, strict=True))
  return _correlated(u, {}, seed, domain, correlate, ids, None)


def sample_people(
  seed: int,
  ids: np.ndarray,
  domain: str = "human",
  correlate: Correlations | None = None,
) -> Factors:
  """The person factors of identities `ids` [N]: a dict of float32 [N].

  `correlate` maps pairs of factor names to a rank correlation in [-1, 1].
  """
  check(domain, correlate)
  ids = np.asarray(ids)
  u = _person_ranks(seed, ids, domain, correlate)
  people = _scale(u, person_table(domain), tables.PERSON_ATTRIBUTES)
  people["skin_tone"] = np.floor(people["skin_tone"])
  return people


def sample_photographs(
  seed: int,
  ids: np.ndarray,
  numbers: np.ndarray,
  domain: str = "human",
  correlate: Correlations | None = None,
) -> Factors:
  """The photograph factors of photographs `numbers` [N] of people `ids` [N]."""
  check(domain, correlate)
  ids, numbers = np.asarray(ids), np.asarray(numbers)
  names = [*tables.PHOTOGRAPH, *tables.PHOTOGRAPH_ATTRIBUTES]
  columns = np.ascontiguousarray(
    uniform(seed, _keys(names, domain), ids, numbers).T
  )
  u = dict(zip(names, columns, strict=True))
  leaders = _person_ranks(seed, ids, domain, correlate) if correlate else {}
  u = _correlated(u, leaders, seed, domain, correlate, ids, numbers)
  chances = dict(tables.PHOTOGRAPH_ATTRIBUTES)
  chances |= {"cover": tables.COVER_PROBABILITY, "bar": tables.BAR_PROBABILITY}
  return _scale(u, tables.PHOTOGRAPH, chances)


def attributes(params: Factors) -> np.ndarray:
  """int8 [N, A] in the order of `factors.ATTRIBUTE_NAMES`."""
  columns = [params[name] for name in tables.ATTRIBUTE_NAMES]
  return np.stack(columns, -1).astype(np.int8)
