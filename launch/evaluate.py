"""Attacks a trained mechanism and writes what came of it.

  python -m launch.evaluate --workdir=runs/demo
  python -m launch.evaluate --workdir=runs/demo --data_of=runs/real

It writes evaluation/metrics.json and evaluation/report.html, and prints the
tables of the report. Attackers are trained, so it takes a while; interrupted,
the same command goes on. With --data_of, the mechanism of one run meets the
photographs of another one, such as real faces when it has learned from drawn
ones; evaluation_on_<name of the other run>/ holds what comes of that.
"""

import datetime
import itertools
import platform
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from absl import flags, logging
from etils import epath

from configs import baseline as baseline_config
from jaxpriv.attacks import evaluation, features, learning
from jaxpriv.attacks.learning import Photographs
from jaxpriv.attacks.scene import Target
from jaxpriv.data import pipeline, sources
from jaxpriv.data.dataset import Data
from jaxpriv.data.records import DataError
from jaxpriv.reports import html, terminal
from jaxpriv.reports import results as results_lib
from jaxpriv.training import budget, private, run, scoring, writers
from jaxpriv.training import mesh as mesh_lib
from jaxpriv.training import people as people_lib
from jaxpriv.training import workdir as workdir_lib
from jaxpriv.training.method import Phase
from launch import common

_WORKDIR = flags.DEFINE_string(
  "workdir", None, "Run directory of launch.train."
)
_DATA_OF = flags.DEFINE_string(
  "data_of", "", "Another run directory, whose photographs are used instead."
)


def main(argv: list[str]) -> None:
  common.no_arguments(argv)
  mesh_lib.initialize()
  workdir = epath.Path(_WORKDIR.value)
  config = workdir_lib.load_config(workdir)
  mesh = mesh_lib.make_mesh()
  phases = common.phases_of(config)
  states = run.load_phases(phases, config, workdir, mesh)
  directory = workdir / "evaluation"
  trained = config.copy_and_resolve_references()
  learned = tuple(config.data.attributes)
  if _DATA_OF.value:
    framed = {key: config.data[key] for key in ("image_size", "align")}
    config.data = workdir_lib.load_config(_DATA_OF.value).data
    config.data.update(framed)  # as it was trained, and as it releases
    if "protect" not in phases[-1].method.predict:
      config.data.attributes = learned  # the model knows them by number
    directory = workdir / f"evaluation_on_{epath.Path(_DATA_OF.value).name}"
  data = run.open_data(config)
  if not _DATA_OF.value:
    people_lib.check_same(workdir, data)
  people_lib.check_unseen(workdir, data)
  strips: list = []
  if "protect" in phases[-1].method.predict:
    setting = _setting(config, directory, mesh, data)
    mechanisms = {
      config.mechanism: _protect(
        phases, states, mesh, config.release.batch_size
      )
    }
    mechanisms |= _baselines(config, mesh, setting.test)
    recognisers, predictors = evaluation.witnesses_of(setting, phases, states)
    if learned != setting.test.attribute_names:
      logging.info("other attributes here: those of the loss are not asked")
      predictors = []
    results, strips = evaluation.evaluate(
      setting, mechanisms, recognisers, predictors
    )
    results["attackers"] = _attackers(setting)
  elif common.releases_features(trained, phases, states):
    setting = _setting(config, directory, mesh, data)
    results, strips = features.evaluate(
      setting, _targets(config, phases, states, data, mesh)
    )
    results["attackers"] = _attackers(setting)
  else:
    # A decider that learned from others' features protects nothing itself.
    reads = [p for p in phases if "scores" in p.method.predict]
    if not reads:
      raise DataError(
        f"{workdir}: there is nothing to measure of what it has trained. Train"
        f" its other phases, too: {', '.join(phase.name for phase in phases)}"
      )
    results = {"tasks": _score(reads[-1], states, config, data, mesh)}
  own = data if not _DATA_OF.value else run.open_data(trained)
  results |= budget.statement(phases, states, trained, own)
  results = {
    "mechanism": config.mechanism,
    "created": datetime.datetime.now(datetime.UTC).isoformat(),
    "config": common.public_config(config),
    "parameters_sha256": common.parameters_sha256(states),
    "environment": environment(mesh),
    "data": _describe(config, data, results.pop("attackers", {})),
    **results,
  }
  if jax.process_index() == 0:
    results_lib.write(directory / "metrics.json", results)
    curves = {p.name: _curves(workdir, p.name) for p in phases}
    report = html.write(
      directory / "report.html", results, {"strips": strips}, curves
    )
    terminal.print_tables(results)
    print(f"Report: {report}")


