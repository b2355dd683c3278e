"""Clients as Flower runs them, without Flower: by stand-ins for its types."""

import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import common
from jaxpriv.errors import SettingError
from jaxpriv.training import checkpoints, federated, flower, recipes
from tests import tiny
from tests.training import federated_test as simulated
from tests.training import toys

SIZES = (6, 2, 4)


class Record(list):
  """An ArrayRecord."""

  @classmethod
  def from_numpy_ndarrays(cls, arrays):
    assert all(type(x) is np.ndarray for x in arrays)
    return cls(arrays)

  def to_numpy_ndarrays(self):
    return list(self)


class App:
  """A ClientApp and a ServerApp: it keeps the function it is given."""

  def train(self):
    return lambda fn: setattr(self, "run", fn)

  main = train


class FedAvg:
  """Flower's, over clients that answer at once."""

  def __init__(self, answer):
    self.answer, self.replies = answer, []

  def start(self, grid, initial_arrays, num_rounds):
    arrays = initial_arrays
    for number in range(1, num_rounds + 1):
      replies = self.answer(arrays, number)
      self.replies += replies
      weights = [reply["metrics"]["num-examples"] for reply in replies]
      sent = [reply["arrays"] for reply in replies]
      arrays = Record(
        np.average(parts, axis=0, weights=weights).astype(np.float32)
        for parts in zip(*sent, strict=True)
      )
    return types.SimpleNamespace(arrays=arrays)


@pytest.fixture
def flwr(monkeypatch):
  modules = {
    "flwr.app": types.SimpleNamespace(
      ArrayRecord=Record,
      MetricRecord=dict,
      RecordDict=dict,
      Message=lambda content, reply_to: content,
    ),
    "flwr.clientapp": types.SimpleNamespace(ClientApp=App),
    "flwr.serverapp": types.SimpleNamespace(ServerApp=App),
  }
  monkeypatch.setattr(
    flower, "importlib", types.SimpleNamespace(import_module=modules.get)
  )


def test_rounds_by_flower_are_those_of_the_simulation(flwr):
  """With FedProx and momentum, which clients keep in their contexts."""
  source = toys.float_batch(sum(SIZES))
  made = simulated.clients(SIZES, rows=2, local_steps=3, proximal=1.0)
  optimizer = optax.sgd(simulated.RATE, momentum=0.9)
  batches = [simulated.layout(made, source, i) for i in range(3)]
  states, _ = simulated.stepped(
    simulated.method(made, optimizer=optimizer), batches
  )
  fresh = {k: states[0][k] for k in federated.SHARED}

  def open_client(context):
    i = context.node_config["partition-id"]
    times.append(i)
    own = simulated.method(
      made._replace(parts=made.parts[i : i + 1]), optimizer=optimizer
    )
    state = own.init(jax.random.key(0), batches[0], {})
    rows = lambda x: x.reshape(3, 6, *x.shape[1:])[i]
    return flower.Client(
      own,
      {**state, **fresh},
      lambda number: {k: rows(v) for k, v in batches[number].items()},
      SIZES[i],
      jax.random.key(i),
    )

  contexts = [
    types.SimpleNamespace(node_config={"partition-id": i}, state={})
    for i in range(3)
  ]
  times = []
  client = flower.client_app(open_client)

  def answer(arrays, number):
    content = {"arrays": arrays, "config": {"server-round": number}}
    message = types.SimpleNamespace(content=content)
    return [client.run(message, context) for context in contexts]

  strategy, ended = FedAvg(answer), []
  server = flower.server_app(
    lambda context: open_client(contexts[0]), 3, strategy, ended.append
  )
  server.run(None, None)
  simulated.same(ended[0]["params"], states[-1]["params"])
  assert sorted(times) == [0, 0, 1, 2]  # each once, and the server
  assert {"loss", "move_norm"} < strategy.replies[0]["metrics"].keys()


def kernel(state):
  return np.square(state["params"]["Dense_0"]["kernel"]).sum()


def phases(config):
  """This module is a mechanism, whose second phase needs the first."""
  net = simulated.Normed()

  def loss(apply, batch, frozen):
    losses, metrics = toys.regression_loss(apply, batch, frozen)
    if frozen:
      known = jnp.square(frozen["first"]["params"]["Dense_0"]["kernel"]).sum()
      metrics["server"] = jnp.full(len(losses), known)
    return losses, metrics

  first, second = (
    recipes.supervised_phase(name, net, loss, config.phases[name], needs=needs)
    for name, needs in (("first", ()), ("second", ("first",)))
  )
  return [first, second]


