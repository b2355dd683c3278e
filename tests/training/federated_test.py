"""Federated training: the round, its clients, and what it refuses."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ml_collections import ConfigDict

from configs import common
from jaxpriv.data.clients import RoundDraw, ShuffledDraw
from jaxpriv.data.records import DataError
from jaxpriv.errors import SettingError
from jaxpriv.models import layers
from jaxpriv.privacy import accounting, secure_aggregation
from jaxpriv.privacy.plan import BudgetError, Plan
from jaxpriv.training import (
  budget,
  builders,
  federated,
  private,
  recipes,
  run,
  settings,
  transfer,
)
from jaxpriv.training import mesh as mesh_lib
from jaxpriv.training.federated import Clients
from jaxpriv.training.method import Phase
from tests.people import PEOPLE, named
from tests.training import toys

RATE = 5e-3


class Linear(nn.Module):
  """Gradients that are worked out by hand."""

  @nn.compact
  def __call__(self, x, train):
    return nn.Dense(1)(x.reshape(len(x), -1))[:, 0]


class Normed(nn.Module):
  """BatchNorm and dropout, and no convolution, which takes long to compile."""

  dropout: float = 0.0

  @nn.compact
  def __call__(self, x, train):
    x = layers.norm("batch", train, jnp.float32)(x.reshape(len(x), -1))
    x = nn.Dropout(self.dropout, deterministic=not train)(x)
    return nn.Dense(1)(x)[:, 0]


def clients(sizes, rows=4, **arguments):
  """Clients that own so many records."""
  cuts = np.cumsum(sizes)[:-1]
  parts = np.split(np.arange(sum(sizes)), cuts)
  return Clients(parts, rows, **arguments)


def central(net=None, optimizer=None):
  return builders.supervised(
    net or Linear(), toys.regression_loss, optimizer or optax.sgd(RATE)
  )


def method(made, net=None, optimizer=None):
  optimizer = optimizer or optax.sgd(RATE)
  if made.proximal:
    optimizer = federated.proximal(optimizer, made.proximal)
  return federated.with_clients(central(net, optimizer), made)


def layout(made, source, round_number=0, devices=1, seed=0):
  """The batch of a round, as pipelines give it."""
  draws = [
    ShuffledDraw(part, made.rows, seed + i) for i, part in enumerate(made.parts)
  ]
  rows = RoundDraw(draws, made.local_steps, devices)(round_number)
  batch = {"image": source["image"][rows], "padding": rows < 0}
  batch["image"][rows < 0] = 1e4  # so that nobody counts them
  return batch


def stepped(method, batches, mesh=None):
  with jax.set_mesh(mesh or mesh_lib.make_mesh(1)):
    as_jax = [jax.tree.map(jnp.asarray, batch) for batch in batches]
    state = jax.jit(method.init)(jax.random.key(0), as_jax[0], {})
    step = jax.jit(method.step, compiler_options=toys.CAREFUL)
    metrics = {}
    states = [state]
    for i, batch in enumerate(as_jax):
      state, metrics = step(state, {}, batch, jax.random.key(i))
      states.append(state)
  return jax.device_get(states), metrics


def same(a, b, **tolerance):
  assert jax.tree.structure(a) == jax.tree.structure(b)
  tolerance = {"rtol": 0, "atol": 1e-6, **tolerance}
  for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
    np.testing.assert_allclose(x, y, **tolerance)


@pytest.mark.parametrize(
  ("sizes", "momentum"),
  [((7, 1, 3), 0.9), ((2, 1, 3) * 3, None)],
)
def test_full_batches_of_one_step_are_central_training(sizes, momentum):
  """On any devices, and whatever the rows of padding hold."""
  source = toys.float_batch(sum(sizes))
  made = clients(sizes, rows=max(sizes))
  optimizer = optax.sgd(RATE, momentum=momentum)
  union = [source] * 3
  states, metrics = stepped(central(optimizer=optimizer), union)
  for devices in (1, 8):
    rounds = [layout(made, source, i, devices) for i in range(3)]
    found, others = stepped(
      method(made, optimizer=optimizer), rounds, mesh_lib.make_mesh(devices)
    )
    same(found[-1]["params"], states[-1]["params"])
    np.testing.assert_allclose(others["loss"], metrics["loss"], rtol=1e-5)


def test_eight_devices_equal_one(mesh):
  """With BatchNorm, dropout and Adam, and more clients than devices."""
  source = toys.float_batch(40)
  made = clients(
    (4, 8, 3, 5, 4, 6, 2, 4, 4), rows=2, local_steps=2, proximal=0.1,
    server=optax.sgd(1.0, momentum=0.5),
    local_statistics=True, secure_range=4.0,
  )  # fmt: skip
  net = Normed(0.5)
  made_method = method(made, net, optax.adam(1e-2, eps=1e-3))
  results = [
    stepped(
      made_method,
      [layout(made, source, i, on.size) for i in range(2)],
      on,
    )
    for on in (mesh_lib.make_mesh(1), mesh)
  ]
  (one, metrics), (eight, others) = results
  same(one, eight, atol=2e-5)
  same(metrics, others, atol=2e-5, rtol=1e-4)
  assert np.abs(one[2]["params"]["Dense_0"]["bias"]).max() > 1e-3


def gradient(w, images):
  """The gradient of the linear toy's mean squared error, by hand in float64."""
  x = np.float64(images).reshape(len(images), -1)
  x = np.concatenate([x, np.ones((len(x), 1))], 1)
  target = np.float64(images).mean((1, 2, 3))
  return 2 * x.T @ (x @ w - target) / len(x)


