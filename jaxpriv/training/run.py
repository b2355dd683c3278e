"""A run: its data, and its phases in order, in a directory (see `workdir`)."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from absl import logging
from etils import epath
from ml_collections import ConfigDict

from jaxpriv.data import dataset, sources
from jaxpriv.data.dataset import Data
from jaxpriv.data.records import DataError
from jaxpriv.privacy import plan as plan_lib
from jaxpriv.privacy import sampling
from jaxpriv.training import checkpoints, export, loop, people, progress, seeds
from jaxpriv.training import workdir as workdir_lib
from jaxpriv.training.method import Phase


def open_data(config: ConfigDict) -> Data:
  """Opens the source of `config.data`, splits it by person, numbers people."""
  with progress.bar("data", 1, unit="image") as advance:

    def report(done, total):
      advance(done, total=total)

    source = sources.open_source(config.data, progress=report)
  # In this order: a ConfigDict sorts its keys.
  shares = {name: config.data.splits[name] for name in dataset.SPLITS}
  return dataset.split_data(source, shares, config.seed, config.data.split_by)


def resolve(config: ConfigDict, data: Data) -> ConfigDict:
  """Writes into a copy of the config what only the data can tell.

  Raises:
    DataError: config.evaluation names what there is not.
  """
  config = config.copy_and_resolve_references()
  evaluation, release = config.evaluation, config.release
  release.attributes = sources.words(release.attributes)
  # Attackers never learn from the test people.
  splits = [name for name in dataset.SPLITS if name != "test"]
  for name, choice in (
    ("attacker_splits", splits),
    ("attack_in_full", list(evaluation.compare)),
  ):
    evaluation[name] = sources.words(evaluation[name])
    unknown = [word for word in evaluation[name] if word not in choice]
    if unknown:
      raise DataError(
        f"config.evaluation.{name} names {', '.join(unknown)}: choose of"
        f" {', '.join(choice)}"
      )
  task = config.model.get("task", "") if "model" in config else ""
  if config.data.split_by == "image" and task != "identity":
    raise DataError(
      "data.split_by=image puts everybody into all splits, so that nothing can"
      " be measured on new people: it is for config.model.task=identity alone"
    )
  if not evaluation.attacker_splits:
    raise DataError(
      "config.evaluation.attacker_splits is empty: nobody attacks"
    )
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
  _check_pretrained(phases, config)
  _check_start(phases, config, data)
  _check_needs(phases, config, mesh)
  if data.people("test") < 2:
    raise DataError(
      f"the test split has {data.people('test')} people, and to tell people"
      " apart takes two: give it a larger share with --config.data.splits.test"
      " and a smaller one to train or attack"
    )
  workdir_lib.check_config(workdir, config)
  if any(workdir_lib.steps_done(workdir, phase.name) for phase in phases):
    people.check_same(workdir, data)
    people.check_unseen(workdir, data)
  else:
    people.write(workdir, config.pretrained, data)
    workdir_lib.forget_copies(workdir, [phase.name for phase in phases])
  workdir_lib.save_config(workdir, config)


def _check_pretrained(phases: Sequence[Phase], config: ConfigDict) -> None:
  """Raises DataError if there is nothing finished to take over."""
  if not config.pretrained:
    return
  try:
    other = workdir_lib.load_config(config.pretrained)
  except FileNotFoundError as error:
    raise DataError(
      f"config.pretrained = {config.pretrained} is no run directory: it has no"
      " config.json"
    ) from error
  if other.method != config.method:
    raise DataError(
      f"config.pretrained = {config.pretrained} is a run of {other.method}, and"
      f" this one of {config.method}: there is nothing to take over"
    )
  unknown = set(sources.words(config.pretrained_phases)) - {
    phase.name for phase in phases
  }
  if unknown:
    raise DataError(
      f"config.pretrained_phases names {', '.join(sorted(unknown))}: there are"
      f" {', '.join(phase.name for phase in phases)}"
    )
  if _released(config.pretrained).exists():
    return  # what it holds is finished
  for phase in phases:
    if not _taken(config, phase.name):
      continue
    done = workdir_lib.steps_done(config.pretrained, phase.name)
    steps = other.phases[phase.name].steps
    if done < steps:
      raise DataError(
        f"config.pretrained = {config.pretrained}: its {phase.name} is at step"
        f" {done} of {steps}; finish that run first"
      )


def _taken(config: ConfigDict, name: str) -> bool:
  """Whether a phase begins from config.pretrained."""
  chosen = sources.words(config.pretrained_phases)
  return bool(config.pretrained) and (not chosen or name in chosen)


def _check_needs(phases, config: ConfigDict, mesh: Any) -> None:
  """Raises DataError if a phase is to be trained on what nothing gives."""
  for phase in phases:
    for name in phase.needs if config.phases[phase.name].steps else ():
      if not config.phases[name].steps and not _untrained(name, config, mesh):
        raise DataError(
          f"{phase.name} is trained on {name}, which has 0 steps here and is"
          f" not in config.pretrained = {config.pretrained or 'nothing'}: give"
          f" --config.phases.{name}.steps, or a run that has it"
        )


def _released(pretrained: str) -> epath.Path:
  """The parameters of a release, which has no checkpoints."""
  return epath.Path(pretrained) / "parameters.npz"


def pretrained_state(pretrained: str, name: str, mesh: Any) -> Any:
  """The state of a phase of a run or a release; None if it is not there."""
  if _released(pretrained).exists():
    return export.read(_released(pretrained)).get(name)
  directory = checkpoints.phase_directory(pretrained, name)
  if checkpoints.latest_step(directory) is None:
    return None
  return checkpoints.load(directory, mesh)


def check_labels(fields: Sequence[str], data: Data) -> None:
  """Checks that the first images to train on are labelled at all.

  Raises:
    DataError: a field of the records is unknown in all of them.
  """
  few = min(len(data.splits["train"]), 256)
  rows = next(data.epoch("train", batch_size=few, limit=few, everywhere=True))
  for field in fields:
    values = rows[field][~rows["padding"]]
    known = np.isfinite(values) if values.dtype.kind == "f" else values >= 0
    if not known.any():
      raise DataError(
        f"config.model.tasks need the {field} of faces, and the first {few}"
        " photographs to train on have none: add the columns to labels.csv, or"
        " leave out the tasks that need them"
      )


def _check_start(phases, config: ConfigDict, data: Data) -> None:
  """Raises BudgetError if a private run starts from its own people."""
  if config.pretrained and any(phase.plan for phase in phases):
    both = data.hashes("train") & people.learned_from(config.pretrained)
    if both:
      raise plan_lib.BudgetError(
        f"{len(both)} of the people to train on are among those that"
        f" config.pretrained = {config.pretrained} has learned from: what it"
        " knows of them is outside the budget. Start from a run on other people"
      )


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
  left = [
    phase
    for phase in phases
    if phase.plan
    and workdir_lib.steps_done(workdir, phase.name)
    < config.phases[phase.name].steps
  ]
  secret = workdir_lib.secret(workdir) if left else b""
  for phase in phases:
    options = config.phases[phase.name]
    if not options.steps:
      finished[phase.name] = _copy(phase.name, config, workdir, mesh)
      continue
    seed = seeds.phase_seed(config.seed, phase.name)

    def batches(first, phase=phase, options=options, seed=seed):
      if phase.plan:
        return data.drawn_batches(
          _draw(phase, secret, data, mesh.size),
          first_step=first,
          num_workers=config.data.num_workers,
        )
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
        batch_size=-(-options.batch_size // mesh.size) * mesh.size,
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
      start=_take_over(config, phase.name, mesh),
      secret=secret or None,
      options=loop_options(config.train),
    )
  if left:
    workdir_lib.forget_secret(workdir)
  return finished


def _draw(phase, secret, data: Data, devices: int) -> sampling.RecordDraw:
  """The records of each step of a private phase."""
  seed = seeds.private_seed(secret, f"{phase.name}/batches")
  plan = dataclasses.replace(phase.plan, seed=seed)
  records = data.units("train", plan.unit)
  return sampling.RecordDraw(
    plan.sampler(devices), records, plan.rows_per_unit, devices
  )


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
    if phase.plan:  # checked by make_plans; rows are padded to fit
      continue
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
  """The states of all phases of a run.

  Those of no steps are copies of config.pretrained's, or empty.

  Raises:
    FileNotFoundError: a phase was never trained, or not to its end.
  """
  states = {}
  for phase in phases:
    directory = checkpoints.phase_directory(workdir, phase.name)
    steps = config.phases[phase.name].steps
    done = checkpoints.latest_step(directory)
    if (done or 0) < steps:
      raise FileNotFoundError(
        f"{phase.name} is at step {done or 0} of {steps} in {workdir}: run"
        f" launch.train --workdir={workdir} to its end first"
      )
    # There is nothing of a baseline, which has nothing to learn.
    states[phase.name] = (
      {} if done is None else checkpoints.load(directory, mesh)
    )
  return states


def _untrained(name: str, config: ConfigDict, mesh: Any) -> Any:
  """The state of a phase of no steps: as config.pretrained has it, or empty."""
  if not _taken(config, name):
    return {}  # a baseline: there is nothing to learn
  return pretrained_state(config.pretrained, name, mesh) or {}


def _copy(name: str, config: ConfigDict, workdir: epath.PathLike, mesh: Any):
  """The state of a phase of no steps, kept as its step 0 from the first call.

  What comes of config.pretrained afterwards is no matter to this run.
  """
  directory = checkpoints.phase_directory(workdir, name)
  if checkpoints.latest_step(directory) is None:
    state = _untrained(name, config, mesh)
    if not state:
      return state
    logging.info("%s: copied from %s", name, config.pretrained)
    with checkpoints.open_manager(directory) as manager:
      checkpoints.save(manager, 0, state)
  return checkpoints.load(directory, mesh)


def _take_over(config: ConfigDict, name: str, mesh: Any):
  """state -> state with the parameters of the same phase of another run."""
  if not _taken(config, name):
    return None
  pretrained = config.pretrained

  def start(state):
    other = pretrained_state(pretrained, name, mesh)
    if other is None:
      logging.info("%s: %s does not hold it; fresh", name, pretrained)
      return state
    if "ema" in other:  # which is what it predicts with
      other = {**other, "params": other["ema"]}
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
