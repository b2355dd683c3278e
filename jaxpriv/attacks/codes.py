"""The most that anybody finds by releases that are made of codes and noise.

Where a release is a function of a code of the photograph, and of noise that is
independent of who is in it, whoever sees it learns the code at most. The best
guess of the person, of N equally likely ones whose codes are known in every
detail, is right with a probability of

  sum over codes c of max_i P(c | i) / N

with P(c | i) the share of person i's photographs of that code. Codes that do
not occur do not count, so that it is at most the number of codes that do, over
N. It is no attack that was run: no other is above it, but for its trials.
"""

from collections.abc import Iterator

import numpy as np

from jaxpriv.attacks.reidentification import IDENTITY, OTHER, RANK
from jaxpriv.attacks.threat import People
from jaxpriv.metrics import finding, statistics
from jaxpriv.metrics.finding import Finding
from jaxpriv.training.mechanism import Target

PRODUCTS = ("image",)
BY = "bound of codes"


def attack(target: Target, people: People) -> Iterator[Finding]:
  """The bound, with how many codes occur; nothing where there are no codes."""
  phase = target.trained.phase_with("code")
  if target.control or phase is None:
    return
  codes = people.apply(
    phase.method.outputs.code,
    target.trained.state(phase),
    target.trained.frozen(phase),
    people.test,
  )
  best, occurring = bound(codes, people.test.identities)
  number = len(np.unique(people.test.identities))
  yield finding.of(
    IDENTITY,
    finding.TOLD,
    RANK,
    statistics.Mean(best, best, min(occurring / number, 1.0), number),
    subject=target.name,
    by=BY,
    floor=1 / number,
    where={"gallery": OTHER, "codes": occurring, "knows": "all codes"},
  )


def bound(codes: np.ndarray, identities: np.ndarray) -> tuple[float, int]:
  """The bound of a closed set of people, and how many codes occur.

  Args:
    codes: int [N, C], of each photograph.
    identities: int [N].

  Raises:
    ValueError: there are no photographs.
  """
  if not len(codes):
    raise ValueError("a bound of no photographs is not defined")
  kinds, which = np.unique(codes, axis=0, return_inverse=True)
  _, who, counts = np.unique(
    identities, return_inverse=True, return_counts=True
  )
  table = np.zeros((len(counts), len(kinds)))
  np.add.at(table, (who, which.reshape(-1)), 1)
  shares = table / counts[:, None]
  return float(shares.max(0).sum() / len(counts)), len(kinds)
