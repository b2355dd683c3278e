"""Kernels in losses of all kinds; sums against a loop in float64."""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpriv.models import layers
from jaxpriv.privacy import clipped_grad, clipping, products
from tests.privacy import clipping_test

ROWS, CLIP, SIDE = 6, 0.05, 6


def tapped(loss_fn, params, row, convolutions=True):
  """Names of the parameters whose gradients are products."""
  program = products.find(loss_fn, params, row, convolutions)
  names = clipping.parameter_names(params)
  return sorted({names[use.leaf] for use in program.uses.values()})


def test_layers_that_hand_out_products_are_found():
  params = clipping_test.NETWORK.init(
    jax.random.key(1), jnp.zeros((1, 12, 12, 3))
  )["params"]
  row = {"image": jnp.zeros((12, 12, 3)), "label": 0}
  # All but the grouped convolution.
  kernels = [f"{x}/kernel" for x in ("Conv_0", "Conv_1", "Conv_2")]
  dense = ["Dense_0/kernel", "Dense_1/kernel"]
  tap = functools.partial(tapped, clipping_test.loss_fn, params, row)
  assert tap() == kernels + dense
  assert tap(convolutions=False) == dense


def test_both_ways_to_a_norm_are_taken_and_agree():
  keys = jax.random.split(jax.random.key(0), 4)
  for positions, features in ((4, 64), (32, 4)):
    product = products.Product()
    a = jax.random.normal(keys[0], (5, positions, features))
    g = jax.random.normal(keys[1], (5, positions, features))
    product.add(a, g)
    lengths = product.lengths()
    assert (product._each is None) == (positions == 4)
    each = np.einsum("btp,bto->bpo", *np.asarray([a, g], np.float64))
    true = np.sqrt((each**2).sum((1, 2)))
    np.testing.assert_allclose(lengths, true, rtol=5e-5)
    assert (np.asarray(lengths, np.float64) >= true * (1 - 1e-6)).all()


class Net(nn.Module):
  """[SIDE, SIDE, 3] -> [4], with the layers that a case needs."""

  conv: nn.Module = nn.Conv(5, (3, 3))
  dense: nn.Module = nn.Dense(4)

  @nn.compact
  def __call__(self, x):
    x = nn.tanh(self.conv(x))
    return self.dense(x.reshape(-1))


def output(net):
  return lambda p, e: jnp.sum(jnp.sin(net.apply({"params": p}, e["x"])))


class Rnn(nn.Module):
  @nn.compact
  def __call__(self, x):
    cell = nn.RNN(nn.GRUCell(5))(x.reshape(SIDE, -1))
    return nn.Dense(2)(cell[-1])


class Attention(nn.Module):
  @nn.compact
  def __call__(self, x):
    x = nn.Dense(8)(x.reshape(SIDE * SIDE, 3))
    x = nn.MultiHeadDotProductAttention(num_heads=2)(x)
    return nn.DenseGeneral((2, 3), axis=(-2, -1))(x)


NET = Net()
BOTH = ["conv/kernel", "dense/kernel"]


def views(params, example):
  """Augmentation multiplicity: the mean over views of one example."""
  images = jnp.stack([example["x"], example["x"][:, ::-1], 0.5 * example["x"]])
  each = jax.vmap(lambda x: NET.apply({"params": params}, x))(images)
  return jnp.mean(jnp.sum(jnp.sin(each), -1))


def scanned(params, example):
  def body(x, _):
    return NET.apply({"params": params}, example["x"]) + 0.1 * x, None

  return jnp.sum(jax.lax.scan(body, jnp.zeros(4), None, 3)[0] ** 2)


def mapped(params, example):
  images = jnp.stack([example["x"], 0.5 * example["x"]])
  each = jax.lax.map(lambda x: NET.apply({"params": params}, x), images)
  return jnp.sum(jnp.sin(each))


def either(params, example):
  one = lambda: jnp.sum(NET.apply({"params": params}, example["x"]) ** 2)
  return jax.lax.cond(example["x"][0, 0, 0] > 0, one, lambda: 3 * one())