def _setting(config, directory, mesh, data: Data) -> evaluation.Setting:
  options = config.evaluation
  names = tuple(data.source.attribute_names)

  def photographs(splits, limit):
    # All of them on every process: what learns and what is read deals them out.
    batches = (
      data.epoch(
        split,
        batch_size=options.batch_size,
        limit=limit // len(splits),
        everywhere=True,
      )
      for split in splits
    )
    return learning.collect(itertools.chain.from_iterable(batches), names)

  return evaluation.Setting(
    config,
    directory,
    mesh,
    photographs(options.attacker_splits, options.max_attacker_images),
    photographs(("test",), options.max_test_images),
  )


def _attackers(setting) -> dict[str, int]:
  return {
    "people": len(np.unique(setting.attackers.identities)),
    "images": len(setting.attackers),
  }


def _targets(config, phases, states, data, mesh) -> list[Target]:
  """The mechanism, and what else may be done to the same features."""
  module = common.module_of(config)
  kept, _ = module.split_attributes(config)
  task = lambda shown: module.task_labels(config, shown.arrays)

  def changed(name, change) -> Phase:
    other = config.copy_and_resolve_references()
    with other.unlocked():
      change(other)
    return module.phases(other)[-1]._replace(name=name)

  def trained_by_others(seed: int) -> Phase:
    def change(other):
      other.phases[phases[-1].name] = config.evaluation.phases.module

    return changed(f"module_{seed}", change)

  def with_another_secret(other):
    other.model.secret += 1

  last = phases[-1].name
  made = [
    Target(
      config.mechanism,
      phases,
      states,
      kept,
      task,
      trained_by_others if config.model.module != "none" else None,
      changed(last, with_another_secret) if module.draws(config) else None,
      tuple(_colluders(config, states, data, mesh)),
    )
  ]
  for name, strength in config.evaluation.compare.items():
    if not strength:
      continue

    def bare(other, name=name, strength=strength):
      other.model.update(module="none", refreshed=False)
      other.phases[last].steps = 0
      for kind, value in other.model.after.items():
        chosen = strength if kind == name else 0
        other.model.after[kind] = type(value)(chosen)

    compared = [*phases[:-1], changed(last, bare)]
    made.append(
      Target(f"{name} alone", compared, {**states, last: {}}, kept, task)
    )
  return made


def _colluders(config, states, data, mesh) -> Iterator[tuple[Phase, Any]]:
  """The modules of other entities, for the same featurizer.

  Raises:
    DataError: one is for another, or has learned from the test people.
  """
  module = common.module_of(config)
  first = module.CLASSIFIER
  mine = module.featurizer_sha256(config, states[first])
  for workdir in sources.words(config.evaluation.colluders):
    people_lib.check_unseen(workdir, data)
    other = workdir_lib.load_config(workdir)
    phases = common.phases_of(other)
    theirs = run.load_phases(phases, other, workdir, mesh)
    if module.featurizer_sha256(other, theirs[first]) != mine:
      raise DataError(
        f"config.evaluation.colluders names {workdir}, whose module is for"
        " another featurizer: those who collude share one"
      )
    yield phases[-1], theirs[phases[-1].name]


