"""Shared by the programs: errors in the user's words, and training."""

import contextlib
import importlib.util
import logging as python_logging
import pathlib
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

import jax
from absl import app, flags, logging
from etils import epath
from flax import errors as flax_errors
from ml_collections import ConfigDict

import launch
from jaxpriv import files
from jaxpriv.data import sources
from jaxpriv.data.dataset import Data
from jaxpriv.data.records import DataError
from jaxpriv.errors import UserError
from jaxpriv.reports import streams
from jaxpriv.training import (
  budget,
  mechanism,
  preemption,
  progress,
  settings,
  transfer,
)
from jaxpriv.training import run as run_lib
from jaxpriv.training.method import Phase
from launch import config as config_lib

# --help shows the flags made here as those of the program that makes them.
flags.disclaim_key_flags()


_BUCKETS = {"gs": "gcsfs", "s3": "s3fs"}


class _Path(flags.ArgumentParser):
  """A path, of which ~ is the user's home, or one in a bucket."""

  def parse(self, argument: str) -> str:
    if files.in_bucket(argument):
      scheme = argument.split("://")[0]
      if scheme not in _BUCKETS:
        raise ValueError(f"buckets are those of {', '.join(_BUCKETS)}")
      if importlib.util.find_spec(_BUCKETS[scheme]) is None:
        raise ValueError(
          f"buckets of {scheme}:// are opened by the package"
          f" {_BUCKETS[scheme]}: pip install {_BUCKETS[scheme]}"
        )
    return files.expanded(argument)


def path_flag(
  name: str,
  default: str | None,
  description: str,
  values: flags.FlagValues = flags.FLAGS,
) -> flags.FlagHolder[str]:
  """Defines a flag that names a file or folder."""
  return flags.DEFINE(
    _Path(), name, default, description, values, flags.ArgumentSerializer()
  )


def run(main: Callable[[list[str]], None]) -> None:
  """absl's app.run, with errors that are not ours as one message.

  The exit status is 1 for errors of users and of the system, such as a full
  disk, and 130 for Ctrl-C.
  """

  def parsed(argv):
    try:
      return config_lib.parse(argv)
    except UserError as error:
      _end(error)

  def guarded(argv):
    try:
      main(argv)
    except preemption.Preempted as stop:
      logging.warning("%s", stop)
      raise
    except KeyboardInterrupt:
      logging.debug("traceback", exc_info=True)
      print("interrupted: run the same command to go on", file=sys.stderr)
      sys.exit(128 + signal.SIGINT)
    except (UserError, OSError) as error:
      logging.debug("traceback", exc_info=True)
      _end(error)
    except flax_errors.ScopeParamShapeError as error:
      logging.debug("traceback", exc_info=True)
      _end(UserError(_of_another_version(error)))

  signal.signal(signal.SIGINT, launch.AT_FIRST)
  streams.forgiving()
  logging.set_verbosity(logging.INFO)
  logging.get_absl_handler().addFilter(_ours_or_a_warning)
  logging.get_absl_handler().setFormatter(
    python_logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S")
  )
  app.run(guarded, flags_parser=parsed)


def _end(error: Exception) -> NoReturn:
  print(f"error: {_words(error)}", file=sys.stderr)
  sys.exit(1)


def _words(error: Exception) -> str:
  """Its message; of errors of the system, which file and what."""
  if isinstance(error, OSError) and error.filename and error.strerror:
    return f"{error.filename}: {error.strerror}"
  return str(error)


def _of_another_version(error: flax_errors.ScopeParamShapeError) -> str:
  which = str(error).partition("(http")[0].strip()
  return (
    "networks that are read here have other shapes than this version of"
    " jaxpriv makes of their settings: train them again, or use the version"
    " that trained them (if none did, this is a fault: --verbosity=1 shows"
    f" where). {which}"
  )


def _ours_or_a_warning(record: python_logging.LogRecord) -> bool:
  """Filters out libraries' messages, such as one for every checkpoint file."""
  places = set(pathlib.Path(record.pathname).parts[-3:-1])
  ours = {"jaxpriv", "launch", "tools"}
  return bool(ours & places) or record.levelno >= python_logging.WARNING


def no_arguments(argv: list[str]) -> None:
  if len(argv) > 1:
    raise app.UsageError(
      f"unexpected argument {argv[1]!r}: every setting is a flag, --name=value"
    )


# Errors about data name settings of the config; these are the flags instead, of
# programs that take no config.
_FLAG_OF = {
  "data.source": "--source",
  "data.path": "--input",
  "data.name": "--name",
  "data.split": "--split",
  "data.sets": "--sets",
  "data.max_bad_share": "--max_bad_share",
  "data.face_threshold": "--face_threshold",
  "data.copies": "--copies",
  "data.level": "--level",
}


@contextlib.contextmanager
def errors_name_flags() -> Iterator[None]:
  """Has errors about data name flags, for programs that take no config."""
  try:
    yield
  except DataError as error:
    name = lambda match: _FLAG_OF.get(match[0], match[0])
    raise DataError(re.sub(r"\bdata\.\w+", name, str(error))) from error


def train(
  config: ConfigDict, workdir: epath.PathLike, mesh: jax.sharding.Mesh
) -> None:
  """Trains all phases of a config in a run directory, or goes on with it."""
  settings.check(config)
  config = settings.expand(config)
  data = run_lib.open_data(config, workdir)
  config = run_lib.resolve(config, data)
  load = lambda name: transfer.pretrained_state(config.pretrained, name, mesh)
  run_lib.check_method(mechanism.load(config.method), config, data, load)
  phases, config = budget.privatise(mechanism.phases(config), config, data)
  transfer.check(phases, config, data, mesh)
  states = check_uses(phases, config, data, mesh, load)
  run_lib.check_room(workdir, states, config)
  run_lib.begin(workdir, phases, config, data, mesh)
  for split in data.splits:
    logging.info(
        "%s: %d images of %d people",
        split, len(data.splits[split]), data.people(split),
    )  # fmt: skip
  run_lib.train_phases(phases, config, data, workdir, mesh)


def check_uses(
  phases: Sequence[Phase],
  config: ConfigDict,
  data: Data,
  mesh: jax.sharding.Mesh,
  load: Callable[[str], Any],
) -> dict[str, Any]:
  """Refuses, before training, what evaluating or releasing would refuse.

  Args:
    phases: of the run.
    config: of it, resolved.
    data: of it.
    mesh: on which it is to be evaluated.
    load: phase -> its state in config.pretrained, or None.

  Returns:
    phase -> the shapes of its state, or the state that is taken over.

  Raises:
    UserError: the run could be trained and then not be used.
  """
  # Late: what these import makes every program slow to start.
  from jaxpriv.attacks import evaluation
  from jaxpriv.release import card, release

  with progress.slow("Checking what the run is to be used for"):
    states = mechanism.on_paper(phases, data, config)
  taken = sources.words(config.pretrained_phases)
  for phase in phases:
    if not config.phases[phase.name].steps:
      there = config.pretrained and (not taken or phase.name in taken)
      states[phase.name] = (load(phase.name) or {}) if there else {}
  targets = mechanism.targets(config, mechanism.Trained(tuple(phases), states))
  evaluation.check(config, data, targets, mesh)
  release.products_of(targets[0])
  card.released_config(config)
  if targets[0].withheld:
    logging.warning("This run cannot be released: it %s", targets[0].withheld)
  return states
