"""The photographs of an evaluation: attackers' and those of the test people."""

import itertools
from collections.abc import Mapping

import jax
import numpy as np
from absl import logging
from etils import epath
from ml_collections import ConfigDict

from jaxpriv import files
from jaxpriv.attacks import training
from jaxpriv.attacks.threat import People
from jaxpriv.data.dataset import Data
from jaxpriv.data.memory import InMemory
from jaxpriv.data.records import DOMAINS, DataError
from jaxpriv.training import mechanism, progress
from jaxpriv.training import workdir as workdir_lib
from jaxpriv.training.mechanism import Target, Trained


def use_data_of(other: str, config: ConfigDict, target: Target) -> None:
  """Gives a config the photographs of another run, framed as its own."""
  framed = {key: config.data[key] for key in ("image_size", "align")}
  learned = tuple(config.data.attributes)
  config.data = workdir_lib.load_config(other).data
  config.data.update(framed)  # as it was trained, and as it releases
  if mechanism.IMAGE not in target.products:
    config.data.attributes = learned  # the model knows them by number


def claim(directory: epath.PathLike, other: epath.PathLike) -> None:
  """Notes whose photographs an evaluation is of, so that two are not mixed.

  Args:
    directory: of the evaluation.
    other: the run whose photographs are used.

  Raises:
    DataError: the directory is of another run of that name.
  """
  note = epath.Path(directory) / "data_of"
  path = epath.Path(other).expanduser().resolve()
  if not note.exists():
    if jax.process_index() == 0:
      files.atomic_write(note, f"{path}\n")
    return
  before = note.read_text().strip()
  if before != str(path):
    raise DataError(
      f"{directory} has what was measured with the photographs of {before}, and"
      f" --data_of names {path}: move that directory away to begin anew"
    )


def gather(
  config: ConfigDict,
  directory: epath.Path,
  mesh: jax.sharding.Mesh,
  data: Data,
  trained: Trained,
  products: tuple[str, ...],
  taught: tuple[str, ...],
) -> People:
  """Attackers' photographs and those of the test people.

  Args:
    config: of the run.
    directory: where attackers are kept.
    mesh: the mesh.
    data: all of it.
    trained: the mechanism under attack.
    products: what it releases; attackers of a model need no photographs, but
      where it draws images.
    taught: names of the attributes that it was taught.
  """
  with progress.slow("Reading the photographs of the evaluation"):
    test = _people(of_test(config.evaluation, data))
    known = test.take(slice(0, 0))
    if set(products) - {mechanism.MODEL} or trained.phase_with("drawn"):
      known = _people(of_attackers(config.evaluation, data))
  return People(config, directory, mesh, known, test, data, trained, taught)


def of_test(options: ConfigDict, data: Data) -> InMemory:
  """The test photographs, of whichever domain, by config.evaluation."""
  return _photographs(options, data, ("test",), options.max_test_images)


def of_attackers(options: ConfigDict, data: Data) -> InMemory:
  """Those of the attackers, likewise."""
  splits = options.attacker_splits
  return _photographs(options, data, splits, options.max_attacker_images)


def _photographs(
  options: ConfigDict, data: Data, splits: tuple[str, ...], limit: int
) -> InMemory:
  # All of them on every process: training and reading deal them out.
  counts = dealt({s: len(data.splits[s]) for s in splits}, limit)
  batches = (
    data.epoch(
      split, batch_size=options.batch_size, limit=count, everywhere=True
    )
    for split, count in counts.items()
  )
  return training.collect(
    itertools.chain.from_iterable(batches),
    tuple(data.source.attribute_names),
    sum(counts.values()),
    options.memory,
  )


def _people(photographs: InMemory) -> InMemory:
  """Those of people, where there are some: nobody looks for a cat."""
  domain = photographs.arrays.get("domain")
  if domain is None or domain.ndim > 1:
    return photographs
  human = domain == DOMAINS.index("human")
  if human.all() or not human.any():
    return photographs
  return photographs.take(np.flatnonzero(human))


def labels(config: ConfigDict, data: Data) -> dict[str, np.ndarray]:
  """Labels of the test people of `gather`, without reading a photograph.

  Returns:
    "identity" int [N] and "attributes" int8 [N, A], all unknown.
  """
  rows = data.splits["test"][: config.evaluation.max_test_images]
  identities = np.asarray(data.source.identities)[rows]
  identities = identities[identities >= 0]
  names = data.source.attribute_names
  unknown = np.full((len(identities), len(names)), -1, np.int8)
  return {"identity": identities, "attributes": unknown}


def dealt(sizes: Mapping[str, int], limit: int) -> dict[str, int]:
  """How many photographs to take of each split, alike but for what is short."""
  counts: dict[str, int] = {}
  for split in sorted(sizes, key=lambda split: sizes[split]):
    left = limit - sum(counts.values())
    counts[split] = min(sizes[split], left // (len(sizes) - len(counts)))
  for split, size in sizes.items():
    if counts[split] < size:
      logging.info(
        "%s: the first %d of %d photographs are used",
        split,
        counts[split],
        size,
      )
  return {split: counts[split] for split in sizes}
