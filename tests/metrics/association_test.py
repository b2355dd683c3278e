import jax
import jax.numpy as jnp
import numpy as np

from jaxpriv.metrics import association


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
  slope = jax.grad(
    lambda z: association.distance_correlation(a, z, jnp.zeros(6, bool))
  )(b)
  assert np.isfinite(slope).all() and np.abs(slope).max() > 0
