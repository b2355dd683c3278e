"""Warm starts: a run takes parameters over from `config.pretrained`.

That is a finished run directory, or a release of one. A phase with steps here
begins at its parameters; a phase of 0 steps is copied as it is.
`config.pretrained_phases` names the phases taken over; () is all, of a run of
the same method.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from absl import logging
from etils import epath
from ml_collections import ConfigDict

from jaxpriv.data import sources
from jaxpriv.data.dataset import Data
from jaxpriv.data.records import DataError
from jaxpriv.privacy.plan import BudgetError
from jaxpriv.training import checkpoints, export, people
from jaxpriv.training import mesh as mesh_lib
from jaxpriv.training import workdir as workdir_lib
from jaxpriv.training.method import Phase


def check(
  phases: Sequence[Phase],
  config: ConfigDict,
  data: Data,
  mesh: jax.sharding.Mesh,
) -> None:
  """Checks, before anything runs, that config.pretrained has what is needed.

  Raises:
    DataError: it is not, or a phase is to be trained on what nothing gives.
    BudgetError: a private run would start from its own people.
  """
  _check_pretrained(phases, config)
  _check_start(phases, config, data)
  _check_needs(phases, config, mesh)


def pretrained_state(pretrained: str, name: str, mesh: Any) -> Any:
  """The state of a phase of a run or a release; None if it is not there."""
  if _released(pretrained).exists():
    return export.read(_released(pretrained)).get(name)
  directory = checkpoints.phase_directory(pretrained, name)
  if checkpoints.latest_step(directory) is None:
    return None
  return checkpoints.load(directory, mesh)


def copy(
  name: str, config: ConfigDict, workdir: epath.PathLike, mesh: Any
) -> Any:
  """The state of a phase of no steps, kept as its step 0 from the first call.

  Later changes to config.pretrained do not affect this run.
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


def take_over(
  config: ConfigDict, name: str, mesh: Any
) -> Callable[[Any], Any] | None:
  """state -> state with the parameters of the same phase of another run.

  None if there is nothing to take over. Parameters of other shapes stay fresh.
  """
  if not _taken(config, name):
    return None
  pretrained = config.pretrained

  def start(state):
    other = pretrained_state(pretrained, name, mesh)
    if other is None:
      logging.info("%s: %s does not hold it; fresh", name, pretrained)
      return state
    taken, fresh = adopt(state, other)
    logging.info(
        "%s: parameters taken over from %s; fresh: %s",
        name, pretrained, ", ".join(fresh) or "none",
    )  # fmt: skip
    return taken

  return start


def adopt(state: Any, other: Any) -> tuple[Any, list[str]]:
  """A state with copies of what another one predicts with.

  Returns:
    the state, and the names of parameters that stay, as they have other shapes.
  """
  if "params" not in state or "params" not in other:
    return state, []  # nothing was learned: it is made anew
  if "ema" in other:  # the parameters that it predicts with
    other = {**other, "params": other["ema"]}
  fresh: list[str] = []

  def choose(path, mine):
    theirs = other
    for key in path:
      theirs = theirs.get(key.key, {}) if isinstance(theirs, dict) else {}
    if getattr(theirs, "shape", None) == mine.shape:
      theirs = theirs.astype(mine.dtype, copy=True)
      return jax.device_put(theirs, mine.sharding)
    fresh.append(jax.tree_util.keystr(path, simple=True, separator="/"))
    return mine

  taken = {
    part: jax.tree_util.tree_map_with_path(
      lambda path, leaf, part=part: choose(
        (jax.tree_util.DictKey(part), *path), leaf
      ),
      state[part],
    )
    for part in ("params", "batch_stats")
  }
  if "batch_stats" in state.get(mesh_lib.CLIENTS, {}):
    begun = lambda mine, x: jax.device_put(
      jnp.broadcast_to(x, mine.shape), mine.sharding
    )
    local = {**state[mesh_lib.CLIENTS]}
    local["batch_stats"] = jax.tree.map(
      begun, local["batch_stats"], taken["batch_stats"]
    )
    taken[mesh_lib.CLIENTS] = local
  if "ema" in state:
    taken["ema"] = jax.tree.map(lambda x: x.copy(), taken["params"])
  return {**state, **taken}, fresh


