import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from ml_collections import ConfigDict

from jaxpriv.methods import k_same
from tests.methods.closed_set import assert_hidden, best_rank1, members

# Few sizes, so that few programs are compiled.
ROWS, SIDE = 24, 6
VARIANTS = ("pixel", "eigen", "select")


def faces(seed, rows=ROWS, alike=False):
  rng = np.random.default_rng(seed)
  x = rng.random((rows, SIDE, SIDE, 1))
  if alike:
    # Doubles and near doubles, where distances are mostly rounding.
    x = x[rng.integers(3, size=rows)] + 1e-7 * x
  return np.clip(x, 0, 1).astype(np.float32)


def options(variant, seed, rows=ROWS):
  rng = np.random.default_rng(seed + 1)
  if variant == "eigen":
    return {"components": 4}
  if variant == "select":
    return {"attributes": rng.integers(-1, 2, (rows, 3)).astype(np.int8)}
  return {}


@settings(max_examples=60, deadline=None)
@given(
  st.integers(0, 10**6),
  st.sampled_from([2, 3, 5]),
  st.sampled_from(VARIANTS),
  st.booleans(),
)
def test_no_recogniser_beats_one_in_k(seed, k, variant, alike):
  x = faces(seed, alike=alike)
  released = k_same.k_same(x, k, **options(variant, seed))
  sizes = [len(rows) for rows in members(released)]
  assert min(sizes) >= k
  assert best_rank1(released, np.arange(ROWS)) <= 1 / k + 1e-9


@settings(max_examples=40, deadline=None)
@given(
  st.integers(0, 10**6), st.sampled_from([2, 3]), st.sampled_from(VARIANTS)
)
def test_people_with_several_photographs(seed, k, variant):
  rng = np.random.default_rng(seed)
  owner = np.r_[np.arange(6), rng.integers(6, size=ROWS - 6)]
  padding = np.r_[np.zeros(ROWS - 3, bool), np.ones(3, bool)]
  x = faces(seed)
  released = np.asarray(
    k_same.k_same(
      x, k, identity=5 + 3 * owner, padding=padding, **options(variant, seed)
    )
  )
  assert (released[padding] == 0).all()
  assert_hidden(released[~padding], owner[~padding], k)


@pytest.mark.parametrize("k", [2, 5, 7])
def test_groups_follow_the_paper(k):
  """The greedy algorithm of the paper, in float64."""
  x = faces(11)
  flat = x.reshape(ROWS, -1).astype(np.float64)
  left, expected = list(range(ROWS)), np.empty_like(flat)
  while left:
    order = sorted(left, key=lambda i: np.sum((flat[i] - flat[left[0]]) ** 2))
    group = order[:k] if len(left) >= 2 * k else left
    expected[group] = flat[group].mean(0)
    left = [i for i in left if i not in group]
  released = np.asarray(k_same.k_same(x, k)).reshape(ROWS, -1)
  np.testing.assert_allclose(released, expected, atol=1e-6)


def test_release_is_the_mean_of_people_not_of_images():
  x = faces(12, 5)
  # Person 0 has four images; with one other person they weigh one half.
  released = np.asarray(k_same.k_same(x, 2, identity=np.array([9, 9, 9, 9, 4])))
  expected = (x[:4].astype(float).mean(0) + x[4]) / 2
  np.testing.assert_allclose(released, np.stack([expected] * 5), atol=1e-6)


def test_eigen_projects_the_averages():
  x = faces(13)
  flat = x.reshape(ROWS, -1).astype(np.float64)
  centred = flat - flat.mean(0)
  axes = np.linalg.svd(centred, full_matrices=False)[2][:4]
  released = np.asarray(k_same.k_same(x, 3, components=4))
  for rows in members(released):
    mean = centred[rows].mean(0)
    expected = np.clip(flat.mean(0) + mean @ axes.T @ axes, 0, 1)
    np.testing.assert_allclose(released[rows[0]].ravel(), expected, atol=1e-4)
  # With every axis, nothing is projected away: it is the plain k-Same.
  full = k_same.k_same(x, 3, components=100)
  np.testing.assert_allclose(full, k_same.k_same(x, 3), atol=1e-4)


def test_eigen_groups_in_the_space_of_the_components():
  # Two clear clusters by one large component; noise elsewhere is larger in sum.
  rng = np.random.default_rng(14)
  side = np.arange(ROWS) % 2
  x = 0.5 + 0.02 * rng.normal(size=(ROWS, SIDE, SIDE, 1))
  x[:, 0] += 0.3 * (2 * side - 1)[:, None, None]
  released = k_same.k_same(x.astype(np.float32), 2, components=1)
  for rows in members(released):
    assert len(set(side[rows])) == 1


def test_select_keeps_the_attributes_of_large_parts():
  rng = np.random.default_rng(15)
  attributes = rng.integers(0, 2, (ROWS, 2))
  attributes[:4] = [[0, 0], [0, 0], [0, 0], [0, 0]]
  attributes[4:8], attributes[8:12], attributes[12:16] = (0, 1), (1, 0), (1, 1)
  released = k_same.k_same(faces(15), 4, attributes=attributes)
  for rows in members(released):
    assert len(np.unique(attributes[rows], axis=0)) == 1
  # Without the parting they mix.
  mixed = members(k_same.k_same(faces(15), 4))
  assert any(len(np.unique(attributes[r], axis=0)) > 1 for r in mixed)


def test_select_merges_small_parts_with_the_nearest():
  attributes = np.zeros((ROWS, 3), int)
  attributes[:10] = 1
  # One person between: two attributes from the zeros, one from the ones.
  attributes[10] = (1, 1, 0)
  rows = next(
    r
    for r in members(k_same.k_same(faces(16), 3, attributes=attributes))
    if 10 in r
  )
  assert set(rows) - {10} <= set(range(10))


