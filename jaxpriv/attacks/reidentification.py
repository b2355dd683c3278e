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
otherwise it was made from another photograph of the person. The last row is
`jaxpriv.attacks.parrot`.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from jaxpriv.attacks.threat import People, Reader
from jaxpriv.data.records import DataError
from jaxpriv.metrics import finding, identification, statistics
from jaxpriv.metrics.finding import Finding, Interval
from jaxpriv.training.mechanism import Target

PRODUCTS = ("image",)
IDENTITY = "identity"
SAME, OTHER = "same photograph", "other photograph"

MAX_ENROLMENTS = 10  # photographs of a person that are enrolled in turn
SHOWN = 12  # photographs in the report


class Rank(NamedTuple):
  """How often the right person comes first, and how often by chance.

  `invalid` counts embeddings that are zero or not finite: never a hit.
  """

  attack: str
  gallery: str
  figures: statistics.Proportion
  chance: float
  invalid: int

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
      yield undisguised_finding(plain, reader)
    embeddings = reader.read(released)
    for rank in attacks(originals, embeddings, identities):
      yield disguised_finding(target, rank, reader, plain)
    independent = reader is people.recogniser()
    if independent and not target.control and not people.strips:
      people.strips += _strips(people, released, originals, embeddings)


def undisguised_finding(plain: Rank, reader: Reader) -> Finding:
  """Recognition without any protection."""
  return finding.of(
    IDENTITY,
    finding.TOLD,
    "rank-1",
    plain.figures,
    subject=finding.NOBODY,
    by=plain.attack,
    floor=plain.chance,
    where={"recogniser": reader.name, **plain.where, **reader.where},
  )


def disguised_finding(
  target: Target, rank: Rank, reader: Reader, plain: Rank, **where: Any
) -> Finding:
  """One attack, beside what the recogniser can do without protection."""
  return finding.of(
    IDENTITY,
    finding.HIDDEN,
    "rank-1",
    rank.figures,
    subject=target.name,
    by=rank.attack,
    floor=rank.chance,
    ceiling=ceiling(plain),
    where={"recogniser": reader.name, **rank.where, **reader.where, **where},
  )


def ceiling(plain: Rank) -> Interval:
  figures = plain.figures
  return Interval(figures.rate, figures.low, figures.high)


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


def undisguised(original: np.ndarray, identities: np.ndarray) -> Rank:
  """The recogniser's score on original photographs; see `attacks`."""
  rows = enrol(identities)
  return _rank(
      "undisguised", OTHER, original, rows.gallery, original, rows.probes,
      identities,
  )  # fmt: skip


def attacks(
  original: np.ndarray, protected: np.ndarray, identities: np.ndarray
) -> list[Rank]:
  """Naive, reverse and frozen parrot recognition by one recogniser.

  Args:
    original: [N, D] embeddings of the photographs.
    protected: [N, D] embeddings of what was made of them.
    identities: int [N].
  """
  gallery, probes = enrol(identities)
  return [
    naive(original, protected, identities),
    _same("naive", original, protected, identities),
    _rank("reverse", OTHER, protected, gallery, original, probes, identities),
    _same("reverse", protected, original, identities),
    parrot(protected, identities),
  ]


def naive(
  original: np.ndarray, protected: np.ndarray, identities: np.ndarray
) -> Rank:
  """The first of `attacks`: photographs in the gallery, protected probes."""
  gallery, probes = enrol(identities)
  return _rank("naive", OTHER, original, gallery, protected, probes, identities)


def parrot(protected: np.ndarray, identities: np.ndarray) -> Rank:
  """A recogniser that was trained on protected images."""
  gallery, probes = enrol(identities)
  return _rank(
    "parrot", OTHER, protected, gallery, protected, probes, identities
  )


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


def _rank(attack, kind, gallery, gallery_rows, probes, probe_rows, identities):
  result = identification.rank1(
    gallery[gallery_rows],
    identities[gallery_rows],
    probes[probe_rows],
    identities[probe_rows],
  )
  figures = statistics.Proportion(
    result.hits, result.total, result.rate, result.low, result.high
  )
  return Rank(attack, kind, figures, result.chance, result.invalid)


def _same(attack, gallery, probes, identities):
  """Sums over enrolments of everyone's i-th photograph, or else the first.

  One enrolment alone has no more trials than people, too few for an interval
  that could tell three times chance from chance.
  """
  enrolled = enrol(identities).gallery
  people = identities[enrolled]
  rows = [np.flatnonzero(identities == person) for person in people]
  hits = total = invalid = 0
  for turn in range(MAX_ENROLMENTS):
    gallery_rows = np.array([r[turn if turn < len(r) else 0] for r in rows])
    probe_rows = np.array([r[turn] for r in rows if turn < len(r)], int)
    if not len(probe_rows):
      break
    rank = _rank(
      attack, SAME, gallery, gallery_rows, probes, probe_rows, identities
    )
    hits += rank.figures.hits
    total += rank.figures.total
    invalid += rank.invalid
  figures = statistics.proportion(hits, total)
  return Rank(attack, SAME, figures, 1 / len(people), invalid)


def _strips(people, shown, originals, embeddings) -> list[dict[str, Any]]:
  """Original, protected, and what the naive attacker takes it for."""
  test, identities = people.test, people.test.identities
  probes, match = nearest_gallery(originals, embeddings, identities)
  count = min(SHOWN, len(probes))
  chosen = np.linspace(0, len(probes) - 1, count).astype(int)
  strips = []
  for i in chosen:
    right = identities[probes[i]] == identities[match[i]]
    strips.append(
      {
        "images": [
          test.arrays["image"][probes[i]],
          shown.arrays["image"][probes[i]],
          test.arrays["image"][match[i]],
        ],
        "captions": [
          "original",
          "protected",
          "identified" if right else "taken for another person",
        ],
      }
    )
  return strips
