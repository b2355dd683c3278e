"""Who is it? Naive, reverse and parrot recognition.

Newton, Sweeney, Malin, TKDE 17(2), 2005. The attacker holds a gallery, one
photograph a person, and names each probe by its nearest neighbour:

| attack | gallery | probes | recogniser trained on |
|---|---|---|---|
| undisguised | original | other photographs, original | originals |
| naive | original | protected | originals |
| reverse | protected | original | originals |
| parrot | protected | other photographs, protected | originals |
| parrot, retrained | protected | other photographs, protected | protected |

The undisguised row is no attack: it tells what the recogniser is worth. Where
the gallery is of the "same photograph", the probe was made from the gallery's
own image, and everyone's first, second, ... photographs are enrolled in turn;
otherwise it was made from another photograph of the person.
"""

from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from jaxpriv.data.records import DataError
from jaxpriv.metrics import identification, statistics
from jaxpriv.models import backbones
from jaxpriv.training import tasks
from jaxpriv.training.method import Phase

SAME, OTHER = "same photograph", "other photograph"

# Of the same photograph.
MAX_ENROLMENTS = 10


def recogniser(
    name: str, network: ConfigDict, head: ConfigDict, options: ConfigDict,
    people: int,
) -> Phase:  # fmt: skip
  """An attacker's recogniser; `network.architecture` is a kind of backbone."""
  settings = {k: v for k, v in network.items() if k != "architecture"}
  backbone = backbones.make(network.architecture, **settings)
  return tasks.recognition(name, backbone, people, options, head=head)


class Enrolment(NamedTuple):
  """Rows of the photographs: one a person in the gallery, all others probes."""

  gallery: np.ndarray
  probes: np.ndarray


def enrol(identities: np.ndarray) -> Enrolment:
  """Enrols the first photograph of everyone who has another one."""
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


def undisguised(original: np.ndarray, identities: np.ndarray) -> dict:
  """The recogniser's score on original photographs; see `attacks`."""
  rows = enrol(identities)
  return _row(
      "undisguised", OTHER, original, rows.gallery, original, rows.probes,
      identities,
  )  # fmt: skip


def attacks(
  original: np.ndarray, protected: np.ndarray, identities: np.ndarray
) -> list[dict]:
  """Naive, reverse and frozen parrot recognition by one recogniser.

  Args:
    original: [N, D] embeddings of the photographs.
    protected: [N, D] embeddings of what was made of them.
    identities: int [N].

  Returns:
    rows as in `jaxpriv.reports.results`, without mechanism and recogniser.
  """
  gallery, probes = enrol(identities)
  return [
    _row("naive", OTHER, original, gallery, protected, probes, identities),
    _same("naive", original, protected, identities),
    _row("reverse", OTHER, protected, gallery, original, probes, identities),
    _same("reverse", protected, original, identities),
    _row("parrot", OTHER, protected, gallery, protected, probes, identities),
  ]


def parrot(protected: np.ndarray, identities: np.ndarray) -> dict:
  """The row of a recogniser that was trained on protected images."""
  gallery, probes = enrol(identities)
  return _row(
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


def _row(attack, kind, gallery, gallery_rows, probes, probe_rows, identities):
  result = identification.rank1(
    gallery[gallery_rows],
    identities[gallery_rows],
    probes[probe_rows],
    identities[probe_rows],
  )
  return {"attack": attack, "gallery": kind, **result.figures()}


def _same(attack, gallery, probes, identities):
  """Sums over enrolments of everyone's i-th photograph, or else the first.

  One enrolment alone has no more trials than people, too few for an interval
  that could tell three times chance from chance.
  """
  enrolled = enrol(identities).gallery
  people = identities[enrolled]
  hits = total = invalid = 0
  row: dict = {}
  for turn in range(MAX_ENROLMENTS):
    rows = [np.flatnonzero(identities == person) for person in people]
    gallery_rows = np.array([r[turn if turn < len(r) else 0] for r in rows])
    probe_rows = np.array([r[turn] for r in rows if turn < len(r)], int)
    if not len(probe_rows):
      break
    row = _row(
      attack, SAME, gallery, gallery_rows, probes, probe_rows, identities
    )
    hits += row["hits"]
    total += row["total"]
    invalid += row["invalid"]
  figures = statistics.proportion(hits, total)._asdict()
  return {**row, **figures, "invalid": invalid}
