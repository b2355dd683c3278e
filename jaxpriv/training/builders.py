"""Builders of methods: `supervised` and `adversarial`; what they compose of."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxpriv.data.records import DataError
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
  keep = jnp.logical_not(batch["padding"]).astype(values.dtype)
  # where, not a product: a padding row may hold inf or nan.
  total = jnp.sum(jnp.where(keep > 0, values, 0))
  return total / jnp.maximum(keep.sum(), 1)


def value_and_grad(objective: Callable) -> Callable:
  """The plain gradient: (params, batch, key) -> ((value, aux), grads)."""
  return jax.value_and_grad(objective, has_aux=True)


def accumulated_grad(count: int) -> Callable[[Callable], Callable]:
  """The gradient over `count` microbatches, one after the other.

  Equals `value_and_grad` where rows do not see each other (no BatchNorm), no
  key is used and no row is padding; memory falls by about `count`.

  Args:
    count: number of microbatches; must divide the batch of every device.
  """

  def grad(objective):
    one = value_and_grad(objective)

    def accumulated(params, batch, key):
      # Strided microbatches: a device's rows stay on that device.
      parts = jax.tree.map(
        lambda x: x.reshape(x.shape[0] // count, count, *x.shape[1:]), batch
      )
      total = None
      # Unrolled: convolution gradients inside a scan crawl on CPU.
      for i in range(count):
        own = jax.random.fold_in(key, i)
        part = one(params, jax.tree.map(lambda x, i=i: x[:, i], parts), own)
        total = part if total is None else jax.tree.map(jnp.add, total, part)
      return jax.tree.map(lambda x: x / count, total)

    return accumulated

  return grad


def supervised(
  model: nn.Module,
  loss: Loss,
  optimizer: optax.GradientTransformation,
  *,
  inputs: Callable = lambda batch, frozen: batch["image"],
  grad: Callable[[Callable], Callable] = value_and_grad,
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
    inputs: (batch, frozen) -> the model's input, to initialise it.
    grad: objective -> ((params, batch, key) -> ((value, aux), grads)), an
      objective being (params, batch, key) -> (value, (metrics, batch_stats)).
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
    shown = model.init(key, inputs(batch, frozen), train=False)
    params = shown["params"]
    names = flatten_dict(params, sep="/")
    for start in trainable:
      if not any(name.startswith(start) for name in names):
        raise DataError(
          f"trainable names {start!r}, and no parameter begins so:"
          f" {', '.join(sorted({n.split('/')[0] for n in names}))}"
        )
    return {
      "params": params,
      "batch_stats": shown.get("batch_stats", {}),
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
      metrics = {
        name: masked_mean(value, batch) if value.ndim else value
        for name, value in metrics.items()
      }
      return masked_mean(losses, batch), (metrics, stats)

    (value, (metrics, stats)), grads = grad(objective)(chosen, batch, key)
    norm = optax.tree.norm(grads)
    if trainable:
      zeros = jax.tree.map(jnp.zeros_like, state["params"])
      grads = _chosen(zeros, trainable)[1](grads)
    updates, opt = optimizer.update(grads, state["opt"], state["params"])
    params = optax.apply_updates(state["params"], updates)
    if trainable:  # weight decay moves what has no gradient, too
      params = whole(_chosen(params, trainable)[0])
      owner = lambda name: name.rpartition("/")[0]
      owners = {
        owner(name)
        for name in flatten_dict(params, sep="/")
        if name.startswith(trainable)
      }
      kept = flatten_dict(state["batch_stats"], sep="/")
      moved = flatten_dict(stats, sep="/")
      kept |= {k: v for k, v in moved.items() if owner(k) in owners}
      stats = unflatten_dict(kept, sep="/")
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

  functions = (outputs or Outputs())._replace(losses=losses_of)
  return Method(init, step, functions.map(evaluated))


def _chosen(params, trainable) -> tuple[Any, Callable]:
  """Parameters that are trained, and a function from them to all."""
  if not trainable:
    return params, lambda chosen: chosen
  flat = flatten_dict(params, sep="/")
  chosen = {k: v for k, v in flat.items() if k.startswith(tuple(trainable))}
  return chosen, lambda new: unflatten_dict({**flat, **new}, sep="/")


class Player(NamedTuple):
  """One side of an adversarial game.

  Attributes:
    model: a module whose `__call__` takes `train`.
    loss: (applies, batch, frozen, key) -> (scalar, metrics), where `applies`
      maps every player's name to its apply function. Gradients flow to this
      player's parameters only.
    optimizer: an optax transformation.
    inputs: (batch, frozen, key) -> the model's input, to initialise it.
  """

  model: nn.Module
  loss: Callable[..., tuple[jax.Array, dict[str, jax.Array]]]
  optimizer: optax.GradientTransformation
  inputs: Callable = lambda batch, frozen, key: batch["image"]


def adversarial(
  players: Mapping[str, Player],
  outputs: Outputs | None = None,
) -> Method:
  """A method in which players with losses of their own take turns.

  Within one step the players move in the order given, each against the others
  as they stand after their moves.

  Args:
    players: name -> Player; models have no BatchNorm statistics.
    outputs: functions (applies, batch, frozen) -> pytree.

  Returns:
    a Method whose state is {"params", "batch_stats", "opt"}, each (the
    statistics excepted, which are empty) with one entry a player.
  """

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
      shown = player.model.init(
        own, player.inputs(batch, frozen, own), train=False
      )
      if set(shown) != {"params"}:
        raise ValueError(
          f"player {name!r} keeps {sorted(set(shown) - {'params'})}; an "
          "adversarial player must be stateless: use GroupNorm or"
          " InstanceNorm in place of BatchNorm"
        )
      params[name] = shown["params"]
    opt = {n: players[n].optimizer.init(params[n]) for n in players}
    return {"params": params, "batch_stats": {}, "opt": opt}

  def step(state, frozen, batch, key):
    params, opt = dict(state["params"]), dict(state["opt"])
    metrics = {}
    for i, (name, player) in enumerate(players.items()):
      own = jax.random.fold_in(key, i)

      def objective(mine, name=name, player=player, own=own):
        applies = applies_of({**params, name: mine}, own)
        return player.loss(applies, batch, frozen, own)

      (value, extra), grads = jax.value_and_grad(objective, has_aux=True)(
        params[name]
      )
      updates, opt[name] = player.optimizer.update(
        grads, opt[name], params[name]
      )
      params[name] = optax.apply_updates(params[name], updates)
      metrics[f"{name}/loss"] = value
      metrics[f"{name}/gradient_norm"] = optax.tree.norm(grads)
      metrics |= {f"{name}/{key}": value for key, value in extra.items()}
    return {**state, "params": params, "opt": opt}, metrics

  def evaluated(fn):
    def predict_fn(state, frozen, batch):
      return fn(applies_of(variables(state)["params"]), batch, frozen)

    return predict_fn

  return Method(init, step, (outputs or Outputs()).map(evaluated))