def flat(params):
  dense = params["Dense_0"]
  return np.append(np.float64(dense["kernel"][:, 0]), np.float64(dense["bias"]))


SERVERS = {
  "sgd": dict(optimizer="sgd", learning_rate=0.7, momentum=0.0),
  "momentum": dict(optimizer="sgd", learning_rate=0.7, momentum=0.9),
  "adam": dict(optimizer="adam", learning_rate=0.02, momentum=0.0),
}


@pytest.mark.parametrize(
  ("name", "mu"), [("sgd", 2.0), ("momentum", 0.0), ("adam", 2.0)]
)
def test_rounds_equal_a_loop_written_by_hand(name, mu):
  """FedAvg, FedAvgM, FedAdam, each with and without FedProx."""
  sizes, steps = (6, 2, 4), 3
  source = toys.float_batch(sum(sizes))
  options = SERVERS[name]
  made = clients(
    sizes, rows=2, local_steps=steps, proximal=mu,
    server=federated.server_optimizer(ConfigDict(options)),
  )  # fmt: skip
  rounds = [layout(made, source, i) for i in range(4)]
  states, _ = stepped(method(made), rounds)
  w = flat(states[0]["params"])
  first, second = np.zeros_like(w), np.zeros_like(w)
  for i, batch in enumerate(rounds):
    images = batch["image"].reshape(3, steps, 2, *batch["image"].shape[1:])
    mean = 0
    for own, size in zip(images, sizes, strict=True):
      local = w.copy()
      for rows in own:
        local -= RATE * (gradient(local, rows) + mu * (local - w))
      mean = mean + (local - w) * size / sum(sizes)
    if name == "adam":
      first = 0.9 * first + 0.1 * mean
      second = 0.99 * second + 0.01 * mean**2
      debiased = second / (1 - 0.99 ** (i + 1))
      w += 0.02 * first / (1 - 0.9 ** (i + 1)) / (np.sqrt(debiased) + 1e-3)
    else:
      first = options["momentum"] * first + mean
      w += 0.7 * first
    np.testing.assert_allclose(flat(states[i + 1]["params"]), w, atol=2e-6)


