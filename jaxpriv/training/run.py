"""A run directory: its config, its data, and its phases in order.

```
workdir/config.json            the resolved config
workdir/phases/<name>/         checkpoints
workdir/metrics/<name>.jsonl   one line a logged step; TensorBoard events beside
workdir/samples/<name>/        PNG grids
workdir/evaluation/            metrics.json, report.html, the attackers' phases
```
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import logging
from etils import epath
from ml_collections import ConfigDict

from jaxpriv.data import pipeline, sources, splits
from jaxpriv.data.records import Batch, Source
from jaxpriv.training import checkpoints, loop, progress
from jaxpriv.training.method import Phase

# People to train mechanisms on, to train attackers on besides, and to score on.
SPLITS = ("train", "attack", "test")

# Parts of a config that may change between calls on one run directory: they
# say nothing about what is trained.
MUTABLE = ("evaluation", "release", "train")


class ConfigMismatchError(ValueError):
  """The run directory holds a run of another config."""


class Data(NamedTuple):
  """The records of a run and who is in which split.

  Attributes:
    source: see `jaxpriv.data.records.Source`.
    splits: "train", "attack" and "test" to indices, disjoint in people.
    classes: int32 [largest identity + 1], identity -> class; people of the
      training split are classes 0 .. num_people - 1, the others follow.
    num_people: people in the training split.
  """

  source: Source
  splits: dict[str, np.ndarray]
  classes: np.ndarray
  num_people: int

  def people(self, split: str) -> int:
    """How many people a split shows."""
    identities = np.asarray(self.source.identities)[self.splits[split]]
    return len(np.unique(identities[identities >= 0]))

  def batches(
      self, split: str, *, batch_size: int, seed: int, first_step: int,
      num_workers: int = 0,
  ) -> Iterator[Batch]:  # fmt: skip
    """Endless shuffled batches of a split, identities as classes."""
    stream = pipeline.batches(
      self.source,
      self.splits[split],
      batch_size=batch_size,
      seed=seed,
      first_step=first_step,
      num_workers=num_workers,
    )
    return map(self._labelled, stream)

  def epoch(
    self, split: str, *, batch_size: int, limit: int | None = None
  ) -> Iterator[Batch]:
    """The records of a split once, in order, identities as classes."""
    indices = self.splits[split][:limit]
    stream = pipeline.epoch(self.source, indices, batch_size=batch_size)
    return map(self._labelled, stream)

  def _labelled(self, batch: Batch) -> Batch:
    identity = batch["identity"]
    classes = self.classes[np.maximum(identity, 0)]
    return {**batch, "identity": np.where(identity < 0, -1, classes)}


def open_data(config: ConfigDict) -> Data:
  """Opens the source of `config.data`, splits it by person, numbers people."""
  with progress.bar("data", 1, unit="image") as advance:

    def report(done, total):
      advance(done, total=total)

    source = sources.open_source(config.data, progress=report)
  # In this order: a ConfigDict sorts its keys.
  shares = {name: config.data.splits[name] for name in SPLITS}
  return split_data(source, shares, config.seed)


def split_data(source: Source, shares: Mapping[str, float], seed: int) -> Data:
  """Splits by person; people are numbered split after split."""
  identities = np.asarray(source.identities)
  parts = splits.split_by_identity(identities, shares, seed)
  classes = np.full(max(int(identities.max(initial=-1)) + 1, 1), -1, np.int32)
  count, counts = 0, []
  for indices in parts.values():
    people = np.unique(identities[indices])
    people = people[people >= 0]
    classes[people] = count + np.arange(len(people))
    count += len(people)
    counts.append(len(people))
  return Data(source, parts, classes, counts[0])


def resolve(config: ConfigDict, data: Data) -> ConfigDict:
  """Writes into a copy of the config what only the data can tell."""
  config = config.copy_and_resolve_references()
  with config.unlocked():
    config.data.attributes = tuple(data.source.attribute_names)
    config.data.num_people = data.num_people
  return config


def save_config(workdir: epath.PathLike, config: ConfigDict) -> None:
  """Writes config.json, or checks it against the one that is there.

  Raises:
    ConfigMismatchError: the run there was made with other settings.
  """
  path = epath.Path(workdir) / "config.json"
  new = json.loads(config.to_json_best_effort())
  if path.exists():
    old = json.loads(path.read_text())
    fixed = lambda tree: {k: v for k, v in tree.items() if k not in MUTABLE}
    changes = list(_differences(fixed(old), fixed(new)))
    if changes:
      listed = "\n  ".join(changes)
      raise ConfigMismatchError(
        f"{workdir} holds a run of another config:\n  {listed}\n"
        "Use another --workdir, or the settings of that run."
      )
  if jax.process_index() == 0:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(new, indent=2) + "\n")
    partial.replace(path)


def _differences(old: Any, new: Any, name: str = "config") -> Iterator[str]:
  if isinstance(old, dict) and isinstance(new, dict):
    for key in sorted(old.keys() | new.keys()):
      yield from _differences(
        old.get(key, "(absent)"), new.get(key, "(absent)"), f"{name}.{key}"
      )
  elif old != new:
    yield f"{name}: {old} there, {new} now"


def load_config(workdir: epath.PathLike) -> ConfigDict:
  """The resolved config of a run; lists come back as tuples."""
  path = epath.Path(workdir) / "config.json"
  if not path.exists():
    raise FileNotFoundError(
      f"{path} does not exist: train first, with launch.train"
      f" --workdir={workdir}"
    )

  def tuples(value):
    if isinstance(value, dict):
      return {key: tuples(item) for key, item in value.items()}
    if isinstance(value, list):
      return tuple(tuples(item) for item in value)
    return value

  return ConfigDict(tuples(json.loads(path.read_text())))


def train_phases(
  phases: Sequence[Phase],
  config: ConfigDict,
  data: Data,
  workdir: epath.PathLike,
  mesh: jax.sharding.Mesh,
  split: str = "train",
) -> dict[str, Any]:
  """Trains phases in order, each from where an earlier call left it.

  Args:
    phases: as a method's `phases(config)` gives them.
    config: with seed, phases, train and pretrained.
    data: the records; "attack" people serve for validation.
    workdir: the run directory.
    mesh: the mesh.
    split: the split to train on.

  Returns:
    phase name -> finished state.
  """
  finished: dict[str, Any] = {}
  for phase in phases:
    options = config.phases[phase.name]
    if not options.steps:  # a baseline: there is nothing to learn
      finished[phase.name] = {}
      continue
    check_batch_size(phase.name, options.batch_size, mesh)
    seed = loop.phase_seed(config.seed, phase.name)

    def batches(first, options=options, seed=seed):
      return data.batches(
        split,
        batch_size=options.batch_size,
        seed=seed,
        first_step=first,
        num_workers=config.data.num_workers,
      )

    def validation(options=options):
      return data.epoch(
        "attack",
        batch_size=options.batch_size,
        limit=config.train.validation_images,
      )

    finished[phase.name] = loop.train(
      phase,
      batches,
      steps=options.steps,
      seed=config.seed,
      workdir=workdir,
      mesh=mesh,
      frozen={name: finished[name] for name in phase.needs},
      validation=validation if config.train.validation_images else None,
      start=_take_over(config.pretrained, phase.name, mesh),
      options=loop_options(config.train),
    )
  return finished


def loop_options(train: ConfigDict) -> loop.Options:
  return loop.Options(
    log_every=train.log_every,
    evaluate_every=train.evaluate_every,
    save_every=train.save_every,
    keep=train.keep,
    profile=tuple(train.profile),
  )


def check_batch_size(name: str, batch_size: int, mesh: Any) -> None:
  if batch_size % mesh.size:
    raise ValueError(
      f"config.phases.{name}.batch_size = {batch_size} cannot be divided"
      f" among {mesh.size} devices: use a multiple of {mesh.size}"
    )


def load_phases(
  phases: Sequence[Phase],
  config: ConfigDict,
  workdir: epath.PathLike,
  mesh: Any,
) -> dict[str, Any]:
  """The states of all phases of a run; those of no steps are empty.

  Raises:
    FileNotFoundError: a phase was never trained, or not to its end.
  """
  states = {}
  for phase in phases:
    directory = loop.phase_directory(workdir, phase.name)
    steps = config.phases[phase.name].steps
    done = checkpoints.latest_step(directory) or 0
    if done < steps:
      raise FileNotFoundError(
        f"{phase.name} is at step {done} of {steps} in {workdir}: run"
        f" launch.train --workdir={workdir} to its end first"
      )
    states[phase.name] = checkpoints.load(directory, mesh) if steps else {}
  return states


def _take_over(pretrained: str, name: str, mesh: Any):
  """state -> state with the parameters of the same phase of another run."""
  if not pretrained:
    return None

  def start(state):
    other = checkpoints.load(loop.phase_directory(pretrained, name), mesh)
    fresh = []

    def choose(path, mine):
      theirs = other
      for key in path:
        theirs = theirs.get(key.key, {}) if isinstance(theirs, dict) else {}
      if getattr(theirs, "shape", None) == mine.shape:
        return jax.device_put(theirs.astype(mine.dtype), mine.sharding)
      fresh.append(jax.tree_util.keystr(path, simple=True, separator="/"))
      return mine

    kept = {
      part: jax.tree_util.tree_map_with_path(
        lambda path, leaf, part=part: choose(
          (jax.tree_util.DictKey(part), *path), leaf
        ),
        state[part],
      )
      for part in ("params", "batch_stats")
    }
    if "ema" in state:
      kept["ema"] = jax.tree.map(lambda x: x.copy(), kept["params"])
    logging.info(
        "%s: parameters taken over from %s; fresh: %s",
        name, pretrained, ", ".join(fresh) or "none",
    )  # fmt: skip
    return {**state, **kept}

  return start
