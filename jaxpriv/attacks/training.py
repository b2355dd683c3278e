"""How an attacker learns: photographs in memory, and phases trained on them."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import numpy as np
from absl import logging
from etils import epath
from jax.experimental import multihost_utils
from ml_collections import ConfigDict

from jaxpriv import files
from jaxpriv.data import memory, pipeline
from jaxpriv.data.memory import InMemory
from jaxpriv.data.records import Batch, DataError
from jaxpriv.training import checkpoints, inference, loop, progress, seeds
from jaxpriv.training import mesh as mesh_lib
from jaxpriv.training.method import Phase

BLOCK = 1024  # rows hashed at once


def collect(
  batches: Iterable[Batch],
  attribute_names: tuple[str, ...],
  rows: int,
  most_bytes: int | None = None,
) -> InMemory:
  """Stacks the records of batches, but for padding and single unknown people.

  The field "row" is their number in the source, int32.

  Args:
    batches: of at most `rows` rows.
    attribute_names: of their attributes.
    rows: how many there are at most.
    most_bytes: of a field in memory; see `memory.gather`.
  """
  arrays: dict[str, memory.Gathering] = {}
  for batch in batches:
    keep = ~batch["padding"]
    if batch["identity"].ndim == 1:  # a scene shows several people, or nobody
      keep &= batch["identity"] >= 0
    fields = {k: v for k, v in batch.items() if k not in ("padding", "index")}
    if "index" in batch:
      fields["row"] = batch["index"].astype(np.int32)
    for name, value in fields.items():
      arrays.setdefault(name, memory.Gathering(rows, most_bytes))
      arrays[name].add(value[keep])
  return InMemory({k: v.array() for k, v in arrays.items()}, attribute_names)


def as_classes(photographs: InMemory) -> InMemory:
  """Numbers the people 0, 1, ... as a classifier wants them."""
  _, classes = np.unique(photographs.identities, return_inverse=True)
  return InMemory(
    {**photographs.arrays, "identity": classes.astype(np.int32)},
    photographs.attribute_names,
  )


def train(
  phase: Phase,
  photographs: InMemory,
  options: ConfigDict,
  *,
  seed: int,
  workdir: epath.PathLike,
  mesh: jax.sharding.Mesh,
  start: Callable[[Any], Any] | None = None,
  frozen: Mapping[str, Any] | None = None,
  key: str = "",
  cadences: loop.Options = loop.Options(save_every=0, keep=1),
) -> Any:
  """Trains an attacker by the engine that trains mechanisms.

  An attacker that an interrupted evaluation has left is used again if it has
  the same `key`, a digest of all that it depends on.
  """
  rows = batch_size(phase.name, options, len(photographs), mesh)
  _forget_unless_made_by(key, epath.Path(workdir), phase.name)

  def batches(first_step):
    return pipeline.batches(
      photographs,
      np.arange(len(photographs)),
      batch_size=rows,
      seed=seeds.phase_seed(seed, phase.name),
      first_step=first_step,
    )

  return loop.train(
    phase,
    batches,
    steps=options.steps,
    seed=seed,
    workdir=workdir,
    mesh=mesh,
    frozen=frozen,
    start=start,
    options=cadences,
  )


def batch_size(
  name: str, options: ConfigDict, photographs: int, mesh: jax.sharding.Mesh
) -> int:
  """The rows of a batch of an attacker, which all devices share.

  Raises:
    DataError: there is not one for each device.
  """
  rows = min(options.batch_size, photographs)
  rows -= rows % mesh.size
  if not rows:
    raise DataError(
      f"{name}: {photographs} photographs for the attackers to learn from, in"
      f" batches of {options.batch_size}, on {mesh.size} devices: there must be"
      " one for each at least"
    )
  return rows


def digest(*parts: Any) -> str:
  """A hash of photographs, parameters (dicts of arrays) and settings."""
  sha256 = hashlib.sha256()
  for part in parts:
    tree = part.arrays if isinstance(part, InMemory) else part
    if isinstance(part, ConfigDict):
      tree = part.to_json_best_effort(sort_keys=True)
    leaves, structure = jax.tree.flatten(tree)
    sha256.update(str(structure).encode())
    for leaf in leaves:
      if isinstance(leaf, str):
        sha256.update(leaf.encode())
        continue
      rows = np.atleast_1d(mesh_lib.fetch(leaf))
      for i in range(0, len(rows), BLOCK):  # no copy of them all
        sha256.update(np.ascontiguousarray(rows[i : i + BLOCK]).tobytes())
  return sha256.hexdigest()


def _forget_unless_made_by(key: str, workdir: epath.Path, name: str) -> None:
  """Removes an attacker that was trained from other settings or photographs."""
  directory = checkpoints.phase_directory(workdir, name)
  path = directory.parent / f"{name}.key"
  if jax.process_index() == 0:
    same = path.exists() and path.read_text() == key
    if directory.exists() and not same:
      logging.warning("%s: was made from something else; trained anew", name)
      directory.rmtree()
    files.atomic_write(path, key)
  multihost_utils.sync_global_devices(f"key of {name}")


def apply(
  fn: Callable,
  state: Any,
  frozen: Mapping[str, Any],
  photographs: InMemory,
  mesh: jax.sharding.Mesh,
  batch_size: int,
  finish: Callable[[Any], Any] = lambda output: output,
  most_bytes: int | None = None,
) -> np.ndarray:
  """Runs an output of a method over all photographs, in order.

  Args:
    fn: (state, frozen, batch) -> [B, ...].
    state: of the method.
    frozen: states that it needs.
    photographs: to run it over.
    mesh: of the states.
    batch_size: rows at a time, over all processes.
    finish: applied to the output of each batch, as numpy.
    most_bytes: of the result in memory; see `memory.gather`.
  """
  batches = pipeline.epoch(
    photographs, np.arange(len(photographs)), batch_size=batch_size
  )
  outputs = inference.stream(fn, state, frozen, batches, mesh, finish=finish)
  with progress.slow(f"Reading {len(photographs):,} photographs or releases"):
    return memory.gather(outputs, len(photographs), most_bytes)
