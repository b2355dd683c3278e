"""Clipped sums against a loop over examples in float64."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from jaxpriv.privacy import clipped_grad, clipping

ROWS, CLIP = 16, 2.0


class Network(nn.Module):
  """Convolutions of several kinds, a norm, and Dense layers."""

  grouped: bool = True

  @nn.compact
  def __call__(self, x):
    x = nn.relu(nn.GroupNorm(num_groups=2)(nn.Conv(8, (3, 3))(x)))
    x = nn.relu(nn.Conv(16, (3, 3), strides=2, padding=1)(x))
    x = nn.relu(nn.Conv(16, (4, 3), strides=(1, 2), padding="VALID")(x))
    if self.grouped:
      x = x + nn.Conv(16, (3, 3), feature_group_count=4)(x)
    x = x.reshape(*x.shape[:-3], -1)
    return nn.Dense(3)(nn.relu(nn.Dense(32)(x)))


NETWORK = Network()


@pytest.fixture(scope="module")
def params():
  return NETWORK.init(jax.random.key(1), jnp.zeros((1, 12, 12, 3)))["params"]


@pytest.fixture
def batch():
  return {
    "image": jax.random.normal(jax.random.key(0), (ROWS, 12, 12, 3)),
    "label": jnp.arange(ROWS) % 3,
    "padding": jnp.arange(ROWS) >= 13,
  }


def loss_fn(params, example):
  logits = NETWORK.apply({"params": params}, example["image"])
  return -3 * jax.nn.log_softmax(logits)[example["label"]]


def products_only(params, example):
  logits = Network(False).apply({"params": params}, example["image"])
  return -3 * jax.nn.log_softmax(logits)[example["label"]]


def loop(loss_fn, params, batch, clip_norms, group_of=lambda name: ""):
  """Algorithm 1 of Abadi et al., an example at a time."""
  paths = jax.tree_util.tree_leaves_with_path(params)
  groups = [
    group_of(jax.tree_util.keystr(p, simple=True, separator="/"))
    for p, _ in paths
  ]
  total = [np.zeros(leaf.shape) for _, leaf in paths]
  norms = []
  gradient = jax.jit(jax.grad(loss_fn))
  for i in range(ROWS):
    example = jax.tree.map(lambda x, i=i: x[i], batch)
    grads = jax.tree.leaves(gradient(params, example))
    grads = [np.asarray(g, np.float64) for g in grads]
    norms.append(math.sqrt(sum(np.sum(g * g) for g in grads)))
    for group, clip in clip_norms.items():
      mine = [k for k in range(len(grads)) if groups[k] == group]
      norm = math.sqrt(sum(np.sum(grads[k] ** 2) for k in mine))
      for k in mine:
        if not batch["padding"][i] and math.isfinite(norms[-1]):
          total[k] += grads[k] * min(1, clip / norm)
  return total, np.array(norms)


def close(tree, leaves):
  for a, b in zip(jax.tree.leaves(tree), leaves, strict=True):
    np.testing.assert_allclose(a, b, atol=1e-5 * max(np.abs(b).max(), 1e-3))


@pytest.mark.parametrize("microbatch_size", [None, 1])
def test_the_sum_is_that_of_a_loop_on_any_devices(
  params, batch, mesh, microbatch_size
):
  loss_fn = products_only if microbatch_size else globals()["loss_fn"]
  if microbatch_size:
    params = {k: v for k, v in params.items() if k != "Conv_3"}
  expected, norms = loop(loss_fn, params, batch, {"": CLIP})
  assert (norms > 1.5 * CLIP).all()
  fn = jax.jit(clipped_grad(loss_fn, CLIP, microbatch_size=microbatch_size))
  total, lengths = fn(params, batch)
  close(total, expected)
  expected_norms = np.where(batch["padding"], 0, norms)
  np.testing.assert_allclose(lengths, expected_norms, rtol=1e-5)
  with jax.set_mesh(mesh):
    sharded = jax.device_put(batch, NamedSharding(mesh, P("data")))
    total, lengths = fn(params, sharded)
  close(total, expected)
  expected_norms = np.where(batch["padding"], 0, norms)
  np.testing.assert_allclose(lengths, expected_norms, rtol=1e-5)


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf, 1e30])
def test_examples_without_a_finite_gradient_add_nothing(params, batch, bad):
  image = batch["image"].at[2].set(bad).at[14].set(bad)
  without = {**batch, "padding": batch["padding"].at[2].set(True)}
  expected, _ = loop(loss_fn, params, without, {"": CLIP})
  total, norms = jax.jit(clipped_grad(loss_fn, CLIP))(
    params, {**batch, "image": image}
  )
  assert not np.isfinite(norms[2])
  close(total, expected)


def test_groups_are_clipped_on_their_own(params, batch):
  group_of = lambda name: "dense" if name.startswith("Dense") else "rest"
  norms = {"dense": 0.5, "rest": 1.5}
  expected, _ = loop(loss_fn, params, batch, norms, group_of)
  fn = clipped_grad(loss_fn, norms, group_of=group_of)
  close(jax.jit(fn)(params, batch)[0], expected)
  assert fn.sensitivity() == pytest.approx(math.sqrt(0.5**2 + 1.5**2))
  assert fn.sensitivity("replace_one") == 2 * fn.sensitivity()
  with pytest.raises(ValueError, match="replace_two"):
    fn.sensitivity("replace_two")


def test_one_example_moves_the_sum_by_no_more_than_the_sensitivity(
  params, batch
):
  fn = clipped_grad(loss_fn, CLIP)
  with_all = jax.jit(fn)(params, {**batch, "padding": jnp.zeros(ROWS, bool)})[0]
  for i in range(3):
    padding = jnp.zeros(ROWS, bool).at[i].set(True)
    without = jax.jit(fn)(params, {**batch, "padding": padding})[0]
    moved = jax.tree.map(jnp.subtract, with_all, without)
    squares = sum(float(jnp.sum(x * x)) for x in jax.tree.leaves(moved))
    assert CLIP * 0.99 < math.sqrt(squares) <= fn.sensitivity() * (1 + 1e-4)


def test_kernels_used_elsewhere_and_other_networks_of_the_same_names(
  params, batch
):
  """Weight decay of a kernel; a frozen copy of the network; two calls of it."""
  frozen = jax.tree.map(lambda x: x + 0.1, params)

  def decayed(params, example):
    value = loss_fn(params, example) + loss_fn(frozen, example)
    twice = {**example, "image": 0.5 * example["image"]}
    kernel = params["Dense_1"]["kernel"]
    return value + loss_fn(params, twice) + 0.3 * jnp.sum(kernel**2)

  expected, norms = loop(decayed, params, batch, {"": CLIP})
  total, lengths = jax.jit(clipped_grad(decayed, CLIP))(params, batch)
  close(total, expected)
  expected_norms = np.where(batch["padding"], 0, norms)
  np.testing.assert_allclose(lengths, expected_norms, rtol=1e-5)


def test_aux_is_of_each_row(params, batch, mesh):
  params = dict(params)
  del params["Conv_3"]

  def with_aux(params, example):
    aux = {"mean": example["image"].mean(), "large": example["image"].sum() > 0}
    return products_only(params, example), aux

  fn = jax.jit(clipped_grad(with_aux, CLIP, has_aux=True, microbatch_size=1))
  with jax.set_mesh(mesh):
    sharded = jax.device_put(batch, NamedSharding(mesh, P("data")))
    _, _, aux = fn(params, sharded)
  mean = np.where(batch["padding"], 0, batch["image"].mean((1, 2, 3)))
  np.testing.assert_allclose(aux["mean"], mean, atol=1e-6)
  assert aux["large"].dtype == bool and not aux["large"][13:].any()


@pytest.mark.parametrize("norm", [0, -1.0, math.inf, {}])
def test_a_clip_norm_is_positive(norm):
  with pytest.raises(ValueError, match="clip_norm"):
    clipped_grad(loss_fn, norm)


def test_a_microbatch_size_is_positive():
  with pytest.raises(ValueError, match="microbatch_size = 0"):
    clipped_grad(loss_fn, CLIP, microbatch_size=0)


@pytest.mark.parametrize("size,count", [(None, 1), (16, 1), (5, 4), (3, 8)])
def test_microbatches_are_even_and_no_larger_than_asked_for(size, count):
  fn = clipped_grad(loss_fn, CLIP, microbatch_size=size)
  assert fn._microbatches(16, convolves=False) == count
  # XLA's convolutions crawl in a loop on CPU.
  assert fn._microbatches(16, convolves=True) == 1


def test_microbatches_of_padding_cost_nothing(params, batch):
  """They do not run: nan in them would show in the norms."""
  params = {k: v for k, v in params.items() if k != "Conv_3"}
  image = batch["image"].at[12:].set(jnp.nan)
  batch = {**batch, "image": image, "padding": jnp.arange(ROWS) >= 12}
  fn = jax.jit(clipped_grad(products_only, CLIP, microbatch_size=4))
  total, norms = fn(params, batch)
  assert np.isfinite(norms).all() and not norms[12:].any()
  expected, _ = loop(products_only, params, batch, {"": CLIP})
  close(total, expected)


def test_layers_clipped_one_by_one(params, batch):
  norms = clipping.by_layer(params, CLIP)
  assert set(norms) == set(params)
  fn = clipped_grad(loss_fn, norms, group_of=clipping.layer_of)
  assert fn.sensitivity() == pytest.approx(CLIP)
  expected, _ = loop(loss_fn, params, batch, norms, clipping.layer_of)
  close(jax.jit(fn)(params, batch)[0], expected)
