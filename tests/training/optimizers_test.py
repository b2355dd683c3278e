"""Optimizers of configs, against their formulas in float64."""

import jax.numpy as jnp
import numpy as np
import pytest

from configs import common
from jaxpriv.training.optimizers import make_optimizer

RATE, DECAY = 0.1, 0.3


def steps(gradients, decoupled, b1, b2, start=2.0):
  """A number under Adam, with decay of the weight or in the gradient."""
  x, m, v = start, 0.0, 0.0
  for count, gradient in enumerate(gradients, 1):
    g = gradient if decoupled else gradient + DECAY * x
    m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
    move = m / (1 - b1**count) / (np.sqrt(v / (1 - b2**count)) + 1e-8)
    x -= RATE * (move + DECAY * x * decoupled)
  return x


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.0, 0.99)])
@pytest.mark.parametrize("kind", ["adam", "adam_l2"])
def test_decay_is_of_the_weight_or_in_the_gradient(kind, betas):
  options = common.phase(
    9, 1, optimizer=kind, betas=betas, learning_rate=RATE,
    weight_decay=DECAY, schedule="constant",
  )  # fmt: skip
  optimizer = make_optimizer(options)
  gradients = [0.5, -0.2, 0.01, -0.4]
  x = jnp.float32(2.0)
  state = optimizer.init(x)
  for gradient in gradients:
    change, state = optimizer.update(jnp.float32(gradient), state, x)
    x += change
  expected = steps(gradients, kind == "adam", *betas)
  assert float(x) == pytest.approx(expected, rel=1e-5)
  other = steps(gradients, kind != "adam", *betas)
  assert abs(expected - other) > 1e-3
