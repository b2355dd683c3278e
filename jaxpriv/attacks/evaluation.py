"""One loop: for target, for attack, for finding.

`config.attacks` is name -> dict(type=..., controls=..., **options). A type is a
module of `jaxpriv.attacks`, or, with dots, of somebody else: it has PRODUCTS,
which it attacks, and `attack(target, people, **options)`, which yields
Findings; and perhaps RANGES of its options, and
`ready(target, data, mesh, **options)`, which refuses what the attack would fail
on later. Controls face an attack if config.attacks[name].controls names them,
or "all".

Findings of a finished attack are kept on disk until the evaluation is finished,
so that an interrupted one goes on with the next attack.
"""

import hashlib
import inspect
import io
import json
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import logging
from etils import epath
from ml_collections import ConfigDict

from jaxpriv import files
from jaxpriv.attacks import gathering, readers, reidentification, training
from jaxpriv.attacks.threat import People
from jaxpriv.data.dataset import Data
from jaxpriv.data.records import DataError
from jaxpriv.data.sources import words
from jaxpriv.errors import SettingError
from jaxpriv.metrics import finding
from jaxpriv.metrics.finding import Finding, Interval
from jaxpriv.ranges import problems
from jaxpriv.training import mechanism
from jaxpriv.training.mechanism import Target

# Advice where a kept result of an interrupted evaluation is damaged.
AGAIN = "remove it, and this attack is run again"


class Attack(NamedTuple):
  """One entry of config.attacks.

  Attributes:
    name: its key.
    module: with PRODUCTS and `attack`.
    controls: names of controls that face it; "all" are all.
    options: further arguments.
  """

  name: str
  module: Any
  controls: tuple[str, ...]
  options: dict[str, Any]

  def faces(self, target: Target) -> bool:
    if not set(self.module.PRODUCTS) & set(target.products):
      return False
    chosen = not target.control or {"all", target.name} & set(self.controls)
    return bool(chosen)


def attacks(config: ConfigDict) -> list[Attack]:
  """The attacks of a config that config.evaluation.attacks names; () is all.

  Raises:
    DataError: it names one that is not there, a type has no module, or an
      attack no such option, or is to face a control that is not there.
  """
  chosen = words(config.evaluation.attacks) or tuple(config.attacks)
  unknown = [name for name in chosen if name not in config.attacks]
  if unknown:
    raise DataError(
      f"config.evaluation.attacks names {', '.join(unknown)}: choose of"
      f" {', '.join(sorted(config.attacks))}"
    )
  listed = [_attack(name, config.attacks[name]) for name in sorted(chosen)]
  for attack in listed:
    absent = set(attack.controls) - {"all", *config.controls}
    if absent:
      raise DataError(
        f"config.attacks.{attack.name}.controls names"
        f" {', '.join(sorted(absent))}: config.controls has"
        f" {', '.join(config.controls) or 'none'}"
      )
  # Some show pictures beside which those of the others stand.
  return sorted(listed, key=lambda a: not getattr(a.module, "FIRST", False))


def _attack(name: str, settings: ConfigDict) -> Attack:
  options = settings.to_dict()
  kind = options.pop("type")
  path = kind if "." in kind else f"jaxpriv.attacks.{kind}"
  module = mechanism.module(path, f"config.attacks.{name}.type")
  controls = words(options.pop("controls", ()))
  for key, value in options.items():
    if isinstance(value, list):
      options[key] = tuple(value)
  try:
    inspect.signature(module.attack).bind(None, None, **options)
  except TypeError as error:
    raise DataError(f"config.attacks.{name}: {path} has {error}") from error
  allowed = getattr(module, "RANGES", {})
  for sentence in problems(options, allowed, f"config.attacks.{name}."):
    raise SettingError(sentence)
  return Attack(name, module, controls, options)


def check(
  config: ConfigDict,
  data: Data,
  targets: Sequence[Target],
  mesh: jax.sharding.Mesh,
) -> list[Attack]:
  """Refuses what an evaluation would fail on, before anything is read.

  Args:
    config: of the run.
    data: whose test people are attacked.
    targets: the mechanism and its controls; states may be shapes alone.
    mesh: on which attackers will learn.

  Returns:
    the attacks of the config.

  Raises:
    DataError: nothing can be measured, or not on these people.
    SettingError: a setting of attackers will not do.
  """
  chosen = attacks(config)
  mechanism.public_config(config)  # refuses unknown names to be withheld
  if not any(attack.faces(targets[0]) for attack in chosen):
    raise DataError(
      f"no attack applies to what {targets[0].name} releases"
      f" ({', '.join(targets[0].products)}). See config.evaluation.attacks"
    )
  labels = gathering.labels(config, data)
  mechanism.fitting(targets, labels)
  if _of_photographs(targets):
    reidentification.enrol(labels["identity"])
  elif not any(target.trained.phase_with("drawn") for target in targets):
    return chosen
  readers.check(config.evaluation)
  known = sum(len(data.splits[s]) for s in config.evaluation.attacker_splits)
  known = min(known, config.evaluation.max_attacker_images)
  for name, options in config.evaluation.phases.items():
    training.batch_size(
      f"config.evaluation.phases.{name}", options, known, mesh
    )
  return chosen


