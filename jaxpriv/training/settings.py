"""Plain ranges of the settings that all configs share; see configs.common.

Names and kinds are looked at where they are used; what a mechanism has in
config.model is its own affair.
"""

import math

from ml_collections import ConfigDict

from jaxpriv import files
from jaxpriv.data import copies, sources
from jaxpriv.errors import SettingError
from jaxpriv.privacy import plan
from jaxpriv.ranges import (
  BELOW_ONE,
  COUNT,
  NATURAL,
  NOT_NEGATIVE,
  SHARE,
  Range,
  problems,
  whole,
)
from jaxpriv.training import federated

DTYPES = ("float32", "bfloat16", "float16")

RANGES = {
  "seed": NATURAL,
  "dtype": Range(f"one of {', '.join(DTYPES)}", DTYPES.__contains__),
  # More pixels than that are no face.
  "data.image_size": whole(8, 4096),
  "data.face_threshold": SHARE,
  "data.level": COUNT,
  "data.copies": Range(
    f"one of {', '.join(copies.CHOICES)}", copies.CHOICES.__contains__
  ),
  "data.max_faces": NATURAL,
  "data.max_bad_share": SHARE,
  "data.num_workers": whole(0, 1024),
  "data.num_people": NATURAL,
  "data.num_identities": whole(1, 10**8),
  "data.images_per_identity": whole(1, 10**6),
  "data.seed": NATURAL,
  "data.splits.*": Range(
    "a share of the people, above 0 and below 1", lambda x: 0 < x < 1
  ),
  # Of the run, of attackers, and of controls.
  "*phases.*.steps": whole(0, 2**31 - 1),
  "*phases.*.batch_size": COUNT,
  "*phases.*.learning_rate": NOT_NEGATIVE,
  "*phases.*.warmup_steps": NATURAL,
  "*phases.*.momentum": BELOW_ONE,
  "*phases.*.weight_decay": NOT_NEGATIVE,
  "*phases.*.clip_norm": NOT_NEGATIVE,
  "*phases.*.accumulate": COUNT,
  "*phases.*.ema": BELOW_ONE,
  "*phases.*.augmentation.*": SHARE,
  "train.keep": COUNT,
  "train.*": NATURAL,
  "evaluation.batch_size": COUNT,
  "evaluation.max_*": COUNT,
  "evaluation.memory": COUNT,
  "release.batch_size": NATURAL,
  **{f"dp.{name}": allowed for name, allowed in plan.RANGES.items()},
  **{f"federated.{name}": a for name, a in federated.RANGES.items()},
}


# Settings that name folders, where ~ is the home folder. Pools see to it
# themselves: their names may not change when a run goes on.
FOLDERS = ("data.path", "evaluation.colluders", "model.folder")


def expand(config: ConfigDict) -> ConfigDict:
  """A copy of the config with ~ written out."""
  config = config.copy_and_resolve_references()
  for name in FOLDERS:
    part, key = name.split(".")
    value = config.get(part, {}).get(key)
    if isinstance(value, str):
      config[part][key] = files.expanded(value)
    elif value:
      config[part][key] = tuple(map(files.expanded, sources.words(value)))
  return config


def check(config: ConfigDict) -> None:
  """Checks the numbers of a config, before anything is opened.

  Raises:
    SettingError: one is out of its range.
  """
  for sentence in problems(config, RANGES, "config."):
    raise SettingError(sentence)
  shares = dict(config.data.splits)
  if not math.isclose(sum(shares.values()), 1, abs_tol=1e-6):
    raise SettingError(
      f"config.data.splits = {shares}: the shares of the people sum to 1, and"
      f" these to {sum(shares.values()):.6g}"
    )