def test_a_client_that_counts_for_nothing_adds_nothing():
  """Be what it sends finite or not; and if nobody counts, nothing moves."""

  def update(server, own, batches, key):
    move = jnp.where(batches[0] > 1, jnp.nan, server + batches[0])
    return move, own + 1, {"seen": batches[0]}

  average = functools.partial(
    federated.federated_average, update, jnp.float32(1), jnp.zeros(3)
  )
  batches = jnp.array([[0.5], [2.0], [1.0]])
  for limit in (0.0, 10.0):
    run = functools.partial(average, key=jax.random.key(0), secure_range=limit)
    mean, own, metrics = run(batches, np.array([3, 0, 1]))
    np.testing.assert_allclose(mean, (3 * 1.5 + 2) / 4, rtol=1e-6)
    np.testing.assert_allclose(metrics["seen"], (3 * 0.5 + 1) / 4)
    np.testing.assert_array_equal(own, [1, 1, 1])
    mean, _, metrics = run(batches, np.zeros(3))
    assert mean == 0 and metrics["seen"] == 0


def test_secure_sums_cost_rounding_alone(monkeypatch):
  sizes = (6, 2, 4)
  source = toys.float_batch(sum(sizes))
  made = clients(sizes, rows=2, local_steps=2)
  rounds = [layout(made, source, i) for i in range(3)]
  plain, _ = stepped(method(made), rounds)
  masks = []
  mask = secure_aggregation.mask

  def noted(tree, key, client, clients):
    masks.append(clients)
    return mask(tree, key, client, clients)

  monkeypatch.setattr(secure_aggregation, "mask", noted)
  secure, metrics = stepped(method(made._replace(secure_range=8.0)), rounds)
  assert set(masks) == {3}
  same(secure[-1]["params"], plain[-1]["params"], atol=1e-6)
  assert metrics["clipped_moves"] == 0
  tight = made._replace(secure_range=1e-3)
  _, metrics = stepped(method(tight), rounds[:1])
  assert 0.3 < metrics["clipped_moves"] < 1


def test_statistics_are_averaged_or_stay_with_a_client():
  source = toys.float_batch(16)
  made = clients((12, 4), rows=4)
  net = Normed()
  batch = layout(made, source)
  (start, shared), _ = stepped(method(made, net), [batch])
  local = made._replace(local_statistics=True)
  (_, own), _ = stepped(method(local, net), [batch])
  alone = []
  for i in range(2):  # by the network itself
    rows = batch["image"].reshape(2, 4, 8, 8, 3)[i]
    _, updated = net.apply(
      {k: start[k] for k in ("params", "batch_stats")}, rows, train=True,
      rngs={"dropout": jax.random.key(0)}, mutable=["batch_stats"],
    )  # fmt: skip
    alone.append(updated["batch_stats"])
  mean = jax.tree.map(lambda a, b: 0.75 * a + 0.25 * b, *alone)
  same(shared["batch_stats"], mean)
  assert shared["clients"] == {}
  same(own["batch_stats"], mean)
  for i in range(2):
    same(federated.client_state(own, i)["batch_stats"], alone[i])


def test_local_statistics_are_not_moved_by_other_clients():
  source = toys.float_batch(16)
  made = clients((12, 4), rows=4, local_statistics=True, server=optax.sgd(0.0))
  batches = [layout(made, source, i) for i in range(2)]
  changed = {**batches[0], "image": batches[0]["image"].copy()}
  changed["image"][:4] *= 0.1
  runs = [
    stepped(method(made, Normed()), [first, batches[1]])[0][-1]
    for first in (batches[0], changed)
  ]
  first, second = (
    [federated.client_state(s, i)["batch_stats"] for s in runs]
    for i in range(2)
  )
  same(*second, atol=0)
  with pytest.raises(AssertionError):
    same(*first, atol=1e-3)


def options(**changes):
  made = common.phase(
    4, 4, optimizer="sgd", learning_rate=RATE, schedule="constant"
  )
  made.update(changes)
  return made


def toy(net=None, **changes):
  return recipes.supervised_phase(
    "toy", net or Linear(), toys.regression_loss, options(**changes)
  )


def test_schedules_count_local_steps():
  """Two rounds of two: the rate falls from step to step, to 0 at the end."""
  phase = toy(steps=2, schedule="polynomial")
  made = clients((4, 4), rows=4, local_steps=2)
  batches = [layout(made, toys.float_batch(8), i) for i in range(3)]
  states, _ = stepped(phase.federated(made).method, batches)
  first, second, third, last = (flat(s["params"]) for s in states)
  assert np.abs(third - second).max() > 1e-5
  assert np.abs(second - first).max() > np.abs(third - second).max()
  np.testing.assert_array_equal(third, last)


