"""Norms against float64, on inputs with the worst rounding errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpriv.privacy import norms

CLOSE = 1e-5


def exact(x):
  return np.linalg.norm(np.asarray(x, np.float64).reshape(len(x), -1), axis=1)


def exact_product(a, g):
  a, g = np.asarray(a, np.float64), np.asarray(g, np.float64)
  return exact(np.einsum("btp,bto->bpo", a, g))


@pytest.mark.parametrize("size", [1, 7, 32, 33, 1000, 300_001])
def test_lengths_of_any_size(size):
  rows = np.random.default_rng(0).normal(size=(3, size)).astype(np.float32)
  rows[1] = 1.1  # added up one after the other, all errors have one sign
  result = jax.jit(norms.lengths)(rows)
  np.testing.assert_allclose(result, exact(rows), rtol=2e-6)


@pytest.mark.parametrize(
  "size,rounds,last", [(1, 0, 1), (32, 0, 32), (33, 1, 5), (10**6, 5, 31)]
)
def test_depth_is_that_of_total(size, rounds, last):
  """Each round of three additions leaves an eighth of the terms."""
  assert norms.depth(size) == 3 * rounds + last
  trace = str(jax.make_jaxpr(norms.total)(jnp.ones((2, size))))
  assert trace.count("= optimization_barrier") == rounds
  assert trace.count("= add ") == 7 * rounds
  assert f"f32[2,{last}]" in trace


@pytest.mark.parametrize("value", [1e-37, 1e-30, 1e-19, 3e-19, 1e-15, 1e17])
@pytest.mark.parametrize("size", [1, 5000])
def test_lengths_of_any_magnitude(value, size):
  mixed = np.full((4, size), value, np.float32)
  mixed[1, :] = 0
  mixed[2, 0] = 1
  mixed[3, ::2] *= -1e-3
  result = jax.jit(norms.lengths)(mixed)
  np.testing.assert_allclose(result, exact(mixed), rtol=CLOSE, atol=1e-37)
  assert result[1] == 0


def test_a_row_is_measured_as_if_it_were_alone():
  rows = np.random.default_rng(0).normal(size=(5, 999)).astype(np.float32)
  rows[0] *= 1e-25
  rows[1] *= 1e25
  rows[2, 5] = np.nan
  together = jax.jit(norms.lengths)(rows)
  for i, row in enumerate(rows):
    alone = jax.jit(norms.lengths)(row[None])[0]
    np.testing.assert_array_equal(alone, together[i])
  assert np.isinf(together[1]) and np.isnan(together[2])


def hard_products(rows, positions, inputs, outputs):
  """Products whose terms cancel, as those of nearly equal views do."""
  random = np.random.default_rng(0)
  a = np.repeat(random.normal(size=(rows, 1, inputs)), positions, 1)
  apart = 10.0 ** random.uniform(-7, 0, (rows, 1, 1))
  a = a + apart * random.normal(size=a.shape)
  a[::3] = np.maximum(a[::3], 0)
  a[1::3] = random.uniform(0.5, 2, (len(a[1::3]), 1, 1)) * (
    1 + apart[1::3] * np.arange(positions)[:, None]
  )
  g = random.normal(size=(rows, positions, outputs))
  g[::2] = 1
  g = g - g.mean(1, keepdims=True)
  g[::2] = np.where(np.arange(positions) % 2, -1, 1)[:, None]
  return a.astype(np.float32), g.astype(np.float32)


@pytest.mark.parametrize(
  "positions,inputs,outputs",
  [(1, 25_088, 64), (2, 576, 64), (2, 25_088, 64), (16, 1152, 128),
   (3, 7, 5), (40, 300, 200)],
)  # fmt: skip
def test_product_lengths_are_never_too_small(positions, inputs, outputs):
  a, g = hard_products(24, positions, inputs, outputs)
  result = np.asarray(jax.jit(norms.product_lengths)(a, g), np.float64)
  true = exact_product(a, g)
  assert (true <= result * (1 + CLOSE)).all()
  # Nor larger than the documented bound.
  size = np.sum(
    np.linalg.norm(a.astype(np.float64), axis=2)
    * np.linalg.norm(g.astype(np.float64), axis=2),
    1,
  )
  hidden = norms.slack(positions, inputs, outputs) * size**2
  if positions == 1:
    hidden = 0
  assert (result <= np.sqrt(true**2 + 2 * hidden) * (1 + CLOSE)).all()


def test_the_slack_is_small_where_nothing_cancels():
  a, g = np.random.default_rng(0).normal(size=(2, 8, 16, 512))
  result = jax.jit(norms.product_lengths)(a, g)
  np.testing.assert_allclose(result, exact_product(a, g), rtol=2e-4)


@pytest.mark.parametrize("tiny,huge", [(1e-19, 1e17), (1e-30, 1e17), (1, 1e17)])
@pytest.mark.parametrize("positions", [1, 4])
def test_product_lengths_of_any_magnitude(tiny, huge, positions):
  random = np.random.default_rng(0)
  a = (tiny * random.normal(size=(4, positions, 600))).astype(np.float32)
  g = (huge * random.normal(size=(4, positions, 300))).astype(np.float32)
  # Positions of very different sizes, each large in only one factor.
  a[1, 0], g[1, 0] = a[1, 0] * 1e-5, g[1, 0] * np.float32(1e-12)
  a[2, 0], a[3] = 0, 0
  result = jax.jit(norms.product_lengths)(a, g)
  np.testing.assert_allclose(result, exact_product(a, g), rtol=3e-4)
