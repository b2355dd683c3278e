"""Table 5 of the Deep Poisoning paper: entities that share poisoned features.

  python -m tools.entities --workdir=runs/entities

Entities 1, 2 and 3 have a tenth of the people each, entity 4 a hundredth. All
use the featurizer of entity 1; each trains a module of its own, and goes on
with the decider of entity 1 on its own photographs and the pools of others.
All entities are scored on the same people, whom nobody has trained on. The
results are entities.json and entities.md, with controls that the paper lacks:
entity 1's network unchanged and fine-tuned, the others' labels without their
features, and clean features. If interrupted, the same command continues. It
trains on drawn faces; --config, that of every entity, and
--config.data.num_identities set their size and number.
"""

import jax
from absl import flags, logging
from etils import epath

from jaxpriv.data.records import DataError
from jaxpriv.training import mesh as mesh_lib
from launch import common
from launch import config as config_lib
from tools import entity_sweep

_CONFIG = config_lib.define("deep_poisoning:demo")
_WORKDIR = flags.DEFINE_string("workdir", None, "Directory of all runs.")
_TEST_IMAGES = flags.DEFINE_integer(
  "test_images", 2000, "Photographs that all are scored on."
)


def main(argv: list[str]) -> None:
  common.no_arguments(argv)
  mesh_lib.initialize()
  if jax.process_count() > 1:
    raise DataError("tools.entities runs as one process: start it once")
  base, workdir = _CONFIG.value, epath.Path(_WORKDIR.value)
  if base.data.source != "procedural":
    raise DataError(
      "tools.entities deals drawn people to entities: it takes"
      f" data.source=procedural, not {base.data.source}. With photographs of"
      " your own use launch.release and data.source=feature_pools"
    )
  if base.model.task != "attributes":
    raise DataError("tools.entities shares attributes: model.task=attributes")
  sweep = entity_sweep.Sweep(
    base, workdir, mesh_lib.make_mesh(), _TEST_IMAGES.value
  )
  results = []
  for number, row in enumerate(entity_sweep.ROWS, 1):
    logging.info(
      "row %d of %d: %s",
      number,
      len(entity_sweep.ROWS),
      entity_sweep.describe(row),
    )
    results.append(
      {"row": number, "what": entity_sweep.describe(row), **sweep.score(row)}
    )
    entity_sweep.write(workdir, results, sweep.majority)
  print((workdir / "entities.md").read_text())


if __name__ == "__main__":
  flags.mark_flags_as_required(["workdir"])
  common.run(main)