def config(phase_changes=None, **changes):
  made = toys.config()
  made.phases.toy = options(**(phase_changes or {}))
  made.federated.update(clients=3, local_steps=2)
  made.federated.update(changes)
  made.train.validation_images = 0
  return made


@pytest.mark.parametrize("by", ["person", "record"])
def test_nobody_sees_the_records_of_another(tmp_path, by):
  """In the batches of the loop, on two meshes, over more than an epoch."""
  data, made = named(PEOPLE), config(by=by, shares=(2.0, 1.0, 1.0))
  (phase,), _ = budget.privatise([toy()], made, data)
  parts = [set(part.tolist()) for part in phase.clients.parts]
  assert [len(p) for p in parts] == [16, 8, 8]
  assert set().union(*parts) == set(data.splits["train"].tolist())
  if by == "person":
    people = [{data.source.identities[i] for i in part} for part in parts]
    assert sum(map(len, people)) == len(set().union(*people)) == 8
  seen = {}
  for devices in (1, 8):
    draw = run._draw(phase, 7, b"", data, devices)
    slots = np.stack([draw(i).reshape(-1, 2, 4) for i in range(9)])
    assert slots.shape[1] == (3 if devices == 1 else 8)
    assert (slots[:, 3:] == -1).all()
    seen[devices] = slots[:, :3]
  np.testing.assert_array_equal(seen[1], seen[8])
  for i, part in enumerate(parts):
    drawn = seen[1][:, i].ravel()
    assert set(drawn.tolist()) == part
    for epoch in range(len(drawn) // len(part)):
      epoch = drawn[epoch * len(part) : (epoch + 1) * len(part)]
      assert len(set(epoch.tolist())) == len(part)
  assert (run._draw(phase, 8, b"", data, 1)(0) != draw(0)[:24]).any()


def test_a_run_goes_on_with_other_devices(tmp_path, mesh):
  """Augmented, averaged, and with a schedule that counts local steps."""
  net = Normed(0.1)
  changes = dict(ema=0.9, schedule="cosine", optimizer="adam")
  made = config(changes, statistics="local", shares=(1.0, 2.0, 1.0))
  data = named(PEOPLE)
  (phase,), made = budget.privatise([toy(net, **changes)], made, data)

  def train(workdir, mesh, steps):
    made.phases.toy.steps = steps
    return run.train_phases([phase], made, data, workdir, mesh)["toy"]

  whole = train(tmp_path / "a", mesh, 4)
  train(tmp_path / "b", mesh_lib.make_mesh(2), 2)
  parts = train(tmp_path / "b", mesh, 4)
  assert set(whole) == {"params", "batch_stats", "clients", "ema", "ema_steps"}
  same(jax.device_get(whole), jax.device_get(parts), atol=2e-4)
  again = train(tmp_path / "b", mesh, 4)
  same(jax.device_get(again), jax.device_get(parts), atol=0)


def test_a_warm_start_gives_every_client_the_statistics():
  made = method(clients((4, 4), local_statistics=True), Normed())
  batch = layout(clients((4, 4)), toys.float_batch(8))
  (fresh, trained), _ = stepped(made, [batch])
  state = jax.tree.map(jnp.asarray, fresh)
  taken, _ = transfer.adopt(state, jax.tree.map(jnp.asarray, trained))
  for i in range(2):
    same(
      federated.client_state(taken, i)["batch_stats"], trained["batch_stats"]
    )


def test_only_the_phases_that_are_named_are_federated():
  made = config(phases=("toy",))
  made.phases.public = options()
  public = toy()._replace(name="public")
  first, second = federated.distribute([public, toy()], made, named(PEOPLE))
  assert first.clients is None and len(second.clients.parts) == 3
  made.federated.phases = ()
  both = federated.distribute([public, toy()], made, named(PEOPLE))
  assert all(phase.clients for phase in both)
  made.federated.clients = 0
  both = federated.distribute([public, toy()], made, named(PEOPLE))
  assert not any(phase.clients for phase in both)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    (dict(phases=("other",)), "phases names other.* are toy, game"),
    (dict(phases=()), "phase game is not supervised"),
    (dict(clients=9), "clients = 9: not everybody .* only 8 people"),
    (dict(shares=(1.0, 1.0)), "the relative sizes of 3 clients"),
    (dict(shares=(1.0, 1.0, 0.0)), "each above 0"),
    (dict(shares=(1.0, 1.0, 1e-4)), "not everybody"),
    (dict(clients=1, secure=True), "hides nothing"),
  ],
)
def test_what_cannot_be_federated_is_refused(changes, message):
  made = config(**{"phases": ("toy",), **changes})
  made.phases.game = options()
  phases = [toy(), Phase("game", (), central())]
  with pytest.raises(SettingError, match=message):
    federated.distribute(phases, made, named(PEOPLE))


