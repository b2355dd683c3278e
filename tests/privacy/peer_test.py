"""The clipped sum against jax-privacy's, an independent implementation."""

import jax
import jax.numpy as jnp
import jax_privacy
import numpy as np
import pytest

from jaxpriv.privacy import clipped_grad
from tests.privacy import clipping_test
from tests.privacy.clipping_test import ROWS, loss_fn


@pytest.mark.parametrize("clip_norm", [0.1, 2.0, 1e4])
def test_it_is_that_of_jax_privacy(clip_norm):
  params = clipping_test.NETWORK.init(
    jax.random.key(1), jnp.zeros((1, 12, 12, 3))
  )["params"]
  batch = {
    "image": jax.random.normal(jax.random.key(0), (ROWS, 12, 12, 3)),
    "label": jnp.arange(ROWS) % 3,
  }
  padding = jnp.arange(ROWS) >= 13
  theirs = jax_privacy.clipped_grad(
    loss_fn, l2_clip_norm=clip_norm, keep_batch_dim=False
  )
  ours = clipped_grad(loss_fn, clip_norm)
  expected = jax.jit(theirs)(params, batch, is_padding_example=padding)
  total, _ = jax.jit(ours)(params, {**batch, "padding": padding})
  for a, b in zip(
    jax.tree.leaves(total), jax.tree.leaves(expected), strict=True
  ):
    scale = max(float(np.abs(b).max()), 1e-3)
    np.testing.assert_allclose(a, b, atol=1e-5 * scale)
  assert ours.sensitivity() == clip_norm
