"""The noise of DP-SGD, once for a step on however many devices."""

from typing import Any

import jax
import jax.numpy as jnp


def gaussian(key: jax.Array, tree: Any, stddev: float | jax.Array) -> Any:
  """Normal noise of the shapes of `tree`, float32, every leaf by its own key.

  Drawn outside `shard_map`, where it is one draw and not one for each device.

  Args:
    key: of the step, used for nothing else.
    tree: arrays, or their shapes.
    stddev: noise multiplier times sensitivity.
  """
  leaves, structure = jax.tree.flatten(tree)
  drawn = [
    stddev * jax.random.normal(jax.random.fold_in(key, i), x.shape, jnp.float32)
    for i, x in enumerate(leaves)
  ]
  return jax.tree.unflatten(structure, drawn)
