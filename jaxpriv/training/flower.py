"""Flower: clients of federated training that are programs of their own.

Needs the extra `flower`, which is imported where it is used. A client app and a
server app are each a file of two lines in a Flower app:

    app = flower.client_app(lambda context: flower.of_config(config, "fsn"))
    app = flower.server_app(lambda context: flower.of_config(config, "fsn"))

where the config of a client names its own images (`config.data.path`), and all
configs agree on the rest. Clients run the rounds that `federated` simulates,
but for one thing: each tells its own people apart, so that the directions of
these (`HEADS`) stay with it, and the server has none that are trained.
"""

import functools
import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jaxpriv.data import clients as clients_lib
from jaxpriv.errors import SettingError
from jaxpriv.training import (
  budget,
  federated,
  inference,
  mechanism,
  run,
  seeds,
  transfer,
)
from jaxpriv.training import mesh as mesh_lib
from jaxpriv.training.method import Frozen, Method

Arrays = list[np.ndarray]

# Names of records in Flower's messages, and of what clients keep.
ARRAYS, METRICS, CONFIG = "arrays", "metrics", "config"
ROUND, EXAMPLES, OWN = "server-round", "num-examples", "own"

# Parameters of the people whom a recogniser tells apart.
HEADS = ("weight",)


class Client(NamedTuple):
  """One client, or a server, which has only the state.

  Attributes:
    method: as `federated.with_clients` makes it, of one client.
    state: a fresh one; the same everywhere.
    batch: round, from 0 -> the rows of the round.
    examples: of the client, its weight.
    key: of its rounds.
    frozen: states of phases that this one needs, such as a mask.
    rounds: of the training, by which schedules end.
  """

  method: Method
  state: Any
  batch: Callable[[int], Mapping[str, np.ndarray]]
  examples: int
  key: jax.Array
  frozen: Frozen = {}
  rounds: int = 1


def arrays_of(tree: Any) -> Arrays:
  """The leaves of a tree, to be sent."""
  return [np.asarray(x) for x in jax.tree.leaves(tree)]


def tree_of(arrays: Sequence[np.ndarray], like: Any) -> Any:
  """The tree of these leaves, of the structure of another one.

  Raises:
    SettingError: they are not its leaves.
  """
  leaves, structure = jax.tree.flatten(like)
  shapes = [np.shape(x) for x in leaves]
  given = [np.shape(x) for x in arrays]
  if shapes != given:
    raise SettingError(
      f"arrays of shapes {given} came from Flower, and this network has"
      f" {shapes}: give all clients and the server the same config.model"
    )
  typed = [np.asarray(a, x.dtype) for a, x in zip(arrays, leaves, strict=True)]
  return jax.tree.unflatten(structure, typed)


def shared(state: Mapping[str, Any]) -> dict[str, Any]:
  """The part of a state that travels."""
  travelling = {name: state[name] for name in federated.SHARED}
  params = travelling["params"]
  kept = {k: v for k, v in params.items() if k not in HEADS}
  return {**travelling, "params": kept}


def own(state: Mapping[str, Any]) -> dict[str, Any]:
  """The part of a state that stays with a client."""
  rest = {k: v for k, v in state.items() if k not in federated.SHARED}
  heads = {k: v for k, v in state["params"].items() if k in HEADS}
  return {"heads": heads, "rest": rest}


@functools.cache
def _compiled(step: Callable) -> Callable:
  """A step, compiled once for all rounds of a program."""
  return jax.jit(lambda s, f, b, k: step(s, f, inference.as_float(b), k))


def train_round(
  client: Client, arrays: Sequence[np.ndarray], kept: Arrays | None, number: int
) -> tuple[Arrays, Arrays, dict[str, float]]:
  """One round of one client.

  Args:
    client: who.
    arrays: the server's parameters and statistics.
    kept: what the client kept from its last round; None before the first.
    number: of the round, from 0.

  Returns:
    the client's parameters and statistics, what it keeps, and metrics.
  """
  fresh = own(client.state)
  mine = fresh if kept is None else tree_of(kept, fresh)
  given = tree_of(arrays, shared(client.state))
  params = {**given["params"], **mine["heads"]}
  state = {**mine["rest"], **given, "params": params}
  batch = {k: jnp.asarray(v) for k, v in client.batch(number).items()}
  pure: Any = client.method.step
  step = _compiled(pure)
  key = jax.random.fold_in(client.key, number)
  new, metrics = step(state, client.frozen, batch, key)
  return (
    arrays_of(shared(new)),
    arrays_of(own(new)),
    {k: float(v) for k, v in metrics.items()},
  )


