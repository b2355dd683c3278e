"""DP-SGD in a supervised phase: its step, its ledger, what it refuses."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxpriv.privacy.plan import BudgetError, Plan
from jaxpriv.training import builders, loop, private
from jaxpriv.training import mesh as mesh_lib
from jaxpriv.training.method import Phase
from tests.training import toys

PLAN = Plan(
  units=400, unit="image", rows_per_unit=1, batch_size=8,
  noise_multiplier=1.0, steps=6, clip_norm=0.5,
)  # fmt: skip
RATE = 0.1


def method(plan=PLAN, loss=toys.regression_loss, norm="group", dropout=0.0):
  made = builders.supervised(
    toys.Net(norm, dropout),
    loss,
    optax.sgd(RATE),
    grad=private.private_grad(plan),
  )
  return private.with_ledger(made, plan)


def phase(plan=PLAN, **options):
  return Phase("toy", (), method(plan, **options), plan=plan)


def stepped(made, batch, key=0, mesh=None):
  batch = {k: jnp.asarray(v) for k, v in batch.items()}
  with jax.set_mesh(mesh or mesh_lib.make_mesh(1)):
    state = jax.jit(made.init)(jax.random.key(0), batch, {})
    new, metrics = jax.jit(made.step)(state, {}, batch, jax.random.key(key))
  return state, new, metrics


def moved(state, new):
  difference = jax.tree.map(
    lambda a, b: np.asarray(a) - np.asarray(b), new["params"], state["params"]
  )
  return np.concatenate([np.ravel(x) for x in jax.tree.leaves(difference)])


def padded(batch, keep):
  return {**batch, "padding": np.arange(len(batch["padding"])) >= keep}


def test_an_empty_batch_takes_a_step_of_noise_alone():
  """Its standard deviation is rate * sigma * C / expected batch size."""
  made = method()
  state, new, metrics = stepped(made, padded(toys.float_batch(), 0))
  update = moved(state, new)
  expected = RATE * 1.0 * 0.5 / 8
  assert abs(update.std() / expected - 1) < 0.05
  assert int(new["privacy"]["steps"]) == 1
  assert all(np.isfinite(v) for v in metrics.values())
  other = moved(*stepped(made, padded(toys.float_batch(), 0), key=1)[:2])
  assert abs(np.corrcoef(update, other)[0, 1]) < 0.1


def test_padding_and_the_size_that_was_drawn_change_no_divisor():
  made = method(dataclasses.replace(PLAN, noise_multiplier=1e-6))
  few = padded(toys.float_batch(16), 3)
  state, new, _ = stepped(made, few)
  more = {k: np.concatenate([v, v]) for k, v in few.items()}
  more["padding"][16:] = True
  np.testing.assert_allclose(
    moved(state, new), moved(*stepped(made, more)[:2]), atol=1e-7
  )
  # Three gradients, all longer than C, sum to at most 3 C over 8, not C.
  assert np.linalg.norm(moved(state, new)) <= RATE * 0.5 * 3 / 8 * (1 + 1e-5)


def test_noise_is_one_draw_on_any_devices(mesh):
  made = method()
  batch = padded(toys.float_batch(), 0)
  state, new, _ = stepped(made, batch)
  again = stepped(made, batch, mesh=mesh)[1]
  np.testing.assert_allclose(moved(state, new), moved(state, again), atol=1e-6)


def test_rows_of_a_unit_are_clipped_as_one():
  """Two rows each: the mean over a unit's own rows is the unit's loss."""
  plan = dataclasses.replace(
    PLAN, rows_per_unit=2, unit="person", noise_multiplier=1e-6, batch_size=4
  )
  made = method(plan)
  batch = toys.float_batch(8)
  batch["padding"][[3, 6, 7]] = True  # one of a unit's rows; all of another's
  state, new, _ = stepped(made, batch)
  net = toys.Net("group")

  def loss(params, rows):
    image = jnp.asarray(batch["image"][rows])
    found = net.apply({"params": params}, image, train=True)
    return jnp.mean(jnp.square(found - image.mean((1, 2, 3))))

  total = 0
  for rows in ([0, 1], [2], [4, 5]):
    grads = jax.grad(loss)(state["params"], np.array(rows))
    flat = np.concatenate([np.ravel(g) for g in jax.tree.leaves(grads)])
    total = total + flat * min(1, 0.5 / np.linalg.norm(flat))
  np.testing.assert_allclose(moved(state, new), -RATE * total / 4, atol=1e-6)


def test_an_example_that_is_not_finite_stops_nothing():
  batch = toys.float_batch()
  batch["image"][3] = np.nan
  made = method(dataclasses.replace(PLAN, noise_multiplier=1e-6))
  state, new, metrics = stepped(made, batch)
  assert all(np.isfinite(v) for v in metrics.values())
  without = toys.float_batch()
  without["padding"][3] = True
  np.testing.assert_allclose(
    moved(state, new), moved(*stepped(made, without)[:2]), atol=1e-7
  )


def test_metrics_say_what_is_not_private():
  _, _, metrics = stepped(method(), toys.float_batch())
  assert set(metrics) == {
    "gradient_norm",
    *(
      f"not_private/{name}"
      for name in ("loss", "absolute", "clipped", "unclipped_norm")
    ),
  }


def test_each_unit_has_dropout_of_its_own():
  """With alike examples: equal norms would mean one mask for all."""

  def loss(apply, batch, frozen):
    value = jnp.square(apply(batch["image"]) - 3)
    return value, {"value": value}

  batch = toys.float_batch()
  batch["image"][:] = batch["image"][:1]
  seen = []

  def tapped(apply, batch, frozen):
    values, metrics = loss(apply, batch, frozen)
    jax.debug.callback(lambda v: seen.append(np.ravel(v)), values)
    return values, metrics

  stepped(method(loss=tapped, dropout=0.5), batch)
  assert len(np.unique(np.concatenate(seen))) > 8


def test_batch_norm_is_refused_by_name():
  with pytest.raises(private.NotPerExampleError, match="BatchNorm_0.*group"):
    stepped(method(norm="batch"), toys.float_batch())


def contrast(apply, batch, frozen):
  found = apply(batch["image"])
  return jnp.square(found - found.mean()), {}


class Centred(nn.Module):
  """Subtracts the mean over the batch: BatchNorm without a name."""

  @nn.compact
  def __call__(self, x, train):
    x = nn.Dense(8)(x.reshape(len(x), -1))
    return nn.Dense(1)(x - x.mean(0))[:, 0]


@pytest.mark.parametrize("what", ["loss", "model"])
def test_examples_that_see_each_other_are_refused(tmp_path, mesh, what):
  made = method(loss=contrast)
  if what == "model":
    made = private.with_ledger(
      builders.supervised(
        Centred(),
        toys.regression_loss,
        optax.sgd(RATE),
        grad=private.private_grad(PLAN),
      ),
      PLAN,
    )
  with pytest.raises(private.NotPerExampleError, match="toy: .* another one"):
    train(tmp_path, Phase("toy", (), made, plan=PLAN), mesh)


def test_examples_of_a_sound_method_do_not_move_each_other():
  made = method()
  batch = {k: jnp.asarray(v) for k, v in toys.float_batch().items()}
  state = made.init(jax.random.key(0), batch, {})
  assert not np.asarray(made.cross_example(state, {}, batch)).any()


def train(workdir, made, mesh, steps=6, seed=0, stop=None):
  def batches(first):
    for batch in toys.batches(first):
      yield padded(batch, 5)

  return loop.train(
    made, batches, steps=stop or steps, seed=seed, workdir=workdir, mesh=mesh,
    options=loop.Options(log_every=1, save_every=2),
  )  # fmt: skip


def test_a_resumed_run_goes_on_with_the_same_noise(tmp_path, mesh):
  whole = train(tmp_path / "a", phase(dropout=0.5), mesh)
  train(tmp_path / "b", phase(dropout=0.5), mesh, stop=3)
  parts = train(tmp_path / "b", phase(dropout=0.5), mesh)
  for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(parts), strict=True):
    np.testing.assert_array_equal(a, b)
  assert int(whole["privacy"]["steps"]) == 6


def test_more_steps_than_are_paid_for_are_refused(tmp_path, mesh):
  with pytest.raises(BudgetError, match="step 7 is one too many"):
    train(tmp_path, phase(), mesh, steps=7)
  assert not (tmp_path / "phases").exists()


@pytest.mark.parametrize(
  "change", [dict(noise_multiplier=0.9), dict(units=401), dict(clip_norm=0.6)]
)
def test_another_plan_may_not_go_on(tmp_path, mesh, change):
  train(tmp_path, phase(), mesh, stop=2)
  other = dataclasses.replace(PLAN, **change)
  with pytest.raises(BudgetError, match=next(iter(change))):
    train(tmp_path, phase(other), mesh)
