"""Least squares against maps that are known."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxpriv.attacks import linear


def convolved(x, kernel):
  padding = ((1, 1), (1, 1))
  return np.asarray(
    jax.lax.conv_general_dilated(
      jnp.asarray(x), jnp.asarray(kernel), (1, 1), padding,
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
  )  # fmt: skip


def test_least_squares_undoes_what_a_linear_module_does():
  rng = np.random.default_rng(0)
  released = rng.normal(size=(20, 8, 8, 6)).astype(np.float32)
  kernel = rng.normal(size=(3, 3, 6, 5)).astype(np.float32)
  clean = convolved(released, kernel) + 0.7
  found = linear.least_squares(released[:4], clean[:4], (3,), (1e-8,))
  # One pair has 64 positions, for 55 unknowns a channel: four are plenty.
  np.testing.assert_allclose(found(released[4:]), clean[4:], atol=0.05)
  # float16, as everything that is published.
  assert found(released).dtype == np.float16
  blind = linear.least_squares(released[:4], clean[:4], (1,))
  error = np.abs(blind(released[4:]) - clean[4:]).mean()
  assert error > 0.5  # what stands beside a position is not seen


def test_least_squares_look_as_far_as_the_pairs_suffice_for():
  rng = np.random.default_rng(1)
  released = rng.normal(size=(40, 8, 8, 16)).astype(np.float32)
  kernel = 0.1 * rng.normal(size=(3, 3, 16, 4)).astype(np.float32)
  kernel[1, 1] += rng.normal(size=(16, 4))
  noise = 0.1 * rng.normal(size=(40, 8, 8, 4))
  clean = (convolved(released, kernel) + noise).astype(np.float32)

  def error(found):
    return np.square(np.float32(found(released[20:])) - clean[20:]).mean()

  # One pair has 64 positions, for 17 unknowns or 145.
  few, many = (linear.least_squares(released[:n], clean[:n]) for n in (1, 20))
  assert (few.window, many.window) == (1, 3)
  for n, chosen in ((1, few), (20, many)):
    others = [
      error(linear.least_squares(released[:n], clean[:n], (w,), (r,)))
      for w in (1, 3) for r in (1e-6, 1e-4, 1e-2)
    ]  # fmt: skip
    assert error(chosen) <= 1.05 * min(others)


def test_the_error_of_a_map_is_what_it_misses():
  rng = np.random.default_rng(2)
  z = rng.normal(size=(3, 4, 4, 2)).astype(np.float32)
  y = rng.normal(size=(3, 4, 4, 3)).astype(np.float32)
  moments = linear._moments(z, y, 1, 1, 4)
  weight = rng.normal(size=(3, 3))
  rows = np.concatenate([z[:, 1:].reshape(-1, 2), np.ones((36, 1))], axis=1)
  missed = np.square(rows @ weight - y[:, 1:].reshape(-1, 3)).sum()
  np.testing.assert_allclose(moments.error(weight), missed, rtol=1e-5)
