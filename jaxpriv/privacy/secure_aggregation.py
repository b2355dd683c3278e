"""Secure aggregation, simulated: a server learns a sum and no addend.

Bonawitz et al., "Practical Secure Aggregation for Privacy-Preserving Machine
Learning", CCS 2017, without its key agreement and without recovery from
clients that drop out. Every two clients share a key; numbers drawn from it, of
the range of uint32, are added by the one and subtracted by the other. They
cancel in the sum, modulo 2^32. An upload by itself is uniformly distributed.

All keys come from one here, so nothing is hidden from whoever runs the
simulation: it shows what a deployment would send, and what rounding costs.
"""

from typing import Any

import jax
import jax.numpy as jnp

# The largest magnitude of a weighted mean in fixed point: half of what int32
# holds, since each client rounds its share by itself.
LEVELS = 2**30

Tree = Any


def quantise(tree: Tree, share: jax.Array | float, limit: float) -> Tree:
  """The share of one client in a weighted mean, in fixed point.

  Where shares sum to 1, no sum of such trees overflows.

  Args:
    tree: float arrays.
    share: weight of the client, in [0, 1].
    limit: values beyond -limit .. limit are clipped to it; nan becomes 0.

  Returns:
    uint32 arrays, -1 being 2^32 - 1.
  """

  def one(x):
    x = jnp.nan_to_num(x.astype(jnp.float32), posinf=limit, neginf=-limit)
    scaled = jnp.clip(x, -limit, limit) * share * (LEVELS / limit)
    levels = jnp.round(scaled).astype(jnp.int32)
    return jax.lax.bitcast_convert_type(levels, jnp.uint32)

  return jax.tree.map(one, tree)


def dequantise(tree: Tree, limit: float) -> Tree:
  """The weighted mean, float32, from the sum of what `quantise` returned."""

  def one(x):
    levels = jax.lax.bitcast_convert_type(x, jnp.int32)
    return levels.astype(jnp.float32) * (limit / LEVELS)

  return jax.tree.map(one, tree)


def mask(
  tree: Tree, key: jax.Array, client: jax.Array | int, clients: int
) -> Tree:
  """The upload of one client: quantised values, and its masks added.

  Args:
    tree: uint32 arrays.
    key: of the round; from it and a pair's numbers comes the pair's key.
    client: its number, in 0 .. clients - 1.
    clients: how many upload in the round. All of them must.
  """
  leaves, structure = jax.tree.flatten(tree)

  def with_peer(peer, leaves):
    low, high = jnp.minimum(client, peer), jnp.maximum(client, peer)
    pair = jax.random.fold_in(jax.random.fold_in(key, low), high)
    masked = []
    for i, x in enumerate(leaves):
      drawn = jax.random.bits(jax.random.fold_in(pair, i), x.shape, jnp.uint32)
      # Unsigned, so that both wrap around.
      signed = jnp.where(client < peer, drawn, -drawn)
      masked.append(x + jnp.where(client == peer, jnp.uint32(0), signed))
    return masked

  leaves = jax.lax.fori_loop(0, clients, with_peer, leaves)
  return jax.tree.unflatten(structure, leaves)
