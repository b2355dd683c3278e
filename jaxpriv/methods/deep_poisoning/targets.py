"""Targets of deep poisoning, and what an attacker may know of them."""

from collections.abc import Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict

from jaxpriv.data.dataset import Data
from jaxpriv.data.records import DataError
from jaxpriv.data.sources import words
from jaxpriv.methods.deep_poisoning import classifier, transfer
from jaxpriv.methods.deep_poisoning.split import (
  CLASSIFIER,
  POISONING,
  draws,
  split_attributes,
  task_labels,
)
from jaxpriv.training import mechanism, people, run
from jaxpriv.training import workdir as workdir_lib
from jaxpriv.training.mechanism import Pool, Score, Target, Trained
from jaxpriv.training.method import Phase, State

LIMITS = (
  "Protection rests on the secrecy of a deterministic map: whoever holds enough"
  " released features together with their photographs inverts it for all"
  " others. Whoever has its parameters, or may run it, makes such pairs at"
  " will.",
  "The same photograph gives the same features each time: two releases of it"
  " can be linked.",
  "Features hold more than the decider reads: what no probe has asked them for"
  " was not measured.",
)


def targets(config: ConfigDict, trained: Trained) -> list[Target]:
  """The mechanism and its controls: other defences of the same features.

  A run that has only trained a decider, on features that others release,
  protects nothing. Its target is the decider, a model.
  """
  kept, _ = split_attributes(config)
  target = Target(
    config.mechanism,
    config,
    trained,
    (mechanism.FEATURES,),
    kept=kept,
    task=lambda arrays: task_labels(config, arrays),
  )
  if not _releases(config, trained):
    return [
      target._replace(
        products=(mechanism.MODEL,),
        scores=lambda arrays: _scores(config, arrays),
        withheld=(
          "has trained a decider and no more: what it protects with is not"
          " there. Train its other phases, too"
        ),
      )
    ]
  target = target._replace(
    copies=_copies(config) if config.model.module != "none" else None,
    code_size=config.model.dpm.code if config.model.module == "dpm" else 0,
    again=_again(config, trained) if draws(config) else None,
    colluders=lambda data, mesh: _colluders(config, trained, data, mesh),
    pool=lambda: _pool(config, trained),
    withheld=(
      "has config.model.task=identity: a pool is released with attributes,"
      " never with the people in it"
      if config.model.task == "identity"
      else ""
    ),
    caution=_caution(config),
    limits=LIMITS,
  )
  return mechanism.with_controls(target)


def _releases(config: ConfigDict, trained: Trained) -> bool:
  states, last = trained.states, trained.last
  return (
    config.data.source != "feature_pools"
    and all(states[name] for name in last.needs)
    and bool(states[last.name] or config.model.module == "none")
  )


def _scores(config, arrays) -> Mapping[str, Score]:
  constants = classifier.baseline(arrays, config)
  names = task_labels(config, arrays)
  return {
    f"{name}_accuracy": Score(
      name if name == "identity" else f"attribute {name}",
      "accuracy",
      constants.get(f"{name}_accuracy"),
    )
    for name in names
  }


def _changed(config: ConfigDict, change) -> Phase:
  """The protecting phase of a config that is not that of the run."""
  other = config.copy_and_resolve_references()
  with other.unlocked():
    change(other)
  return mechanism.phases(other)[-1]


def _copies(config: ConfigDict):
  def trained_again(seed: int) -> Phase:
    def change(other):
      other.phases[POISONING] = config.evaluation.phases.module

    return _changed(config, change)._replace(name=f"module_{seed}")

  return trained_again


def _again(config: ConfigDict, trained: Trained) -> Trained:
  def change(other):
    other.model.secret += 1

  return trained._replace(
    phases=(*trained.phases[:-1], _changed(config, change))
  )


def _colluders(
  config: ConfigDict, trained: Trained, data: Data, mesh: Any
) -> Iterator[tuple[Phase, State]]:
  """The modules of other entities, for the same featurizer.

  Raises:
    DataError: one is for another, or has learned from the test people.
  """
  mine = transfer.featurizer_sha256(config, trained.states[CLASSIFIER])
  for workdir in words(config.evaluation.colluders):
    people.check_unseen(workdir, data)
    other = workdir_lib.load_config(workdir)
    phases = mechanism.phases(other)
    states = run.load_phases(phases, other, workdir, mesh)
    if transfer.featurizer_sha256(other, states[CLASSIFIER]) != mine:
      raise DataError(
        f"config.evaluation.colluders names {workdir}, whose module is for"
        " another featurizer: those who collude share one"
      )
    yield phases[-1], states[phases[-1].name]


def _pool(config: ConfigDict, trained: Trained) -> Pool:
  state = trained.states[CLASSIFIER]
  return Pool(
    config.model.layer,
    transfer.featurizer_sha256(config, state),
    {CLASSIFIER: classifier.public_classifier(config, state)},
  )


def _caution(config: ConfigDict) -> str:
  if config.model.secret:
    return ""
  if draws(config):
    return (
      "config.model.secret is 0, as everybody's is: whoever has a photograph"
      " can draw its key or noise. Train with a number of your own"
    )
  if config.model.module != "none":
    return (
      "config.model.secret is 0, as everybody's is: whoever has the photographs"
      " that the module was trained on can train it again. Train with a number"
      " of your own"
    )
  return ""
