"""Attacks the training of a run, and compares with the epsilon it claims.

  python -m launch.audit --workdir=runs/private
  python -m launch.audit --workdir=runs/private --black_box

By default gradient canaries test the clip, the noise and the keys of every
private phase, on the devices at hand, and gradient ascent on pixels searches
the trained network for an example that adds more than was measured of it: a
minute or two. --black_box trains the first phase once more with mislabelled
canaries among the data and guesses from the model which of them were in. Both
write audit/audit.json. Exit status 2: a claim does not hold.
"""

import json
import sys

import jax
import numpy as np
from absl import flags, logging
from etils import epath
from ml_collections import ConfigDict

from jaxpriv import files
from jaxpriv.attacks import clip_search, membership
from jaxpriv.data.records import DataError
from jaxpriv.privacy import accounting, auditing
from jaxpriv.reports import card, wording
from jaxpriv.training import budget, mechanism, private, progress, run
from jaxpriv.training import mesh as mesh_lib
from jaxpriv.training import workdir as workdir_lib
from launch import common

_WORKDIR = common.path_flag("workdir", None, "Run directory of launch.train.")
_CANARIES = flags.DEFINE_integer(
  "canaries", 0, "How many; 0: enough, or 1000 for the black box.", 0
)
_STEPS = flags.DEFINE_integer(
  "steps", 2, "Steps of the white box, an even number.", 2
)
_CLIP_STEPS = flags.DEFINE_integer(
  "clip_steps",
  40,
  "Steps of the search for what the clip misses; -1: none.",
  -1,
)
_SEED = flags.DEFINE_integer("seed", 0, "Of coins, noise and labels.")
_BLACK_BOX = flags.DEFINE_bool(
  "black_box", False, "Train with canaries instead of looking at gradients."
)


# The name of the search in audit.json.
CLIP = "clip search"


def main(argv: list[str]) -> None:
  common.no_arguments(argv)
  mesh_lib.initialize()
  workdir = epath.Path(_WORKDIR.value)
  config = workdir_lib.load_config(workdir)
  mesh = mesh_lib.make_mesh()
  data = run.open_data(config)
  if _BLACK_BOX.value:
    found = _black_box(config, data, workdir, mesh)
  else:
    found = _white_box(config, data, workdir, mesh)
  faults = [fault for row in found for fault in row["faults"]]
  path = workdir / "audit" / "audit.json"
  # The plan that was audited: a run trained again may have another one.
  found = [
    {**row, "noise_multiplier": config.dp.noise_multiplier} for row in found
  ]
  if jax.process_index() == 0:
    same = lambda a, b: all(a[key] == b[key] for key in ("audit", "phase"))
    before = files.read_json(path, list) if path.exists() else []
    kept = [row for row in before if not any(same(row, r) for r in found)]
    files.atomic_write(path, json.dumps(kept + found, indent=2) + "\n")
    _print(found)
    print(f"Written to {path}")
  if faults:
    print("error: " + "\n".join(faults), file=sys.stderr)
    sys.exit(2)


def _white_box(config, data, workdir, mesh) -> list[dict]:
  phases, config = budget.privatise(mechanism.phases(config), config, data)
  made = []
  for phase in phases:
    if not phase.plan:
      continue
    what = f"{phase.name}: adding up gradients of canaries"
    with jax.set_mesh(mesh), progress.slow(what):
      found = auditing.white_box(
        phase.plan,
        private.private_grad,
        canaries=_CANARIES.value,
        steps=_STEPS.value,
        delta=config.dp.delta,
        seed=_SEED.value,
      )
    row = {"audit": "gradient canaries", "phase": phase.name}
    made.append({**row, **found._asdict(), "faults": found.faults})
  if not made:
    raise DataError(
      "no phase of this run is private (config.dp.epsilon is inf): there is no"
      " noise to audit; --black_box attacks it all the same"
    )
  return made + _clip(phases, config, data, workdir, mesh)


