"""Attacks a trained mechanism and writes what came of it.

  python -m launch.evaluate --workdir=runs/demo

It writes evaluation/metrics.json and evaluation/report.html, and prints the
tables of the report. Attackers are trained, so it takes a while; interrupted,
the same command goes on.
"""

import datetime
import platform

import jax
import numpy as np
from absl import flags
from etils import epath
from ml_collections import ConfigDict

from jaxpriv.attacks import evaluation, learning
from jaxpriv.attacks.learning import Photographs
from jaxpriv.methods import baselines, k_same
from jaxpriv.reports import html, terminal
from jaxpriv.reports import results as results_lib
from jaxpriv.training import mesh as mesh_lib
from jaxpriv.training import run, writers
from launch import common

_WORKDIR = flags.DEFINE_string(
  "workdir", None, "Run directory of launch.train."
)


def main(argv: list[str]) -> None:
  common.no_arguments(argv)
  mesh_lib.initialize_distributed()
  workdir = epath.Path(_WORKDIR.value)
  config = run.load_config(workdir)
  mesh = mesh_lib.make_mesh()
  phases = common.phases_of(config)
  states = run.load_phases(phases, workdir, mesh)
  data = run.open_data(config)
  setting = _setting(config, workdir / "evaluation", mesh, data)
  mechanisms = {config.method: _protect(phases, states, config, mesh)}
  mechanisms |= _baselines(config, mesh)
  recognisers, predictors = evaluation.witnesses_of(setting, phases, states)
  results, strips = evaluation.evaluate(
    setting, mechanisms, recognisers, predictors
  )
  results = {
    "mechanism": config.method,
    "created": datetime.datetime.now(datetime.UTC).isoformat(),
    "config": common.public_config(config),
    "parameters_sha256": common.parameters_sha256(states),
    "environment": environment(mesh),
    "data": _describe(config, data, setting),
    **results,
  }
  if jax.process_index() == 0:
    directory = workdir / "evaluation"
    results_lib.write(directory / "metrics.json", results)
    curves = {p.name: _curves(workdir, p.name) for p in phases}
    report = html.write(
      directory / "report.html", results, {"strips": strips}, curves
    )
    terminal.print_tables(results)
    print(f"Report: {report}")


def _setting(config, directory, mesh, data: run.Data) -> evaluation.Setting:
  options = config.evaluation
  names = tuple(data.source.attribute_names)

  def photographs(splits, limit):
    parts = [
      batch
      for split in splits
      for batch in data.epoch(
        split, batch_size=options.batch_size * mesh.size, limit=limit
      )
    ]
    return learning.collect(parts, names)

  return evaluation.Setting(
    config,
    directory,
    mesh,
    photographs(options.attacker_splits, options.max_attacker_images),
    photographs(("test",), options.max_test_images),
  )


def _protect(phases, states, config, mesh) -> evaluation.Protect:
  """The release of a trained mechanism: its last phase's "protect"."""
  last = phases[-1]
  frozen = {name: states[name] for name in last.needs}

  def protect(photographs: Photographs) -> np.ndarray:
    images = learning.apply(
      last.method.predict["protect"],
      states[last.name],
      frozen,
      photographs,
      mesh,
      config.evaluation.batch_size,
    )
    return evaluation.released(images)

  return protect


def _baselines(config, mesh) -> dict[str, evaluation.Protect]:
  return {
    name: _baseline(name, strength, config, mesh)
    for name, strength in config.evaluation.compare.items()
  }


def _baseline(name: str, strength, config, mesh) -> evaluation.Protect:
  if not name.startswith("k_same"):
    model = ConfigDict(dict(kind=name, strength=strength))
    phases = baselines.phases(ConfigDict(dict(model=model)))
    return _protect(phases, {"baseline": {}}, config, mesh)
  kind = name.removeprefix("k_same_") if name != "k_same" else "pixel"
  model = ConfigDict(dict(kind=kind, k=strength, components=64))
  (phase,) = k_same.phases(ConfigDict(dict(model=model)))

  def protect(photographs: Photographs) -> np.ndarray:
    # The whole closed set at once: the guarantee is about the set.
    batch = {
      **photographs.arrays,
      "image": photographs.arrays["image"].astype(np.float32) / 255,
      "padding": np.zeros(len(photographs), bool),
    }
    return evaluation.released(
      np.asarray(phase.method.predict["protect"]({}, {}, batch))
    )

  return protect


def environment(mesh) -> dict:
  return {
    "python": platform.python_version(),
    "jax": jax.__version__,
    "device": jax.devices()[0].device_kind,
    "devices": mesh.size,
    "processes": jax.process_count(),
  }


def _describe(config, data: run.Data, setting) -> dict:
  return {
    "source": config.data.source,
    "path": epath.Path(config.data.path).name,
    "people": {split: data.people(split) for split in data.splits},
    "images": {split: len(rows) for split, rows in data.splits.items()},
    "attackers": {
      "people": len(np.unique(setting.attackers.identities)),
      "images": len(setting.attackers),
    },
    "unreadable": list(getattr(data.source, "unreadable", [])),
  }


def _curves(workdir, phase: str) -> dict[str, list]:
  curves: dict[str, list] = {}
  for line in writers.read_metrics(workdir, phase):
    for name, value in line.items():
      if name != "step" and value is not None:
        curves.setdefault(name, []).append((line["step"], value))
  return curves


if __name__ == "__main__":
  flags.mark_flags_as_required(["workdir"])
  common.run(main)