def _protect(phases, states, mesh, batch_size) -> evaluation.Protect:
  """The release of a mechanism: its last phase's "protect".

  With a batch_size of 0 the whole set is one batch, which k-Same needs.
  """
  processes = jax.process_count()
  last = phases[-1]
  frozen = {name: states[name] for name in last.needs}

  def protect(photographs: Photographs) -> np.ndarray:
    return learning.apply(
      last.method.predict["protect"],
      states[last.name],
      frozen,
      photographs,
      mesh,
      batch_size or -(-len(photographs) // processes) * processes,
      finish=evaluation.released,
    )

  return protect


def _baselines(config, mesh, test) -> dict[str, evaluation.Protect]:
  """Those of config.evaluation.compare that can be made of the test people."""
  people = len(np.unique(test.identities))
  made = {}
  for name, strength in config.evaluation.compare.items():
    if name == config.mechanism:  # under test already, at its own strength
      continue
    baseline = baseline_config.get_config(f"demo,{name}")
    parameter = "k" if "k" in baseline.model else "strength"
    if parameter == "k" and strength > people:
      logging.warning(
        "%s is left out: it averages %d people and the test split has %d;"
        " lower config.evaluation.compare.%s to compare with it",
        name, strength, people, name,
      )  # fmt: skip
      continue
    if name == "k_same_select" and not test.attribute_names:
      logging.warning("%s is left out: there are no attributes", name)
      continue
    baseline.model[parameter] = strength
    phases = common.phases_of(baseline)
    states: dict[str, dict] = {phase.name: {} for phase in phases}
    made[name] = _protect(phases, states, mesh, baseline.release.batch_size)
  return made


def environment(mesh) -> dict:
  return {
    "python": platform.python_version(),
    "jax": jax.__version__,
    "device": jax.devices()[0].device_kind,
    "devices": mesh.size,
    "processes": jax.process_count(),
  }


def _score(phase, states, config, data: Data, mesh) -> list[dict]:
  """Rows of a model that reads faces: how well, beside the best constant."""
  options = config.evaluation
  module = common.module_of(config)
  frozen = {name: states[name] for name in phase.needs}
  limit = min(options.max_test_images, len(data.splits["test"]))
  # Collected once: an image that cannot be read is missing from all alike.
  shown = learning.collect(
    data.epoch(
      "test", batch_size=options.batch_size, limit=limit, everywhere=True
    ),
    tuple(config.data.attributes),
  )
  constants = module.baseline(shown.arrays, config)
  arguments = (phase.method, states[phase.name], frozen)

  def epoch(count, size):
    size = -(-size // jax.process_count()) * jax.process_count()
    return pipeline.epoch(shown, np.arange(count), batch_size=size)

  made = []
  for name, mean in scoring.means(
    *arguments, epoch(len(shown), options.batch_size), shown.identities, mesh
  ).items():
    constant = constants.get(name)
    made.append({"score": name, **mean._asdict(), "constant": constant})
  if "detect" in phase.method.predict and options.max_detection_images:
    count = min(options.max_detection_images, len(shown))
    precision = scoring.average_precision(
      *arguments,
      epoch(count, 32),
      shown.arrays["box"][:count],
      shown.identities[:count],
      mesh,
    )
    if precision:
      row = {"score": "detection_ap", **precision._asdict(), "constant": None}
      made.append(row)
  return [{"mechanism": config.mechanism, **row} for row in made]


def _describe(config, data: Data, attackers: dict) -> dict:
  return {
    "source": config.data.source,
    "path": epath.Path(config.data.path).name,
    "people": {split: data.people(split) for split in data.splits},
    "images": {split: len(rows) for split, rows in data.splits.items()},
    **({"attackers": attackers} if attackers else {}),
    "unreadable": list(data.source.unreadable),
  }


def _curves(workdir, phase: str) -> dict[str, list]:
  curves: dict[str, list] = {}
  for line in writers.read_metrics(workdir, phase):
    for name, value in line.items():
      hidden = name == "step" or name.startswith(private.NOT_PRIVATE)
      if not hidden and value is not None:
        curves.setdefault(name, []).append((line["step"], value))
  return curves


if __name__ == "__main__":
  flags.mark_flags_as_required(["workdir"])
  common.run(main)
