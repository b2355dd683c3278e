"""The search finds a clip that leaks, and nothing where it holds."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxpriv.attacks import clip_search
from jaxpriv.privacy import clipping, norms
from jaxpriv.privacy.plan import Plan
from jaxpriv.training import builders, private
from jaxpriv.training.method import Phase

PLAN = Plan(
  units=400, unit="image", rows_per_unit=1, batch_size=8,
  noise_multiplier=1.0, steps=6, clip_norm=1e-3,
)  # fmt: skip
SIDE = 12


class Stripes(nn.Module):
  """The same layer on four stripes of an image: [B, 12, 12, 3] -> [B]."""

  @nn.compact
  def __call__(self, image, train):
    y = nn.Dense(300)(image.reshape(len(image), 4, -1))
    # The common part of the stripes cancels in the gradient.
    return jnp.sum(y * jnp.array([1.0, -1.0, 1.0, -1.0])[:, None], (1, 2))


def loss(apply, batch, frozen):
  return apply(batch["image"]), {}


def build(plan=PLAN, private_grad=private.private_grad):
  made = builders.supervised(
    Stripes(), loss, optax.sgd(0.1), grad=private_grad(plan)
  )
  return private.with_ledger(made, plan)


@pytest.fixture
def found(mesh):
  phase = Phase("stripes", (), build(), build, PLAN)
  units = clip_search.units_of(mesh)
  batch = {
    "image": np.random.default_rng(0).integers(
      0, 256, (units, SIDE, SIDE, 3), np.uint8
    ),
    "padding": np.arange(units) == 7,
  }
  with jax.set_mesh(mesh):
    state = build().init(
      jax.random.key(0), {**batch, "image": jnp.zeros(batch["image"].shape)}, {}
    )
  states = {"stripes": {k: v for k, v in state.items() if k != "opt"}}
  return lambda: clip_search.search(phase, states, batch, mesh)


def test_nothing_is_found_where_the_clip_holds(found):
  result = found()
  assert 0.99 < result.ratio <= clip_search.ALLOWED and not result.faults
  # One of eight rows is padding.
  assert result.examples == 7 * 5 and result.steps == 40


def test_terms_that_cancel_are_found(found, monkeypatch):
  monkeypatch.setattr(norms, "slack", lambda *sizes: 0.0)
  result = found()
  assert result.ratio > 1.01
  (fault,) = result.faults
  assert f"{result.ratio:.6g} times the norm" in fault


def test_a_clip_that_is_left_out_is_found(found, monkeypatch):
  monkeypatch.setattr(clipping, "_scale", lambda clip_norm, length: 1.0)
  assert found().ratio > 100


def test_a_phase_without_privacy_is_refused(mesh):
  phase = Phase("stripes", (), build(), build)
  with pytest.raises(ValueError, match="stripes is not private"):
    clip_search.search(phase, {}, {}, mesh)