def check_copied(
  config: ConfigDict,
  made_with: Mapping[str, Sequence[str]],
  load: Callable[[str], Any],
  further: Callable[[str, ConfigDict], Sequence[str]] = lambda name, there: (),
) -> list[str]:
  """Checks that phases of 0 steps were trained with the settings of this run.

  Args:
    config: of the run.
    made_with: phase -> names of the settings that its parameters depend on.
    load: phase -> its state in config.pretrained, or None.
    further: (phase, config of the other run) -> other differences, in words.

  Returns:
    the phases that are taken over as they are.

  Raises:
    DataError: they were trained with others.
  """
  copied = [
    name
    for name in made_with
    if name in config.phases
    and _taken(config, name)
    and not config.phases[name].steps
    and load(name)
  ]
  if not copied:
    return []
  there = workdir_lib.load_config(config.pretrained)
  wrong: dict[str, list[str]] = {}
  for name in copied:
    changes = [
      f"{setting}: {theirs}, here {mine}"
      for setting in made_with[name]
      if (mine := _setting(config, setting))
      != (theirs := _setting(there, setting))
      # Earlier versions had no such setting, which is off: None and False.
      and (mine or theirs)
    ]
    changes += further(name, there)
    if changes:
      wrong[name] = changes
  if wrong:
    told = dict.fromkeys(change for of in wrong.values() for change in of)
    raise DataError(
      f"config.pretrained = {config.pretrained}: its"
      f" {' and '.join(wrong)} would be taken over as they are, and were"
      f" trained with {'; '.join(told)}. Train them here, by"
      " --config.phases.NAME.steps, or give the settings of that run"
    )
  return copied


def _setting(config: ConfigDict, name: str) -> Any:
  """A setting by its dotted name, as a file holds it; None if there is none."""
  value: Any = config
  for part in name.split("."):
    value = value.get(part) if isinstance(value, ConfigDict) else None
  return _plain(value)


def _plain(value: Any) -> Any:
  if isinstance(value, (ConfigDict, dict)):
    return {name: _plain(part) for name, part in value.items()}
  if isinstance(value, (list, tuple)):
    return [_plain(part) for part in value]
  return value


def _check_pretrained(phases: Sequence[Phase], config: ConfigDict) -> None:
  """Raises DataError if there is nothing finished to take over."""
  if not config.pretrained:
    return
  try:
    other = workdir_lib.load_config(config.pretrained)
  except FileNotFoundError as error:
    there = epath.Path(config.pretrained).exists()
    raise DataError(
      f"config.pretrained = {config.pretrained} is no run directory:"
      f" {'it has no config.json' if there else 'there is nothing'}"
    ) from error
  if other.method != config.method:
    # Phases of one name are alike in few mechanisms: who means it, names them.
    both = [phase.name for phase in phases if phase.name in other.phases]
    chosen = set(sources.words(config.pretrained_phases))
    if not chosen or chosen - set(both):
      raise DataError(
        f"config.pretrained = {config.pretrained} is a run of {other.method},"
        f" and this one of {config.method}: "
        + (
          f"name the phases that are taken over, of {', '.join(both)}, in"
          " config.pretrained_phases"
          if both
          else "there is nothing to take over"
        )
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
    steps = other.phases.get(phase.name, {}).get("steps", 0)
    if done < steps:
      raise DataError(
        f"config.pretrained = {config.pretrained}: its {phase.name} is at step"
        f" {done} of {steps}; finish that run first"
      )


def _check_start(phases, config: ConfigDict, data: Data) -> None:
  """Raises BudgetError if a private run starts from its own people."""
  if config.pretrained and any(phase.plan for phase in phases):
    both = data.hashes("train") & people.learned_from(config.pretrained)
    if both:
      raise BudgetError(
        f"{len(both)} of the people to train on are among those that"
        f" config.pretrained = {config.pretrained} has learned from: what it"
        " knows of them is outside the budget. Start from a run on other people"
      )


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


def _taken(config: ConfigDict, name: str) -> bool:
  """Tells whether a phase begins from config.pretrained."""
  chosen = sources.words(config.pretrained_phases)
  return bool(config.pretrained) and (not chosen or name in chosen)


def _untrained(name: str, config: ConfigDict, mesh: Any) -> Any:
  """The state of a phase of no steps: as config.pretrained has it, or empty."""
  if not _taken(config, name):
    return {}  # a baseline: there is nothing to learn
  return pretrained_state(config.pretrained, name, mesh) or {}


def _released(pretrained: str) -> epath.Path:
  """The parameters of a release, which has no checkpoints."""
  return epath.Path(pretrained) / "parameters.npz"