def of_config(config: ConfigDict, name: str, number: int = 0) -> Client:
  """A client that trains one phase on all training images of a config.

  Args:
    config: of a run; of config.federated, local_steps and proximal count.
      Phases that this one needs are those of config.pretrained: the server has
      trained them, and handed out the folders phases/NAME of its run, and no
      other, as a run holds photographs.
    name: of a phase.
    number: of the client, for its random numbers.

  Raises:
    SettingError: the phase is none that clients can train, or is to be private,
      or what it needs is not there.
  """
  if budget.is_private(config.dp):
    raise SettingError(
      "config.dp: clients that Flower runs have no account of their privacy;"
      " simulate them by config.federated, or leave config.dp at its defaults"
    )
  data = run.open_data(config)
  config = run.resolve(config, data)
  found = [p for p in mechanism.phases(config) if p.name == name]
  if not found or found[0].federated is None:
    raise SettingError(f"{name} is no supervised phase of {config.method}")
  mesh = mesh_lib.make_mesh(1)
  frozen = {
    need: config.pretrained
    and transfer.pretrained_state(config.pretrained, need, mesh)
    for need in found[0].needs
  }
  if absent := [need for need, state in frozen.items() if not state]:
    raise SettingError(
      f"{name} needs {', '.join(absent)} of the server: have config.pretrained"
      f" name a folder with phases/{absent[0]} of its run; it is now"
      f" {config.pretrained!r}"
    )
  options, part = config.phases[name], data.splits["train"]
  clients = federated.Clients(
    [part],
    options.batch_size,
    config.federated.local_steps,
    proximal=config.federated.proximal,
  )
  method = found[0].federated(clients).method
  seed = seeds.phase_seed(config.seed, name)
  draw = clients_lib.RoundDraw(
    [
      clients_lib.ShuffledDraw(
        part, clients.rows, seeds.phase_seed(seed, f"client {number}")
      )
    ],
    clients.local_steps,
    devices=1,
  )
  batch = lambda number: data.gather(draw(number))
  first = {k: jnp.asarray(v[:1]) for k, v in batch(0).items()}
  key = jax.random.key(seed)
  state = method.init(key, inference.as_float(first), frozen)
  return Client(
    method,
    state,
    batch,
    len(part),
    jax.random.fold_in(key, number),
    frozen,
    options.steps,
  )


def client_app(open_client: Callable[[Any], Client]) -> Any:
  """Flower's ClientApp. What a client keeps lies in its Context.

  Args:
    open_client: Flower's Context -> who trains; context.node_config may tell.
      It is called once for each node_config, not in each round.
  """
  flwr = _flwr("app")
  app = _flwr("clientapp").ClientApp()
  opened: dict[str, Client] = {}

  @app.train()
  def train(message, context):
    content, state = message.content, context.state
    kept = state[OWN].to_numpy_ndarrays() if OWN in state else None
    node = repr(sorted(context.node_config.items()))
    if node not in opened:
      opened[node] = open_client(context)
    client = opened[node]
    arrays, kept, metrics = train_round(
      client,
      content[ARRAYS].to_numpy_ndarrays(),
      kept,
      int(content[CONFIG][ROUND]) - 1,
    )
    state[OWN] = flwr.ArrayRecord.from_numpy_ndarrays(kept)
    reply = flwr.RecordDict(
      {
        ARRAYS: flwr.ArrayRecord.from_numpy_ndarrays(arrays),
        METRICS: flwr.MetricRecord({**metrics, EXAMPLES: client.examples}),
      }
    )
    return flwr.Message(reply, reply_to=message)

  return app


def server_app(
  open_server: Callable[[Any], Client],
  rounds: int | None = None,
  strategy: Any = None,
  finish: Callable[[dict[str, Any]], None] = lambda state: None,
) -> Any:
  """Flower's ServerApp: rounds of a strategy, from the state of `open_server`.

  Args:
    open_server: Flower's Context -> whose parameters clients begin with.
    rounds: how many; by default those of the server's config, by which the
      schedules of its clients end.
    strategy: one of flwr.serverapp.strategy; FedAvg among all by default.
    finish: called with the parameters and statistics at the end.
  """
  flwr = _flwr("app")
  app = _flwr("serverapp").ServerApp()

  @app.main()
  def main(grid, context):
    server = open_server(context)
    begun = shared(server.state)
    chosen = strategy or _flwr("serverapp.strategy").FedAvg(
      fraction_evaluate=0.0
    )
    result = chosen.start(
      grid=grid,
      initial_arrays=flwr.ArrayRecord.from_numpy_ndarrays(arrays_of(begun)),
      num_rounds=server.rounds if rounds is None else rounds,
    )
    finish(tree_of(result.arrays.to_numpy_ndarrays(), begun))

  return app


def _flwr(name: str) -> Any:
  """A module of Flower, which only these apps need."""
  try:
    return importlib.import_module(f"flwr.{name}")
  except ModuleNotFoundError as error:
    raise SettingError(
      "Flower is not installed: pip install jaxpriv[flower], in an environment"
      " of its own, since it wants older protobuf and rich than other packages"
    ) from error
