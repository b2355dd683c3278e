import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxpriv.metrics import association
from jaxpriv.metrics.association import association_test


def by_definition(a, b):
  """Distance correlation by definition, in float64, pair by pair."""

  def centred(x):
    x = np.float64(x).reshape(len(x), -1)
    d = np.array([[np.linalg.norm(p - q) for q in x] for p in x])
    return d - d.mean(0) - d.mean(1)[:, None] + d.mean()

  x, y = centred(a), centred(b)
  return np.sqrt((x * y).mean() / np.sqrt((x * x).mean() * (y * y).mean()))


def test_distance_correlation():
  rng = np.random.default_rng(0)
  a, b = rng.normal(size=(12, 3, 2)), rng.normal(size=(12, 5))
  b[:, 0] += a[:, 0, 0]
  padding = np.zeros(14, bool)
  padding[[2, 9]] = True
  put = lambda x: jnp.asarray(np.insert(x, [2, 8], 99.0, axis=0), jnp.float32)
  assert put(a).shape[0] == 14 and np.all(np.asarray(put(a))[padding] == 99)
  got = association.distance_correlation(put(a), put(b), padding)
  np.testing.assert_allclose(got, by_definition(a, b), rtol=1e-4)
  same = association.distance_correlation(put(a), put(2 * a), padding)
  np.testing.assert_allclose(same, 1, rtol=1e-4)


def test_rows_that_are_alike_have_a_finite_slope():
  rng = np.random.default_rng(1)
  a = jnp.asarray(rng.normal(size=(6, 4)), jnp.float32)
  b = jnp.asarray(np.repeat(rng.normal(size=(3, 4)), 2, axis=0), jnp.float32)
  correlation = lambda z: association.distance_correlation(
    a, z, jnp.zeros(6, bool)
  )
  slope = jax.jit(jax.grad(correlation))(b)
  assert np.isfinite(slope).all() and np.abs(slope).max() > 0


# Pictures of X and Y, then d and p of iGPT and of SimCLR, as Steed and Caliskan
# published them for their fifteen tests.
PUBLISHED = (
  (35, 0.344, 0.0731, 1.689, 0.0001),
  (6, 0.862, 0.0682, 1.376, 0.0087),
  (6, 0.876, 0.0606, 1.281, 0.0108),
  (8, -0.334, 0.7371, -0.194, 0.6511),
  (6, 0.254, 0.3366, 0.472, 0.2089),
  (10, 1.665, 0.0001, -0.300, 0.7453),
  (7, 1.255, 0.0070, -0.192, 0.7139),
  (4, -0.019, 0.5286, 0.378, 0.3429),
  (7, 0.372, 0.2532, 0.364, 0.2602),
  (9, -0.026, 0.5223, 0.037, 0.4710),
  (6, -0.619, 0.8463, -0.571, 0.8268),
  (10, 0.861, 0.0248, 1.058, 0.0057),
  (6, 0.423, 0.2413, 0.589, 0.1602),
  (40, 0.445, 0.0215, -0.097, 0.6610),
  (40, 0.619, 0.0023, 0.740, 0.0003),
)


def drawn(n, shift=0.0, seed=0, width=5, p=4, q=3):
  """X, Y, A, B; X is moved towards A."""
  rng = np.random.default_rng(seed)
  x, y, a, b = (rng.normal(size=(k, width)) for k in (n, n, p, q))
  return x + shift * a.mean(0), y, a, b


def by_loops(x, y, a, b):
  """d and the exact p, by their definition, picture by picture."""

  def cosine(u, v):
    return sum(u * v) / math.sqrt(sum(u * u)) / math.sqrt(sum(v * v))

  def s(w):
    near, far = [cosine(w, u) for u in a], [cosine(w, u) for u in b]
    return sum(near) / len(near) - sum(far) / len(far)

  values = [s(w) for w in (*x, *y)]
  n, total = len(x), sum(values)
  mean = total / (2 * n)
  variance = sum((v - mean) ** 2 for v in values) / (2 * n - 1)
  first = sum(values[:n])
  effect = (first / n - (total - first) / n) / math.sqrt(variance)
  statistic = first - (total - first)
  halves = [
    sum(values[i] for i in half)
    for half in itertools.combinations(range(2 * n), n)
  ]
  more = [2 * half - total >= statistic - 1e-12 for half in halves]
  return effect, statistic, sum(more) / len(more)


def along(s):
  """Embeddings [n, 2] with these s(w), for A = (1, 0) and B = (-1, 0)."""
  s = np.asarray(s, float)
  return np.stack([s / 2, np.sqrt(1 - s * s / 4)], -1)


A, B = np.array([[1.0, 0.0]]), np.array([[-1.0, 0.0]])


@pytest.mark.parametrize("n", [1, 2, 4, 7])
@pytest.mark.parametrize("shift", [0.0, 0.5, -1.0])
def test_all_partitions_by_definition(n, shift):
  sets = drawn(n, shift, seed=n)
  effect, statistic, p = by_loops(*sets)
  found = association_test(*sets)
  assert found.effect_size == pytest.approx(effect, rel=1e-12)
  assert found.statistic == pytest.approx(statistic, rel=1e-12)
  assert found.p_value == pytest.approx(p, rel=1e-12)
  assert found[3:] == (n, True, math.comb(2 * n, n))
  kinds = [float, float, float, int, bool, int]
  assert [type(value) for value in found] == kinds


