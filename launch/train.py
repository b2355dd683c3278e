"""Trains all phases of a privacy mechanism.

  python -m launch.train --config=embedded_autoencoder:demo \
    --workdir=runs/demo [--config.data.source=folder --config.data.path=...]

A config of your own is named by its file: --config=FOLDER/NAME.py:demo.
The same command goes on where an earlier one stopped: killed, or asked to stop
by SIGTERM or Ctrl-C, upon which it saves; a second one ends it at once. On a
cluster, start one process a node (Slurm, TPU pods and MPI are recognised); on a
laptop it just runs.
"""

import jax
from absl import flags, logging

from jaxpriv.training import lock
from jaxpriv.training import mesh as mesh_lib
from launch import common
from launch import config as config_lib

_CONFIG = config_lib.define()
_WORKDIR = common.path_flag("workdir", None, "Run directory, made if need be.")


def main(argv: list[str]) -> None:
  common.no_arguments(argv)
  mesh_lib.initialize()
  mesh = mesh_lib.make_mesh()
  logging.info(
      "%d devices (%s), %d processes",
      mesh.size, jax.devices()[0].device_kind, jax.process_count(),
  )  # fmt: skip
  with lock.hold(_WORKDIR.value):
    common.train(_CONFIG.value, _WORKDIR.value, mesh)
  logging.info(
    "Trained. Next: python -m launch.evaluate --workdir=%s", _WORKDIR.value
  )


if __name__ == "__main__":
  flags.mark_flags_as_required(["config", "workdir"])
  common.run(main)
