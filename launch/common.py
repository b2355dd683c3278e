"""What the programs share: errors in the user's words, and finding methods."""

import contextlib
import importlib
import logging as python_logging
import pathlib
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from absl import app, logging
from ml_collections import ConfigDict

from jaxpriv.data.records import DataError
from jaxpriv.privacy.plan import BudgetError
from jaxpriv.reports.results import ResultsError
from jaxpriv.training import budget, loop, mechanism, preemption, private
from jaxpriv.training import run as run_lib
from jaxpriv.training import workdir as workdir_lib
from jaxpriv.training.method import Phase

# Errors that say all there is to say: shown without a traceback.
USER_ERRORS = (
  BudgetError,
  DataError,
  FileNotFoundError,
  ResultsError,
  loop.NonFiniteError,
  private.NotPerExampleError,
  workdir_lib.ConfigMismatchError,
)


def run(main: Callable[[list[str]], None]) -> None:
  """absl's app.run, with user errors as one message and exit status 1."""

  def guarded(argv):
    try:
      main(argv)
    except preemption.Preempted as stop:
      logging.warning("%s", stop)
      raise
    except USER_ERRORS as error:
      logging.debug("traceback", exc_info=True)
      print(f"error: {error}", file=sys.stderr)
      sys.exit(1)

  logging.set_verbosity(logging.INFO)
  logging.get_absl_handler().addFilter(_ours_or_a_warning)
  logging.get_absl_handler().setFormatter(
    python_logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S")
  )
  app.run(guarded)


def _ours_or_a_warning(record: python_logging.LogRecord) -> bool:
  """Libraries that log through absl tell of every checkpoint file: no."""
  places = set(pathlib.Path(record.pathname).parts[-3:-1])
  ours = {"jaxpriv", "launch", "tools"}
  return bool(ours & places) or record.levelno >= python_logging.WARNING


def no_arguments(argv: list[str]) -> None:
  if len(argv) > 1:
    raise app.UsageError(
      f"unexpected argument {argv[1]!r}: every setting is a flag, --name=value"
    )


# What errors about data call a setting of the config is a flag of programs that
# take no config.
_FLAG_OF = {
  "data.source": "--source",
  "data.path": "--input",
  "data.name": "--name",
  "data.split": "--split",
  "data.sets": "--sets",
  "data.max_bad_share": "--max_bad_share",
}


@contextlib.contextmanager
def errors_name_flags() -> Iterator[None]:
  """Has errors about data name flags, for programs that take no config."""
  try:
    yield
  except DataError as error:
    name = lambda match: _FLAG_OF.get(match[0], match[0])
    raise DataError(re.sub(r"\bdata\.\w+", name, str(error))) from error


def parameters_sha256(states: Mapping[str, Any]) -> str:
  """A hash of all trained parameters, names and values."""
  return mechanism.Trained((), states).sha256()


public_config = workdir_lib.public_config


def phases_of(config: ConfigDict) -> list[Phase]:
  """The phases of `config.method`, a module of jaxpriv.methods."""
  return module_of(config).phases(config)


def releases_features(
  config: ConfigDict, phases: Sequence[Phase], states: Mapping[str, Any]
) -> bool:
  """Whether a run protects photographs by releasing features of them.

  Who has only trained a decider, on what others release, protects nothing.
  """
  last = phases[-1]
  return (
    last.method.outputs.features is not None
    and config.data.source != "feature_pools"
    and all(states[name] for name in last.needs)
    and bool(states[last.name] or config.model.module == "none")
  )


def module_of(config: ConfigDict) -> Any:
  name = f"jaxpriv.methods.{config.method}"
  try:
    return importlib.import_module(name)
  except ModuleNotFoundError as error:
    if error.name != name:
      raise
    raise DataError(f"config.method: there is no {name}") from error


def train(config, workdir, mesh) -> None:
  """Trains all phases of a config in a run directory, or goes on with it."""
  data = run_lib.open_data(config)
  config = run_lib.resolve(config, data)
  required = getattr(module_of(config), "required", lambda config: ())
  run_lib.check_labels(required(config), data)
  phases = budget.privatise(phases_of(config), config, data)
  check = getattr(module_of(config), "check_pretrained", None)
  if check:
    check(
      config,
      data.source,
      lambda name: run_lib.pretrained_state(config.pretrained, name, mesh),
    )
  run_lib.begin(workdir, phases, config, data, mesh)
  for split in data.splits:
    logging.info(
        "%s: %d images of %d people",
        split, len(data.splits[split]), data.people(split),
    )  # fmt: skip
  run_lib.train_phases(phases, config, data, workdir, mesh)
