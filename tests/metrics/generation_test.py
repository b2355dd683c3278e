"""Generated images against real ones, by plain loops and closed forms."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg

from jaxpriv.metrics import classification, finding, generation, statistics
from jaxpriv.metrics.finding import HIDDEN, KEPT, TOLD, Interval

SEEDS = st.integers(0, 10**6)


def normal(seed, *shape):
  return np.random.default_rng(seed).normal(size=shape)


def axes(deviations, mean):
  """2D points of exactly this mean and these deviations, uncorrelated."""
  count = 2 * len(deviations)
  rows = np.diag(deviations) * math.sqrt((count - 1) / 2)
  return np.concatenate([rows, -rows]) + mean


def rotation(seed, size):
  return np.linalg.qr(normal(seed, size, size))[0]


@pytest.fixture(params=[1, 17, None])
def blocks(request, monkeypatch):
  """One row a block, a few, or all rows in one."""
  if request.param:
    monkeypatch.setattr(generation, "BLOCK", request.param)


# --- Fréchet -----------------------------------------------------------------


def test_frechet_of_known_moments():
  # Along each axis: (difference of means)^2 + (difference of deviations)^2.
  one = axes([1.0, 2.0, 5.0], [0, 0, 7])
  two = axes([4.0, 2.0, 3.0], [1, -2, 7])
  expected = (1 + 4 + 0) + (9 + 0 + 4)
  got = generation.frechet_distance(one, two)
  assert isinstance(got, float)
  assert got == pytest.approx(expected, rel=1e-12)
  # Variances of -1, 1 and of 0, 2, 4 are 2 and 4, means 0 and 2.
  got = generation.frechet_distance([[-1], [1]], [[0], [2], [4]])
  assert got == pytest.approx(4 + (2 - math.sqrt(2)) ** 2, rel=1e-12)


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.integers(12, 30), st.integers(12, 30), st.integers(1, 8))
def test_frechet_equals_the_root_of_a_matrix(seed, n, m, size):
  real = normal(seed, n, size) @ normal(seed + 1, size, size)
  fake = normal(seed + 2, m, size) @ normal(seed + 3, size, size) + 0.5
  one, two = (np.cov(x.T).reshape(size, size) for x in (real, fake))
  mixed = linalg.sqrtm(one @ two).real
  expected = np.sum((real.mean(0) - fake.mean(0)) ** 2)
  expected += np.trace(one + two - 2 * mixed)
  got = generation.frechet_distance(real, fake)
  assert got == pytest.approx(expected, rel=1e-6)


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.integers(2, 12), st.integers(2, 12), st.integers(1, 20))
def test_frechet_is_a_distance_with_few_images_too(seed, n, m, size):
  real, fake = normal(seed, n, size), 3 * normal(seed + 1, m, size) + 1
  got = generation.frechet_distance(real, fake)
  assert got >= 0
  assert generation.frechet_distance(fake, real) == pytest.approx(got)
  turn = rotation(seed, size)
  turned = generation.frechet_distance(real @ turn + 5, fake @ turn + 5)
  assert turned == pytest.approx(got)
  assert generation.frechet_distance(2 * real, 2 * fake) == pytest.approx(
    4 * got
  )
  # A set against a shifted copy of it: the shift, to the last digits.
  shift = normal(seed + 2, size)
  moved = generation.frechet_distance(real, real[::-1] + shift)
  assert moved == pytest.approx(shift @ shift, abs=1e-11 * size)


def test_frechet_of_few_images_in_many_features_is_exact():
  # Covariances of rank 2 in 400 features that share no direction: no error of
  # 1e-8 for each feature that does not vary.
  real, fake = np.zeros((2, 3, 400))
  real[:, :2] = [[1, 0], [0, 1], [-1, -1]]
  fake[:, 2:4] = [[1, 0], [0, 1], [-1, -1]]
  got = generation.frechet_distance(real, fake)
  assert got == pytest.approx(2 + 2, abs=1e-11)


def test_frechet_of_a_set_against_itself_is_not_below_0():
  for seed in range(20):
    rows = normal(seed, 30, 6)
    assert 0 <= generation.frechet_distance(rows, rows) < 1e-11


def test_frechet_falls_with_the_number_of_images():
  one, two = normal(0, 4000, 8), normal(1, 4000, 8)
  few, some, many = (
    generation.frechet_distance(one[:n], two[:n]) for n in (40, 400, 4000)
  )
  assert few > 5 * some > 25 * many > 0


# --- kernel ------------------------------------------------------------------


def discrepancy(real, fake, real_people, fake_people):
  """Unbiased MMD^2, pair by pair; the same number of rows for each person."""
  kernel = lambda x, y: (x @ y / len(x) + 1) ** 3
  within = [
    np.mean([
      kernel(x, y)
      for x, p in zip(rows, people)
      for y, q in zip(rows, people)
      if p != q
    ])
    for rows, people in ((real, real_people), (fake, fake_people))
  ]  # fmt: skip
  return sum(within) - 2 * np.mean([kernel(x, y) for x in real for y in fake])


@pytest.mark.parametrize(
  ("n", "m", "size", "each"), [(2, 2, 1, 1), (9, 14, 3, 1), (6, 15, 5, 3)]
)
def test_kernel_distance_equals_loops(blocks, n, m, size, each):
  real, fake = normal(n, n, size), normal(m, m, size) + 0.5
  people = np.arange(n) // each, np.arange(m) // each
  said = people if each > 1 else ()
  got = generation.kernel_distance(real, fake, *said)
  assert got.value == pytest.approx(discrepancy(real, fake, *people), rel=1e-9)
  assert got.low < got.value < got.high
  assert got.total == m


def test_kernel_distance_by_hand():
  # k(x, y) = (x y + 1)^3. Real 0, 1: 1. Generated 1, -1: 0. Across: 1, 1, 8, 0.
  got = generation.kernel_distance([[0], [1]], [[1], [-1]])
  assert got.value == pytest.approx(1 + 0 - 2 * 10 / 4)
  # Rows, own minus other: 1 - 1 and 1 - 4; 0 - 4.5 and 0 - 0.5. The variance
  # of a mean of two is a quarter of the squared difference, and Student's
  # quantile at one degree of freedom 12.706.
  half = 2 * 12.7062047 * math.sqrt(3**2 / 4 + 4**2 / 4)
  assert got.high - got.value == pytest.approx(half, rel=1e-7)
  assert got.value - got.low == pytest.approx(half, rel=1e-7)


def test_kernel_distance_is_unbiased_and_its_interval_holds():
  draws = [
    generation.kernel_distance(normal(2 * i, 20, 4), normal(2 * i + 1, 30, 4))
    for i in range(300)
  ]
  values = np.array([got.value for got in draws])
  assert abs(values.mean()) < 4 * values.std() / math.sqrt(300)
  assert (values < 0).mean() > 0.3
  assert np.mean([got.low <= 0 <= got.high for got in draws]) > 0.95
  # Far apart the interval is neither too narrow nor too wide: the kernel of
  # means apart by one is known from many pairs.
  kernel = lambda x, y: ((x * y).mean(1) + 1) ** 3
  a, b, c, d = normal(0, 4, 10**5, 4) + [[[0]], [[0]], [[1]], [[1]]]
  truth = np.mean(kernel(a, b) + kernel(c, d) - kernel(a, c) - kernel(b, d))
  draws = [
    generation.kernel_distance(
      normal(2 * i, 40, 4), normal(2 * i + 1, 60, 4) + 1
    )
    for i in range(300)
  ]
  assert 0.9 < np.mean([got.low <= truth <= got.high for got in draws]) < 0.99


def test_outputs_of_one_source_are_not_taken_for_more_images():
  real, fake = normal(0, 40, 4), normal(1, 20, 4)
  once = generation.kernel_distance(real, fake)
  people = np.repeat(np.arange(20), 7)
  often = generation.kernel_distance(
    real, np.repeat(fake, 7, 0), generated_people=people
  )
  assert often[:3] == pytest.approx(once[:3])
  wrong = generation.kernel_distance(real, np.repeat(fake, 7, 0))
  assert wrong.value > once.value + 0.05
  swapped = generation.kernel_distance(
    np.repeat(fake, 7, 0), real, real_people=people
  )
  assert swapped[:3] == pytest.approx(once[:3])


def test_kernel_distance_keeps_small_differences():
  # Unit vectors in many features: float32 would leave nothing of 1e-9.
  rows = normal(0, 200, 512)
  rows /= np.linalg.norm(rows, axis=1)[:, None]
  shift = np.zeros(512)
  shift[0] = 1e-3
  same = generation.kernel_distance(rows[:100], rows[100:]).value
  moved = generation.kernel_distance(rows[:100], rows[100:] + shift).value
  lean = rows[100:].mean(0)[0] - rows[:100].mean(0)[0]
  expected = 3 / 512 * (1e-6 + 2e-3 * lean)
  assert moved - same == pytest.approx(expected, rel=0.05)


# --- precision and recall ----------------------------------------------------


def neighbours(real, fake, k):
  """All four figures by loops, squared distances of whole numbers exact."""
  square = lambda x, y: int(sum((int(a) - int(b)) ** 2 for a, b in zip(x, y)))

  def radii(rows):
    return [
      sorted(square(x, y) for j, y in enumerate(rows) if j != i)[k - 1]
      for i, x in enumerate(rows)
    ]

  balls, hulls = radii(real), radii(fake)
  lies = [[square(x, y) <= r for x, r in zip(real, balls)] for y in fake]
  found = [any(square(x, y) <= r for y, r in zip(fake, hulls)) for x in real]
  return (
    sum(any(row) for row in lies),
    sum(found),
    np.sum(lies) / k / len(fake),
    sum(any(column) for column in zip(*lies)),
  )


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.integers(4, 12), st.integers(4, 12), st.integers(1, 3))
def test_neighbours_equal_loops_with_ties_and_copies(seed, n, m, k):
  rng = np.random.default_rng(seed)
  real, fake = rng.integers(0, 4, (n, 2)), rng.integers(1, 6, (m, 2))
  got = generation.precision_recall(real, fake, k)
  precision, recall, density, coverage = neighbours(real, fake, k)
  assert got.precision[:3] == (precision, m, precision / m)
  assert got.recall[:3] == (recall, n, recall / n)
  assert got.density.value == pytest.approx(density)
  assert got.coverage[:3] == (coverage, n, coverage / n)
  # Rotated and moved, ties are no longer exact.
  turn = rotation(seed, 2)
  again = generation.precision_recall(real @ turn + 0.1, fake @ turn + 0.1, k)
  assert [x[:1] for x in again] == [x[:1] for x in got]


def test_neighbours_in_blocks(blocks):
  real, fake = normal(0, 30, 3), normal(1, 23, 3) + 0.7
  got = generation.precision_recall(real, fake, 2)
  scaled = [np.round(1e6 * x).astype(int) for x in (real, fake)]
  expected = neighbours(*scaled, 2)
  assert got.precision.hits == expected[0]
  assert got.recall.hits == expected[1]
  assert got.density.value == pytest.approx(expected[2])
  assert got.coverage.hits == expected[3]


def test_neighbours_by_hand():
  # Balls of real 0, 1, 3, k = 1: [-1, 1], [0, 2], [1, 5]; of generated 2, 10,
  # 10: [-6, 10], and twice the point 10.
  real, fake = [[0], [1], [3]], [[2], [10], [10]]
  got = generation.precision_recall(real, fake, 1)
  assert got.precision.rate == pytest.approx(1 / 3)
  assert got.recall.rate == 1
  assert got.density.value == pytest.approx(2 / 3)
  assert got.coverage.rate == pytest.approx(2 / 3)
  # Three copies of a real image: with k = 2 each has a ball of radius 0, which
  # holds a generated copy but nothing beside it.
  real = [[5.3, 0.1]] * 3 + [[9, 9]]
  fake = [[5.3, 0.1], [5.4, 0.1], [5.3, 0.2]]
  got = generation.precision_recall(real, fake, 2)
  assert got.coverage.hits == 4
  got = generation.precision_recall(real[:3], fake, 2)
  assert (got.precision.hits, got.coverage.hits) == (1, 3)
  assert got.density.value == pytest.approx(3 / 2 / 3)


def test_equal_sets_are_precise_and_complete():
  rows = normal(0, 50, 6)
  got = generation.precision_recall(rows, rows[::-1].copy())
  assert got.precision.rate == got.recall.rate == got.coverage.rate == 1
  # A ball holds its own image, and k others.
  assert got.density.value == pytest.approx((3 + 1) / 3)
  far = generation.precision_recall(rows, rows + 100)
  assert far.precision.hits == far.recall.hits == far.coverage.hits == 0
  assert far.density.value == 0
  # A single good image again and again: precise, but not complete.
  mode = generation.precision_recall(rows, np.repeat(rows[:1], 50, 0))
  assert mode.precision.rate == 1
  assert mode.recall.rate < 0.05 and mode.coverage.rate < 0.5


def test_density_of_alike_sets_is_about_one():
  got = generation.precision_recall(normal(0, 800, 3), normal(1, 800, 3), 5)
  assert got.density.low < 1 < got.density.high
  # Naeem et al., lemma 2: 1 - (N - 1) ... (N - k) / (2N - 1) ... (2N - k).
  assert got.coverage.rate == pytest.approx(1 - 2**-5, abs=0.02)


def test_intervals_of_neighbours_know_people():
  # Ten images of a person are good, or missing, together.
  people = np.repeat(np.arange(12), 10)
  centres = normal(0, 2, 12, 3)[:, people] * 2
  real, fake = centres + 0.3 * normal(1, 2, 120, 3)
  fake[:60] = real[:60] + 0.01
  turned = people[::-1]
  grouped = generation.precision_recall(real, fake[::-1], 3, people, turned)
  plain = generation.precision_recall(real, fake[::-1])
  assert [x[:1] for x in plain] == [x[:1] for x in grouped]
  balls, hulls = counts(real, fake[::-1], 3), counts(fake[::-1], real, 3)
  share = statistics.grouped_proportion
  assert grouped.precision == share(balls > 0, turned)
  assert grouped.recall == share(hulls > 0, people)
  assert grouped.density == statistics.mean_interval(balls / 3, turned)
  for one, other in zip(grouped, plain):
    assert one.high - one.low > 1.5 * (other.high - other.low)


def counts(real, fake, k):
  """The balls of real rows that each generated one lies in."""
  distance = lambda a, b: np.linalg.norm(a[:, None] - b, axis=2)
  radii = np.sort(distance(real, real), axis=1)[:, k]
  return (distance(fake, real) <= radii).sum(1)


# --- diversity ---------------------------------------------------------------


def test_diversity_by_hand():
  # Right angles: 1. Opposite: 2. The same, whatever the length: 0.
  features = np.array([
    [[1.0, 0.0], [0.0, 3.0], [2.0, 0.0]],
    [[1.0, 0.0], [-5.0, 0.0], [0.0, 1.0]],
  ])  # fmt: skip
  got = generation.diversity(features)
  first, second = (1 + 0 + 1) / 3, (2 + 1 + 1) / 3
  assert got.value == pytest.approx((first + second) / 2)
  assert got == statistics.mean_interval([first, second], [0, 1])
  assert generation.diversity(features, [7, 7]).high == math.inf
  one = generation.diversity(features[:1])
  assert (one.value, one.low, one.total) == (
    pytest.approx(first), -math.inf, 1
  )  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.integers(1, 5), st.integers(2, 6), st.integers(1, 6))
def test_diversity_equals_loops(seed, sources, outputs, size):
  features = normal(seed, sources, outputs, size)
  cosine = lambda a, b: a @ b / np.linalg.norm(a) / np.linalg.norm(b)
  expected = np.mean([
    np.mean([1 - cosine(f[i], f[j]) for i in range(outputs) for j in range(i)])
    for f in features
  ])  # fmt: skip
  got = generation.diversity(features)
  assert got.value == pytest.approx(expected, abs=1e-12)
  assert 0 <= got.value <= outputs / (outputs - 1) + 1e-9
  scales = np.exp(normal(seed + 1, sources, outputs, 1))
  assert generation.diversity(scales * features).value == pytest.approx(
    got.value, abs=1e-12
  )


def test_outputs_that_are_one_have_no_diversity():
  features = np.repeat(normal(0, 5, 1, 16), 4, axis=1)
  assert generation.diversity(features).value == 0
  # Differences far below float32 are still seen.
  near = generation.diversity(features + 1e-7 * normal(1, 5, 4, 16)).value
  assert 1e-16 < near < 1e-13


# --- leakage -----------------------------------------------------------------


def leakage(source, output, people):
  """Pair by pair."""
  cosine = lambda a, b: a @ b / np.linalg.norm(a) / np.linalg.norm(b)
  scores = []
  for i, u in enumerate(output):
    for j, v in enumerate(source):
      if people[i] != people[j]:
        lead = cosine(u, source[i]) - cosine(u, v)
        scores.append(0.5 if abs(lead) < 1e-12 else float(lead > 0))
  return np.mean(scores)


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.integers(2, 15), st.integers(1, 3), st.booleans())
def test_leakage_equals_loops(seed, count, each, ties):
  people = np.repeat(np.random.default_rng(seed).permutation(count), each)
  source = normal(seed, count * each, 3)
  output = source + normal(seed + 1, count * each, 3)
  if ties:
    source, output = (np.round(x) + [0, 0, 0.5] for x in (source, output))
  got = generation.identity_leakage(source, output, people)
  assert got.value == pytest.approx(leakage(source, output, people))
  assert got.low <= got.value <= got.high
  assert got.total == count * each
  if count < 10:
    assert got[1:3] == (0, 1)


def test_leakage_is_the_area_under_the_curve_of_each_output(blocks):
  source = normal(0, 25, 6)
  output = 0.5 * source + normal(1, 25, 6)
  unit = lambda x: x / np.linalg.norm(x, axis=1)[:, None]
  similarity = unit(output) @ unit(source).T
  areas = [
    classification.area_under_curve(row, np.arange(25) == i)
    for i, row in enumerate(similarity)
  ]
  got = generation.identity_leakage(source, output)
  assert got.value == pytest.approx(np.mean(areas))
  assert 0.6 < got.low < got.value < got.high < 0.95


def test_the_interval_of_leakage_is_that_of_people_drawn_again():
  people = np.repeat(np.arange(10), [1, 2, 1, 3, 1, 1, 2, 1, 1, 1])
  source = normal(0, len(people), 3)
  output = 0.5 * source + normal(1, len(people), 3)
  unit = lambda x: x / np.linalg.norm(x, axis=1)[:, None]
  similarity = unit(output) @ unit(source).T
  won = np.diag(similarity)[:, None] > similarity
  drawn = []
  for times in np.random.default_rng(5).multinomial(10, [0.1] * 10, 1000):
    rows = np.repeat(np.arange(len(people)), times[people])
    apart = people[rows, None] != people[rows]
    drawn.append(won[np.ix_(rows, rows)][apart].mean())
  got = generation.identity_leakage(source, output, people, seed=5)
  assert got[1:3] == pytest.approx(np.quantile(drawn, [0.025, 0.975]))


def test_leakage_by_hand():
  # The second output is nearer to the first source than to its own.
  source = [[1, 0], [0, 1], [-1, 0]]
  output = [[1, 0.1], [1, 0.2], [-1, 0]]
  got = generation.identity_leakage(source, output)
  assert got.value == pytest.approx((1 + 1 / 2 + 1) / 3)
  # The first and the second show one person, and are not compared.
  got = generation.identity_leakage(source, output, ["a", "a", "b"])
  assert got.value == 1


@pytest.mark.parametrize("value", [1.0, 0.1, 1e-30, 1e30])
def test_outputs_that_tell_nothing_score_one_half(value):
  constant = np.full((40, 32), value)
  constant[:, ::3] *= -0.7
  lone = generation.identity_leakage(normal(0, 40, 32), constant)
  assert lone.value == pytest.approx(0.5, abs=1e-12)
  # Every comparison is a tie, and none is won by the rounding of a product.
  assert generation.identity_leakage(constant, constant).value == 0.5
  noise = generation.identity_leakage(normal(0, 300, 32), normal(1, 300, 32))
  assert noise.low < 0.5 < noise.high and noise.high - noise.low < 0.1


def test_identity_in_the_last_digits_leaks():
  # Cosines of these are 1 to a part in 1e12.
  common, own = normal(0, 64), normal(1, 50, 64)
  source, output = common + 1e-6 * own, common + 1e-6 * own[:, ::-1]
  assert abs(generation.identity_leakage(source, output).value - 0.5) < 0.1
  output = common + 1e-6 * (own + 0.1 * normal(2, 50, 64))
  assert generation.identity_leakage(source, output).value == 1
  # Two people alike, and one who is not: that they differ is no rounding.
  rows = np.array([[1, 0], [1, 1e-5], [-1, 1]])
  assert generation.identity_leakage(rows, rows).value == 1


def test_the_interval_of_leakage_holds_and_knows_people():
  def covers(i, share, truth):
    source, noise = normal(i, 2, 30, 4)
    got = generation.identity_leakage(source, share * source + noise)
    return got.low <= truth <= got.high

  assert np.mean([covers(i, 0, 0.5) for i in range(40)]) > 0.85
  # The area of many pairs of sources and outputs.
  source, noise = normal(0, 2, 1000, 4)
  truth = generation.identity_leakage(source, 0.5 * source + noise).value
  assert np.mean([covers(i, 0.5, truth) for i in range(40)]) > 0.85
  assert np.mean([covers(i, 0.5, truth + 0.2) for i in range(40)]) < 0.2
  source = normal(0, 12, 4)
  output = 0.4 * source + normal(1, 12, 4)
  once = generation.identity_leakage(source, output)
  people = np.repeat(np.arange(12), 5)
  often = generation.identity_leakage(
    np.repeat(source, 5, 0), np.repeat(output, 5, 0), people
  )
  # Five copies of everybody are no more people.
  assert often[:3] == pytest.approx(once[:3])
  other = generation.identity_leakage(source, output, seed=1)
  assert other.value == once.value and other.low != once.low


# --- all ---------------------------------------------------------------------

PAIRS = (
  generation.frechet_distance,
  generation.kernel_distance,
  generation.precision_recall,
  generation.identity_leakage,
)


@pytest.mark.parametrize("function", PAIRS)
def test_rejects_features(function):
  good = normal(0, 6, 4)
  names = function is generation.identity_leakage
  one, two = ("source", "output") if names else ("real", "generated")
  for name, order in ((one, 1), (two, -1)):
    call = lambda x, order=order: function(*(x, good)[::order])
    with pytest.raises(ValueError, match=rf"{name}: .*\[N, D\], not \(6,\)"):
      call(good[:, 0])
    with pytest.raises(ValueError, match=rf"{name}: .*\[N, D\], not \(6, 0\)"):
      call(good[:, :0])
    with pytest.raises(ValueError, match=f"{name}: 1 rows, but 2 are"):
      call(good[:1])
    with pytest.raises(ValueError, match="come from different networks"):
      call(good[:, :3])
    for value in (np.nan, np.inf):
      bad = good.copy()
      bad[[2, 4], 1] = value
      with pytest.raises(ValueError, match=f"{name}: 2 of 6 rows .* row 2"):
        call(bad)


def test_rejects_what_is_no_neighbour():
  few, many = normal(0, 4, 2), normal(0, 6, 2)
  generation.precision_recall(few, many, 3)
  for sides, name in (((few, many), "real"), ((many, few), "generated")):
    with pytest.raises(ValueError, match=f"below .* {name} rows, 4, not 4"):
      generation.precision_recall(*sides, 4)
  with pytest.raises(ValueError, match="at least 1 .* not 0"):
    generation.precision_recall(many, many, 0)


@pytest.mark.parametrize("function", PAIRS[1:3])
@pytest.mark.parametrize("name", ["real", "generated"])
def test_rejects_people(function, name):
  sets = normal(0, 6, 2), normal(1, 6, 2)
  with pytest.raises(ValueError, match=rf"{name}: people \(5,\) must be \[N\]"):
    function(*sets, **{f"{name}_people": np.arange(5)})
  with pytest.raises(ValueError, match=f"{name}: 1 people, but 2"):
    function(*sets, **{f"{name}_people": np.zeros(6)})


def test_rejects_sources_and_outputs():
  good = normal(0, 6, 3)
  zero = good.copy()
  zero[[1, 3]] = 0
  with pytest.raises(ValueError, match="6 sources and 5 outputs"):
    generation.identity_leakage(good, good[:5])
  with pytest.raises(ValueError, match="source: 2 of 6 rows are 0, row 1"):
    generation.identity_leakage(zero, good)
  with pytest.raises(ValueError, match="output: 2 of 6 rows are 0, row 1"):
    generation.identity_leakage(good, zero)
  with pytest.raises(ValueError, match="source: 1 people, but 2"):
    generation.identity_leakage(good, good, np.ones(6))
  with pytest.raises(ValueError, match="output: 2 of 6 rows are 0, row 1"):
    generation.diversity(zero.reshape(3, 2, 3))
  with pytest.raises(ValueError, match="2 or more outputs .* not .6, 1, 3."):
    generation.diversity(good[:, None])
  with pytest.raises(ValueError, match=r"not \(6, 3\)"):
    generation.diversity(good)
  with pytest.raises(ValueError, match=r"not \(0, 2, 3\)"):
    generation.diversity(np.zeros((0, 2, 3)))
  with pytest.raises(ValueError, match="output: 6 of 6 rows are not finite"):
    generation.diversity(np.full((3, 2, 3), np.nan))
  with pytest.raises(ValueError, match=r"source: people \(2,\)"):
    generation.diversity(good.reshape(3, 2, 3), np.arange(2))


def test_reads_arrays_of_accelerators():
  real, fake = normal(0, 12, 4), normal(1, 12, 4)
  for dtype in (jnp.float32, jnp.bfloat16):
    narrow = [jnp.asarray(x, dtype) for x in (real, fake)]
    wide = [np.asarray(x).astype(np.float64) for x in narrow]
    for function in PAIRS:
      assert function(*narrow) == function(*wide)


def test_figures_become_findings():
  real, fake = normal(0, 40, 4), normal(1, 40, 4)
  told = dict(subject="m", by="faceres", where={"k": 3})
  kernel = generation.kernel_distance(real, fake + 0.3)
  near = generation.precision_recall(real, fake)
  leak = generation.identity_leakage(real, fake)
  rows = [
    finding.of("likeness", KEPT, "kernel distance", kernel, floor=9.0, **told),
    finding.of("likeness", KEPT, "precision", near.precision, **told),
    finding.of("likeness", KEPT, "recall", near.recall, **told),
    finding.of("likeness", KEPT, "density", near.density, **told),
    finding.of("likeness", KEPT, "coverage", near.coverage, **told),
    finding.of(
      "diversity", KEPT, "diversity",
      generation.diversity(fake.reshape(10, 4, 4)), floor=0.0, **told,
    ),
    finding.of(
      "identity", HIDDEN, "identity AUC", leak, floor=0.5,
      ceiling=Interval(1.0, 1.0, 1.0), **told,
    ),
    finding.Finding(
      "m", "likeness", TOLD, "faceres", "Frechet distance",
      generation.frechet_distance(real, fake), math.nan, math.nan, 40,
    ),
  ]  # fmt: skip
  assert [finding.problems(row) for row in rows] == [None] * len(rows)
  levels = [finding.judge(row).level for row in rows]
  assert (levels[0], levels[5], levels[7]) == ("good", "good", "told")


@pytest.mark.parametrize("metric", ["Frechet distance", "kernel distance"])
def test_a_distance_is_kept_where_it_is_that_of_real_images(metric):
  def level(value):
    row = finding.Finding(
      "m", "likeness", KEPT, "faceres", metric, value, value - 0.1,
      value + 0.1, 100, floor=9.0, ceiling=Interval(2.0, 1.9, 2.1),
    )  # fmt: skip
    return finding.judge(row).level

  assert [level(v) for v in (2.0, 2.01, 9.0)] == ["good", "unclear", "bad"]


@pytest.mark.parametrize(
  ("low", "high", "expected"),
  [(0.45, 0.55, "good"), (0.45, 0.56, "unclear"), (0.501, 0.53, "bad")],
)
def test_leaked_identity_is_judged_by_chance(low, high, expected):
  row = finding.Finding(
    "m", "identity", HIDDEN, "faceres", "identity AUC", 0.52, low, high, 100,
    floor=0.5, ceiling=Interval(0.9, 0.8, 1.0),
  )  # fmt: skip
  assert finding.judge(row).level == expected
