"""Runs a predict function over a data set, on all devices, in order."""

import functools
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpriv.training import mesh as mesh_lib


def as_float(batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
  """Turns uint8 images, as they travel, into float32 in [0, 1], on device."""
  image = batch.get("image")
  if image is None or image.dtype != jnp.uint8:
    return batch
  return {**batch, "image": image.astype(jnp.float32) / 255}


@functools.lru_cache(maxsize=64)
def compiled(fn: Callable, mesh: jax.sharding.Mesh) -> Callable:
  """jits fn(state, frozen, batch) with outputs sharded as the batch is."""

  def run(state, frozen, batch):
    return fn(state, frozen, as_float(batch))

  return mesh_lib.jit(run, mesh, out_shardings=mesh_lib.batch_sharding(mesh))


def pad_rows(
  batch: dict[str, np.ndarray], multiple: int
) -> dict[str, np.ndarray]:
  """Repeats the last row, marked as padding, up to a multiple of rows."""
  rows = len(batch["padding"])
  extra = -rows % multiple
  if not extra:
    return batch
  padded = {
    name: np.concatenate([value, np.repeat(value[-1:], extra, axis=0)])
    for name, value in batch.items()
  }
  padded["padding"][rows:] = True
  return padded


def predict(
  fn: Callable,
  state: Any,
  frozen: Any,
  batches: Iterable[dict[str, np.ndarray]],
  mesh: jax.sharding.Mesh,
  advance: Callable[[int], None] = lambda done: None,
  finish: Callable[[Any], Any] = lambda output: output,
) -> Any:
  """Applies a predict function of a method to batches.

  Args:
    fn: (state, frozen, batch) -> pytree of [B, ...].
    state: of the method.
    frozen: states of the phases it needs.
    batches: this process's rows of each batch, with `padding`.
    mesh: the mesh of state and frozen.
    advance: called with the number of batches done.
    finish: applied to the output of each batch, as numpy and without padding
      rows, before it is kept; images, say, are a quarter the size as uint8.

  Returns:
    the finished outputs, rows of all processes, one batch after the other.
  """
  run = compiled(fn, mesh)
  outputs = []
  pending = None
  local = mesh.local_mesh.size

  def collect(pending):
    output, padding = mesh_lib.fetch(pending)
    outputs.append(finish(jax.tree.map(lambda x: x[~padding], output)))
    advance(len(outputs))

  with jax.set_mesh(mesh):
    for batch in batches:
      on_device = mesh_lib.put_batch(pad_rows(batch, local), mesh)
      output = run(state, frozen, on_device)
      if jax.process_count() > 1:
        # Collecting is a program with collectives: one at a time, see `fetch`.
        jax.block_until_ready(output)
      # One batch late: the device works while the host collects.
      if pending is not None:
        collect(pending)
      pending = (output, on_device["padding"])
    if pending is None:
      raise ValueError("no batch to predict on: the data set is empty")
    collect(pending)
  return jax.tree.map(lambda *parts: np.concatenate(parts), *outputs)
