"""Builders of methods, `supervised` and `adversarial`, and their gradients."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxpriv.data.records import DataError
from jaxpriv.training import activations
from jaxpriv.training import mesh as mesh_lib
from jaxpriv.training.method import Method, Outputs

# loss(apply, batch, frozen) -> (losses [B], metrics); see `supervised`.
Loss = Callable[..., tuple[jax.Array, dict[str, jax.Array]]]


def variables(state: Mapping[str, Any]) -> dict[str, Any]:
  """The Flax variables of a state to predict with: averaged if it has EMA."""
  params = state["ema"] if "ema" in state else state["params"]
  return mesh_lib.gather(
    {"params": params, "batch_stats": state["batch_stats"]}
  )


def masked_mean(values: jax.Array, batch: Mapping[str, jax.Array]) -> jax.Array:
  """Mean of [B] values over the rows that are examples; 0 if none is."""
  return mean(*over_rows(values, batch))


def over_rows(
  values: jax.Array, batch: Mapping[str, jax.Array]
) -> tuple[jax.Array, jax.Array]:
  """Two numbers that can be reduced together, from which `mean` takes a mean.

  Returns:
    the mean of [B] values over all rows, where padding counts as 0; and the
    share of rows that are examples, float32.
  """
  keep = jnp.logical_not(batch["padding"])
  # where, not a product: a padding row may hold inf or nan.
  total = jnp.where(keep, values, 0).sum() / len(values)
  return total, keep.sum(dtype=jnp.float32) / len(values)


def mean(total: Any, share: jax.Array) -> Any:
  """Divides means over rows by the share of examples, unless that is 0.

  The types of the tree's leaves stay as they are.
  """
  share = jnp.where(share > 0, share, 1)
  return jax.tree.map(lambda x: (x / share).astype(x.dtype), total)


def _means(metrics, batch) -> dict[str, jax.Array]:
  """Means over examples of metrics [B], and scalars as they are."""
  return {
    name: masked_mean(value, batch) if value.ndim else value
    for name, value in metrics.items()
  }


# objective -> gradient, as `value_and_grad` is one; see `supervised`.
Gradient = Callable[[Callable], Callable]


def value_and_grad(objective: Callable) -> Callable:
  """The plain gradient: (params, batch, key) -> ((value, aux), grads).

  The gradient is divided by the share of examples after it is summed over
  devices. If the loss were divided, no device could begin its backward pass
  before all of them had counted their examples.
  """
  total_and_grad = jax.value_and_grad(objective, has_aux=True)

  def grad(params, batch, key):
    (total, (share, aux)), grads = total_and_grad(params, batch, key)
    return (mean(total, share), aux), mean(grads, share)

  return grad


def accumulated_grad(count: int) -> Gradient:
  """The gradient over `count` microbatches, one after the other.

  Equals `value_and_grad` where rows do not see each other (no BatchNorm) and no
  key is used; memory falls by about `count`. Metrics are means over
  microbatches, whatever share of a microbatch is padding.

  Args:
    count: number of microbatches; must divide the batch of every device.
  """

  def grad(objective):
    one = jax.value_and_grad(objective, has_aux=True)

    def accumulated(params, batch, key):
      # Strided microbatches: a device's rows stay on that device.
      parts = jax.tree.map(
        lambda x: x.reshape(x.shape[0] // count, count, *x.shape[1:]), batch
      )
      sums: Any = None
      # Unrolled: convolution gradients inside a scan crawl on CPU.
      for i in range(count):
        own = jax.random.fold_in(key, i)
        part = one(params, jax.tree.map(lambda x, i=i: x[:, i], parts), own)
        sums = part if sums is None else jax.tree.map(jnp.add, sums, part)
      (total, (share, aux)), grads = sums
      aux = jax.tree.map(lambda x: x / count, aux)
      return (mean(total, share), aux), mean(grads, share)

    return accumulated

  return grad


def supervised(
  model: nn.Module,
  loss: Loss,
  optimizer: optax.GradientTransformation,
  *,
  inputs: Callable = lambda batch, frozen: batch["image"],
  grad: Gradient = value_and_grad,
  clip_norm: float = 0.0,
  outputs: Outputs | None = None,
  trainable: Sequence[str] = (),
) -> Method:
  """A method that minimises one loss over one model.

  Args:
    model: a module whose `__call__` takes `train`; it may hold BatchNorm
      statistics and use the `dropout` key.
    loss: (apply, batch, frozen) -> (losses [B], metrics), where `apply(*args,
      **kwargs)` runs the model at the current parameters and metrics maps names
      to [B] or scalar arrays. The mean of losses over the examples of the batch
      is minimised.
    optimizer: an optax transformation.
    inputs: (batch, frozen) -> the model's input, or a tuple of them, to
      initialise it.
    grad: objective -> ((params, batch, key) -> ((value, aux), grads)), an
      objective being (params, batch, key) -> (total, (share, aux)), of which
      `mean(total, share)` is the value; aux is (metrics, batch_stats).
    clip_norm: of the whole gradient; 0 is off.
    outputs: functions (apply, batch, frozen) -> pytree. losses, the loss and
      metrics of each example in evaluation mode, is always there.
    trainable: how the names of the parameters begin that are trained, such as
      "fc/kernel"; all are if it is empty. The others stay as they are, without
      gradient, and without noise where there is any, and so do the statistics
      of layers none of whose parameters is trained.

  Returns:
    a Method whose state is {"params", "batch_stats", "opt"}.

  Raises:
    DataError: at `init`, if no parameter's name begins as one of trainable.
  """
  trainable = tuple(trainable)

  def init(key, batch, frozen):
    initial = _variables(model, key, inputs(batch, frozen))
    params = initial["params"]
    _check_trainable(params, trainable)
    return {
      "params": params,
      "batch_stats": initial.get("batch_stats", {}),
      "opt": optimizer.init(params),
    }

  def step(state, frozen, batch, key):
    chosen, whole = _chosen(state["params"], trainable)

    def objective(params, batch, key):
      params, stats = mesh_lib.gather((whole(params), state["batch_stats"]))

      def apply(*args, **kwargs):
        nonlocal stats
        kwargs = {"train": True, **kwargs}
        output, updated = model.apply(
          {"params": params, "batch_stats": stats},
          *args,
          rngs={"dropout": key},
          mutable=["batch_stats"],
          **kwargs,
        )
        stats = {**stats, **updated.get("batch_stats", {})}
        return output

      losses, metrics = loss(apply, batch, frozen)
      total, share = over_rows(losses, batch)
      return total, (share, (_means(metrics, batch), stats))

    (value, (metrics, stats)), grads = grad(objective)(chosen, batch, key)
    norm = optax.tree.norm(grads)
    if trainable:
      zeros = jax.tree.map(jnp.zeros_like, state["params"])
      grads = _chosen(zeros, trainable)[1](grads)
    params, opt = _updated(
      optimizer, _clip(grads, clip_norm), state["opt"], state["params"]
    )
    if trainable:  # weight decay moves parameters without gradient, too
      params = whole(_chosen(params, trainable)[0])
      stats = _trained_stats(state["batch_stats"], stats, params, trainable)
    new = {**state, "params": params, "batch_stats": stats, "opt": opt}
    return new, {"loss": value, **metrics, "gradient_norm": norm}

  def evaluated(fn):
    def predict_fn(state, frozen, batch):
      def apply(*args, **kwargs):
        kwargs = {"train": False, **kwargs}
        return model.apply(variables(state), *args, **kwargs)

      return fn(apply, batch, frozen)

    return predict_fn

  def losses_of(apply, batch, frozen):
    values, metrics = loss(apply, batch, frozen)
    rows = {name: value for name, value in metrics.items() if value.ndim}
    return {"loss": values, **rows}

  def layers(state, frozen, batch):
    return activations.of(model, variables(state), inputs(batch, frozen))

  functions = (outputs or Outputs())._replace(losses=losses_of)
  return Method(init, step, functions.map(evaluated), layers=layers)


def _variables(model, key, inputs) -> Mapping[str, Any]:
  inputs = inputs if isinstance(inputs, tuple) else (inputs,)
  return model.init(key, *inputs, train=False)


def _clip(grads, norm: float):
  """Scales gradients down to a global norm; 0 is no limit."""
  if not norm:
    return grads
  clip = optax.clip_by_global_norm(norm)
  return clip.update(grads, clip.init(grads))[0]


def _updated(optimizer, grads, opt, params) -> tuple[Any, Any]:
  """(parameters, optimizer state) after a step."""
  updates, opt = optimizer.update(grads, opt, params)
  return optax.apply_updates(params, updates), opt


def _chosen(params, trainable) -> tuple[Any, Callable]:
  """Parameters that are trained, and a function from them to all."""
  if not trainable:
    return params, lambda chosen: chosen
  flat = flatten_dict(params, sep="/")
  chosen = {k: v for k, v in flat.items() if k.startswith(tuple(trainable))}
  return chosen, lambda new: unflatten_dict({**flat, **new}, sep="/")


def _check_trainable(params, trainable) -> None:
  """Raises DataError if no parameter's name begins as one of trainable."""
  names = flatten_dict(params, sep="/")
  for start in trainable:
    if not any(name.startswith(start) for name in names):
      raise DataError(
        f"trainable names {start!r}, and no parameter begins so:"
        f" {', '.join(sorted({n.split('/')[0] for n in names}))}"
      )


