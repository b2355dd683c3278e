"""The noise of DP-SGD, drawn once a step on any number of devices."""

from typing import Any

import jax
import jax.numpy as jnp


def gaussian(key: jax.Array, tree: Any, stddev: float | jax.Array) -> Any:
  """Normal noise of the shapes of `tree`, float32, every leaf by its own key.

  Call it outside `shard_map`: inside, each device would draw its own.

  Args:
    key: the key of the step, used for nothing else.
    tree: arrays, or their shapes.
    stddev: noise multiplier times sensitivity.
  """
  leaves, structure = jax.tree.flatten(tree)
  drawn = [
    stddev * jax.random.normal(jax.random.fold_in(key, i), x.shape, jnp.float32)
    for i, x in enumerate(leaves)
  ]
  return jax.tree.unflatten(structure, drawn)