def test_select_by_what_most_photographs_show():
  owner = np.repeat(np.arange(8), 3)
  attributes = np.repeat(1 - np.arange(8) % 2, 3)[:, None]
  attributes[::3] = 1 - attributes[::3]
  attributes[1::6] = -1
  attributes[0::6] = -1
  x = faces(17)
  released = k_same.k_same(x, 2, identity=owner, attributes=attributes)
  for rows in members(released):
    assert len(set(owner[rows] % 2)) == 1


def test_averaging_with_ones_own_neighbours_does_not_hide():
  """Several published programs call this k-Same, but it hides nobody."""
  k, x = 5, faces(18, 60).reshape(60, -1)
  distances = ((x[:, None] - x) ** 2).sum(-1)
  wrong = np.stack([x[np.argsort(row)[:k]].mean(0) for row in distances])
  nearest = ((wrong[:, None] - x) ** 2).sum(-1).argmin(1)
  assert (nearest == np.arange(60)).mean() > 2 / k
  assert best_rank1(wrong, np.arange(60)) > 0.9
  right = np.asarray(k_same.k_same(x.reshape(60, SIDE, SIDE, 1), k))
  right = right.reshape(60, -1)
  nearest = ((right[:, None] - x) ** 2).sum(-1).argmin(1)
  assert (nearest == np.arange(60)).mean() <= 1 / k


def test_too_few_people_and_unknown_people():
  x = faces(19, 6)
  with pytest.raises(ValueError, match="the set has 6"):
    k_same.k_same(x, 7)
  with pytest.raises(ValueError, match="the set has 2"):
    k_same.k_same(x, 3, identity=np.array([1, 1, 1, 2, 2, 2]))
  padding = np.array([0, 0, 1, 1, 1, 1], bool)
  with pytest.raises(ValueError, match="the set has 2"):
    k_same.k_same(x, 3, padding=padding)
  unknown = np.array([-1, -1, 0, 1, 2, 3])
  with pytest.raises(ValueError, match="unknown"):
    k_same.k_same(x, 2, identity=unknown)
  # A padding row has no identity to know.
  padding = unknown < 0
  assert np.isfinite(
    k_same.k_same(x, 2, identity=unknown, padding=padding)
  ).all()
  with pytest.raises(ValueError, match="components"):
    k_same.k_same(x, 2, components=0)
  with pytest.raises(ValueError, match="attribute"):
    k_same.k_same(x, 2, attributes=np.zeros((6, 0), int))
  # Inside jit nothing is released.
  run = jax.jit(lambda x, identity: k_same.k_same(x, 3, identity=identity))
  assert np.isnan(run(x, np.array([1, 1, 1, 2, 2, 2]))).all()
  assert np.isnan(run(x, unknown)).all()
  assert np.isfinite(run(x, np.array([1, 1, 1, 2, 3, 3]))).all()
  with pytest.raises(ValueError, match="whole set"):
    jax.jit(lambda x, identity: k_same.k_same(x, 7, identity=identity))(
      x, unknown
    )


def config(kind, **model):
  return ConfigDict({"model": {"kind": kind, "k": 3, "components": 4, **model}})


def batch_of(seed):
  rng = np.random.default_rng(seed)
  return {
    "image": faces(seed),
    "identity": rng.permutation(np.arange(ROWS) // 2).astype(np.int32),
    "attributes": rng.integers(0, 2, (ROWS, 2)).astype(np.int8),
    "padding": np.arange(ROWS) >= ROWS - 2,
  }


@pytest.mark.parametrize("kind", VARIANTS)
def test_phase_and_sharding(kind):
  (phase,) = k_same.phases(config(kind))
  assert phase.needs == ()
  method, batch = phase.method, batch_of(20)
  state = method.init(jax.random.key(0), batch, {})
  state, metrics = method.step(state, {}, batch, jax.random.key(1))
  assert state == {} and metrics == {}
  protect = method.outputs.image
  got = np.asarray(protect(state, {}, batch))
  extra = {"eigen": {"components": 4}}.get(kind, {})
  if kind == "select":
    extra = {"attributes": batch["attributes"]}
  expected = k_same.k_same(
    batch["image"],
    3,
    identity=batch["identity"],
    padding=batch["padding"],
    **extra,
  )
  np.testing.assert_array_equal(got, expected)

  mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
  sharding = NamedSharding(mesh, P("data"))
  spread = jax.device_put(batch, sharding)
  run = jax.jit(lambda batch: protect({}, {}, batch), out_shardings=sharding)
  sharded = np.asarray(run(spread))
  np.testing.assert_allclose(sharded, got, atol=1e-5)
  assert [list(r) for r in members(sharded)] == [list(r) for r in members(got)]


def test_phases_reject():
  with pytest.raises(ValueError, match="eigen"):
    k_same.phases(config("net"))
  with pytest.raises(ValueError, match="at least 2"):
    k_same.phases(config("pixel", k=1))


def test_output_keeps_the_type_of_the_images():
  half = jnp.asarray(faces(21), jnp.bfloat16)
  assert k_same.k_same(half, 2).dtype == jnp.bfloat16


def test_unknown_people_are_named_before_any_is_protected():
  config = ConfigDict(dict(model=dict(kind="pixel", k=2)))
  some = {
    "identity": np.array([0, 0, 1, -1, -1]),
    "attributes": np.ones((5, 0)),
  }
  assert "of 2 photographs they are unknown" in k_same.unfit(config, some)
  known = {name: rows[:3] for name, rows in some.items()}
  assert not k_same.unfit(config, known)