def config(**changes):
  made = common.base("tests.training.flower_test")
  for name in ("first", "second"):
    made.phases[name] = common.phase(4, 4)
  made.data.update(num_identities=12, images_per_identity=2, image_size=32)
  made.federated.update(local_steps=2, proximal=0.1)
  made.update_from_flattened_dict(changes)
  return made


@pytest.mark.parametrize(
  ("name", "changes", "message"),
  [
    ("first", {"dp.epsilon": 3.0}, "no account of their privacy"),
    ("second", {}, "second needs first of the server: .* it is now ''"),
    ("none", {}, "none is no supervised phase"),
  ],
)
def test_what_flower_cannot_train_is_refused(name, changes, message):
  with pytest.raises(SettingError, match=message):
    flower.of_config(config(**changes), name)


def test_a_client_of_a_config_takes_its_rounds():
  server, client = (flower.of_config(config(), "first", i) for i in range(2))
  assert client.examples == 14 and len(client.batch(0)["padding"]) == 8
  begun = flower.arrays_of(flower.shared(server.state))
  simulated.same(begun, flower.arrays_of(flower.shared(client.state)), atol=0)
  assert (server.batch(0)["index"] != client.batch(0)["index"]).any()
  arrays, own, metrics = flower.train_round(client, begun, None, 0)
  again, _, _ = flower.train_round(client, arrays, own, 1)
  assert np.isfinite(metrics["loss"])
  for before, after in ((begun, arrays), (arrays, again)):
    assert any((a != b).any() for a, b in zip(before, after, strict=True))


def test_what_a_phase_needs_is_that_of_the_server(tmp_path):
  """It tells what the first phase has learned."""
  first = flower.of_config(config(), "first").state
  directory = checkpoints.phase_directory(tmp_path, "first")
  with checkpoints.open_manager(directory) as manager:
    checkpoints.save(manager, 1, first)
  made = config(pretrained=str(tmp_path))
  client = flower.of_config(made, "second")
  simulated.same(client.frozen["first"]["params"], first["params"], atol=0)
  begun = flower.arrays_of(flower.shared(client.state))
  arrays, _, metrics = flower.train_round(client, begun, None, 0)
  assert metrics["server"] == pytest.approx(kernel(first), rel=1e-5)
  assert any((a != b).any() for a, b in zip(begun, arrays, strict=True))


def test_each_client_tells_its_own_people_apart():
  """Directions of people stay; the network in front of them is averaged."""

  def opened(people):
    made = tiny.mask_desensitization()
    with made.unlocked():
      made.data.update(
        num_identities=people, images_per_identity=2, image_size=32
      )
      made.phases.recogniser.update(batch_size=4, steps=7)
    return flower.of_config(made, "recogniser")

  small, large = opened(10), opened(20)
  for client, people in ((small, 6), (large, 12)):
    assert client.state["params"]["weight"].shape[0] == people
    assert client.rounds == 7
    labels = np.concatenate([client.batch(i)["identity"] for i in range(3)])
    assert set(labels) <= set(range(people))  # classes, and none left out
  begun = flower.arrays_of(flower.shared(small.state))
  before = np.array(small.state["params"]["weight"])
  sent, kept, _ = flower.train_round(small, begun, None, 0)
  # Whoever else goes on from there, and comes back.
  back, _, _ = flower.train_round(large, sent, None, 0)
  _, again, _ = flower.train_round(small, back, kept, 1)
  own = [
    flower.tree_of(x, flower.own(small.state))["heads"]["weight"]
    for x in (kept, again)
  ]
  assert (own[0] != before).any() and (own[1] != own[0]).any()


def test_arrays_of_another_network_are_refused():
  tree = {"a": np.ones((2, 3), np.float32), "b": np.int32(4)}
  again = flower.tree_of(flower.arrays_of(tree), tree)
  simulated.same(again, tree, atol=0)
  assert [x.dtype for x in jax.tree.leaves(again)] == [np.float32, np.int32]
  with pytest.raises(SettingError, match="the same config.model"):
    flower.tree_of(flower.arrays_of(tree)[:1], tree)


def test_without_flower_it_is_said_what_to_install(monkeypatch):
  monkeypatch.setitem(sys.modules, "flwr", None)
  with pytest.raises(SettingError, match=r"pip install jaxpriv\[flower\]"):
    flower.client_app(lambda context: None)
