"""Attacks a trained mechanism and writes a report.

  python -m launch.evaluate --workdir=runs/demo
  python -m launch.evaluate --workdir=runs/demo --data_of=runs/real

It writes evaluation/metrics.json and evaluation/report.html, and prints the
tables of the report. Attackers are trained, so it takes a while; interrupted,
the same command goes on. With --data_of, the mechanism of one run meets the
photographs of another one, such as real faces when it has learned from drawn
ones; the results are in evaluation_on_<name of the other run>/.
"""

import datetime
import platform
from typing import Any

import jax
import numpy as np
from absl import flags
from etils import epath
from jax.experimental import multihost_utils
from ml_collections import ConfigDict

from jaxpriv.attacks import evaluation, gathering
from jaxpriv.attacks.threat import People
from jaxpriv.data import account
from jaxpriv.data.dataset import Data
from jaxpriv.data.records import DataError
from jaxpriv.reports import html, terminal
from jaxpriv.reports import results as results_lib
from jaxpriv.reports.results import Results
from jaxpriv.training import (
  budget,
  lock,
  mechanism,
  private,
  progress,
  run,
  writers,
)
from jaxpriv.training import mesh as mesh_lib
from jaxpriv.training import people as people_lib
from jaxpriv.training import workdir as workdir_lib
from jaxpriv.training.mechanism import Trained
from launch import common

_WORKDIR = common.path_flag("workdir", None, "Run directory of launch.train.")
_DATA_OF = common.path_flag(
  "data_of", "", "Another run directory, whose photographs are used instead."
)


def main(argv: list[str]) -> None:
  common.no_arguments(argv)
  mesh_lib.initialize()
  workdir_lib.load_config(_WORKDIR.value)  # else a lock would make a folder
  with lock.hold(_WORKDIR.value):
    results = evaluate(_WORKDIR.value, mesh_lib.make_mesh(), _DATA_OF.value)
  if jax.process_index() == 0:
    terminal.print_tables(results)
    print(f"Report: {directory(_WORKDIR.value, _DATA_OF.value)}/report.html")


def directory(workdir: epath.PathLike, data_of: str = "") -> epath.Path:
  """Where an evaluation is written."""
  name = f"_on_{epath.Path(data_of).name}" if data_of else ""
  return epath.Path(workdir) / f"evaluation{name}"


def evaluate(
  workdir: epath.PathLike, mesh: jax.sharding.Mesh, data_of: str = ""
) -> Results:
  """Attacks the mechanism of a run; writes metrics.json and report.html.

  Args:
    workdir: of the run.
    mesh: the mesh.
    data_of: another run, whose photographs are used instead.

  Raises:
    DataError: the data are not what the run was trained on, the test people
      are not new to it, or there is nothing to measure.
  """
  workdir = epath.Path(workdir)
  config = workdir_lib.load_config(workdir)
  phases = mechanism.phases(config)
  states = run.load_phases(phases, config, workdir, mesh)
  trained = Trained(tuple(phases), states)
  original = config.copy_and_resolve_references()
  place = directory(workdir, data_of)
  if data_of:
    gathering.claim(place, data_of)
    gathering.use_data_of(
      data_of, config, mechanism.targets(config, trained)[0]
    )
  data = run.open_data(config, place if data_of else workdir)
  if not data_of:
    people_lib.check_same(workdir, data)
  people_lib.check_unseen(workdir, data)
  statement = _statement(trained, original, data if not data_of else None)
  # Attributes of other data that were not taught are not promised to be kept.
  taught = tuple(original.data.attributes)
  targets = [
    target._replace(kept=taught) if target.kept is None else target
    for target in mechanism.targets(config, trained)
  ]
  products = targets[0].products
  chosen = evaluation.check(config, data, targets, mesh)
  evaluation.ready(chosen, targets, data, mesh)
  people = gathering.gather(
    config, place, mesh, data, trained, products, taught
  )
  targets = mechanism.fitting(targets, people.test.arrays)
  findings, seconds = evaluation.evaluate(people, targets, chosen)
  if not findings:
    raise DataError(
      f"{workdir}: no attack applies to what it releases"
      f" ({', '.join(products)}). See config.evaluation.attacks"
    )
  header = {
    "mechanism": config.mechanism,
    "created": datetime.datetime.now(datetime.UTC).isoformat(),
    "config": mechanism.public_config(config),
    "parameters_sha256": trained.sha256(),
    "environment": environment(mesh),
    "data": _describe(config, data, people),
    "timing": {"evaluation_seconds": seconds},
    "products": list(products),
    "proven": list(targets[0].proven),
    "not_claimed": list(targets[0].limits),
    **statement,
  }
  results = results_lib.collect(header, findings)
  # Nobody may still look for what is removed below.
  multihost_utils.sync_global_devices("findings")
  if jax.process_index() == 0:
    results = results_lib.write(place / "metrics.json", results)
    curves = {p.name: _curves(workdir, p.name) for p in phases}
    with progress.slow("Writing the report"):
      html.write(place / "report.html", results, people.strips, curves)
    evaluation.forget(place)
  return results


def _statement(
  trained: Trained, config: ConfigDict, data: Data | None
) -> dict[str, Any]:
  """The privacy of training; a private run needs the data it learned from."""
  if data is None and budget.is_private(config.dp):
    data = run.open_data(config)
  return budget.statement(trained.phases, trained.states, config, data)


def environment(mesh: jax.sharding.Mesh) -> dict[str, Any]:
  return {
    "python": platform.python_version(),
    "jax": jax.__version__,
    "device": jax.devices()[0].device_kind,
    "devices": mesh.size,
    "processes": jax.process_count(),
  }


def _describe(config: ConfigDict, data: Data, people: People) -> dict[str, Any]:
  known = people.known
  attackers = {
    "people": len(np.unique(known.identities)),
    "images": len(known),
  }
  return {
    "source": config.data.source,
    "path": epath.Path(config.data.path).name,
    "people": {split: data.people(split) for split in data.splits},
    "images": {split: len(rows) for split, rows in data.splits.items()},
    "scored": {
      "people": len(np.unique(people.test.identities)),
      "images": len(people.test),
    },
    **({"attackers": attackers} if len(known) else {}),
    "unreadable": list(data.source.unreadable),
    "files": account.of(data.source).counts(),
  }


def _curves(workdir: epath.Path, phase: str) -> dict[str, list]:
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