@pytest.mark.parametrize(
  ("name", "value"),
  [
    ("clients", -1), ("local_steps", 0), ("statistics", "none"), ("by", "me"),
    ("proximal", -0.1), ("secure_range", 0.0), ("server.optimizer", "lamb"),
    ("server.momentum", 1.0), ("server.learning_rate", float("nan")),
  ],
)  # fmt: skip
def test_settings_are_checked(name, value):
  made = config()
  settings.check(made)
  made.update_from_flattened_dict({f"federated.{name}": value})
  with pytest.raises(SettingError, match=f"federated.{name}"):
    settings.check(made)


def test_batches_larger_than_a_client(mesh):
  """Padding is refused where BatchNorm would count it, or nobody needs it."""
  data, made = named(PEOPLE), config({"batch_size": 12})
  made.federated.shares = (2.0, 1.0, 1.0)
  with pytest.raises(SettingError, match="above 8, .*BatchNorm"):
    federated.distribute([toy(Normed())], made, data)
  (phase,) = federated.distribute([toy()], made, data)
  run.check_batch_sizes([phase], made, data, mesh)
  drawn = run._draw(phase, 0, b"", data, 1)(0).reshape(3, 2, 12)
  assert ((drawn >= 0).sum(2) == [[12, 12], [8, 8], [8, 8]]).all()
  made.phases.toy.batch_size = 17
  with pytest.raises(DataError, match="largest client has only 16"):
    run.check_batch_sizes([phase], made, data, mesh)
  made.phases.toy.update(batch_size=9, accumulate=2)
  with pytest.raises(DataError, match="among 2 microbatches"):
    run.check_batch_sizes([phase], made, data, mesh)


PLAN = Plan(
  units=40, unit="image", rows_per_unit=1, batch_size=4, noise_multiplier=1.0,
  steps=6, clip_norm=0.5, clients=(40, 80), local_steps=1,
)  # fmt: skip


def private_method(plan, made):
  grad = private.private_grad(plan)
  plain = builders.supervised(
    Linear(), toys.regression_loss, optax.sgd(RATE), grad=grad
  )
  shared = federated.with_clients(plain, made) if made else plain
  return private.with_ledger(shared, plan)


def test_each_client_clips_and_adds_noise_of_its_own(mesh):
  made = clients((40, 80), rows=8)
  source = toys.float_batch(120)
  batch = layout(made, source, devices=8)
  empty = {**batch, "padding": np.ones(64, bool)}
  (start, new), metrics = stepped(private_method(PLAN, made), [empty], mesh)
  assert int(new["privacy"]["steps"]) == 1
  assert {k for k in metrics if not k.startswith("not_private/")} == {
    "gradient_norm"
  }
  moved = flat(new["params"]) - flat(start["params"])
  expected = RATE * 0.5 / 4 * np.sqrt((1 / 3) ** 2 + (2 / 3) ** 2)
  assert abs(moved.std() / expected - 1) < 0.2
  one, _ = stepped(
    private_method(PLAN, made), [{k: v[:16] for k, v in empty.items()}]
  )
  same(one[1]["params"], new["params"])
  # Without noise it is the weighted mean of two private steps.
  quiet = dataclasses.replace(PLAN, noise_multiplier=1e-7)
  (_, both), _ = stepped(private_method(quiet, made), [batch], mesh)
  alone = [
    stepped(
      private_method(quiet, None),
      [{k: v[i * 8 : i * 8 + 8] for k, v in batch.items()}],
    )[0][1]["params"]
    for i in range(2)
  ]
  mean = jax.tree.map(lambda a, b: a / 3 + 2 * b / 3, *alone)
  same(both["params"], mean)


