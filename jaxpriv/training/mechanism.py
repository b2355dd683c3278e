"""A mechanism: a module of `jaxpriv.methods`, its phases, and its targets.

Its module has `phases`, and may have the other functions of `Mechanism`.
`config.method` names it: "deep_poisoning" is jaxpriv.methods.deep_poisoning,
and a name with dots is a module of somebody else.
"""

import hashlib
import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np
from absl import logging
from ml_collections import ConfigDict

from jaxpriv.data.dataset import Data
from jaxpriv.data.records import DataError
from jaxpriv.data.sources import words
from jaxpriv.training import inference, progress
from jaxpriv.training import mesh as mesh_lib
from jaxpriv.training import workdir as workdir_lib
from jaxpriv.training.method import Phase, Predict, State

IMAGE, FEATURES, MODEL = "image", "features", "model"
PRODUCTS = (IMAGE, FEATURES, MODEL)

Arrays = Mapping[str, np.ndarray]  # fields of records, stacked [N, ...]
Load = Callable[[str], State | None]  # phase -> its state in config.pretrained


class Trained(NamedTuple):
  """Phases in order, and their finished states by name."""

  phases: tuple[Phase, ...]
  states: Mapping[str, State]

  @property
  def last(self) -> Phase:
    return self.phases[-1]

  def state(self, phase: Phase) -> State:
    return self.states[phase.name]

  def frozen(self, phase: Phase) -> dict[str, State]:
    """The states that a phase needs."""
    return {name: self.states[name] for name in phase.needs}

  def phase_with(self, output: str) -> Phase | None:
    """The last phase whose method has an output of that name."""
    for phase in reversed(self.phases):
      if getattr(phase.method.outputs, output) is not None:
        return phase
    return None

  def bound(self, output: str) -> tuple[Predict, State, dict[str, State]]:
    """(function, state, frozen) of an output, for `inference.predict`.

    Raises:
      ValueError: no phase has it.
    """
    phase = self.phase_with(output)
    if phase is None:
      raise ValueError(f"no phase has an output {output!r}")
    fn = getattr(phase.method.outputs, output)
    return fn, self.state(phase), self.frozen(phase)

  def sha256(self) -> str:
    """A hash of all trained parameters, names and values."""
    digest = hashlib.sha256()
    with progress.slow("Hashing the parameters"):
      for path, leaf in jax.tree_util.tree_leaves_with_path(dict(self.states)):
        digest.update(jax.tree_util.keystr(path).encode())
        digest.update(np.ascontiguousarray(mesh_lib.fetch(leaf)).tobytes())
    return digest.hexdigest()


class Score(NamedTuple):
  """How a score of a model is called.

  Attributes:
    claim: what it speaks of.
    metric: a key of `jaxpriv.metrics.finding.METRICS`.
    constant: what the best constant answer scores, if there is one.
  """

  claim: str
  metric: str
  constant: float | None = None


class Pool(NamedTuple):
  """The part of a release that others need to train on its features.

  Attributes:
    layer: after which they were taken.
    featurizer: a hash of the network that makes them of images.
    parameters: phase -> its public state, for features of one's own images.
  """

  layer: str
  featurizer: str
  parameters: Mapping[str, State]


class Target(NamedTuple):
  """A mechanism, or a control beside it, as it is attacked and released.

  Attributes:
    name: as it stands in tables.
    config: of it.
    trained: its phases and states.
    products: what it releases, of PRODUCTS.
    control: whether it is there to compare with.
    kept: attributes that it keeps on purpose; None: all.
    task: records -> name -> labels [N], -1 unknown, of what its decider says.
    scores: records -> name of Outputs.scores -> Score.
    copies: seed -> the protecting phase as an attacker would train it again;
      None where there is nothing to train.
    code_size: numbers of the key that an attacker may guess; 0: no key.
    again: the release with another secret; None where there is no secret.
    colluders: (data, mesh) -> protecting phases of others, with their states.
    pool: what is published with features; called when they are released.
    nobody: what it draws (Outputs.drawn) is of codes or conditions and noise,
      and so of nobody.
    withheld: why nothing may be released, if so.
    caution: what the owner should be told before a release.
    proven: sentences on what holds for every attacker, for reports and cards.
    limits: sentences on what it does not promise, likewise.
  """

  name: str
  config: ConfigDict
  trained: Trained
  products: tuple[str, ...]
  control: bool = False
  kept: tuple[str, ...] | None = None
  task: Callable[[Arrays], dict[str, np.ndarray]] | None = None
  scores: Callable[[Arrays], Mapping[str, Score]] | None = None
  copies: Callable[[int], Phase] | None = None
  code_size: int = 0
  again: Trained | None = None
  colluders: Callable[[Data, Any], Iterator[tuple[Phase, State]]] | None = None
  pool: Callable[[], Pool] | None = None
  nobody: bool = False
  withheld: str = ""
  caution: str = ""
  proven: tuple[str, ...] = ()
  limits: tuple[str, ...] = ()


