"""Masked sums: exact, and made of uploads that say nothing by themselves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxpriv.privacy import secure_aggregation as secure

LIMIT = 2.0
SIZE = 64


@jax.jit
def uploads(values, shares, key):
  """Quantised values [C, ...], and as they are uploaded."""
  plain = jax.vmap(secure.quantise, (0, 0, None))(values, shares, LIMIT)
  count = len(shares)
  masked = jax.vmap(secure.mask, (0, None, 0, None))(
    plain, key, jnp.arange(count), count
  )
  return plain, masked


def normal(clients, scale=1.0, seed=0):
  random = np.random.default_rng(seed)
  weights = random.random(clients) + 0.1
  values = random.normal(scale=scale, size=(clients, SIZE))
  return np.float32(values), np.float32(weights / weights.sum())


@given(
  clients=st.integers(1, 6),
  scale=st.sampled_from([0.0, 1e-9, 1.0, 1e6]),
  seed=st.integers(0, 2**31 - 1),
)
@settings(deadline=None, max_examples=30)
def test_the_sum_is_that_of_the_plain_values(clients, scale, seed):
  """Exactly, modulo 2^32; and it is the weighted mean but for rounding."""
  values, shares = normal(clients, scale, seed)
  tree = {"a": values[:, :40], "b": values[:, 40:].reshape(clients, 4, 6)}
  plain, masked = uploads(tree, shares, jax.random.key(seed))
  for name, part in tree.items():
    together = np.asarray(plain[name]).astype(np.int64).sum(0) % 2**32
    found = np.asarray(masked[name]).astype(np.int64).sum(0) % 2**32
    np.testing.assert_array_equal(found, together)
    mean = secure.dequantise(jnp.asarray(found.astype(np.uint32)), LIMIT)
    clipped = np.clip(np.float64(part), -LIMIT, LIMIT)
    weighted = np.tensordot(np.float64(shares), clipped, 1)
    np.testing.assert_allclose(mean, weighted, atol=3e-7 * LIMIT)


@pytest.mark.parametrize("value", [LIMIT, -LIMIT, np.inf, -np.inf, 1e30])
@pytest.mark.parametrize("clients", [1, 3, 1000])
def test_no_sum_overflows(value, clients):
  shares = np.full(clients, 1 / clients, np.float32)
  plain = jax.vmap(secure.quantise, (None, 0, None))(
    jnp.full(2, value), shares, LIMIT
  )
  mean = secure.dequantise(plain.sum(0, dtype=jnp.uint32), LIMIT)
  np.testing.assert_allclose(mean, np.clip(value, -LIMIT, LIMIT), rtol=1e-5)
  assert not np.asarray(secure.quantise(jnp.full(2, np.nan), 1, LIMIT)).any()


def chi_square(words):
  """Chi-square of the bytes of words; it has 255 degrees of freedom."""
  counts = np.bincount(np.asarray(words).view(np.uint8), minlength=256)
  return ((counts - counts.mean()) ** 2 / counts.mean()).sum()


def test_an_upload_looks_drawn_from_all_numbers():
  """Whatever it hides, in every bit, and anew in each round."""
  values = np.zeros((3, 2**15), np.float32)
  shares = np.full(3, 1 / 3, np.float32)
  first, second = (
    uploads(values, shares, jax.random.key(round_number))[1]
    for round_number in range(2)
  )
  # Five standard deviations about the mean of the distribution.
  low, high = (255 + side * 5 * np.sqrt(2 * 255) for side in (-1, 1))
  for client in range(3):
    found = np.asarray(first[client])
    assert low < chi_square(found) < high
    ones = np.unpackbits(found.view(np.uint8)).reshape(-1, 8).mean(0)
    assert np.abs(ones - 0.5).max() < 0.01
    # Neither another client's masks nor another round's tell these.
    for other in (second[client], first[(client + 1) % 3]):
      assert low < chi_square(found - np.asarray(other)) < high
  assert chi_square(np.asarray(first.sum(0, dtype=jnp.uint32))) > 1e6


def test_masks_do_not_depend_on_what_is_hidden():
  """So what is uploaded differs by exactly what is hidden."""
  values, shares = normal(3)
  key = jax.random.key(5)
  (a, hidden_a), (b, hidden_b) = (
    uploads(v, shares, key) for v in (values, values + 0.5)
  )
  np.testing.assert_array_equal(hidden_a - hidden_b, a - b)
