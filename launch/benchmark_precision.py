"""`launch.benchmark precision`: bfloat16 against float32, by curves of losses.

Each mechanism is trained for a few steps by its demo config, shrunk to few
photographs and small batches: in float32 by three seeds, and in bfloat16 by the
first of them. Losses are averaged over neighbouring steps. bfloat16 is within
noise if its curve is no further from that of float32 by the same seed than
curves of float32 by two seeds are from each other. The noise of a private run
comes of a secret, and so differs in all four.
"""

import importlib
import itertools
import tempfile
from collections.abc import Mapping, Sequence

import jax
import numpy as np
from ml_collections import ConfigDict

from jaxpriv.data.records import DataError
from jaxpriv.errors import SettingError
from jaxpriv.training import budget, mechanism, settings, writers
from jaxpriv.training import mesh as mesh_lib
from jaxpriv.training import run as run_lib
from launch import config as config_lib

SEEDS = (0, 1, 2)
PEOPLE, PHOTOGRAPHS, BATCH = 48, 6, 16
MOST = 128  # of a batch, where a mechanism refuses one so small
# After the name of a config: it is trained with differential privacy.
PRIVATE, EPSILON = ":private", 8.0

# "phase: loss" -> its value at each step.
Curves = dict[str, np.ndarray]


def run(names: Sequence[str], steps: int) -> list[dict]:
  """Rows of the table, one of each loss of each phase.

  Args:
    names: of configs, with `PRIVATE` after it or not; () is all but baselines,
      without.
    steps: of each phase at most.

  Returns:
    dicts with the range of the last quarter's mean by the seeds of float32, the
    same of bfloat16, how far curves are apart, and the verdict.

  Raises:
    SettingError: there is no such config.
  """
  known = config_lib.names()
  for name in names:
    if name.removesuffix(PRIVATE) not in known:
      raise SettingError(
        f"--precision_of names {name}, and there are {', '.join(known)}, each"
        f" as it is or with {PRIVATE} after it"
      )
  rows = []
  for name in names or [n for n in known if n != "baseline"]:
    curves = [_train(_config(name, steps, "float32", s)) for s in SEEDS]
    rounded = _train(_config(name, steps, "bfloat16", SEEDS[0]))
    rows += compare(name, curves, rounded)
  return rows


def compare(
  name: str, curves: Sequence[Mapping[str, np.ndarray]], rounded: Curves
) -> list[dict]:
  """Compares curves by seeds in float32 with one in bfloat16.

  Args:
    name: of the mechanism.
    curves: of each seed, "phase: loss" -> [steps].
    rounded: in bfloat16, by the first of these seeds.
  """
  rows = []
  for loss, values in rounded.items():
    smooth = [_smooth(each[loss]) for each in curves]
    own = _smooth(values)
    seeds = max(_apart(a, b) for a, b in itertools.combinations(smooth, 2))
    apart = _apart(own, smooth[0])
    last = [float(_last(each[loss])) for each in curves]
    rows.append(
      {
        "mechanism": name,
        "loss": loss,
        "steps": len(values),
        "float32": f"{min(last):.4g} to {max(last):.4g}",
        "bfloat16": f"{_last(values):.4g}",
        "apart": f"{apart:.2g}",
        "seeds apart": f"{seeds:.2g}",
        "within noise": "yes" if apart <= seeds else "no",
      }
    )
  return rows


def _smooth(values: np.ndarray) -> np.ndarray:
  """Means of as many neighbours as an eighth of the curve."""
  window = max(len(values) // 8, 1)
  return np.convolve(values, np.full(window, 1 / window), "valid")


def _apart(one: np.ndarray, other: np.ndarray) -> float:
  return float(np.abs(one - other).mean())


def _last(values: np.ndarray) -> np.floating:
  return values[-max(len(values) // 4, 1) :].mean()


def _config(name: str, steps: int, dtype: str, seed: int) -> ConfigDict:
  """The demo config of a mechanism, shrunk."""
  config = importlib.import_module(f"configs.{name.removesuffix(PRIVATE)}")
  config = config.get_config("demo")
  config.update(seed=seed, dtype=dtype)
  config.data.num_identities = PEOPLE
  config.data.images_per_identity = PHOTOGRAPHS
  if faces := config.data.max_faces:  # a scene of them counts as a photograph
    config.data.num_identities = faces * PEOPLE * PHOTOGRAPHS
    config.data.images_per_identity = 1
  config.train.update(log_every=1, save_every=0, validation_images=0)
  own = {name: phase.batch_size for name, phase in config.phases.items()}
  for phase in config.phases.values():
    phase.steps = min(phase.steps, steps)
    phase.batch_size = min(phase.batch_size, BATCH)
    phase.warmup_steps = min(phase.warmup_steps, steps // 4)
  if name.endswith(PRIVATE):
    config.dp.epsilon = EPSILON
  settings.check(config)
  try:
    mechanism.phases(config)
  except DataError:
    pass  # for want of data, which have not been read
  except SettingError:  # a search of masks wants more photographs at once
    for phase, batch_size in own.items():
      config.phases[phase].batch_size = min(batch_size, MOST)
  return config


def _train(config: ConfigDict) -> Curves:
  """Trains all phases; the losses that their steps report."""
  data = run_lib.open_data(config)
  config = run_lib.resolve(config, data)
  phases, config = budget.privatise(mechanism.phases(config), config, data)
  curves = {}
  with tempfile.TemporaryDirectory() as workdir:
    run_lib.train_phases(phases, config, data, workdir, mesh_lib.make_mesh())
    for phase in phases:
      lines = writers.read_metrics(workdir, phase.name)
      for key in lines[0] if lines else ():
        if key == "loss" or key.endswith("/loss"):
          values = np.array([line[key] for line in lines], float)
          curves[f"{phase.name}: {key}"] = values
  jax.clear_caches()
  return curves