class Mechanism(Protocol):
  """The contract of a module of `jaxpriv.methods`; only `phases` is required.

  Attributes:
    CLOSED_SET: whether it can tell known people apart, so that everybody may be
      in all splits (data.split_by=image); False if it is left out.
    SECRETS: names of settings that are never published, as in "model.secret".
  """

  CLOSED_SET: bool
  SECRETS: tuple[str, ...]

  def phases(self, config: ConfigDict) -> list[Phase]:
    """The training runs, in order; the last one protects."""

  def targets(self, config: ConfigDict, trained: Trained) -> list[Target]:
    """Itself, then its controls; see `targets` for the default.

    Before training it is called for checks, with states that are shapes alone.
    """

  def check(self, config: ConfigDict, data: Data, load: Load) -> None:
    """Refuses data and settings before anything runs.

    Raises:
      DataError: it cannot be trained so.
    """

  def unfit(self, config: ConfigDict, arrays: Arrays) -> str:
    """Why these records cannot be protected by it; "" if they can."""


def module(path: str, setting: str) -> Any:
  """A module that a setting names.

  Raises:
    DataError: it is not there, nor perhaps the package that it is to be in.
  """
  try:
    return importlib.import_module(path)
  except ModuleNotFoundError as error:
    if not f"{path}.".startswith(f"{error.name}."):
      raise  # it is there, and imports what is not
    raise DataError(f"{setting}: there is no module {path}") from error


def load(method: str) -> Any:
  """The module of a mechanism.

  Raises:
    DataError: there is none of that name.
  """
  path = method if "." in method else f"jaxpriv.methods.{method}"
  return module(path, "config.method")


def phases(config: ConfigDict) -> list[Phase]:
  """The phases of `config.method`."""
  return load(config.method).phases(config)


def on_paper(
  phases: Sequence[Phase], data: Data, config: ConfigDict
) -> dict[str, State]:
  """The shapes of all states, for checks: nothing is computed."""
  first = data._replace(splits={"first": data.splits["train"][:1]})
  batch = next(first.epoch("first", batch_size=1, everywhere=True))
  shapes: dict[str, State] = {}
  for phase in phases:
    frozen = {name: shapes[name] for name in phase.needs}

    def init(key, batch, frozen, method=phase.method):
      return method.init(key, inference.as_float(batch), frozen)

    rows = config.phases[phase.name].batch_size
    many = jax.tree.map(
      lambda x, rows=rows: jax.ShapeDtypeStruct((rows, *x.shape[1:]), x.dtype),
      batch,
    )
    shapes[phase.name] = jax.eval_shape(init, jax.random.key(0), many, frozen)
  return shapes


def public_config(config: ConfigDict) -> dict[str, Any]:
  """The config without secrets and paths; see `workdir.public_config`."""
  secrets = getattr(load(config.method), "SECRETS", ())
  return workdir_lib.public_config(config, secrets)


def targets(config: ConfigDict, trained: Trained) -> list[Target]:
  """The mechanism of a run, then its controls (`config.controls`)."""
  module = load(config.method)
  if hasattr(module, "targets"):
    return module.targets(config, trained)
  return with_controls(
    Target(config.mechanism, config, trained, products(trained))
  )


def products(trained: Trained) -> tuple[str, ...]:
  """The products of the last phase; a model, if it has no other."""
  outputs = trained.last.method.outputs
  released = [name for name in (IMAGE, FEATURES) if getattr(outputs, name)]
  return tuple(released) or (MODEL,)


def with_controls(target: Target) -> list[Target]:
  """A target and its controls: other things that may be done in its place.

  A control is the config of the run with the changes of config.controls[name].
  It has the states of the run, but for phases that the changes give no steps.
  """
  names = words(target.config.evaluation.controls)
  # The mechanism under test is no control, whatever its strength.
  names = tuple(name for name in names if name != target.name)
  return [target, *(_control(target, name) for name in names)]


def _control(target: Target, name: str) -> Target:
  config = target.config.copy_and_resolve_references()
  if name not in config.controls:
    raise DataError(
      f"config.evaluation.controls names {name}: config.controls has"
      f" {', '.join(config.controls) or 'none'}"
    )
  changes = config.controls[name]
  with config.unlocked():
    config.update(changes)
  untrained = {
    phase
    for phase, options in changes.get("phases", {}).items()
    if options.get("steps") == 0
  }
  own_phases = phases(config)
  unknown = [
    phase.name
    for phase in own_phases
    if phase.name not in untrained and phase.name not in target.trained.states
  ]
  if unknown:
    raise DataError(
      f"config.controls.{name} needs {', '.join(unknown)}, which this run has"
      " not trained: give phases.NAME.steps=0 there if it does without"
    )
  states = {
    phase.name: {}
    if phase.name in untrained
    else target.trained.states[phase.name]
    for phase in own_phases
  }
  return target._replace(
    name=name,
    config=config,
    trained=Trained(tuple(own_phases), states),
    control=True,
    copies=None,
    code_size=0,
    again=None,
    colluders=None,
    proven=(),
    limits=(),
  )


def fitting(targets: Sequence[Target], arrays: Arrays) -> list[Target]:
  """Targets that these records allow; controls left out are logged.

  Raises:
    DataError: the mechanism itself cannot protect them.
  """
  fit = []
  for target in targets:
    module = load(target.config.method)
    reason = (
      module.unfit(target.config, arrays) if hasattr(module, "unfit") else ""
    )
    if reason and not target.control:
      raise DataError(f"{target.name}: {reason}")
    if reason:
      logging.warning("%s is left out: %s", target.name, reason)
    else:
      fit.append(target)
  return fit