def checkpointed(params, example):
  run = jax.checkpoint(lambda p, x: NET.apply({"params": p}, x))
  return jnp.sum(jnp.sin(run(params, example["x"])))


def closed_over(params, example):
  run = jax.jit(lambda x: NET.apply({"params": params}, x))
  return jnp.sum(jnp.sin(run(example["x"])) + run(2 * example["x"]))


def gradient_penalty(params, example):
  score = lambda x: jnp.sum(jnp.sin(NET.apply({"params": params}, x)))
  value, slope = jax.value_and_grad(score)(example["x"])
  return value + (jnp.sqrt(jnp.sum(slope**2)) - 1) ** 2


def tangents(params, example):
  run = lambda x: NET.apply({"params": params}, x)
  value, along = jax.jvp(run, (example["x"],), (jnp.cos(example["x"]),))
  return jnp.sum(value**2 * along)


def decayed(params, example):
  return output(NET)(params, example) + jnp.sum(params["dense"]["kernel"] ** 2)


def returned(params, example):
  return output(NET)(params, example) + params["dense"]["kernel"][0, 0]


def stopped(params, example):
  """The kernel of the convolution is constant in one of its two uses."""
  still = jax.lax.stop_gradient(params["conv"])
  return output(NET)(params, example) + output(NET)(
    {**params, "conv": still}, {"x": 2 * example["x"]}
  )


@jax.custom_vjp
def rounding(x):
  return jnp.round(x)


rounding.defvjp(lambda x: (jnp.round(x), None), lambda _, g: (3 * g,))


def straight_through(params, example):
  """A custom derivative, which differs from JAX's own."""
  return jnp.sum(rounding(5 * NET.apply({"params": params}, example["x"])))


def doubled(*args, **kwargs):
  return 2 * jax.lax.dot_general(*args, **kwargs)


def curved(*args, **kwargs):
  return jnp.tanh(jax.lax.conv_general_dilated(*args, **kwargs))


def rounded(x, w, *args, **kwargs):
  return jax.lax.conv_general_dilated(x, jnp.round(8 * w) + w, *args, **kwargs)


def own(features, function):
  return nn.Conv(features, (3, 3), conv_general_dilated=function)


def net_loss(**parts):
  net = Net(**parts)
  return net, output(net)


MASK = jnp.ones((3, 3, 3, 5)).at[1].set(0)

