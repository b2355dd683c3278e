"""A finished run, opened to be attacked in another way than its config says."""

from typing import Any, NamedTuple

from etils import epath
from ml_collections import ConfigDict

from jaxpriv.attacks import gathering
from jaxpriv.attacks.threat import People
from jaxpriv.data.dataset import Data
from jaxpriv.training import mechanism, run
from jaxpriv.training.mechanism import Trained


class FinishedRun(NamedTuple):
  """The trained phases of a run, its data, and what its attackers work on."""

  trained: Trained
  data: Data
  people: People


def opened(
  config: ConfigDict, base: epath.Path, workdir: epath.Path, mesh: Any
) -> FinishedRun:
  """Opens a run; what attackers learn is kept in another directory.

  Args:
    config: of the run, with whatever its evaluation is to be.
    base: the run directory.
    workdir: where attackers are kept.
    mesh: the mesh.

  Raises:
    FileNotFoundError: the run is not trained to its end.
  """
  phases = tuple(mechanism.phases(config))
  trained = Trained(phases, run.load_phases(phases, config, base, mesh))
  data = run.open_data(config)
  people = gathering.gather(
    config, workdir / "attackers", mesh, data, trained,
    mechanism.products(trained), tuple(config.data.attributes),
  )  # fmt: skip
  return FinishedRun(trained, data, people)
