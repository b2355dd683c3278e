"""A run directory: its config, its data, and its phases in order.

```
workdir/config.json            the resolved config
workdir/people.json            hashes of the people it has learned from
workdir/phases/<name>/         checkpoints
workdir/metrics/<name>.jsonl   one line a logged step; TensorBoard events beside
workdir/samples/<name>/        PNG grids
workdir/evaluation/            metrics.json, report.html, the attackers' phases
```
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from etils import epath
from ml_collections import ConfigDict

from jaxpriv.data import pipeline, records, sources, splits
from jaxpriv.data.records import Batch, DataError, Source
from jaxpriv.training import checkpoints, loop, progress
from jaxpriv.training.method import Phase

# People to train mechanisms on, to train attackers on besides, and to score on.
SPLITS = ("train", "attack", "test")

# Parts of a config that may change between calls on one run directory: they
# say nothing about what is trained.
MUTABLE = ("evaluation", "release", "train")

# Options of a phase that decide what its checkpoints hold.
STRUCTURE = ("optimizer", "ema")


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
    return len(self._numbers(split))

  def hashes(self, split: str) -> set[str]:
    """Hashes of the names of the people of a split, alike in every run."""
    return {
      hashlib.blake2b(
        records.person(self.source, number).encode(), digest_size=8
      ).hexdigest()
      for number in self._numbers(split).tolist()
    }

  def _numbers(self, split: str) -> np.ndarray:
    identities = np.asarray(self.source.identities)[self.splits[split]]
    return np.unique(identities[identities >= 0])

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
      self, split: str, *, batch_size: int, limit: int | None = None,
      everywhere: bool = False,
  ) -> Iterator[Batch]:  # fmt: skip
    """The records of a split once, in order, identities as classes.

    Each process gets its share of the rows, or, `everywhere`, all of them.
    """
    stream = pipeline.epoch(
      self.source,
      self.splits[split][:limit],
      batch_size=batch_size,
      process_index=0 if everywhere else None,
      process_count=1 if everywhere else None,
    )
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
  names = getattr(source, "identity_names", ())
  parts = splits.split_by_identity(identities, shares, seed, names)
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


def begin(
  workdir: epath.PathLike,
  phases: Sequence[Phase],
  config: ConfigDict,
  data: Data,
  mesh: jax.sharding.Mesh,
) -> None:
  """Opens a run directory: checks first, then config.json and people.json.

  Until something is trained there, any run may take the directory over.

  Raises:
    ConfigMismatchError: what is trained there has other settings.
    DataError: it was trained on other people, or the test people are not new
      to `config.pretrained`, or a batch size cannot be had.
  """
  check_batch_sizes(phases, config, data, mesh)
  if config.data.splits.test and data.people("test") < 2:
    raise DataError(
      f"the test split has {data.people('test')} people, and to tell people"
      " apart takes two: give it a larger share with --config.data.splits.test"
      " (and less to train or attack; 0 if nothing is to be measured)"
    )
  check_config(workdir, config)
  if any(_done(workdir, phase.name) for phase in phases):
    check_people(workdir, data)
    check_unseen(workdir, data)
  else:
    _write_people(workdir, config.pretrained, data)
  save_config(workdir, config)


def check_people(workdir: epath.PathLike, data: Data) -> None:
  """Checks that the training people are those that a run has learned from.

  Raises:
    DataError: the data have changed.
  """
  then, now = _read_people(workdir)["train"], data.hashes("train")
  if then != now:
    raise DataError(
      "the data have changed since training: of the people to train on,"
      f" {len(now - then)} are new to {workdir} and {len(then - now)} are no"
      " longer among them. Splits are dealt anew when people come or go, so"
      " that people trained on could be scored as new ones. Bring the data"
      " back to what they were, or train in another --workdir."
    )


def check_unseen(workdir: epath.PathLike, data: Data) -> None:
  """Checks that a run has learned from none of the test people of `data`.

  What it has learned from are its own training people and those of the runs
  that it took parameters over from. People of one name are taken for one.

  Raises:
    DataError: it has.
  """
  test = data.hashes("test")
  seen = test.intersection(_learned_from(workdir))
  if seen:
    raise DataError(
      f"{len(seen)} of the {len(test)} test people are among those that"
      f" {workdir}, or a run it took parameters over from, was trained on: what"
      " is measured on them says nothing about new people. Use other people,"
      " or the data, config.seed and config.data.splits of that run. If they"
      " are others of the same names, rename them."
    )


def _write_people(workdir: epath.PathLike, pretrained: str, data: Data) -> None:
  before: set[str] = set()
  if pretrained:
    check_unseen(pretrained, data)
    before = _learned_from(pretrained)
  people = {"train": sorted(data.hashes("train")), "pretrained": sorted(before)}
  _write_json(epath.Path(workdir) / "people.json", people)


def _learned_from(workdir: epath.PathLike) -> set[str]:
  return set().union(*_read_people(workdir).values())


def _read_people(workdir: epath.PathLike) -> dict[str, set[str]]:
  path = epath.Path(workdir) / "people.json"
  if not path.exists():
    raise DataError(
      f"{path} does not exist: nothing says whom {workdir} was trained on, and"
      " whether the test people are new to it. Train again, in another"
      " --workdir."
    )
  return {k: set(v) for k, v in json.loads(path.read_text()).items()}


def check_config(workdir: epath.PathLike, config: ConfigDict) -> None:
  """Checks a config against what was trained with the one that is there.

  The options of a phase may change until it is finished, but for what decides
  the shape of a checkpoint; `check_people` compares people.

  Raises:
    ConfigMismatchError: the run there was made with other settings.
  """
  path = epath.Path(workdir) / "config.json"
  if not path.exists():
    return
  old, new = json.loads(path.read_text()), _plain(config)
  done = {name: _done(workdir, name) for name in old["phases"]}
  if not any(done.values()):
    return
  changes = list(_differences(_fixed(old, new, done), _fixed(new, old, done)))
  if changes:
    listed = "\n  ".join(changes)
    raise ConfigMismatchError(
      f"{workdir} holds a run of another config:\n  {listed}\n"
      "Use another --workdir, or the settings of that run."
    )


def _fixed(tree: dict, other: dict, done: Mapping[str, int]) -> dict:
  """What must not change of a config, given the steps done of its phases."""
  kept = {k: v for k, v in tree.items() if k not in MUTABLE}
  kept["data"] = {k: v for k, v in tree["data"].items() if k != "num_people"}
  kept["phases"] = {}
  for name, options in tree["phases"].items():
    theirs = other["phases"].get(name, options)
    if done.get(name, 0) >= min(options["steps"], theirs["steps"]):
      kept["phases"][name] = options
    elif done.get(name):
      kept["phases"][name] = {k: options.get(k) for k in STRUCTURE}
    else:
      kept["phases"][name] = {}
  return kept


def _done(workdir: epath.PathLike, name: str) -> int:
  """The newest saved step of a phase; 0 if there is none.

  Read without a checkpoint manager, which would wait for other processes.
  """
  directory = loop.phase_directory(workdir, name)
  if not directory.exists():
    return 0
  return max(ocp.utils.checkpoint_steps(directory), default=0)


def _plain(config: ConfigDict) -> dict[str, Any]:
  return json.loads(config.to_json_best_effort())


def save_config(workdir: epath.PathLike, config: ConfigDict) -> None:
  """Writes config.json; see `check_config`."""
  _write_json(epath.Path(workdir) / "config.json", _plain(config))


def _write_json(path: epath.Path, tree: Any) -> None:
  if jax.process_index() == 0:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(tree, indent=2) + "\n")
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
) -> dict[str, Any]:
  """Trains phases in order, each from where an earlier call left it.

  Args:
    phases: as a method's `phases(config)` gives them.
    config: with seed, phases, train and pretrained.
    data: the records; "attack" people serve for validation.
    workdir: the run directory.
    mesh: the mesh.

  Returns:
    phase name -> finished state.

  Raises:
    DataError: a batch size, of whichever phase, cannot be had.
  """
  check_batch_sizes(phases, config, data, mesh)
  finished: dict[str, Any] = {}
  for phase in phases:
    options = config.phases[phase.name]
    if not options.steps:  # a baseline: there is nothing to learn
      finished[phase.name] = {}
      continue
    seed = loop.phase_seed(config.seed, phase.name)

    def batches(first, options=options, seed=seed):
      return data.batches(
        "train",
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


def check_batch_sizes(
  phases: Sequence[Phase], config: ConfigDict, data: Data, mesh: Any
) -> None:
  """Checks all phases, so that none is refused when others are trained.

  Raises:
    DataError: a batch cannot be divided among devices, or is larger than the
      training split.
  """
  images = len(data.splits["train"])
  for phase in phases:
    options = config.phases[phase.name]
    setting = f"config.phases.{phase.name}.batch_size = {options.batch_size}"
    if options.steps and options.batch_size % mesh.size:
      raise DataError(
        f"{setting} cannot be divided among {mesh.size} devices: use a multiple"
        f" of {mesh.size}"
      )
    if options.steps and options.batch_size > images:
      raise DataError(
        f"{setting}, but there are only {images} images to train on: lower it,"
        " or use more images"
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