def test_a_case_by_hand():
  """s is 3, 1 in X and 2, 0 in Y: of six sums 5, 4, 3, 3, 2, 1, two are 4."""
  found = association_test(along([0.3, 0.1]), along([0.2, 0.0]), A, B)
  assert found.p_value == pytest.approx(2 / 6)
  assert found.statistic == pytest.approx(0.2)
  # The mean differs by 1; squares about 1.5 are 5, over 3.
  assert found.effect_size == pytest.approx(1 / math.sqrt(5 / 3))


def test_what_is_random_comes_near_to_what_is_exact():
  sets = drawn(8, 0.2)
  _, _, exact = by_loops(*sets)
  assert 0.02 < exact < 0.98
  found = association_test(*sets)
  assert found[3:] == (8, False, 10_000)
  sd = math.sqrt(exact * (1 - exact) / 10_000)
  assert abs(found.p_value - exact) < 4 * sd
  assert found == association_test(*sets)
  other = association_test(*sets, seed=1)
  assert other.p_value != found.p_value and other[0] == found[0]
  # It is the observed one and 9,999 others.
  assert round(found.p_value * 10_000, 6).is_integer()


def test_p_is_never_zero():
  apart = along(np.linspace(0.5, 0.6, 9)), along(np.linspace(-0.6, -0.5, 9))
  for permutations in (1, 19, 9999):
    found = association_test(*apart, A, B, num_permutations=permutations)
    assert found.permutations == permutations + 1
    assert found.p_value == 1 / (permutations + 1)
    assert found.p_value == association.lowest_p(9, permutations)
    assert association_test(*apart[::-1], A, B, permutations).p_value == 1
  few = [rows[:7] for rows in apart]
  assert association_test(*few, A, B).p_value == association.lowest_p(7)
  assert association.lowest_p(7) == 1 / 3432


def test_draws_do_not_depend_on_how_many_are_held_at_once(monkeypatch):
  sets = drawn(9, 0.3)
  whole = association_test(*sets, num_permutations=500)
  monkeypatch.setattr(association, "_BLOCK", 18 * 7)
  assert association_test(*sets, num_permutations=500) == whole


