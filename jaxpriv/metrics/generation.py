"""How good generated images are, over the features of a network that is named.

No figure here means anything without the name of the network whose features it
compares, and the numbers of images. What is called FID or KID is the Fréchet or
the kernel distance over the pooled features of one Inception network; over any
other features it is another quantity, and is never given that name.

All of it is NumPy in float64: distances are small differences of large numbers,
of which float32, and the coarser products of accelerators, keep too little.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from jaxpriv.metrics import statistics
from jaxpriv.metrics.attributes import FEWEST_PEOPLE
from jaxpriv.metrics.identification import directions
from jaxpriv.metrics.statistics import Mean, Proportion

BLOCK = 2**22  # distances at once
TIE = 1e-12  # relative difference that rounding alone may make


def frechet_distance(real: np.ndarray, generated: np.ndarray) -> float:
  """Squared Fréchet distance of normal distributions fitted to two sets.

  Equation 6 of Heusel et al., "GANs trained by a two time-scale update rule
  converge to a local Nash equilibrium", 2017:

    |m - n|^2 + tr(S + T - 2 (S^1/2 T S^1/2)^1/2),

  with m and n the means, S and T the covariances (ddof 1). If S = A'A and
  T = B'B, the trace of the root is the sum of the singular values of AB'. So no
  root of a matrix is taken, which would make 1e-8 of each eigenvalue that is 0
  but for a rounding error of 1e-16.

  The estimate is too large by about a constant over the number of images (Chong
  and Forsyth, "Effectively unbiased FID and Inception score", 2020), and far
  too large with fewer images than features. Compare it at equal numbers only,
  with that of real images among themselves. It has no interval:
  `kernel_distance` has one.

  Args:
    real: [N, D] features.
    generated: [M, D].

  Returns:
    the distance, at least 0, in squared units of the features.

  Raises:
    ValueError: features are not [N, D] and [M, D], have fewer than 2 rows, or
      are not finite.
  """
  sides = _sets(real, generated)
  means = [x.mean(0) for x in sides]
  roots = [
    np.linalg.qr(x - mean, mode="r") / np.sqrt(len(x) - 1)
    for x, mean in zip(sides, means)
  ]
  shared = np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum()
  spread = sum((root**2).sum() for root in roots)
  distance = ((means[0] - means[1]) ** 2).sum() + spread - 2 * shared
  return float(max(distance, 0.0))


def kernel_distance(
  real: np.ndarray,
  generated: np.ndarray,
  real_people: np.ndarray | None = None,
  generated_people: np.ndarray | None = None,
) -> Mean:
  """Squared maximum mean discrepancy of two sets, kernel (x.y / D + 1)^3.

  The unbiased estimate of Binkowski et al., "Demystifying MMD GANs", 2018, over
  all images at once, which is the mean over all subsets. Where the
  distributions are one it is around 0, and often below. The kernel tells more
  than means apart only if features are about 1 in size: multiply vectors of
  norm 1 by sqrt(D).

  The interval is by the variance of the first-order term of a U-statistic: each
  image's mean kernel with its own set minus that with the other one. It is too
  wide where the distributions are nearly one. The sets are taken to be
  independent of each other.

  Args:
    real: [N, D] features.
    generated: [M, D].
    real_people: [N], who is shown. Images of one person, or outputs of one
      source, are not independent, and not compared with each other. By default
      nobody is shown twice.
    generated_people: [M].

  Returns:
    the distance and its 95% interval; `total` is M.

  Raises:
    ValueError: as `frechet_distance`; people are not [N] and [M], or fewer than
      2 in a set.
  """
  real, generated = _sets(real, generated)
  sets = (
    (real, _people(real_people, real, "real"), generated),
    (generated, _people(generated_people, generated, "generated"), real),
  )
  # The distance is the sum of the means of both sides.
  sides = [
    statistics.mean_interval(_nearer(own, people, other), people)
    for own, people, other in sets
  ]
  value = sum(side.value for side in sides)
  half = 2 * math.hypot(*(side.high - side.value for side in sides))
  return Mean(value, value - half, value + half, len(generated))


def _nearer(own, people, other):
  """Each row's mean kernel with other people of its set minus with the other
  set.
  """
  values = np.empty(len(own))
  for rows in _blocks(len(own), max(len(own), len(other))):
    apart = people[rows, None] != people
    within = (_kernel(own[rows], own) * apart).sum(1) / apart.sum(1)
    values[rows] = within - _kernel(own[rows], other).mean(1)
  return values


def _kernel(x, y):
  """(x.y / D + 1)^3 - 1: the constant cancels in the distance."""
  product = x @ y.T / x.shape[1]
  return product * (product * (product + 3) + 3)


class Neighbours(NamedTuple):
  """How two sets lie among each other.

  Attributes:
    precision: generated images within the ball of a real one.
    recall: real images within the ball of a generated one.
    density: mean number of balls of real images that a generated one lies in,
      over k: about 1 where the distributions are one, and it may be more.
    coverage: real images with a generated one in their own ball.
  """

  precision: Proportion
  recall: Proportion
  density: Mean
  coverage: Proportion


def precision_recall(
  real: np.ndarray,
  generated: np.ndarray,
  k: int = 3,
  real_people: np.ndarray | None = None,
  generated_people: np.ndarray | None = None,
) -> Neighbours:
  """Whether generated images are good, and whether all kinds are among them.

  Precision and recall are those of Kynkäänniemi et al., "Improved precision and
  recall metric for assessing generative models", 2019; density and coverage
  those of Naeem et al., "Reliable fidelity and diversity metrics for generative
  models", 2020. The radius of an image's ball is the k-th smallest Euclidean
  distance to the other images of its set.

  A ball holds its surface, and distances that differ by rounding alone are
  equal. A copy is another image at distance 0: the ball of an image that has k
  copies is a point, and holds further copies.

  The figures depend on k and on both numbers of images, and are compared where
  these are equal. Intervals are over the images counted, the balls being given.

  Args:
    real: [N, D] features.
    generated: [M, D].
    k: which neighbour; 3 in the first paper, 5 in the second.
    real_people: [N], who is shown, for the intervals. By default nobody is
      shown twice.
    generated_people: [M].

  Raises:
    ValueError: as `kernel_distance`, or k is not at least 1 and below N and M.
  """
  real, generated = _sets(real, generated)
  real_people = _people(real_people, real, "real")
  generated_people = _people(generated_people, generated, "generated")
  for name, x in (("real", real), ("generated", generated)):
    if not 1 <= k < len(x):
      raise ValueError(
        f"k must be at least 1 and below the number of {name} rows, {len(x)},"
        f" not {k}"
      )
  centre = real.mean(0)
  real, generated = real - centre, generated - centre
  real_radius, generated_radius = _radii(real, k), _radii(generated, k)
  balls = np.empty(len(generated))
  covered, recalled = np.zeros((2, len(real)), bool)
  for rows in _blocks(len(generated), len(real)):
    distance, rounding = _distances(generated[rows], real)
    inside = distance <= real_radius + rounding
    balls[rows] = inside.sum(1)
    covered |= inside.any(0)
    recalled |= (distance <= generated_radius[rows, None] + rounding).any(0)
  return Neighbours(
    statistics.grouped_proportion(balls > 0, generated_people),
    statistics.grouped_proportion(recalled, real_people),
    statistics.mean_interval(balls / k, generated_people),
    statistics.grouped_proportion(covered, real_people),
  )


def _radii(x, k):
  """The k-th smallest squared distance of each row to the other ones."""
  radii = np.empty(len(x))
  for rows in _blocks(len(x), len(x)):
    distance, _ = _distances(x[rows], x)
    distance[np.arange(len(distance)), np.arange(len(x))[rows]] = np.inf
    radii[rows] = np.partition(distance, k - 1)[:, k - 1]
  return radii


def _distances(x, y):
  """Squared distances [N, M], and how far rounding may have changed them."""
  size = (x**2).sum(1)[:, None] + (y**2).sum(1)
  return size - 2 * (x @ y.T), TIE * size


def diversity(features: np.ndarray, people: np.ndarray | None = None) -> Mean:
  """Mean cosine distance of two outputs of one source.

  The evaluation of StarGAN v2 (Choi et al., 2020) takes LPIPS over the pairs of
  ten outputs, then the mean over sources. Here it is 1 - cos of features, which
  is half the squared distance of their directions: 0 where all outputs of a
  source are one, 1 where they have nothing in common.

  Args:
    features: [N, outputs, D] of the outputs of N sources.
    people: [N], who is shown in the source, for the interval. By default nobody
      is shown twice.

  Returns:
    the mean and its 95% interval; `total` is N. The interval of a single source
    is infinite.

  Raises:
    ValueError: features are not [N, outputs, D], have no source or fewer than 2
      outputs, or are not finite; or a row is 0 and has no direction.
  """
  features = np.asarray(features, np.float64)
  if features.ndim != 3 or not len(features) or features.shape[1] < 2:
    raise ValueError(
      "features must be [N, outputs, D], of 2 or more outputs of each source,"
      f" not {features.shape}"
    )
  sources, outputs, size = features.shape
  flat = _features(features.reshape(-1, size), "output")
  unit = _directions(flat, "output").reshape(features.shape)
  total = np.zeros(sources)
  for i in range(outputs - 1):
    total += ((unit[:, i + 1 :] - unit[:, i : i + 1]) ** 2).sum((1, 2)) / 2
  values = total / (outputs * (outputs - 1) / 2)
  return statistics.mean_interval(values, _people(people, values, "source", 1))


def identity_leakage(
  source: np.ndarray,
  output: np.ndarray,
  people: np.ndarray | None = None,
  seed: int = 0,
) -> Mean:
  """How often an output is more like its source than like another person's.

  By cosine, over all pairs of an output and a source of another person: the
  area under the ROC curve of each output's own source among the others, on
  average. Ties count one half, and outputs that tell nothing score 1/2. As in
  `identification`, nearly equal features stay distinguishable; its `rank1` with
  sources as the gallery and outputs as probes is the harder question.

  Args:
    source: [N, D] features of sources, by a recogniser.
    output: [N, D] features of their outputs.
    people: [N], who is shown in the source; by default nobody twice.
    seed: of the draws of people for the interval (bootstrap, Efron 1979).

  Returns:
    the area and its 95% interval, which is [0, 1] with fewer people than
    `FEWEST_PEOPLE`, and a little too narrow with some tens; `total` is N.

  Raises:
    ValueError: features are not [N, D] both, of 2 or more people, or not
      finite; or a row is 0 and has no direction.
  """
  source, output = _sets(source, output, ("source", "output"))
  if len(source) != len(output):
    raise ValueError(
      f"{len(source)} sources and {len(output)} outputs: row i of both must be"
      " one source and its output"
    )
  people = _people(people, source, "source")
  source, output = _directions(source, "source"), _directions(output, "output")
  # For unit vectors v, (u - c).(v - c) - |v - c|^2 / 2 orders them as u.v does.
  centre = source.mean(0)
  source, output = source - centre, output - centre
  squares = (source**2).sum(1)
  largest = np.sqrt(squares.max())
  rounding = TIE * largest * (np.linalg.norm(output, axis=1) + largest)

  count = people.max() + 1
  draws = np.random.default_rng(seed).multinomial(
    count, np.full(count, 1 / count), statistics.RESAMPLES
  )
  weights = np.concatenate([np.ones((1, count)), draws])
  by_person = weights * np.bincount(people)
  pairs = by_person.sum(1) ** 2 - (by_person**2).sum(1)
  weights = weights[:, people]
  won = np.zeros(len(weights))
  for rows in _blocks(len(output), len(source)):
    score = output[rows] @ source.T - squares / 2
    own = score[np.arange(len(score)), np.arange(len(source))[rows]]
    lead = own[:, None] - score
    share = np.where(abs(lead) <= rounding[rows, None], 0.5, lead > 0)
    share *= people[rows, None] != people
    won += (weights[:, rows] * (weights @ share.T)).sum(1)
  value, *drawn = won / np.maximum(pairs, 1)
  low, high = 0.0, 1.0
  if count >= FEWEST_PEOPLE:
    low, high = np.quantile(drawn, [0.025, 0.975])
  low, high = float(min(low, value)), float(max(high, value))
  return Mean(float(value), low, high, len(output))


def _blocks(count: int, width: int) -> Iterator[slice]:
  """Slices of rows, of at most BLOCK values each."""
  step = max(BLOCK // width, 1)
  for start in range(0, count, step):
    yield slice(start, start + step)


def _sets(one, two, names=("real", "generated")):
  one, two = _features(one, names[0], 2), _features(two, names[1], 2)
  if one.shape[1] != two.shape[1]:
    raise ValueError(
      f"{names[0]} rows have {one.shape[1]} features, {names[1]} rows"
      f" {two.shape[1]}: they come from different networks"
    )
  return one, two


def _features(x, name, fewest=1):
  x = np.asarray(x, np.float64)
  if x.ndim != 2 or not x.shape[1]:
    raise ValueError(f"{name}: features must be [N, D], not {x.shape}")
  if len(x) < fewest:
    raise ValueError(f"{name}: {len(x)} rows, but {fewest} are the fewest")
  bad = np.flatnonzero(~np.isfinite(x).all(1))
  if len(bad):
    raise ValueError(
      f"{name}: {len(bad)} of {len(x)} rows are not finite, row {bad[0]} first:"
      " the network failed on them"
    )
  return x


def _directions(x, name):
  unit, valid = directions(x)
  if not valid.all():
    raise ValueError(
      f"{name}: {(~valid).sum()} of {len(x)} rows are 0, row"
      f" {np.argmin(valid)} first, and have no direction: leave them out"
    )
  return unit


def _people(people, rows, name, fewest=2):
  """A number from 0 for each person; one a row if it is not said."""
  people = np.arange(len(rows)) if people is None else np.asarray(people)
  if people.shape != (len(rows),):
    raise ValueError(
      f"{name}: people {people.shape} must be [N], of {len(rows)} rows"
    )
  names, people = np.unique(people, return_inverse=True)
  if len(names) < fewest:
    raise ValueError(
      f"{name}: {len(names)} people, but {fewest} are the fewest"
    )
  return people
