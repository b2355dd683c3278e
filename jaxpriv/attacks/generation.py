"""How good and how various made images are, and whose faces they still are.

Recognisers read real test photographs and made images, and the distances of
what they say are measured: see `jaxpriv.metrics.generation`. No such figure
means anything without the name of its recogniser, and none of them is FID,
which is of one Inception network. Made images are those that are released; a
model that releases none, but draws images, draws some under the conditions of
test photographs.

Half of the people in the real photographs stand on one side, each with one
photograph: with more of them, an image's neighbours would all show its own
person. On the other side stand, in equal numbers, the made images; as the
ceiling, photographs of the other half; and as the floor, images that know
little: the photographs as they are, where another domain is to be shown, or
else noise, each of whose pixels is that of some real photograph at that place.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from absl import logging

from jaxpriv.attacks import gathering
from jaxpriv.attacks.reidentification import IDENTITY
from jaxpriv.attacks.threat import People, Reader
from jaxpriv.data.memory import InMemory
from jaxpriv.data.records import DOMAINS, DataError
from jaxpriv.metrics import finding, generation, statistics
from jaxpriv.metrics.finding import Finding, Interval
from jaxpriv.metrics.identification import directions
from jaxpriv.ranges import whole
from jaxpriv.training import mechanism, published
from jaxpriv.training.mechanism import Target

PRODUCTS = ("image", "model")
RANGES = {"outputs": whole(2), "neighbours": whole(1), "most": whole(8)}
REALISM, VARIETY = "realism", "variety"
# Metrics of a set beside real photographs, and what they speak of.
CLAIMS = {
  "kernel distance": REALISM,
  "Frechet distance": REALISM,
  "precision": REALISM,
  "density": REALISM,
  "recall": VARIETY,
  "coverage": VARIETY,
}
BESIDE, OUTPUTS, SOURCE = (
  *("beside photographs", "outputs of one source", "likeness to the source"),
)
NOISE, UNCHANGED = "noise", "the photographs"


class _Read(NamedTuple):
  """Embeddings of images by a recogniser, and whose they are.

  Attributes:
    rows: float64 [N, D] of length sqrt(D), which the kernel distance asks for.
    people: [N], who is shown, or in the source of it.
    valid: [all], the images for which it says something.
  """

  rows: np.ndarray
  people: np.ndarray
  valid: np.ndarray


class _Sides(NamedTuple):
  """Photographs on both sides, as many each, and what is told of them.

  Attributes:
    real: of half of the people, one of each; all others stand beside them.
    other: of the other half, likewise.
    worst: what knows little.
    kind: NOISE or UNCHANGED, of these.
    made: made images, as many or more; only so many are compared.
    sources: the photograph of each of these.
  """

  real: InMemory
  other: InMemory
  worst: InMemory
  kind: str
  made: InMemory
  sources: InMemory


def attack(
  target: Target,
  people: People,
  domain: str = "",
  outputs: int = 10,
  neighbours: int = 3,
  most: int = 1000,
) -> Iterator[Finding]:
  """Compares made images with real ones, with each other, and with sources.

  It reads by the networks among config.evaluation.witnesses that have been
  fetched, or else by the recogniser that attackers train.

  Args:
    target: which releases images, or whose model draws some.
    people: with test photographs.
    domain: that made images are to show, one of `DOMAINS`; "": that of the
      photographs.
    outputs: of one source, for their diversity, where a generator draws many.
    neighbours: k of precision and recall.
    most: images of a set.

  Raises:
    DataError: the test people have too few photographs of the domain.
  """
  draws = target.trained.phase_with("drawn") is not None
  if mechanism.IMAGE not in target.products and not draws:
    return
  sides = _sides(target, people, domain, neighbours, most)
  several = None
  if draws:
    rows = np.arange(min(max(most // outputs, 2), len(sides.sources)))
    repeated = sides.sources.take(rows.repeat(outputs))
    several = _drawn(target, people, repeated)
  for reader in people.witnesses() or [people.recogniser()]:
    yield from _beside(target, reader, sides, neighbours)
    if several is not None:
      yield from _diversity(target, reader, several, outputs, sides)
    if mechanism.IMAGE in target.products:
      yield from _leakage(target, people, reader, sides)


def _sides(
  target: Target, people: People, domain: str, neighbours: int, most: int
) -> _Sides:
  test = people.test
  real = _of_domain(people, domain) if domain else test
  rng = np.random.default_rng(people.config.seed)
  rows, found = _in_turn(real.identities, rng)
  order, shown = _in_turn(test.identities, rng)
  count = min(found // 2, shown, most)
  if count <= max(neighbours, 1):
    of_domain = f" of domain {domain}" if domain else ""
    raise DataError(
      f"the test people have {len(real)} photographs{of_domain}, of {found}"
      " people, and made images are compared with those of half of them, by"
      f" {neighbours} neighbours: give the test split more, or leave generation"
      " out of config.evaluation.attacks"
    )
  one, other = (real.take(rows[i * count :][:count]) for i in range(2))
  if mechanism.IMAGE in target.products:
    rows = order[:most]
    sources, made = test.take(rows), people.image(target, test).take(rows)
    if domain and DOMAINS.index(domain) not in test.arrays["domain"]:
      worst = sources.take(slice(0, count))
      return _Sides(one, other, worst, UNCHANGED, made, sources)
  else:
    # Their conditions are those of people with whom nothing is compared.
    sources, made = other, _drawn(target, people, other)
  noise = rng.permuted(other.arrays["image"], axis=0)
  return _Sides(one, other, other.replace(image=noise), NOISE, made, sources)


def _in_turn(
  identities: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, int]:
  """Rows in a random order, one of each person first, and how many people."""
  rows = rng.permutation(len(identities))
  names, first = np.unique(identities[rows], return_index=True)
  later = np.ones(len(rows), bool)
  later[first] = False
  return np.concatenate([rows[np.sort(first)], rows[later]]), len(names)


def _of_domain(people: People, domain: str) -> InMemory:
  """Test photographs of a domain, of which `people.test` may have none."""
  data = people.data
  assert data is not None
  tested = people.once(
    "everybody tested", lambda: gathering.of_test(people.options, data)
  )
  shown = tested.arrays["domain"] == DOMAINS.index(domain)
  return tested.take(np.flatnonzero(shown))


def _drawn(target: Target, people: People, sources: InMemory) -> InMemory:
  """The images that a generator draws of photographs, or like them."""
  fn, state, frozen = target.trained.bound("drawn")
  images = people.apply(fn, state, frozen, sources, finish=published.images)
  return sources.replace(image=images)


def _read(reader: Reader, photographs: InMemory) -> _Read:
  rows, valid = directions(reader.read(photographs))
  rows = rows[valid] * math.sqrt(rows.shape[1])
  return _Read(rows, photographs.identities[valid], valid)


def _beside(
  target: Target, reader: Reader, sides: _Sides, neighbours: int
) -> Iterator[Finding]:
  """Made images, the ceiling and the floor, each beside real photographs."""
  count = len(sides.real)
  made = sides.made.take(slice(0, count))
  real, other, worst, shown = (
    _read(reader, s) for s in (sides.real, sides.other, sides.worst, made)
  )
  invalid = count - len(shown.rows)
  few = min(len(read.rows) for read in (real, other, worst, shown))
  if few <= neighbours:
    logging.warning(
      "%s says something of only %d of %d images of a set, too few for"
      " distances", reader.name, few, count,
    )  # fmt: skip
    return
  best, least = (_figures(real, x, neighbours) for x in (other, worst))
  for metric, figures in _figures(real, shown, neighbours).items():
    yield finding.of(
      CLAIMS[metric],
      finding.KEPT,
      metric,
      figures,
      subject=target.name,
      by=BESIDE,
      floor=_interval(least[metric]).value,
      ceiling=_interval(best[metric]),
      where={
        **_where(reader, invalid),
        "images": count,
        "floor of": sides.kind,
      },
    )


def _figures(real: _Read, shown: _Read, neighbours: int) -> Mapping[str, Any]:
  """Name of a metric -> its figures, of images beside real ones."""
  near = generation.precision_recall(
    real.rows, shown.rows, neighbours, real.people, shown.people
  )
  # There is no interval of the Fréchet distance: drawn with replacement, images
  # are fewer different ones, and what is too large by itself becomes larger.
  apart = statistics.Mean(
    generation.frechet_distance(real.rows, shown.rows),
    -math.inf,
    math.inf,
    len(shown.rows),
  )
  return {
    "kernel distance": generation.kernel_distance(
      real.rows, shown.rows, real.people, shown.people
    ),
    "Frechet distance": apart,
    **near._asdict(),
  }


def _diversity(
  target: Target, reader: Reader, several: InMemory, outputs: int, sides: _Sides
) -> Iterator[Finding]:
  """How far the outputs of a source are from each other, and real images."""
  found = _outputs(reader, several, outputs)
  if found is None:
    return
  # The mean distance of pairs is that of larger groups, too.
  pairs = slice(0, len(sides.real) // 2 * 2)
  real = _outputs(reader, sides.real.take(pairs), 2)
  yield finding.of(
    VARIETY,
    finding.KEPT,
    "diversity",
    found,
    subject=target.name,
    by=OUTPUTS,
    floor=0.0,
    ceiling=None if real is None or real.total < 2 else _interval(real),
    where={**_where(reader), "outputs": outputs},
  )


def _outputs(
  reader: Reader, images: InMemory, outputs: int
) -> statistics.Mean | None:
  """The diversity of each `outputs` images that follow on each other."""
  read = _read(reader, images)
  valid = read.valid.reshape(-1, outputs).all(1)
  if not valid.any():
    return None
  kept = valid.repeat(outputs)
  rows = read.rows[kept[read.valid]].reshape(valid.sum(), outputs, -1)
  return generation.diversity(rows, images.identities[::outputs][valid])


def _leakage(
  target: Target, people: People, reader: Reader, sides: _Sides
) -> Iterator[Finding]:
  """How often a release is more like its photograph than like others."""
  source, output = _read(reader, sides.sources), _read(reader, sides.made)
  both = source.valid & output.valid
  identities = sides.sources.identities[both]
  if len(np.unique(identities)) < 2:
    return
  leak = generation.identity_leakage(
    source.rows[both[source.valid]], output.rows[both[output.valid]], identities
  )
  yield finding.of(
    IDENTITY,
    finding.HIDDEN,
    "identity AUC",
    leak,
    subject=target.name,
    by=SOURCE,
    floor=0.5,
    ceiling=_of_others(source),
    where=_where(reader, int((~both).sum())),
  )


def _of_others(read: _Read) -> Interval | None:
  """The same of another photograph of the person in the place of a release."""
  order = np.argsort(read.people, kind="stable")
  _, starts, counts = np.unique(
    read.people[order], return_index=True, return_counts=True
  )
  place = np.arange(len(order)) - np.repeat(starts, counts)
  each = np.repeat(counts, counts)
  following = np.repeat(starts, counts) + (place + 1) % each
  pairs = np.stack([order, order[following]])[:, each > 1]
  if len(np.unique(read.people[pairs[0]])) < 2:
    return None
  rows, others = read.rows[pairs[0]], read.rows[pairs[1]]
  return _interval(
    generation.identity_leakage(rows, others, read.people[pairs[0]])
  )


def _where(reader: Reader, invalid: int = 0) -> dict[str, Any]:
  failed = {"invalid": invalid} if invalid else {}
  return {"recogniser": reader.name, **reader.where, **failed}


def _interval(figures: Any) -> Interval:
  """The value and interval of figures; a point where there is no interval."""
  value = figures.rate if hasattr(figures, "rate") else figures.value
  if not math.isfinite(figures.high):
    return Interval(value, value, value)
  return Interval(value, figures.low, figures.high)