def ready(
  chosen: Sequence[Attack],
  targets: Sequence[Target],
  data: Data,
  mesh: jax.sharding.Mesh,
) -> None:
  """Has each attack look for what it needs of trained targets.

  Raises:
    DataError: something is not there; no attack has run.
  """
  for attack in chosen:
    if not hasattr(attack.module, "ready"):
      continue
    for target in targets:
      if attack.faces(target):
        attack.module.ready(target, data, mesh, **attack.options)


def _of_photographs(targets: Sequence[Target]) -> bool:
  """Whether something other than models is released."""
  return any(set(target.products) - {mechanism.MODEL} for target in targets)


def evaluate(
  people: People, targets: Sequence[Target], chosen: Sequence[Attack]
) -> tuple[list[Finding], float]:
  """All findings on all targets, and the seconds that all attacks took."""
  if _of_photographs(targets):
    reidentification.enrol(people.test.identities)  # fails before work starts
  findings: list[Finding] = []
  seconds = 0.0
  for target in targets:
    faced = [attack for attack in chosen if attack.faces(target)]
    logging.info(
      "attacking %s: %s", target.name, ", ".join(a.name for a in faced)
    )
    kept = _Kept(people, target)
    for attack in faced:
      logging.info("%s: %s", target.name, attack.name)
      some, duration = kept.findings(attack)
      findings += some
      seconds += duration
  return findings, seconds


def forget(workdir: epath.PathLike) -> None:
  """Removes what an unfinished evaluation has kept."""
  directory = epath.Path(workdir) / "unfinished"
  if directory.exists():
    directory.rmtree()


class _Kept:
  """Findings on one target, on disk under a digest of all they depend on."""

  def __init__(self, people: People, target: Target):
    self.people, self.target = people, target
    self.directory = epath.Path(people.workdir) / "unfinished"
    own = people.own.sha256() if people.own else ""
    self.target_digest = _digest(
      target.name,
      target.config.to_json_best_effort(sort_keys=True),
      own,
      target.trained.sha256(),
      people.digest(),
      " ".join(reader.name for reader in people.witnesses()),
    )

  def findings(self, attack: Attack) -> tuple[list[Finding], float]:
    """Findings of an attack and its seconds, read if it was finished before.

    Raises:
      ValueError: a finding is not what it should be.
    """
    options = json.dumps(attack.options, sort_keys=True, default=str)
    name = _digest(
      self.target_digest, attack.name, attack.module.__name__, options
    )
    path = self.directory / f"{name}.json"
    people = self.people
    if path.exists():
      logging.info("%s: %s was finished before", self.target.name, attack.name)
      people.strips = _read_strips(path.with_suffix(".npz"))
      kept = files.read_json(path, dict, ("findings", "seconds"), AGAIN)
      return [_again(row) for row in kept["findings"]], kept["seconds"]
    begun = time.monotonic()
    findings = list(attack.module.attack(self.target, people, **attack.options))
    seconds = time.monotonic() - begun
    for row in findings:  # not to be kept, and met again by the next call
      wrong = finding.problems(row)
      if wrong:
        raise ValueError(
          f"attack {attack.name}, {row.by} on {row.claim}: {wrong}"
        )
    if jax.process_index() == 0:
      self.directory.mkdir(parents=True, exist_ok=True)
      _write_strips(path.with_suffix(".npz"), people.strips)
      rows = [finding.to_dict(row) for row in findings]
      content = {"findings": rows, "seconds": seconds}
      files.atomic_write(path, json.dumps(content))
    return findings, seconds


def _again(row: dict[str, Any]) -> Finding:
  """A finding as `files.read_json` reads it: what is infinite is text there."""
  ends = {name: float(row[name]) for name in Interval._fields}
  return finding.from_dict({**row, **ends})


def _write_strips(path: epath.Path, strips: list[dict[str, Any]]) -> None:
  buffer = io.BytesIO()
  np.savez(
    buffer,
    images=np.array([strip["images"] for strip in strips], np.uint8),
    captions=np.array([strip["captions"] for strip in strips], str),
  )
  files.atomic_write(path, buffer.getvalue())


def _read_strips(path: epath.Path) -> list[dict[str, Any]]:
  arrays = files.read_npz(path, AGAIN)
  return [
    {"images": list(images), "captions": captions.tolist()}
    for images, captions in zip(
      arrays["images"], arrays["captions"], strict=True
    )
  ]


def _digest(*parts: str) -> str:
  return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]
