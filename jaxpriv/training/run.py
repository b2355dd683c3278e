"""A run: its data, and its phases in order, in a directory (see `workdir`)."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from etils import epath
from ml_collections import ConfigDict

from jaxpriv import files
from jaxpriv.data import clients, dataset, sources
from jaxpriv.data.dataset import Data
from jaxpriv.data.records import DataError
from jaxpriv.models.pretrained import catalogue
from jaxpriv.privacy import sampling
from jaxpriv.privacy.plan import BudgetError
from jaxpriv.training import (
  checkpoints,
  federated,
  loop,
  people,
  progress,
  seeds,
  transfer,
  unlabelled,
)
from jaxpriv.training import workdir as workdir_lib
from jaxpriv.training.method import Phase

# Where a run directory shows the faces that were found in photographs.
FOUND = "samples/found_faces.png"


def open_data(config: ConfigDict, workdir: epath.PathLike = "") -> Data:
  """Opens the source of `config.data`, splits it by person, numbers people.

  Args:
    config: of the run.
    workdir: where to draw the faces that were found in photographs without
      labels, as `FOUND`; "" for nowhere.

  Raises:
    DataError: the data do not exist or do not match the config.
  """
  sheet = epath.Path(workdir) / FOUND if workdir else None
  found = unlabelled.find(config.data, sheet)
  with progress.bar("data", 1, unit="image") as advance:

    def report(done, total):
      advance(done, total=total)

    source = sources.open_source(config.data, report, found)
  # In this order: a ConfigDict sorts its keys.
  shares = {name: config.data.splits[name] for name in dataset.SPLITS}
  return dataset.split_data(source, shares, config.seed, config.data.split_by)


def resolve(config: ConfigDict, data: Data) -> ConfigDict:
  """Completes a copy of the config with settings that only the data tell.

  Raises:
    DataError: config.evaluation names something unknown.
  """
  config = config.copy_and_resolve_references()
  config.pretrained = files.expanded(config.pretrained)
  evaluation, release = config.evaluation, config.release
  release.attributes = sources.words(release.attributes)
  # Attackers never learn from the test people.
  splits = [name for name in dataset.SPLITS if name != "test"]
  for name, choice in (
    ("attacker_splits", splits),
    ("attacks", list(config.attacks)),
    ("controls", list(config.controls)),
    ("witnesses", list(catalogue.WITNESSES)),
  ):
    evaluation[name] = sources.words(evaluation[name])
    unknown = [word for word in evaluation[name] if word not in choice]
    if unknown:
      raise DataError(
        f"config.evaluation.{name} names {', '.join(unknown)}: choose of"
        f" {', '.join(choice)}"
      )
  if not evaluation.attacker_splits:
    raise DataError(
      "config.evaluation.attacker_splits is empty: nobody attacks"
    )
  with config.unlocked():
    config.data.attributes = tuple(data.source.attribute_names)
    config.data.num_people = data.num_people
  return config


def check_method(
  module: Any, config: ConfigDict, data: Data, load: Callable[[str], Any]
) -> None:
  """Checks a resolved config by what its method asks for.

  Args:
    module: of the method, see `mechanism.Mechanism`.
    config: of the run.
    data: of the run.
    load: phase -> its state in config.pretrained, or None.

  Raises:
    DataError: settings do not fit, or labels are missing.
  """
  closed_set = getattr(module, "CLOSED_SET", False)
  if config.data.split_by == "image" and not closed_set:
    raise DataError(
      "data.split_by=image puts everybody into all splits, so that nothing can"
      f" be measured on new people: it is not for {config.method}"
    )
  if hasattr(module, "check"):
    module.check(config, data, load)


def check_labels(fields: Mapping[str, str], data: Data) -> None:
  """Checks that the first images to train on are labelled at all.

  Args:
    fields: of records -> what needs them, as a setting of the config.
    data: of the run.

  Raises:
    DataError: a field of the records is unknown in all of them.
  """
  few = min(len(data.splits["train"]), 256)
  rows = next(data.epoch("train", batch_size=few, limit=few, everywhere=True))
  for field, setting in fields.items():
    values = rows[field][~rows["padding"]]
    known = np.isfinite(values) if values.dtype.kind == "f" else values >= 0
    if not known.any():
      raise DataError(
        f"{setting} need the {field} of faces, and the first {few} photographs"
        " to train on have none: add the columns to labels.csv, or leave out"
        " what needs them"
      )


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
  transfer.check(phases, config, data, mesh)
  # Scenes may be of nobody known: a detector tells nobody apart.
  if not data.source.max_faces and data.people("test") < 2:
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


def check_room(
  workdir: epath.PathLike, states: Mapping[str, Any], config: ConfigDict
) -> None:
  """Checks that the checkpoints of all phases still to train will fit.

  Args:
    workdir: of the run.
    states: phase -> its state, or the shapes of it.
    config: of the run.

  Raises:
    CheckpointError: the disk has less room.
  """
  left = {
    name: state
    for name, state in states.items()
    if workdir_lib.steps_done(workdir, name) < config.phases[name].steps
  }
  checkpoints.check_room(workdir, left, config.train.keep)


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
    BudgetError: a private phase would take steps again, with other noise.
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
  for phase in left:
    if phase.plan:  # which refuses more steps than are paid for
      phase.plan.spent(config.phases[phase.name].steps)
  begun = [p.name for p in left if workdir_lib.steps_done(workdir, p.name)]
  if begun and not (epath.Path(workdir) / workdir_lib.SECRET).exists():
    raise BudgetError(
      f"{workdir}: {', '.join(begun)} cannot go on, since noise_secret, from"
      " which the noise of its steps comes, is gone: the run was finished, or"
      " the file removed. Steps taken again with other noise would spend their"
      " budget twice. Bring back what is missing, or train in another --workdir"
    )
  secret = workdir_lib.secret(workdir) if left else b""
  for phase in phases:
    options = config.phases[phase.name]
    if not options.steps:
      finished[phase.name] = transfer.copy(phase.name, config, workdir, mesh)
      continue
    seed = seeds.phase_seed(config.seed, phase.name)

    def batches(first, phase=phase, options=options, seed=seed):
      if phase.plan or phase.clients:
        return data.drawn_batches(
          _draw(phase, seed, secret, data, mesh.size),
          first_step=first,
          num_workers=config.data.num_workers,
        )
      return data.batches(
        "train",
        batch_size=options.batch_size,
        seed=seed,
        first_step=first,
        num_workers=config.data.num_workers,
        balance=options.get("balance", ""),
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
      start=transfer.take_over(config, phase.name, mesh),
      secret=secret or None,
      options=loop_options(config.train, options),
    )
  # Even if all was trained before: an interruption may have left it there.
  if any(phase.plan for phase in phases):
    workdir_lib.forget_secret(workdir)
  return finished


def _draw(phase, seed, secret, data: Data, devices: int) -> clients.Draw:
  """The records of each step of a private or federated phase."""
  if phase.clients:
    draws = _client_draws(phase, seed, secret, data)
    return clients.RoundDraw(draws, phase.clients.local_steps, devices)
  seed = seeds.private_seed(secret, f"{phase.name}/batches")
  records = data.units("train", phase.plan.unit)
  return _poisson_draw(phase.plan, seed, records, devices)


def _client_draws(phase, seed, secret, data: Data) -> list[clients.Draw]:
  """The records of each local step of each client, by its number."""
  if not phase.plan:
    return [
      clients.ShuffledDraw(
        part, phase.clients.rows, seeds.phase_seed(seed, f"client {number}")
      )
      for number, part in enumerate(phase.clients.parts)
    ]
  owned = federated.units(phase.clients, data, phase.plan.unit)
  return [
    _poisson_draw(
      phase.plan.of_client(number),
      seeds.private_seed(secret, f"{phase.name}/batches of client {number}"),
      records,
      devices=1,
    )
    for number, records in enumerate(owned)
  ]


def _poisson_draw(plan, seed, records, devices) -> sampling.RecordDraw:
  sampler = dataclasses.replace(plan, seed=seed).sampler(devices)
  return sampling.RecordDraw(sampler, records, plan.rows_per_unit, devices)


def loop_options(train: ConfigDict, phase: ConfigDict) -> loop.Options:
  """A phase may be evaluated at a cadence of its own."""
  return loop.Options(
    log_every=train.log_every,
    evaluate_every=phase.get("evaluate_every", train.evaluate_every),
    save_every=train.save_every,
    keep=train.keep,
    profile=tuple(train.profile),
  )


def check_batch_sizes(
  phases: Sequence[Phase], config: ConfigDict, data: Data, mesh: Any
) -> None:
  """Checks all phases, so that none is refused when others are trained.

  Raises:
    DataError: a batch cannot be divided among devices and microbatches, or is
      larger than the training split.
  """
  images = len(data.splits["train"])
  for phase in phases:
    options = config.phases[phase.name]
    setting = f"config.phases.{phase.name}.batch_size = {options.batch_size}"
    if balance := options.steps and options.get("balance", ""):
      if phase.plan or phase.clients:
        raise DataError(
          f"config.phases.{phase.name}.balance = {balance}: batches of a"
          " private or federated phase are drawn otherwise; set it to nothing"
        )
      data.kinds("train", balance)
    if phase.plan:  # checked by make_plans; rows are padded to fit
      continue
    if phase.clients:
      _check_clients(phase.clients.parts, setting, options)
      continue
    if options.steps and options.batch_size % mesh.size:
      raise DataError(
        f"{setting} cannot be divided among {mesh.size} devices: use a multiple"
        f" of {mesh.size}"
      )
    parts = mesh.size * options.accumulate
    if options.steps and options.accumulate > 1 and options.batch_size % parts:
      raise DataError(
        f"{setting} cannot be divided among {mesh.size} devices and"
        f" {options.accumulate} microbatches (accumulate): use a multiple of"
        f" {parts}"
      )
    if options.steps and options.batch_size > images:
      raise DataError(
        f"{setting}, but there are only {images} images to train on: lower it,"
        " or use more images"
      )


def _check_clients(
  parts: Sequence[np.ndarray], setting: str, options: ConfigDict
) -> None:
  largest = max(map(len, parts))
  if options.batch_size > largest:
    raise DataError(
      f"{setting}, in a federated phase the examples of a client's local step,"
      f" but the largest client has only {largest}: lower it, or use more"
      " images"
    )
  if options.batch_size % options.accumulate:
    raise DataError(
      f"{setting} cannot be divided among {options.accumulate} microbatches"
      f" (accumulate): use a multiple of {options.accumulate}"
    )


def load_phases(
  phases: Sequence[Phase],
  config: ConfigDict,
  workdir: epath.PathLike,
  mesh: Any,
) -> dict[str, Any]:
  """The states of all phases of a run.

  States of phases of 0 steps are copies of config.pretrained's, or empty.

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
    # A baseline has nothing to learn, and no checkpoint.
    with progress.slow(f"{phase.name}: reading its parameters"):
      states[phase.name] = (
        {} if done is None else checkpoints.load(directory, mesh)
      )
  return states
