"""Combinators `Method -> Method`."""

from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp

from jaxpriv.errors import SettingError
from jaxpriv.training.method import Method


def with_ema(method: Method, decay: float) -> Method:
  """Keeps an exponential moving average of the parameters to predict with.

  The average is debiased by a warm-up: the decay at step t is
  min(decay, (1 + t) / (10 + t)), as in TensorFlow's and Kauldron's averages.

  Args:
    method: a method whose state has "params".
    decay: in [0, 1).

  Returns:
    a Method whose state has "ema" and "ema_steps" besides.
  """
  if not 0 <= decay < 1:
    raise SettingError(f"ema decay must be in [0, 1), got {decay}")

  def init(key, batch, frozen):
    state = method.init(key, batch, frozen)
    # A copy: two leaves of a donated state must not share one buffer.
    ema = jax.tree.map(jnp.copy, state["params"])
    return {**state, "ema": ema, "ema_steps": jnp.zeros((), jnp.int32)}

  def step(state, frozen, batch, key):
    new, metrics = method.step(state, frozen, batch, key)
    count = state["ema_steps"].astype(jnp.float32)
    rate = 1 - jnp.minimum(decay, (1 + count) / (10 + count))
    ema = jax.tree.map(
      lambda old, now: old + rate.astype(old.dtype) * (now - old),
      state["ema"],
      new["params"],
    )
    return {**new, "ema": ema, "ema_steps": state["ema_steps"] + 1}, metrics

  return method._replace(init=init, step=step)


def with_transform(
  method: Method, transform: Callable[[jax.Array, dict], dict]
) -> Method:
  """Transforms each training batch on the device, as augmentation does.

  Args:
    method: any method.
    transform: (key, batch) -> batch.
  """

  def step(state, frozen, batch, key):
    draw, key = jax.random.split(key)
    return method.step(state, frozen, transform(draw, batch), key)

  return method._replace(step=step)


def with_schedules(
  method: Method, schedules: Mapping[str, Callable[[jax.Array], jax.Array]]
) -> Method:
  """Gives each training batch numbers that depend on the step, as weights do.

  Args:
    method: a method whose state is a dict.
    schedules: field of the batch -> step from 0 on -> its value in all rows.

  Returns:
    a Method whose state has "schedule_steps" besides; batches have the fields
    as float32 [B].
  """

  def init(key, batch, frozen):
    state = method.init(key, batch, frozen)
    return {**state, "schedule_steps": jnp.zeros((), jnp.int32)}

  def step(state, frozen, batch, key):
    count = state["schedule_steps"]
    rows = batch["padding"].shape
    values = {
      name: jnp.full(rows, schedule(count), jnp.float32)
      for name, schedule in schedules.items()
    }
    state, metrics = method.step(state, frozen, {**batch, **values}, key)
    return {**state, "schedule_steps": count + 1}, metrics

  return method._replace(init=init, step=step)


def in_turn(
  transforms: Sequence[Callable[[jax.Array, dict], dict]],
) -> Callable[[jax.Array, dict], dict]:
  """One transform made of several, each with a key of its own."""

  def transform(key, batch):
    for i, one in enumerate(transforms):
      batch = one(jax.random.fold_in(key, i), batch)
    return batch

  return transform
