"""Federated training: clients that keep their records train one model.

In a round every client takes local steps from the server's parameters on its
own records, and the server moves its parameters by the weighted mean of how far
they went. McMahan et al., "Communication-Efficient Learning of Deep Networks
from Decentralized Data", AISTATS 2017; the server's optimizer is that of Reddi
et al., "Adaptive Federated Optimization", ICLR 2021. `with_clients` makes any
supervised method federated, one step of the engine being one round.

Clients are simulated: they are spread over the devices of the mesh.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import logging
from jax.sharding import PartitionSpec as P
from ml_collections import ConfigDict

from jaxpriv import platforms, ranges
from jaxpriv.data import sources
from jaxpriv.data.dataset import Data
from jaxpriv.data.records import DataError
from jaxpriv.errors import SettingError
from jaxpriv.models import layers
from jaxpriv.privacy import secure_aggregation
from jaxpriv.training import mechanism, seeds
from jaxpriv.training.mesh import CLIENTS, DATA, gather
from jaxpriv.training.method import Frozen, Method, Metrics, Phase, Step

Tree = Any

# The parts of a state that a server holds; the others are its clients' own.
SHARED = ("params", "batch_stats")

STATISTICS = ("average", "local")
OWNERS = ("person", "record")

# Ranges of the settings of config.federated.
RANGES = {
  "clients": ranges.whole(0, 10_000),
  "local_steps": ranges.COUNT,
  "server.learning_rate": ranges.NOT_NEGATIVE,
  "server.momentum": ranges.BELOW_ONE,
  "server.optimizer": ranges.Range("sgd or adam", ("sgd", "adam").__contains__),
  "proximal": ranges.NOT_NEGATIVE,
  "statistics": ranges.Range(" or ".join(STATISTICS), STATISTICS.__contains__),
  "by": ranges.Range(" or ".join(OWNERS), OWNERS.__contains__),
  "secure_range": ranges.POSITIVE,
}


class Clients(NamedTuple):
  """The clients of a phase, and how they train it together.

  Attributes:
    parts: the numbers of the records of each, disjoint.
    rows: of a batch of each local step of each client.
    local_steps: of each client in a round.
    server: an optax transformation; its gradient is minus the mean move.
    proximal: mu of FedProx, see `proximal`; 0 is off.
    local_statistics: whether a client goes on from its own statistics of
      BatchNorm and not from the mean, by which the server predicts (Andreux et
      al., "Siloed Federated Learning for Multi-Centric Histopathology
      Datasets", 2020; FedBN keeps BatchNorm's scales and shifts, too).
    secure_range: values of a move beyond it are clipped, and the mean is made
      by `secure_aggregation`; 0 is off.
  """

  parts: Sequence[np.ndarray]
  rows: int
  local_steps: int = 1
  server: optax.GradientTransformation = optax.sgd(1.0)
  proximal: float = 0.0
  local_statistics: bool = False
  secure_range: float = 0.0


# (server, own, batches, key) -> (move, own, metrics): what a client does.
Update = Callable[[Tree, Tree, Tree, jax.Array], tuple[Tree, Tree, Metrics]]


def federated_average(
  update: Update,
  server: Tree,
  own: Tree,
  batches: Tree,
  weights: jax.typing.ArrayLike,
  key: jax.Array,
  *,
  secure_range: float = 0.0,
) -> tuple[Tree, Tree, Metrics]:
  """One round of weighted federated averaging (FedAvg).

  Clients are spread over the `data` axis of the mesh that is set, if one is;
  those of a device work one after the other. There may be any number of them.
  The result is the same on any mesh.

  Args:
    update: (server, own, batches, key) -> (move, own, metrics), of one client:
      the move is any tree, and metrics are scalars. It is pure.
    server: what all clients get.
    own: [C, ...], what each client keeps from round to round.
    batches: [C, ...], what each client learns from; empty slots may follow.
    weights: [C], 0 or more, such as the numbers of examples.
    key: of the round; each client gets one of its own.
    secure_range: see `Clients`.

  Returns:
    the mean of the moves and of the metrics, by weight, and own [C, ...]. A
    client of weight 0 adds nothing to them, be its move finite or not; if all
    weights are 0, the means are 0.
  """
  shares = jnp.asarray(weights, jnp.float32)
  clients = len(shares)
  mesh = jax.sharding.get_abstract_mesh()
  spread = DATA in mesh.shape and DATA not in mesh.manual_axes
  slots = max(clients, len(jax.tree.leaves(batches)[0]))
  slots += -slots % (mesh.shape[DATA] if spread else 1)
  filled = functools.partial(jax.tree.map, lambda x: _filled(x, slots))
  shares = shares / jnp.maximum(shares.sum(), jnp.finfo(jnp.float32).tiny)

  def one(server, key, number, share, own, batches):
    """(what the client uploads, its metrics, what it keeps)."""
    move, own, metrics = update(
      server, own, batches, jax.random.fold_in(key, number)
    )
    if secure_range:
      metrics |= {"clipped_moves": _beyond(move, secure_range)}
    # where, not a product: what counts for nothing may be inf or nan.
    part = lambda x: jnp.where(share > 0, share * x, 0)
    uploaded = jax.tree.map(part, move)
    if secure_range:
      move = jax.tree.map(lambda x: jnp.where(share > 0, x, 0), move)
      uploaded = secure_aggregation.quantise(move, share, secure_range)
      masked = secure_aggregation.mask(
        uploaded, jax.random.fold_in(key, clients), number, clients
      )
      uploaded = jax.tree.map(
        lambda x: jnp.where(number < clients, x, jnp.uint32(0)), masked
      )
    return uploaded, jax.tree.map(part, metrics), own

  def on_device(server, key, *theirs):
    def add(total, client):
      *added, own = one(server, key, *client)
      return jax.tree.map(jnp.add, total, tuple(added)), own

    shapes = jax.eval_shape(
      lambda: one(server, key, *jax.tree.map(lambda x: x[0], theirs))[:2]
    )
    nothing = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    total, own = _scan(add, nothing, theirs)
    return (jax.lax.psum(total, DATA) if spread else total), own

  if spread:
    # Unchecked: otherwise AD would add up the gradients of all clients, each
    # would take the same steps, and a loss with a scan would have to know.
    on_device = jax.shard_map(
      on_device,
      in_specs=(P(), P(), P(DATA), P(DATA), P(DATA), P(DATA)),
      out_specs=(P(), P(DATA)),
      check_vma=False,
    )
  (mean, metrics), kept = on_device(
    server,
    key,
    jnp.arange(slots),
    filled(shares),
    filled(own),
    filled(batches),
  )
  if secure_range:
    mean = secure_aggregation.dequantise(mean, secure_range)
  return mean, jax.tree.map(lambda x: x[:clients], kept), metrics


def _filled(x, slots):
  """x [C, ...] and zeros after it: [slots, ...]."""
  empty = jnp.zeros((slots - len(x), *x.shape[1:]), x.dtype)
  # Gathered: XLA would cut them before, and send pieces to and fro.
  return gather(jnp.concatenate([gather(x), empty])) if len(empty) else x


def _scan(body, start, xs):
  """`lax.scan`; unrolled, on CPU, if convolutions are left that crawl in it."""
  with layers.in_a_loop():
    unroll = False
    if platforms.on_cpu():
      first = jax.tree.map(lambda x: x[0], xs)
      traced = str(jax.make_jaxpr(body)(start, first))
      unroll = "conv_general_dilated" in traced
    return jax.lax.scan(body, start, xs, unroll=unroll)


def _beyond(tree, limit):
  """The share of values that are beyond -limit .. limit."""
  leaves = jax.tree.leaves(tree)
  beyond = sum(jnp.sum(~(jnp.abs(x) <= limit)) for x in leaves)
  return beyond / max(sum(x.size for x in leaves), 1)


class Anchored(NamedTuple):
  """The state of a `proximal` optimizer: the server's parameters, its own."""

  anchor: Tree
  own: optax.OptState


def proximal(
  optimizer: optax.GradientTransformation, mu: float
) -> optax.GradientTransformation:
  """Adds mu / 2 |w - w_server|^2 to the loss that an optimizer minimises.

  FedProx: Li et al., "Federated Optimization in Heterogeneous Networks", MLSys
  2020. Its gradient needs no data, and so is neither clipped nor noised.
  """

  def init(params):
    return Anchored(params, optimizer.init(params))

  def update(grads, state, params):
    pull = lambda g, w, server: g + mu * (w - server)
    grads = jax.tree.map(pull, grads, params, state.anchor)
    updates, own = optimizer.update(grads, state.own, params)
    return updates, Anchored(state.anchor, own)

  return optax.GradientTransformation(init, update)


def client_update(
  step: Step,
  server: Mapping[str, Tree],
  own: Mapping[str, Tree],
  frozen: Frozen,
  batches: Tree,
  key: jax.Array,
) -> tuple[Tree, dict[str, Tree], Metrics]:
  """Trains one client for the local steps of a round.

  Args:
    step: of a supervised method.
    server: the server's "params" and "batch_stats".
    own: all else of the method's state, "opt" among it; and "batch_stats", if
      the client keeps its own.
    frozen: of the phase.
    batches: [L, B, ...], the batch of each local step.
    key: of the client in the round.

  Returns:
    how far "params" and "batch_stats" are from the server's afterwards; its
    own, whose "opt" is without the anchor of a `proximal` optimizer; and means
    of metrics over the steps.
  """
  opt = _anchored(own["opt"], server["params"])
  state = {**server, **own, "opt": opt}

  def local(state, numbered):
    number, batch = numbered
    return step(state, frozen, batch, jax.random.fold_in(key, number))

  steps = jnp.arange(len(jax.tree.leaves(batches)[0]))
  state, metrics = _scan(local, state, (steps, batches))
  move = {
    name: jax.tree.map(jnp.subtract, state[name], server[name])
    for name in SHARED
  }
  metrics = jax.tree.map(lambda x: x.mean(0), metrics)
  state["opt"] = _anchored(state["opt"], ())
  return move, {name: state[name] for name in own}, metrics


def _anchored(opt, anchor):
  """The state of an optimizer, with this anchor if it takes one."""
  return opt._replace(anchor=anchor) if isinstance(opt, Anchored) else opt


def with_clients(method: Method, clients: Clients) -> Method:
  """The method trained by clients, a step of it being one round.

  A batch holds the rows of the first client, step after step, then those of the
  second, and so on, as `data.clients.RoundDraw` draws them. Each client keeps
  the state of its optimizer between rounds: momentum, and where its schedule
  stands, which counts local steps.

  Args:
    method: a supervised one; with `proximal` around its optimizer, if
      clients.proximal is set.
    clients: who trains it.

  Returns:
    a Method whose state has the server's "params" and "batch_stats"; in "opt",
    "server" and "clients"; and in "clients" what else each has of its own. All
    of clients is [C, ...], so a run resumes on any number of devices.
  """
  count = len(clients.parts)
  sizes = np.array([len(part) for part in clients.parts], np.float32)

  def init(key, batch, frozen):
    state = method.init(key, batch, frozen)
    own = {k: v for k, v in state.items() if k not in ("params", "opt")}
    if not clients.local_statistics:
      own.pop("batch_stats")
    opt = _anchored(state["opt"], ())
    spread = lambda x: jnp.broadcast_to(x, (count, *jnp.shape(x)))
    return {
      **{name: state[name] for name in SHARED},
      "opt": {
        "server": clients.server.init(state["params"]),
        CLIENTS: jax.tree.map(spread, opt),
      },
      CLIENTS: jax.tree.map(spread, own),
    }

  def update(given, own, batches, key):
    server, frozen = given
    return client_update(method.step, server, own, frozen, batches, key)

  def step(state, frozen, batch, key):
    server = {name: state[name] for name in SHARED}
    batches = jax.tree.map(
      lambda x: x.reshape(-1, clients.local_steps, clients.rows, *x.shape[1:]),
      batch,
    )
    mean, own, metrics = federated_average(
      update,
      (server, frozen),
      {**state[CLIENTS], "opt": state["opt"][CLIENTS]},
      batches,
      sizes,
      key,
      secure_range=clients.secure_range,
    )
    back = jax.tree.map(jnp.negative, mean["params"])
    updates, opt = clients.server.update(
      back, state["opt"]["server"], state["params"]
    )
    new = {
      "params": optax.apply_updates(state["params"], updates),
      "batch_stats": jax.tree.map(
        jnp.add, state["batch_stats"], mean["batch_stats"]
      ),
      "opt": {"server": opt, CLIENTS: own.pop("opt")},
      CLIENTS: own,
    }
    move = optax.tree.norm(mean["params"])
    return new, {**metrics, "move_norm": move}

  return method._replace(init=init, step=step)


def client_state(state: Mapping[str, Tree], number: int) -> dict[str, Tree]:
  """The state that one client predicts with: its own statistics, if it has."""
  own = jax.tree.map(lambda x: x[number], state[CLIENTS])
  return {**state, **own}


def server_optimizer(options: ConfigDict) -> optax.GradientTransformation:
  """FedAvg or, with momentum, FedAvgM ("sgd"), or FedAdam ("adam")."""
  rate = options.learning_rate
  if options.optimizer == "adam":
    # The constants of Reddi et al.; theirs is without a bias correction.
    return optax.adam(rate, b2=0.99, eps=1e-3)
  return optax.sgd(rate, momentum=options.momentum or None)


def distribute(
  phases: Sequence[Phase], config: ConfigDict, data: Data
) -> list[Phase]:
  """The phases of a run, those of `config.federated` trained by clients.

  The clients own the same records in all of them.

  Raises:
    SettingError: config.federated cannot be had, or not with these data.
  """
  options = config.get("federated")  # runs of earlier versions have none
  if not options or not options.clients:
    return list(phases)
  trained = [p.name for p in phases if config.phases[p.name].steps]
  names = sources.words(options.phases) or trained
  unknown = [name for name in names if name not in trained]
  if unknown or not names:
    raise SettingError(
      f"config.federated.phases names {', '.join(unknown) or 'nothing'}, and"
      f" the phases that this run trains are {', '.join(trained) or 'none'}"
    )
  if options.secure and options.clients < 2:
    raise SettingError(
      "config.federated.secure: the sum of one client hides nothing; set"
      " config.federated.clients to 2 at least, and 3 where one of them might"
      " subtract its own"
    )
  parts = _parts(options, config.seed, data)
  made = []
  for phase in phases:
    if phase.name in names:
      phase = _distributed(phase, config, parts)
    made.append(phase)
  _check_statistics(made, config, data)
  sizes = ", ".join(f"{len(part)}" for part in parts)
  logging.info(
      "%s: trained by %d clients of %s images",
      ", ".join(names), len(parts), sizes,
  )  # fmt: skip
  return made


def units(clients: Clients, data: Data, unit: str) -> list[list[np.ndarray]]:
  """The records of each unit, image or person, of each client."""
  return [
    data._replace(splits={"client": part}).units("client", unit)
    for part in clients.parts
  ]


def _parts(options, seed, data) -> list[np.ndarray]:
  """The records of each client."""
  shares = [float(share) for share in options.shares] or [1.0] * options.clients
  if len(shares) != options.clients or not all(0 < s < np.inf for s in shares):
    raise SettingError(
      f"config.federated.shares = {tuple(options.shares)}: they are the"
      f" relative sizes of {options.clients} clients"
      " (config.federated.clients), each above 0; () makes them alike"
    )
  owners = {
    f"client {i + 1}": share / sum(shares) for i, share in enumerate(shares)
  }
  seed = seeds.phase_seed(seed, "clients")
  try:
    return list(data.dealt("train", owners, seed, options.by).values())
  except DataError as error:
    raise SettingError(
      f"config.federated.clients = {options.clients}: not everybody of them"
      f" would have examples. {error}"
    ) from error


def _distributed(phase, config, parts) -> Phase:
  options, own = config.federated, config.phases[phase.name]
  if phase.federated is None:
    raise SettingError(
      f"config.federated: phase {phase.name} is not supervised by one loss, so"
      " it cannot be trained by clients; name others in"
      " config.federated.phases"
    )
  return phase.federated(
    Clients(
      parts,
      own.batch_size,
      options.local_steps,
      server_optimizer(options.server),
      options.proximal,
      options.statistics == "local",
      options.secure_range if options.secure else 0.0,
    )
  )


def _check_statistics(phases, config, data) -> None:
  """Refuses BatchNorm where a client has fewer examples than a batch."""
  few = {
    phase.name: min(map(len, phase.clients.parts))
    for phase in phases
    if phase.clients and min(map(len, phase.clients.parts)) < phase.clients.rows
  }
  if not few:
    return
  shapes = mechanism.on_paper(phases, data, config)
  for name, smallest in few.items():
    if jax.tree.leaves(shapes[name]["batch_stats"]):
      raise SettingError(
        f"config.phases.{name}.batch_size, the examples of a client's local"
        f" step, is above {smallest}, all that the smallest client has, and"
        " BatchNorm would count the rows that are padding: lower it, or set the"
        ' norm of this network to "group" in config.model'
      )