def _trained_stats(old, new, params, trainable) -> Any:
  """New statistics of layers with a trained parameter, old ones of all else."""
  layer = lambda name: name.rpartition("/")[0]
  trained = {
    layer(name)
    for name in flatten_dict(params, sep="/")
    if name.startswith(tuple(trainable))
  }
  stats = flatten_dict(old, sep="/")
  moved = flatten_dict(new, sep="/")
  stats |= {k: v for k, v in moved.items() if layer(k) in trained}
  return unflatten_dict(stats, sep="/")


class Player(NamedTuple):
  """One network of a game, with an optimizer of its own.

  Attributes:
    model: a module whose `__call__` takes `train`; without statistics.
    optimizer: an optax transformation. Its schedule counts the moves that
      update this player, of which there may be several a step.
    inputs: (batch, frozen, key) -> the model's input, or a tuple of them, to
      initialise it.
  """

  model: nn.Module
  optimizer: optax.GradientTransformation
  inputs: Callable = lambda batch, frozen, key: batch["image"]


class Move(NamedTuple):
  """A gradient step of some players under one loss.

  Attributes:
    updates: names of the players that it updates. Gradients flow to their
      parameters only.
    loss: (applies, batch, frozen, key) -> (losses [B], metrics), as that of
      `supervised`; `applies` maps every player's name to its apply function.
  """

  updates: tuple[str, ...]
  loss: Callable[..., tuple[jax.Array, dict[str, jax.Array]]]


