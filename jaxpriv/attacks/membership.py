"""Membership inference: one training run with many canaries.

The attacker knows the photographs and labels of the canaries, the trained
model, and the model before training; not the gradients. Canaries are
photographs under the labels of other canaries, which nothing but their own
presence teaches; a coin decides whether each is in the data (Steinke, Nasr and
Jagielski 2023; Carlini et al., "Membership Inference Attacks From First
Principles", 2022, on why mislabelled examples are found soonest).
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import numpy as np
from etils import epath
from ml_collections import ConfigDict

from jaxpriv.data.dataset import Data
from jaxpriv.data.memory import InMemory
from jaxpriv.data.records import DataError
from jaxpriv.metrics import statistics
from jaxpriv.privacy import auditing
from jaxpriv.training import inference, run, seeds, transfer
from jaxpriv.training import mesh as mesh_lib
from jaxpriv.training.method import Phase


class OneRun(NamedTuple):
  """The result of the attack.

  Attributes:
    epsilon: lower bound.
    right: right answers among `guesses`, which call the half of the canaries
      with the highest scores in, and the other half out.
    low, high: interval of their share; chance is a half.
    included: canaries that were in.
  """

  epsilon: float
  right: int
  guesses: int
  low: float
  high: float
  included: int


@dataclasses.dataclass(frozen=True)
class Canaries:
  """Rows [M] of a source, and which are in the training data."""

  rows: np.ndarray
  included: np.ndarray


def plant(data: Data, count: int, seed: int) -> tuple[Data, Canaries]:
  """Data with mislabelled canaries among the people to train on.

  Args:
    data: in memory.
    count: canaries, taken from the training split.
    seed: of choice, coins and labels.

  Raises:
    DataError: there are not so many photographs, or they are not in memory.
  """
  source, train = data.source, data.splits["train"]
  if not isinstance(source, InMemory):
    raise DataError("an audit changes labels, in memory: set config.data.cache")
  if not 8 <= count <= len(train) // 2:
    raise DataError(
      f"{count} canaries of {len(train)} photographs to train on: at least 8,"
      " and at most half"
    )
  random = np.random.default_rng(seed)
  rows = np.sort(random.choice(train, count, replace=False))
  included = random.random(count) < 0.5
  # A shift by one among canaries in random order: nobody keeps their labels.
  order = random.permutation(count)
  giver = np.empty(count, np.int64)
  giver[order] = rows[np.roll(order, 1)]
  arrays = dict(source.arrays)
  for name in set(arrays) - {"image"}:
    arrays[name] = arrays[name].copy()
    arrays[name][rows] = source.arrays[name][giver]
  changed = source.replace(**arrays)
  splits = dict(data.splits)
  splits["train"] = np.setdiff1d(train, rows[~included])
  return data._replace(source=changed, splits=splits), Canaries(rows, included)


def one_run(
  phases: list[Phase],
  config: ConfigDict,
  data: Data,
  canaries: Canaries,
  workdir: epath.PathLike,
  mesh: Any,
  delta: float,
) -> OneRun:
  """Trains the first phase with canaries and guesses which of them were in.

  Args:
    phases: of the run; private ones made for `data`.
    config: of the run.
    data: as `plant` returns it.
    canaries: as well.
    workdir: where to train.
    mesh: the mesh.
    delta: of the claim.

  Raises:
    DataError: the phase has no loss for single examples.
  """
  phase = phases[0]
  if phase.method.outputs.losses is None:
    raise DataError(
      f"phase {phase.name} has no loss for people it was not trained on, so"
      " there is nothing to score canaries by"
    )
  fresh = _initial(phase, data, config, mesh)  # as training begins
  before = _losses(phase, fresh, data, canaries, mesh)
  state = run.train_phases([phase], config, data, workdir, mesh)[phase.name]
  scores = before - _losses(phase, state, data, canaries, mesh)
  middle = np.argsort(np.argsort(-scores, kind="stable")) < len(scores) // 2
  right = int((middle == canaries.included).sum())
  share = statistics.proportion(right, len(scores))
  return OneRun(
    auditing.epsilon_one_run(scores, canaries.included, delta),
    right,
    len(scores),
    share.low,
    share.high,
    int(canaries.included.sum()),
  )


def _batches(data: Data, rows: np.ndarray, size: int):
  only = data._replace(splits={**data.splits, "canaries": rows})
  return only.epoch("canaries", batch_size=size)


def _initial(phase, data, config, mesh):
  few = data.splits["train"][: mesh.size]
  batch = next(iter(_batches(data, few, mesh.size)))
  key = jax.random.key(seeds.phase_seed(config.seed, phase.name))
  start = transfer.take_over(config, phase.name, mesh)
  with jax.set_mesh(mesh):
    batch = inference.as_float(mesh_lib.put_batch(batch, mesh))
    state = jax.jit(phase.method.init)(key, batch, {})
    return start(state) if start else state


def _losses(phase, state, data, canaries, mesh) -> np.ndarray:
  rows = inference.predict(
    phase.method.outputs.losses,
    state,
    {},
    _batches(data, canaries.rows, 16 * mesh.size),
    mesh,
  )
  return np.asarray(rows["loss"], np.float64)
