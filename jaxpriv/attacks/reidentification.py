"""Re-identification: naive, reverse and parrot recognition.

Newton, Sweeney, Malin, TKDE 17(2), 2005. The attacker holds a gallery, one
photograph a person, and names each probe by its nearest neighbour:

| attack | gallery | probes | recogniser trained on |
|---|---|---|---|
| undisguised | original | other photographs, original | originals |
| naive | original | protected | originals |
| reverse | protected | original | originals |
| parrot | protected | other photographs, protected | originals |
| parrot, retrained | protected | other photographs, protected | protected |

The undisguised row is no attack: it tells how good the recogniser is. Where the
gallery holds the "same photograph", the probe was made from the gallery's own
image, and everyone's first, second, ... photographs are enrolled in turn;
otherwise it was made from another photograph of the person. With "all other
photographs" the gallery holds everything but the probe's own: chance is then
the share of it that shows the person. The last row is `jaxpriv.attacks.parrot`.

True accepts (TAR) are pairs of a probe and the gallery's photograph of the same
person that are taken for one person by the threshold at which so many pairs of
two people are (FAR): the attacker is granted the threshold that is right for
these very photographs. Intervals are drawn over people.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxpriv.attacks.threat import People, Reader
from jaxpriv.data.records import DataError
from jaxpriv.metrics import (
  finding,
  identification,
  statistics,
  verification,
)
from jaxpriv.metrics.finding import Finding, Interval
from jaxpriv.training import progress
from jaxpriv.training.mechanism import Target

PRODUCTS = ("image",)
IDENTITY = "identity"
RANK = "rank-1"
SAME, OTHER = "same photograph", "other photograph"
EVERY = "all other photographs"
FARS = {"TAR at FAR 1%": 0.01, "TAR at FAR 0.1%": 0.001}

MAX_ENROLMENTS = 10  # photographs of a person that are enrolled in turn
SHOWN = 12  # photographs in the report


class Rank(NamedTuple):
  """How often the right person comes first or is accepted, and by chance.

  `invalid` counts embeddings that are zero or not finite: never a hit.
  """

  attack: str
  gallery: str
  metric: str
  figures: statistics.Proportion
  chance: float
  invalid: int = 0

  @property
  def first(self) -> bool:
    """Whether it is rank-1 with one other photograph a person, as is usual."""
    return (self.metric, self.gallery) == (RANK, OTHER)

  @property
  def where(self) -> dict[str, str | int]:
    """Its columns of a finding."""
    failed = {"invalid": self.invalid} if self.invalid else {}
    return {"gallery": self.gallery, **failed}


class Enrolment(NamedTuple):
  """Rows of the photographs: one a person in the gallery, all others probes."""

  gallery: np.ndarray
  probes: np.ndarray


def attack(target: Target, people: People) -> Iterator[Finding]:
  """Naive, reverse and frozen parrot recognition, by each recogniser."""
  identities = people.test.identities
  enrol(identities)  # fails before work starts
  released = people.image(target, people.test)
  for reader in people.recognisers():
    originals = people.read(reader)
    plain = undisguised(originals, identities)
    if not target.control:
      for rank in plain:
        yield undisguised_finding(rank, reader)
    embeddings = reader.read(released)
    with progress.slow(f"Comparing faces by {reader.name}"):
      ranks = attacks(originals, embeddings, identities)
    for rank in ranks:
      yield disguised_finding(target, rank, reader, plain)
    independent = reader is people.recogniser()
    if independent and not target.control and not people.strips:
      people.strips += _strips(people, released, originals, embeddings)


def undisguised_finding(plain: Rank, reader: Reader) -> Finding:
  """Recognition without any protection."""
  return finding.of(
    IDENTITY,
    finding.TOLD,
    plain.metric,
    plain.figures,
    subject=finding.NOBODY,
    by=plain.attack,
    floor=plain.chance,
    where={"recogniser": reader.name, **plain.where, **reader.where},
  )


def disguised_finding(
  target: Target,
  rank: Rank,
  reader: Reader,
  plain: Sequence[Rank],
  **where: Any,
) -> Finding:
  """One attack, beside what the recogniser can do without protection."""
  return finding.of(
    IDENTITY,
    finding.HIDDEN,
    rank.metric,
    rank.figures,
    subject=target.name,
    by=rank.attack,
    floor=rank.chance,
    ceiling=ceiling(plain, rank),
    where={"recogniser": reader.name, **rank.where, **reader.where, **where},
  )


def ceiling(plain: Sequence[Rank], rank: Rank) -> Interval:
  """The same measure of undisguised photographs.

  A photograph finds itself, which says nothing of a recogniser: beside "same
  photograph" stands another one of the person.
  """
  gallery = EVERY if rank.gallery == EVERY else OTHER
  (same,) = (
    p for p in plain if (p.metric, p.gallery) == (rank.metric, gallery)
  )
  return Interval(same.figures.rate, same.figures.low, same.figures.high)


def enrol(identities: np.ndarray) -> Enrolment:
  """Enrols the first photograph of everyone who has another one.

  Raises:
    DataError: fewer than two people have two photographs.
  """
  people, first, counts = np.unique(
    identities, return_index=True, return_counts=True
  )
  known = (people >= 0) & (counts > 1)
  if known.sum() < 2:
    raise DataError(
      "identification needs two people with two photographs each, and the"
      f" test split has {int(known.sum())}: give it a larger share in"
      " config.data.splits"
    )
  gallery = np.sort(first[known])
  probes = np.flatnonzero(np.isin(identities, people[known]))
  return Enrolment(gallery, np.setdiff1d(probes, gallery))


def undisguised(original: np.ndarray, identities: np.ndarray) -> list[Rank]:
  """The recogniser's scores on original photographs; see `attacks`."""
  return _scores("undisguised", original, original, identities)