def adversarial(
  players: Mapping[str, Player],
  moves: Mapping[str, Move],
  *,
  grad: Gradient = value_and_grad,
  clip_norm: float = 0.0,
  outputs: Outputs | None = None,
) -> Method:
  """A method in which networks play against each other.

  Within one step the moves are made in the order given, each with all players
  as they stand after the moves before it.

  Args:
    players: name -> Player.
    moves: name -> Move; metrics of a move are "name/loss" and so on.
    grad: as in `supervised`, but aux is the metrics.
    clip_norm: of the whole gradient of a move, over all that it updates; 0 is
      off.
    outputs: functions (applies, batch, frozen) -> pytree.

  Returns:
    a Method whose state is {"params", "batch_stats", "opt"}, each (the
    statistics excepted, which are empty) with one entry a player.

  Raises:
    ValueError: a move updates none of the players, or a player is never
      updated; at `init`, if a player keeps statistics.
  """
  moved = [name for move in moves.values() for name in move.updates]
  if set(moved) != set(players):
    raise ValueError(
      f"the moves update {sorted(set(moved))}, and the players are"
      f" {sorted(players)}"
    )

  def applies_of(params, key=None):
    params = mesh_lib.gather(params)

    def bound(name):
      def apply(*args, **kwargs):
        kwargs = {"train": key is not None, **kwargs}
        rngs = None if key is None else {"dropout": key}
        return players[name].model.apply(
          {"params": params[name]}, *args, rngs=rngs, **kwargs
        )

      return apply

    return {name: bound(name) for name in players}

  def init(key, batch, frozen):
    params = {}
    for i, (name, player) in enumerate(players.items()):
      own = jax.random.fold_in(key, i)
      initial = _variables(player.model, own, player.inputs(batch, frozen, own))
      if set(initial) != {"params"}:
        raise ValueError(
          f"player {name!r} keeps {sorted(set(initial) - {'params'})}; an "
          "adversarial player must be stateless: use GroupNorm or"
          " InstanceNorm in place of BatchNorm"
        )
      params[name] = initial["params"]
    opt = {n: players[n].optimizer.init(params[n]) for n in players}
    return {"params": params, "batch_stats": {}, "opt": opt}

  def step(state, frozen, batch, key):
    params, opt = dict(state["params"]), dict(state["opt"])
    metrics = {}
    for i, (name, move) in enumerate(moves.items()):

      def objective(mine, batch, key, move=move):
        applies = applies_of({**params, **mine}, key)
        losses, metrics = move.loss(applies, batch, frozen, key)
        total, share = over_rows(losses, batch)
        return total, (share, _means(metrics, batch))

      mine = {player: params[player] for player in move.updates}
      own = jax.random.fold_in(key, i)
      (value, extra), grads = grad(objective)(mine, batch, own)
      norm = optax.tree.norm(grads)
      grads = _clip(grads, clip_norm)
      for player in move.updates:
        params[player], opt[player] = _updated(
          players[player].optimizer, grads[player], opt[player], params[player]
        )
      metrics[f"{name}/loss"] = value
      metrics[f"{name}/gradient_norm"] = norm
      metrics |= {f"{name}/{key}": value for key, value in extra.items()}
    return {**state, "params": params, "opt": opt}, metrics

  def evaluated(fn):
    def predict_fn(state, frozen, batch):
      return fn(applies_of(variables(state)["params"]), batch, frozen)

    return predict_fn

  def layers(state, frozen, batch):
    found = {}
    for name, player in players.items():
      own = {"params": variables(state)["params"][name]}
      read = player.inputs(batch, frozen, jax.random.key(0))
      for layer, value in activations.of(player.model, own, read).items():
        found[f"{name}/{layer}"] = value
    return found

  functions = (outputs or Outputs()).map(evaluated)
  return Method(init, step, functions, layers=layers)
