"""DP-SGD in a supervised phase: its step, its ledger, what it refuses."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import common
from jaxpriv.privacy.plan import BudgetError, Plan
from jaxpriv.training import builders, combinators, loop, private, recipes
from jaxpriv.training import mesh as mesh_lib
from jaxpriv.training.method import Phase
from jaxpriv.training.optimizers import make_optimizer
from tests.training import toys

PLAN = Plan(
  units=400, unit="image", rows_per_unit=1, batch_size=8,
  noise_multiplier=1.0, steps=6, clip_norm=0.5,
)  # fmt: skip
RATE = 0.1
OPTIONS = common.phase(
  6, 8, optimizer="sgd", learning_rate=RATE, schedule="constant"
)


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
    step = jax.jit(made.step, compiler_options=toys.CAREFUL)
    new, metrics = step(state, {}, batch, jax.random.key(key))
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


def test_metrics_are_means_over_units_that_were_drawn():
  """Neither padding counts nor an example whose gradient is not finite."""
  made = method()
  batch = padded(toys.float_batch(), 5)
  batch["image"][2] = np.nan
  few = {k: v[[0, 1, 3, 4]] for k, v in batch.items()}
  metrics, expected = (stepped(made, x)[2] for x in (batch, few))
  told = {"loss", "absolute", "unclipped_norm", "clipped"}
  assert {f"not_private/{name}" for name in told} < metrics.keys()
  for name in told:
    name = f"not_private/{name}"
    np.testing.assert_allclose(
      metrics[name], expected[name], rtol=1e-5, err_msg=name
    )
    assert expected[name] > 0


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


@pytest.mark.parametrize("what", ["loss", "model", "views"])
def test_examples_that_see_each_other_are_refused(tmp_path, mesh, what):
  made = method(loss=contrast)
  if what == "views":
    made = varied(
      dataclasses.replace(PLAN, augmentation_multiplicity=2), loss=contrast
    ).method
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


@pytest.mark.parametrize("views", [1, 2])
def test_examples_of_a_sound_method_do_not_move_each_other(views):
  plan = dataclasses.replace(PLAN, augmentation_multiplicity=views)
  made = varied(plan).method
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


@pytest.mark.parametrize("views", [1, 2])
def test_a_resumed_run_goes_on_with_the_same_noise(tmp_path, mesh, views):
  """And with the same views."""
  plan = dataclasses.replace(PLAN, augmentation_multiplicity=views)
  made = varied(plan, dropout=0.5)
  whole = train(tmp_path / "a", made, mesh)
  train(tmp_path / "b", made, mesh, stop=3)
  parts = train(tmp_path / "b", made, mesh)
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


def varied(
  plan=PLAN,
  net=None,
  loss=toys.regression_loss,
  grad=private.private_grad,
  dropout=0.0,
):
  """A private phase whose images are augmented."""
  net = net or toys.Net("group", dropout)
  made = recipes.supervised_phase("toy", net, loss, OPTIONS)
  return made._replace(method=made.private(plan, grad), plan=plan)


class Linear(nn.Module):
  """A gradient that is worked out by hand."""

  @nn.compact
  def __call__(self, x, train):
    return nn.Dense(1)(x.reshape(len(x), -1))[:, 0]


@pytest.mark.parametrize("microbatch_size", [None, 2])
def test_gradients_of_views_are_averaged_before_the_clip(microbatch_size):
  """In float64, from the views as the loss saw them."""
  plan = dataclasses.replace(
    PLAN, unit="person", rows_per_unit=2, augmentation_multiplicity=3,
    clip_norm=15.5, microbatch_size=microbatch_size,
  )  # fmt: skip
  seen = []

  def loss(apply, batch, frozen):
    jax.debug.callback(
      lambda *x: seen.append([np.asarray(a) for a in x]),
      batch["index"], batch["image"], batch["padding"],
    )  # fmt: skip
    return jnp.square(apply(batch["image"]) - batch["index"] % 4), {}

  batch = {**toys.float_batch(8), "index": np.arange(8)}
  batch["image"][2] = batch["image"][0]
  batch["padding"][[3, 6, 7]] = True  # one of a unit's rows; all of another's
  made = varied(plan, Linear(), loss, private.clipped_sum).method
  state, _, metrics = stepped(made, batch)
  jax.effects_barrier()
  views = {int(index[0]): (index, *rest) for index, *rest in seen}
  assert set(views) - {6} == {0, 2, 4}
  weights = np.float64(state["params"]["Dense_0"]["kernel"][:, 0])
  bias = np.float64(state["params"]["Dense_0"]["bias"][0])
  kernels, biases, norms = np.zeros(192), 0.0, []
  for first in (0, 2, 4):
    index, image, padding = views[first]
    assert sorted(index) == sorted([first, first + 1] * 3)
    x = np.float64(image[~padding]).reshape(-1, 192)
    error = x @ weights + bias - index[~padding] % 4
    by_view = 2 * error[:, None] * np.concatenate([x, x[:, :1] * 0 + 1], 1)
    mean = by_view.mean(0)
    norms.append(np.linalg.norm(mean))
    scaled = mean * min(1, plan.clip_norm / norms[-1])
    kernels, biases = kernels + scaled[:192], biases + scaled[192]
  assert min(norms) < plan.clip_norm < max(norms)  # both sides are tried
  total = metrics["not_private/sum"]["Dense_0"]
  np.testing.assert_allclose(total["kernel"][:, 0], kernels, atol=2e-5)
  np.testing.assert_allclose(total["bias"][0], biases, atol=2e-5)
  np.testing.assert_allclose(
    metrics["not_private/norms"], [*norms, 0], rtol=1e-4
  )
  # Views differ by view, by unit (0 and 2 are one image), and from the image.
  drawn = [
    v for f in (0, 2) for i, v in zip(*views[f][:2], strict=True) if i == f
  ]
  drawn.append(batch["image"][0])
  assert len(np.unique(np.reshape(drawn, (7, -1)), axis=0)) == 7


def summed(views, view, **changes):
  plan = dataclasses.replace(
    PLAN, augmentation_multiplicity=views, unit="person", rows_per_unit=2,
    **changes,
  )  # fmt: skip
  made = builders.supervised(
    toys.Net("group"),
    toys.regression_loss,
    optax.sgd(RATE),
    grad=private.clipped_sum(plan, view),
  )
  return private.with_ledger(made, plan)


@pytest.mark.parametrize("views", [1, 2, 8])
def test_a_unit_adds_its_clip_norm_at_most_whatever_its_views(views):
  def view(key, rows):
    """Views of any size and sign, which cancel and overflow."""
    size = 10 ** jax.random.uniform(key, minval=-12, maxval=9)
    sign = jnp.where(jax.random.bernoulli(key), 1.0, -1.0)
    return {**rows, "image": rows["image"] * sign * size}

  batch = toys.float_batch(16)
  batch["image"] *= np.geomspace(1e-15, 1e25, 16, dtype=np.float32)[
    :, None, None, None
  ]
  batch["image"][5] = np.nan
  batch = {k: jnp.asarray(v) for k, v in batch.items()}
  made = summed(views, view)
  state = jax.jit(made.init)(jax.random.key(0), batch, {})

  @jax.jit
  def of(padding, key):
    rows = {**batch, "padding": jnp.repeat(padding, 2)}
    metrics = made.step(state, {}, rows, key)[1]
    leaves = jax.tree.leaves(metrics["not_private/sum"])
    return jnp.concatenate([jnp.ravel(x) for x in leaves])

  largest = 0.0
  for seed in range(3):
    key = jax.random.key(seed)
    everybody = np.float64(of(np.zeros(8, bool), key))
    for unit in range(8):
      others = np.arange(8) == unit
      alone = np.linalg.norm(np.float64(of(~others, key)))
      moved = np.linalg.norm(everybody - np.float64(of(others, key)))
      assert max(alone, moved) <= PLAN.clip_norm * (1 + 1e-5), (seed, unit)
      assert not (unit == 2 and alone)  # a row of it is nan
      largest = max(largest, alone)
  assert largest > 0.999 * PLAN.clip_norm


def test_equal_views_are_as_one():
  batch = padded(toys.float_batch(), 13)
  key = "not_private/sum"
  one = stepped(summed(1, None), batch)[2][key]
  for views in (2, 5):
    several = stepped(summed(views, lambda key, rows: rows), batch)[2][key]
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(several)):
      np.testing.assert_allclose(a, b, atol=2e-6)


def test_views_do_not_depend_on_microbatches():
  """Nor on devices: see tests/sharded_test.py."""
  batch = padded(toys.float_batch(32), 29)
  found = []
  for size in (None, 4, 1):
    plan = dataclasses.replace(
      PLAN, augmentation_multiplicity=3, microbatch_size=size
    )
    made = varied(plan, grad=private.clipped_sum).method
    found.append(stepped(made, batch)[2]["not_private/norms"])
  assert len(np.unique(found[0])) == 30  # and 0, of padding
  for norms in found[1:]:
    np.testing.assert_allclose(norms, found[0], rtol=1e-5)


def test_one_view_is_as_it_was_without_the_setting():
  """To the bit: the batch is augmented once, and then goes to the gradient."""
  batch, made = toys.float_batch(), varied()
  (augment,) = recipes.random_changes(OPTIONS)
  plain = builders.supervised(
    toys.Net("group"),
    toys.regression_loss,
    make_optimizer(OPTIONS),
    grad=private.private_grad(PLAN),
  )
  before = combinators.with_transform(private.with_ledger(plain, PLAN), augment)
  for a, b in zip(
    jax.tree.leaves(stepped(before, batch)[1:]),
    jax.tree.leaves(stepped(made.method, batch)[1:]),
    strict=True,
  ):
    np.testing.assert_array_equal(a, b)