def _clip(phases, config, data, workdir, mesh) -> list[dict]:
  if _CLIP_STEPS.value < 0:
    return []
  try:
    states = run.load_phases(phases, config, workdir, mesh)
  except FileNotFoundError as error:
    logging.warning(
      "The clip is not searched in an untrained network: %s", error
    )
    return []
  # By people who were not trained on, where there are any.
  split = next(s for s in ("test", "train") if len(data.splits.get(s, ())))
  made = []
  for phase in phases:
    if not phase.plan:
      continue
    rows = clip_search.units_of(mesh) * phase.plan.rows_per_unit
    batch = next(
      data.epoch(split, batch_size=rows, limit=rows, everywhere=True)
    )
    logging.info(
      "%s: searching for examples that the clip misses, %d steps",
      phase.name,
      _CLIP_STEPS.value,
    )
    with progress.slow(f"{phase.name}: compiling, and searching"):
      found = clip_search.search(
        phase, states, batch, mesh, _CLIP_STEPS.value, _SEED.value
      )
    row = {"audit": CLIP, "phase": phase.name}
    made.append({**row, **found._asdict(), "faults": found.faults})
  return made


def _black_box(config, data, workdir, mesh) -> list[dict]:
  if config.dp.unit == "person" and budget.is_private(config.dp):
    raise DataError(
      "--black_box plants single photographs, and this run protects people"
      " (config.dp.unit): its canaries would say nothing about that claim"
    )
  count = _CANARIES.value or 1000
  planted, canaries = membership.plant(data, count, _SEED.value)
  phases, config = budget.privatise(mechanism.phases(config), config, planted)
  logging.info(
    "%d canaries, %d of them in the data", count, int(canaries.included.sum())
  )
  found = membership.one_run(
    phases,
    config,
    planted,
    canaries,
    # Its own folder for every plan: a finished run is not trained again.
    workdir / "audit" / f"run_{count}_{_SEED.value}_{_digest(config)}",
    mesh,
    config.dp.delta,
  )
  claimed = np.inf
  if phases[0].plan:
    with progress.slow("Reckoning the epsilon that is claimed"):
      claimed = accounting.epsilon_of(
        [phases[0].plan.event], config.dp.delta, config.dp.accountant
      )
  faults = []
  if found.epsilon > claimed:
    faults.append(
      f"members are told from others as no mechanism of epsilon {claimed:.3g}"
      f" allows: it is {found.epsilon:.3g} at least"
    )
  row = {"audit": "one run", "phase": phases[0].name}
  claim = None if np.isinf(claimed) else claimed
  return [{**row, **found._asdict(), "claimed": claim, "faults": faults}]


def _digest(config: ConfigDict) -> str:
  """A name for all that decides how a run is trained."""
  settings = config.to_dict()
  fixed = {k: v for k, v in settings.items() if k not in workdir_lib.MUTABLE}
  return card.config_hash(fixed)[:12]


def _print(found: list[dict]) -> None:
  for row in found:
    print(f"{row['phase']}, {row['audit']}:")
    if row["audit"] == CLIP:
      print(
        f"  of {wording.count(row['examples'])} examples the worst adds"
        f" {wording.at_most(row['ratio'], 7)} times the norm that was measured"
        " of it, or the clip norm"
      )
      continue
    claimed = "∞" if row["claimed"] is None else wording.real(row["claimed"])
    print(
      f"  epsilon at least {wording.real(row['epsilon'])}, claimed {claimed}"
    )
    if row["audit"] == "one run":
      print(
        f"  {wording.of(row['right'], row['guesses'])} canaries guessed right"
        f" ({wording.interval(row['low'], row['high'])}; chance is 50%)"
      )
    else:
      print(
        f"  {row['canaries']} canaries, {row['steps']} steps without sampling\n"
        f"  noise {row['noise_ratio']:.3f} of the plan's"
        f" ({row['noise_low']:.3f} to {row['noise_high']:.3f} is chance)\n"
        f"  an example moves the sum by {row['clip_ratio']:.3f} clip norms"
        f" (up to {row['clip_high']:.3f} is chance)"
      )


if __name__ == "__main__":
  flags.mark_flags_as_required(["workdir"])
  common.run(main)