def attacks(
  original: np.ndarray, protected: np.ndarray, identities: np.ndarray
) -> list[Rank]:
  """Naive, reverse and frozen parrot recognition by one recogniser.

  Args:
    original: [N, D] embeddings of the photographs.
    protected: [N, D] embeddings of what was made of them.
    identities: int [N].
  """
  return [
    *_scores("naive", original, protected, identities),
    _same("naive", original, protected, identities),
    *_scores("reverse", protected, original, identities),
    _same("reverse", protected, original, identities),
    *parrot(protected, identities),
  ]


def naive(
  original: np.ndarray, protected: np.ndarray, identities: np.ndarray
) -> Rank:
  """The first of `attacks`: photographs in the gallery, protected probes."""
  return _other("naive", original, protected, identities)


def parrot(protected: np.ndarray, identities: np.ndarray) -> list[Rank]:
  """A recogniser that was trained on protected images."""
  return _scores("parrot", protected, protected, identities)


def nearest_gallery(
  original: np.ndarray, protected: np.ndarray, identities: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """(probe rows, the gallery row that the naive attacker picks for each)."""
  gallery, probes = enrol(identities)
  result = identification.rank1(
      original[gallery], identities[gallery], protected[probes],
      identities[probes],
  )  # fmt: skip
  return probes, gallery[result.nearest]


def _scores(attack, gallery, probes, identities) -> list[Rank]:
  """Rank-1 among others' photographs, one a person or all; true accepts."""
  rows, shown = enrol(identities)
  accepted = verification.true_accepts(
    gallery[rows], identities[rows], probes[shown], identities[shown],
    tuple(FARS.values()),
  )  # fmt: skip
  return [
    _other(attack, gallery, probes, identities),
    _every(attack, gallery, probes, identities),
    *(
      Rank(
        attack,
        OTHER,
        metric,
        statistics.grouped_proportion(hits, identities[shown]),
        far,
      )
      for (metric, far), hits in zip(FARS.items(), accepted, strict=True)
      if hits is not None
    ),
  ]


def _other(attack, gallery, probes, identities) -> Rank:
  rows, shown = enrol(identities)
  ids = identities[rows], identities[shown]
  found = identification.rank1(gallery[rows], ids[0], probes[shown], ids[1])
  figures = _figures([found], [ids])
  return Rank(attack, OTHER, RANK, figures, found.chance, found.invalid)


def _every(attack, gallery, probes, identities) -> Rank:
  """Every photograph among all others; a person has as many as there are."""
  rows = np.sort(np.concatenate(enrol(identities)))
  people, counts = np.unique(identities[rows], return_counts=True)
  ids = identities[rows]
  found = identification.rank1(
    gallery[rows], ids, probes[rows], ids, own=np.arange(len(rows))
  )
  chance = float(np.sum(counts * (counts - 1)) / (len(rows) * (len(rows) - 1)))
  figures = _figures([found], [(ids, ids)])
  return Rank(attack, EVERY, RANK, figures, chance, found.invalid)


def _same(attack, gallery, probes, identities) -> Rank:
  """Sums over enrolments of everyone's i-th photograph, or else the first.

  One enrolment alone has no more trials than people, too few for an interval
  that could tell three times chance from chance.
  """
  people = identities[enrol(identities).gallery]
  rows = [np.flatnonzero(identities == person) for person in people]
  found, shown = [], []
  for turn in range(MAX_ENROLMENTS):
    enrolled = np.array([r[turn if turn < len(r) else 0] for r in rows])
    tried = np.array([r[turn] for r in rows if turn < len(r)], int)
    if not len(tried):
      break
    ids = identities[enrolled], identities[tried]
    shown.append(ids)
    found.append(
      identification.rank1(gallery[enrolled], ids[0], probes[tried], ids[1])
    )
  invalid = sum(f.invalid for f in found)
  figures = _figures(found, shown)
  return Rank(attack, SAME, RANK, figures, 1 / len(people), invalid)


def _figures(found, shown) -> statistics.Proportion:
  """Results over probes, whose interval is drawn over people.

  Args:
    found: the `Rank1` of each enrolment.
    shown: the identities of its gallery and of its probes.
  """
  hits = [
    (result.nearest >= 0) & (gallery[result.nearest] == probes)
    for result, (gallery, probes) in zip(found, shown, strict=True)
  ]
  people = np.concatenate([probes for _, probes in shown])
  return statistics.grouped_proportion(np.concatenate(hits), people)


def pictured(identities: np.ndarray) -> np.ndarray:
  """Rows of the photographs in the report: some of the probes."""
  probes = enrol(identities).probes
  count = min(SHOWN, len(probes))
  return probes[np.linspace(0, len(probes) - 1, count).astype(int)]


def _strips(people, shown, originals, embeddings) -> list[dict[str, Any]]:
  """Original, protected, and what the naive attacker takes it for."""
  test, identities = people.test, people.test.identities
  probes, match = nearest_gallery(originals, embeddings, identities)
  taken_for = dict(zip(probes, match, strict=True))
  strips = []
  for row in pictured(identities):
    right = identities[row] == identities[taken_for[row]]
    strips.append(
      {
        "images": [
          test.arrays["image"][row],
          shown.arrays["image"][row],
          test.arrays["image"][taken_for[row]],
        ],
        "captions": [
          "original",
          "protected",
          "identified" if right else "taken for another person",
        ],
      }
    )
  return strips
