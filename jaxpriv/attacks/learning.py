"""How an attacker learns: photographs in memory, and phases trained on them."""

import dataclasses
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
from jaxpriv.data import pipeline
from jaxpriv.data.records import Batch, DataError, Record, Source
from jaxpriv.training import checkpoints, inference, loop, seeds
from jaxpriv.training import mesh as mesh_lib
from jaxpriv.training.method import Phase


@dataclasses.dataclass(frozen=True)
class Photographs(Source):
  """Records as stacked arrays; the rows an attacker has, or is scored on.

  Attributes:
    arrays: field of a record -> [N, ...]; images uint8.
    attribute_names: the A names of arrays["attributes"].
  """

  arrays: dict[str, np.ndarray]
  attribute_names: tuple[str, ...]
  batched = True

  def __len__(self) -> int:
    return len(self.arrays["identity"])

  def __getitem__(self, index: int) -> Record:
    return {name: array[index] for name, array in self.arrays.items()}

  def batch(self, indices: np.ndarray) -> Batch:
    return {name: array[indices] for name, array in self.arrays.items()}

  def describe(self, index: int) -> str:
    return f"photograph {index}"

  @property
  def identities(self) -> np.ndarray:  # type: ignore[override]
    return self.arrays["identity"]

  def showing(self, images: np.ndarray) -> "Photographs":
    """The same records with other images, such as protected ones."""
    return self.having(image=images)

  def having(self, **fields: np.ndarray) -> "Photographs":
    """The same records with other fields, such as features."""
    return dataclasses.replace(self, arrays={**self.arrays, **fields})

  def without(self, field: str) -> "Photographs":
    """The same records without a field."""
    arrays = {k: v for k, v in self.arrays.items() if k != field}
    return dataclasses.replace(self, arrays=arrays)

  def part(self, rows: Any) -> "Photographs":
    """Some of the records: a slice or indices."""
    arrays = {name: array[rows] for name, array in self.arrays.items()}
    return dataclasses.replace(self, arrays=arrays)


def collect(
  batches: Iterable[Batch], attribute_names: tuple[str, ...]
) -> Photographs:
  """Stacks the records of batches, padding rows left out."""
  parts = []
  for batch in batches:
    keep = ~batch["padding"] & (batch["identity"] >= 0)
    kept = {name: value[keep] for name, value in batch.items()}
    del kept["padding"], kept["index"]
    parts.append(kept)
  arrays = {
    name: np.concatenate([part[name] for part in parts]) for name in parts[0]
  }
  return Photographs(arrays, tuple(attribute_names))


def as_classes(photographs: Photographs) -> Photographs:
  """Numbers the people 0, 1, ... as a classifier wants them."""
  _, classes = np.unique(photographs.identities, return_inverse=True)
  arrays = {**photographs.arrays, "identity": classes.astype(np.int32)}
  return dataclasses.replace(photographs, arrays=arrays)


def train(
  phase: Phase,
  photographs: Photographs,
  options: ConfigDict,
  *,
  seed: int,
  workdir: epath.PathLike,
  mesh: jax.sharding.Mesh,
  start: Callable[[Any], Any] | None = None,
  frozen: Mapping[str, Any] | None = None,
  key: str = "",
) -> Any:
  """Trains an attacker by the engine that trains what it attacks.

  An attacker that is there already, of an interrupted evaluation, is used again
  if it is of the same `key`: a digest of all that makes it.
  """
  rows = min(options.batch_size, len(photographs))
  rows -= rows % mesh.size
  if not rows:
    raise DataError(
      f"{phase.name}: {len(photographs)} photographs for the attackers to learn"
      f" from, on {mesh.size} devices: there must be one for each at least"
    )
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
    options=loop.Options(save_every=0, keep=1),
  )


def digest(*parts: Any) -> str:
  """A hash of photographs, parameters (dicts of arrays) and settings."""
  made = hashlib.sha256()
  for part in parts:
    tree = part.arrays if isinstance(part, Photographs) else part
    if isinstance(part, ConfigDict):
      tree = part.to_json_best_effort(sort_keys=True)
    leaves, structure = jax.tree.flatten(tree)
    made.update(str(structure).encode())
    for leaf in leaves:
      if not isinstance(leaf, str):
        leaf = np.ascontiguousarray(mesh_lib.fetch(leaf)).tobytes()
      made.update(leaf.encode() if isinstance(leaf, str) else leaf)
  return made.hexdigest()


def _forget_unless_made_by(key: str, workdir: epath.Path, name: str) -> None:
  """Removes an attacker that other settings or other photographs made."""
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
  photographs: Photographs,
  mesh: jax.sharding.Mesh,
  batch_size: int,
  finish: Callable[[Any], Any] = lambda output: output,
) -> Any:
  """Runs a predict function over all photographs, in order.

  `finish` is applied to the output of each batch, as numpy.
  """
  batches = pipeline.epoch(
    photographs, np.arange(len(photographs)), batch_size=batch_size
  )
  return inference.predict(fn, state, frozen, batches, mesh, finish=finish)
