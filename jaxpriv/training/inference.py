"""Runs a predict function over a data set, on all devices, in order."""

import functools
from collections.abc import Callable, Iterable, Iterator
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
  """Applies an output of a method to batches; see `stream`.

  Returns:
    the finished outputs, rows of all processes, one batch after the other.
  """
  outputs = list(stream(fn, state, frozen, batches, mesh, advance, finish))
  return jax.tree.map(lambda *parts: np.concatenate(parts), *outputs)


def stream(
  fn: Callable,
  state: Any,
  frozen: Any,
  batches: Iterable[dict[str, np.ndarray]],
  mesh: jax.sharding.Mesh,
  advance: Callable[[int], None] = lambda done: None,
  finish: Callable[[Any], Any] = lambda output: output,
) -> Iterator[Any]:
  """Applies an output of a method to batches, one after the other.

  Args:
    fn: (state, frozen, batch) -> pytree of [B, ...].
    state: of the method.
    frozen: states of the phases it needs.
    batches: this process's rows of each batch, with `padding`.
    mesh: the mesh of state and frozen.
    advance: called with the number of batches done.
    finish: applied to the output of each batch, as numpy and without padding
      rows; images, say, are a quarter the size as uint8.

  Yields:
    the finished output of each batch, rows of all processes.

  Raises:
    ValueError: there is no batch.
  """
  run = compiled(fn, mesh)
  pending = None
  done = 0
  local = mesh.local_mesh.size

  def collect(pending):
    output, padding = mesh_lib.fetch(pending)
    return finish(jax.tree.map(lambda x: x[~padding], output))

  for batch in batches:
    with jax.set_mesh(mesh):
      on_device = mesh_lib.put_batch(pad_rows(batch, local), mesh)
      output = run(state, frozen, on_device)
      if jax.process_count() > 1:
        # Collecting is a program with collectives: one at a time, see `fetch`.
        jax.block_until_ready(output)
      # One batch late: the device works while the host collects.
      finished = None if pending is None else collect(pending)
    if pending is not None:
      done += 1
      advance(done)
      yield finished
    pending = (output, on_device["padding"])
  if pending is None:
    raise ValueError("no batch to predict on: the data set is empty")
  with jax.set_mesh(mesh):
    finished = collect(pending)
  advance(done + 1)
  yield finished
