"""The privacy budget of a run: its phases made private, and what was spent.

`privacy.plan` plans one phase and knows no config, data or method. Here all
phases of a run share one budget.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from absl import logging
from etils import epath
from ml_collections import ConfigDict

from jaxpriv.data import sources
from jaxpriv.data.dataset import Data
from jaxpriv.data.records import DataError
from jaxpriv.errors import SettingError
from jaxpriv.privacy import clipping
from jaxpriv.privacy import plan as plan_lib
from jaxpriv.training import federated, mechanism, progress
from jaxpriv.training import mesh as mesh_lib
from jaxpriv.training.method import Phase


def privatise(
  phases: Sequence[Phase], config: ConfigDict, data: Data
) -> tuple[list[Phase], ConfigDict]:
  """The phases of a run, those of `config.dp` trained with privacy.

  Those of `config.federated` are trained by clients, with privacy or without.

  Returns:
    the phases, and a config with what was planned written into it: the noise
    multiplier, so that it need not be calibrated again, and the steps of
    phases that the budget does not pay all steps of.

  Raises:
    DataError: config.dp names what there is not, or cannot be trained so.
    BudgetError: its numbers do not fit each other or the data.
    SettingError: config.federated will not do.
  """
  dp = config.dp
  phases = federated.distribute(phases, config, data)
  if not is_private(dp):
    return phases, config
  trained = [p.name for p in phases if config.phases[p.name].steps]
  if not trained:
    raise DataError(
      "config.dp asks for differential privacy, and no phase of this run is"
      " trained: leave config.dp.epsilon and noise_multiplier out"
    )
  names = sources.words(dp.phases) or trained
  for name in names:
    if name not in trained:
      raise DataError(
        f"config.dp.phases names {name}, and the phases of this run are"
        f" {', '.join(trained)}"
      )
  chosen = [phase for phase in phases if phase.name in names]
  for phase in chosen:
    if phase.private is None:
      raise DataError(
        f"config.dp: phase {phase.name} is not supervised by a loss of each"
        " example, so it cannot be trained with differential privacy; name"
        " others in config.dp.phases"
      )
    if config.phases[phase.name].accumulate > 1:
      raise DataError(
        f"config.phases.{phase.name}.accumulate: a private phase goes through"
        " its batch in parts by config.dp.microbatch_size; set that, and"
        " accumulate to 1"
      )
  settings = [
    (p.name, config.phases[p.name].batch_size, config.phases[p.name].steps)
    for p in chosen
  ]
  units = len(data.units("train", dp.unit))
  clients = {
    phase.name: _shared(phase, config, data)
    for phase in chosen
    if phase.clients
  }
  with progress.slow(_reckoning(dp)):
    plans = plan_lib.make_plans(dp, settings, units, clients)
  config = config.copy_and_resolve_references()
  config.dp.noise_multiplier = next(iter(plans.values())).noise_multiplier
  planned = []
  for phase in phases:
    if phase.name in plans and phase.private:
      plan = plans[phase.name]
      _tell(phase.name, plan, config)
      config.phases[phase.name].steps = plan.steps
      phase = phase._replace(method=phase.private(plan), plan=plan)
    planned.append(phase)
  _check_networks(planned, config, data)
  return planned, config


def _shared(phase, config, data) -> plan_lib.Shared:
  """The protected units of each client of a phase, and its local steps."""
  if config.dp.unit == "person" and config.federated.by != "person":
    raise SettingError(
      "config.dp.unit = person protects people, and with config.federated.by ="
      f" {config.federated.by} several clients would learn from one of them:"
      " set by=person, or protect images"
    )
  units = federated.units(phase.clients, data, config.dp.unit)
  return tuple(map(len, units)), phase.clients.local_steps


def _check_networks(phases, config, data) -> None:
  """Builds all states on paper: BatchNorm is refused before anything runs."""
  shapes = mechanism.on_paper(phases, data, config)
  names = sorted(
    (name, phase.name)
    for phase in phases
    if phase.plan
    for name in clipping.parameter_names(shapes[phase.name]["params"])
  )
  prefixes = dict(config.dp.group_clip_norms)
  for prefix in prefixes:
    mine = [name for name, _ in names if name.startswith(prefix)]
    if not mine:
      examples = [f"{phase}: {name}" for name, phase in names[:4]]
      raise plan_lib.BudgetError(
        f"config.dp.group_clip_norms names {prefix!r}, and no parameter of the"
        f" private phases begins so: {', '.join(examples)}, ..."
      )
    owners = {plan_lib.owner(name, prefixes) for name in mine}
    if prefix not in owners:
      longer = ", ".join(repr(p) for p in sorted(filter(None, owners)))
      raise plan_lib.BudgetError(
        f"config.dp.group_clip_norms names {prefix!r}, and all that begins so"
        f" belongs to longer names: {longer}. Leave {prefix!r} out"
      )


def statement(
  phases: Sequence[Phase],
  states: Mapping[str, Any],
  config: ConfigDict,
  data: Data | None,
) -> dict[str, Any]:
  """{"privacy": the guarantee of a trained run, or None if it has none}.

  Args:
    phases: of the run.
    states: of its phases.
    config: of the run.
    data: that it learned from; None will do where it is not private.

  Raises:
    BudgetError: a state was trained by another plan than the config's.
  """
  if data is None or not is_private(config.dp):
    return {"privacy": None}
  planned, config = privatise(phases, config, data)
  plans = {p.name: p.plan for p in planned if p.plan}
  steps = {}
  for name, plan in plans.items():
    ledger = mesh_lib.fetch(states[name]["privacy"])
    plan.check_ledger(ledger)
    steps[name] = int(ledger["steps"])
  with progress.slow(_reckoning(config.dp)):
    guarantee = plan_lib.statement(plans, steps, config.dp)
  trained = [p.name for p in phases if config.phases[p.name].steps]
  guarantee["not_private_phases"] = [
    name for name in trained if name not in plans
  ]
  guarantee["pretrained"] = epath.Path(config.pretrained).name
  return {"privacy": guarantee}


def _reckoning(dp: ConfigDict) -> str:
  return (
    f"Reckoning the privacy of a budget of {dp.epsilon:g}, by {dp.accountant}:"
    " up to a minute where there is little noise"
  )


def is_private(dp: ConfigDict) -> bool:
  """Tells whether a config asks for differential privacy at all."""
  return dp.epsilon != math.inf or dp.noise_multiplier != 0


def _tell(name, plan, config):
  wanted = config.phases[name].steps
  if plan.steps < wanted:
    logging.warning(
      "%s: the budget pays for %d of %d steps", name, plan.steps, wanted
    )
  logging.info(
    "%s: private, noise multiplier %.4g, sampling probability %.4g"
    " (%d of %d %s expected in a batch), %d steps",
    name, plan.noise_multiplier, plan.sampling_probability, plan.batch_size,
    plan.units, plan_lib.PLURAL[plan.unit], plan.steps,
  )  # fmt: skip
