"""Outputs of all layers of a network, by name."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict

OUTPUT = "output"  # the name of the network itself


def of(
  model: nn.Module, variables: Mapping[str, Any], inputs: Any
) -> dict[str, jax.Array]:
  """The outputs of all layers of a network in evaluation mode.

  Args:
    model: a module whose `__call__` takes `train`.
    variables: of it.
    inputs: of it, or a tuple of them, with a leading batch axis B.

  Returns:
    path of a module, as in the parameters -> [B, ...], that of its last call if
    there are several. Items of a list or dict are numbered or named, as in
    "trunk/2"; what has no batch axis is left out.
  """
  inputs = inputs if isinstance(inputs, tuple) else (inputs,)
  _, found = model.apply(
    variables,
    *inputs,
    train=False,
    capture_intermediates=True,
    mutable=["intermediates"],
  )
  rows = len(jax.tree.leaves(inputs)[0])
  layers = {}
  for path, calls in flatten_dict(found["intermediates"]).items():
    name = "/".join(path[:-1]) or OUTPUT
    for keys, value in jax.tree_util.tree_leaves_with_path(calls[-1]):
      item = jax.tree_util.keystr(keys, simple=True, separator="/")
      if value.ndim > 1 and len(value) == rows:
        layers[f"{name}/{item}" if item else name] = value
  return layers


def pooled(x: jax.Array) -> jax.Array:
  """The mean over all places of a map [B, ..., C], as float32 [B, C]."""
  return x.astype(jnp.float32).mean(axis=tuple(range(1, x.ndim - 1)))