def private_config(**changes):
  made = config(shares=(2.0, 1.0, 1.0))
  made.dp.update(noise_multiplier=2.0, delta=1e-3, accountant="rdp")
  made.dp.update(changes)
  return made


def test_each_client_has_an_account_and_the_worst_is_stated():
  data, made = named(PEOPLE), private_config()
  (phase,), made = budget.privatise([toy()], made, data)
  plan = phase.plan
  assert (plan.units, plan.clients, plan.local_steps) == (8, (16, 8, 8), 2)
  state = {"privacy": {**plan.ledger(), "steps": jnp.int32(3)}}
  said = budget.statement([toy()], {"toy": state}, made, data)["privacy"]
  assert said["units"] == 32
  assert said["phases"][0]["steps"] == 6
  by_hand = [
    accounting.epsilon(4 / n, 2.0, 6, 1e-3, accountant="rdp")
    for n in (16, 8, 8)
  ]
  np.testing.assert_allclose(
    [said["clients"][f"client {i}"]["epsilon"] for i in (1, 2, 3)],
    by_hand,
    rtol=1e-6,
  )
  assert by_hand[0] < by_hand[1]
  np.testing.assert_allclose(said["epsilon"], max(by_hand), rtol=1e-6)
  other = dataclasses.replace(plan, clients=(16, 8, 9))
  with pytest.raises(BudgetError, match="clients was"):
    other.check_ledger(state["privacy"])
  planned = private_config(noise_multiplier=0.0, epsilon=4.0)
  (phase,), planned = budget.privatise([toy()], planned, data)
  spent = accounting.epsilon(
    0.5, planned.dp.noise_multiplier, 8, 1e-3, accountant="rdp"
  )
  assert 3.9 < spent <= 4.0


@pytest.mark.parametrize("unit", ["image", "person"])
def test_units_are_drawn_by_their_own_client_alone(unit):
  data = named(PEOPLE)
  made = private_config(unit=unit, images_per_person=2)
  made.phases.toy.batch_size = 1
  (phase,), _ = budget.privatise([toy()], made, data)
  draw = run._draw(phase, 0, b"secret", data, 8)
  rows = phase.plan.sampler(1).rows * phase.plan.rows_per_unit
  drawn = np.stack([draw(i).reshape(8, 2, rows) for i in range(200)])
  assert (drawn[:, 3:] == -1).all()
  for i, part in enumerate(phase.clients.parts):
    own = drawn[:, i]
    assert set(own[own >= 0].tolist()) == set(part.tolist())
    each = (own >= 0).sum() / own.shape[0] / 2 / phase.plan.rows_per_unit
    assert abs(each - 1) < 0.2  # expected units of a local step
  assert (run._draw(phase, 0, b"other", data, 8)(0) != draw(0)).any()


def test_a_person_with_several_clients_cannot_be_protected():
  made = private_config(unit="person")
  made.federated.by = "record"
  with pytest.raises(SettingError, match="by=person, or protect images"):
    budget.privatise([toy()], made, named(PEOPLE))
  made = private_config()
  made.phases.toy.batch_size = 12
  with pytest.raises(BudgetError, match="smallest client has only 8"):
    budget.privatise([toy()], made, named(PEOPLE))


def test_a_private_federated_run_ends_and_goes_on(tmp_path, mesh):
  data, made = named(PEOPLE), private_config()
  (phase,), made = budget.privatise([toy()], made, data)
  state = run.train_phases([phase], made, data, tmp_path, mesh)["toy"]
  assert int(state["privacy"]["steps"]) == 4
  phase.plan.check_ledger(jax.device_get(state["privacy"]))
  again = run.train_phases([phase], made, data, tmp_path, mesh)["toy"]
  same(jax.device_get(again), jax.device_get(state), atol=0)
