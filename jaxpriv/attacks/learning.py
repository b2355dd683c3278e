"""How an attacker learns: photographs in memory, and phases trained on them."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import numpy as np
from etils import epath
from ml_collections import ConfigDict

from jaxpriv.data import pipeline
from jaxpriv.data.records import Batch, Record
from jaxpriv.training import inference, loop
from jaxpriv.training.method import Phase


@dataclasses.dataclass(frozen=True)
class Photographs:
  """Records as stacked arrays; the rows an attacker has, or is scored on.

  Attributes:
    arrays: field of a record -> [N, ...]; images uint8.
    attribute_names: the A names of arrays["attributes"].
  """

  arrays: dict[str, np.ndarray]
  attribute_names: tuple[str, ...]

  def __len__(self) -> int:
    return len(self.arrays["identity"])

  def __getitem__(self, index: int) -> Record:
    return {name: array[index] for name, array in self.arrays.items()}

  def batch(self, indices: np.ndarray) -> Batch:
    return {name: array[indices] for name, array in self.arrays.items()}

  def describe(self, index: int) -> str:
    return f"photograph {index}"

  @property
  def identities(self) -> np.ndarray:
    return self.arrays["identity"]

  def showing(self, images: np.ndarray) -> "Photographs":
    """The same records with other images, such as protected ones."""
    arrays = {**self.arrays, "image": images}
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
) -> Any:
  """Trains an attacker by the engine that trains what it attacks."""

  def batches(first_step):
    return pipeline.batches(
      photographs,
      np.arange(len(photographs)),
      batch_size=min(options.batch_size, len(photographs)),
      seed=loop.phase_seed(seed, phase.name),
      first_step=first_step,
    )

  return loop.train(
    phase,
    batches,
    steps=options.steps,
    seed=seed,
    workdir=workdir,
    mesh=mesh,
    start=start,
    options=loop.Options(save_every=0, keep=1),
  )


def apply(
  fn: Callable,
  state: Any,
  frozen: Mapping[str, Any],
  photographs: Photographs,
  mesh: jax.sharding.Mesh,
  batch_size: int,
) -> Any:
  """Runs a predict function over all photographs, in order."""
  batches = pipeline.epoch(
    photographs, np.arange(len(photographs)), batch_size=batch_size
  )
  return inference.predict(fn, state, frozen, batches, mesh)