@settings(max_examples=40, deadline=None)
@given(
  st.sampled_from([3, 4, 9]),
  st.integers(0, 2**32 - 1),
  st.floats(1e-3, 1e3),
)
def test_order_and_length_change_nothing(n, seed, scale):
  """Neither do ties: every second picture is there twice."""
  rng = np.random.default_rng(seed)
  sets = drawn(n, 0.3, seed=seed, width=64)
  for rows in sets[:2]:
    rows[1::2] = rows[: 2 * (len(rows) // 2) : 2]
  sets[1][0] = sets[0][0]
  found = association_test(*sets, num_permutations=199)
  moved = [scale * rng.permutation(rows) for rows in sets]
  moved[0] *= rng.uniform(0.1, 10, (n, 1))
  turned = association_test(*moved, num_permutations=199)
  assert turned.p_value == found.p_value
  assert turned.effect_size == pytest.approx(found.effect_size, abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_signs(n, seed):
  x, y, a, b = drawn(n, 0.5, seed=seed)
  found = association_test(x, y, a, b)
  for other in (
    association_test(y, x, a, b),
    association_test(x, y, b, a),
  ):
    assert other.effect_size == pytest.approx(-found.effect_size)
    # Only the observed partition is in both tails: nothing is tied.
    both = found.p_value + other.p_value
    assert both == pytest.approx(1 + 1 / found.permutations)
  both = association_test(y, x, b, a)
  assert both.p_value == found.p_value
  assert abs(found.effect_size) <= math.sqrt(2 * (2 * n - 1) / n) + 1e-12


def test_ties_count():
  """Three of the six halves of 1, 1, 1, 0 hold 2."""
  found = association_test(along([0.1, 0.1]), along([0.1, 0]), A, B)
  assert found.p_value == pytest.approx(3 / 6)
  many = association_test(along([0.1] * 9), along([0.1] * 8 + [0]), A, B)
  assert many.p_value == pytest.approx(0.5, abs=0.02)


def test_nothing_to_tell_apart():
  x, y, a, _ = drawn(4)
  for n in (4, 9):
    x, y, a, _ = drawn(n)
    same = association_test(x, y, a, a[::-1])
    assert (same.effect_size, same.p_value) == (0, 1)
    alike = association_test(
      x[:1].repeat(n, 0), x[:1].repeat(n, 0), a, A @ y[:2]
    )
    assert (alike.effect_size, alike.p_value) == (0, 1)


def test_lengths_that_overflow_when_squared():
  x, y, a, b = drawn(4)
  found = association_test(x * 1e200, y * 1e-200, a * 1e300, b)
  assert found.p_value == association_test(x, y, a, b).p_value
  single = association_test(*(rows.astype(np.float32) for rows in (x, y, a, b)))
  assert single.effect_size == pytest.approx(found.effect_size, abs=1e-5)


@pytest.mark.parametrize(
  "change, message",
  [
    (dict(y=np.ones((3, 5))), "X has 4 embeddings and Y 3"),
    (dict(x=np.ones((0, 5))), r"X is of shape \[0, 5\]"),
    (dict(b=np.ones((0, 5))), r"B is of shape \[0, 5\]"),
    (dict(a=np.ones(5)), r"A is of shape \[5\]"),
    (dict(a=np.ones((2, 6))), "several dimensions: X 5, Y 5, A 6, B 5"),
    (dict(y=np.eye(4, 5) * [[1], [0], [1], [1]]), "Y has embeddings of zeros"),
    (dict(b=np.full((1, 5), np.nan)), "B has embeddings that are not finite"),
    (dict(x=np.full((4, 5), np.inf)), "X has embeddings that are not finite"),
    (dict(num_permutations=0), "num_permutations is 0"),
  ],
)
def test_bad_embeddings_are_refused(change, message):
  sets = dict(zip("xyab", drawn(4)))
  with pytest.raises(ValueError, match=message):
    association_test(**{**sets, **change})


def test_p_is_right_where_there_is_nothing():
  """A twentieth of tests without an effect have p up to .05."""
  rng = np.random.default_rng(0)
  low = [
    association_test(*(along(rng.normal(0, 0.1, (2, 5)))), A, B).p_value <= 0.05
    for _ in range(600)
  ]
  assert 0.05 - 0.03 < np.mean(low) < 0.05 + 0.03


def test_published_values_are_of_one_piece():
  for n, *values in PUBLISHED:
    for effect, p in zip(values[::2], values[1::2]):
      assert association.p_of_effect(effect, n) == pytest.approx(p, abs=0.09)
  near = [
    abs(association.p_of_effect(effect, n) - p)
    for n, *values in PUBLISHED
    for effect, p in zip(values[::2], values[1::2])
  ]
  assert np.median(near) < 0.005
  # Table I of Zhang et al.: these cannot be of one test.
  for n, effect, p, about in (
    (7, 1.452, 0.837, 0.001),
    (6, 1.234, 0.852, 0.012),
    (6, -0.834, 0.505, 0.921),
  ):
    expected = association.p_of_effect(effect, n)
    assert expected == pytest.approx(about, abs=0.0005)
    assert abs(expected - p) > 0.4


@pytest.mark.parametrize("n", [6, 10, 40])
def test_p_of_effect_follows_the_test(n):
  for shift in (0, 0.3, -0.2):
    found = association_test(*drawn(n, shift, seed=3))
    about = association.p_of_effect(found.effect_size, n)
    assert about == pytest.approx(found.p_value, abs=0.03)


def test_effects_that_can_be_shown():
  for n in (3, 4, 7, 40):
    for level in (0.05, 0.2, 0.5):
      least = association.least_effect(n, level)
      assert association.p_of_effect(least, n) == pytest.approx(level)
  assert association.least_effect(7) == pytest.approx(0.88, abs=0.005)
  # One of six partitions, and of two, is as rare as it gets.
  assert association.least_effect(2) == association.least_effect(1) == math.inf
  assert association.least_effect(2, 0.2) < math.inf
  assert association.least_effect(4, 1 / 71) == math.inf
  assert association.lowest_p(4) == 1 / 70
  assert association.power(2, 1.9) == 0
  largest = math.sqrt(2 * 13 / 7)
  assert association.p_of_effect(largest, 7) == 0
  assert association.p_of_effect(-largest, 7) == 1
  assert association.p_of_effect(0, 7) == 0.5


def test_power_is_that_of_the_test():
  rng = np.random.default_rng(1)
  for n, effect in ((6, 0.8), (6, 1.5)):
    apart = effect / math.sqrt(1 - effect**2 / 4)
    shown = [
      association_test(
        along(rng.normal(apart, 1, n) / 100), along(rng.normal(0, 1, n) / 100),
        A, B,
      ).p_value <= 0.05
      for _ in range(400)
    ]  # fmt: skip
    assert association.power(n, effect) == pytest.approx(
      np.mean(shown), abs=0.08
    )
  assert association.power(20, 0) == pytest.approx(0.05)
  assert association.power(20, -1) < 0.001
  assert association.power(20, 1.2) > association.power(10, 1.2) > 0.8


@pytest.mark.parametrize(
  "call",
  [
    lambda: association.power(5, 2),
    lambda: association.power(5, math.nan),
    lambda: association.power(0, 1),
    lambda: association.least_effect(5, 0),
    lambda: association.least_effect(5, 0.6),
    lambda: association.p_of_effect(1.93, 7),
    lambda: association.p_of_effect(math.nan, 7),
    lambda: association.p_of_effect(1, 1),
    lambda: association.lowest_p(0),
  ],
)
def test_numbers_out_of_range_are_refused(call):
  with pytest.raises(ValueError):
    call()