# Name of the case -> (network, loss, parameters whose factors are exposed).
CASES = {
  "vmap": (NET, views, BOTH),
  "scan": (NET, scanned, []),
  "map": (NET, mapped, []),
  "cond": (NET, either, []),
  "checkpoint": (NET, checkpointed, []),
  "jit": (NET, closed_over, BOTH),
  "gradient penalty": (NET, gradient_penalty, []),
  "jvp": (NET, tangents, BOTH),
  "weight decay": (NET, decayed, ["conv/kernel"]),
  "used besides": (NET, returned, ["conv/kernel"]),
  "stopped": (NET, stopped, ["dense/kernel"]),
  "straight through": (NET, straight_through, BOTH),
  "recurrent": (Rnn(), output(Rnn()), ["Dense_0/kernel"]),
  "own dot": (*net_loss(dense=nn.Dense(4, dot_general=doubled)), BOTH),
  "own conv": (*net_loss(conv=own(5, curved)), BOTH),
  "own kernel": (*net_loss(conv=own(5, rounded)), ["dense/kernel"]),
  "our conv": (*net_loss(conv=layers.Conv(5, (3, 3))), BOTH),
  "our large conv": (*net_loss(conv=layers.Conv(5, (7, 7))), BOTH),
  "dilated": (*net_loss(conv=nn.Conv(5, (3, 2), kernel_dilation=2)), BOTH),
  "input dilated": (
    *net_loss(conv=nn.Conv(5, (3, 2), input_dilation=2, strides=3, padding=2)),
    BOTH,
  ),
  "transposed": (
    *net_loss(conv=nn.ConvTranspose(5, (3, 3), strides=(2, 2))),
    BOTH,
  ),
  "one dimension": (*net_loss(conv=nn.Conv(5, (3,), strides=2)), BOTH),
  "circular": (*net_loss(conv=nn.Conv(5, (3, 3), padding="CIRCULAR")), BOTH),
  "in groups": (
    *net_loss(conv=nn.Conv(6, (3, 3), feature_group_count=3)),
    ["dense/kernel"],
  ),
  "masked": (
    *net_loss(conv=nn.Conv(5, (3, 3), mask=MASK)),
    ["dense/kernel"],
  ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_losses_of_all_kinds(name, mesh):
  net, loss_fn, handed_out = CASES[name]
  check(net, loss_fn, mesh)
  params, batch = begin(net)
  row = jax.tree.map(lambda x: x[0], batch)
  assert tapped(loss_fn, params, row) == handed_out


def begin(net):
  keys = jax.random.split(jax.random.key(3), 2)
  x = jax.random.normal(keys[0], (8, SIDE, SIDE, 3))
  params = net.init(keys[1], x[0])["params"]
  return params, {"x": x, "padding": jnp.arange(8) >= ROWS}


def check(net, loss_fn, mesh):
  params, batch = begin(net)
  gradient = jax.jit(jax.grad(loss_fn))
  total, norms = None, []
  for i in range(ROWS):
    grads = gradient(params, jax.tree.map(lambda x, i=i: x[i], batch))
    grads = [np.asarray(g, np.float64) for g in jax.tree.leaves(grads)]
    norms.append(math.sqrt(sum(np.sum(g * g) for g in grads)))
    grads = [g * min(1, CLIP / norms[-1]) for g in grads]
    total = grads if total is None else [a + b for a, b in zip(total, grads)]
  assert min(norms) > CLIP
  fn = jax.jit(clipped_grad(loss_fn, CLIP))
  for devices in (None, mesh):
    if devices is None:
      clipped, lengths = fn(params, batch)
    else:
      split = jax.sharding.PartitionSpec("data")
      with jax.set_mesh(mesh):
        here = jax.sharding.NamedSharding(mesh, split)
        clipped, lengths = fn(params, jax.device_put(batch, here))
    np.testing.assert_allclose(lengths[:ROWS], norms, rtol=5e-5)
    for a, b in zip(jax.tree.leaves(clipped), total, strict=True):
      np.testing.assert_allclose(a, b, atol=5e-5 * max(np.abs(b).max(), 1e-4))


def test_a_kernel_that_is_the_loss_itself_is_left_to_jax():
  def loss_fn(params, example):
    jnp.sum(example["x"] @ params["w"])  # used, to no effect
    return params["w"].reshape(())

  params, x = {"w": jnp.ones((1, 1))}, jnp.ones((4, 2, 1))
  assert tapped(loss_fn, params, {"x": x[0]}) == []
  gradient, norms = jax.jit(clipped_grad(loss_fn, 0.5))(params, {"x": x})
  assert gradient["w"] == pytest.approx(4 * 0.5) and (norms == 1).all()


def test_attention_is_products_but_for_the_scores(mesh):
  net = Attention()
  check(net, output(net), mesh)
  params, batch = begin(net)
  names = tapped(output(net), params, jax.tree.map(lambda x: x[0], batch))
  assert len(names) == 6 and all(name.endswith("kernel") for name in names)


def test_a_compiled_part_that_serves_two_kernels():
  """JAX traces it once: its equations are the same objects both times."""
  net = nn.Sequential([nn.Dense(4), nn.Dense(4)])
  product = jax.jit(lambda x, w: x @ w)

  def loss_fn(params, example):
    x = example["x"].reshape(-1, 4)[:3]
    for name in ("layers_0", "layers_1"):
      x = jnp.sin(product(x, params[name]["kernel"]) + params[name]["bias"])
    return jnp.sum(x)

  params = net.init(jax.random.key(0), jnp.zeros(4))["params"]
  x = jax.random.normal(jax.random.key(1), (3, 6, 4))
  one = lambda i: jax.grad(loss_fn)(params, {"x": x[i]})
  expected = jax.tree.map(lambda *g: sum(g), *(one(i) for i in range(3)))
  gradient, _ = jax.jit(clipped_grad(loss_fn, 1e6))(params, {"x": x})
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
    gradient,
    expected,
  )
