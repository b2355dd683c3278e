"""Products are counted as often as they are computed."""

import functools

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec as P

from jaxpriv.training import arithmetic
from jaxpriv.training import mesh as mesh_lib

A, B = jnp.zeros((3, 5)), jnp.zeros((5, 7))
ONE = 2 * 3 * 5 * 7
SQUARE = jnp.zeros((4, 4))


def count(fn, *args, devices=1):
  return arithmetic.flops(jax.make_jaxpr(fn)(*args), devices)


def test_a_product_multiplies_and_adds():
  assert count(jnp.dot, A, B) == ONE
  assert count(jax.jit(jnp.dot), A, B) == ONE
  batched = jnp.zeros((2, 3, 5)), jnp.zeros((2, 5, 7))
  assert count(jnp.matmul, *batched) == 2 * ONE
  # And as many for each gradient.
  grads = jax.grad(lambda a, b: (a @ b).sum(), argnums=(0, 1))
  assert count(grads, A, B) == 3 * ONE
  assert count(jnp.tanh, A) == 0


@pytest.mark.parametrize("groups", [1, 3])
def test_a_convolution_has_taps_for_each_channel_of_its_group(groups):
  x, kernel = jnp.zeros((2, 8, 8, 6)), jnp.zeros((3, 3, 6 // groups, 12))
  conv = functools.partial(
    jax.lax.conv_general_dilated,
    window_strides=(2, 2),
    padding="SAME",
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
    feature_group_count=groups,
  )
  forward = 2 * (2 * 4 * 4 * 12) * 9 * 6 // groups
  assert count(conv, x, kernel) == forward
  # Gradients of the image and of the kernel are as many, about: a stride of 2
  # leaves holes, which are not counted.
  both = jax.grad(lambda x, k: conv(x, k).sum(), argnums=(0, 1))
  assert 2 <= count(both, x, kernel) / forward <= 3.6


def test_loops_count_as_often_as_they_run():
  def body(x, _):
    return x @ x, None

  one = 2 * 4**3
  assert count(lambda x: jax.lax.scan(body, x, None, 6)[0], SQUARE) == 6 * one
  nested = lambda x: jax.lax.scan(
    lambda x, _: jax.lax.scan(body, x, None, 5), x, None, 2
  )[0]
  assert count(nested, SQUARE) == 10 * one


def test_of_branches_the_dearest_counts():
  fn = lambda x: jax.lax.cond(x[0, 0] > 0, lambda x: x @ x @ x, jnp.tanh, x)
  assert count(fn, SQUARE) == 2 * 2 * 4**3


def test_devices_share_a_program_but_for_what_each_of_them_runs(mesh):
  x = jnp.zeros((8, 5))
  spec = P(mesh_lib.DATA)
  fn = jax.shard_map(
    lambda x: x @ jnp.zeros((5, 3)), mesh=mesh, in_specs=spec, out_specs=spec
  )
  assert count(fn, x, devices=8) == count(lambda x: x @ jnp.zeros((5, 3)), x)
