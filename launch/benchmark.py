"""Measures speed: python -m launch.benchmark [SUITE] ...; without names, all.

data: JPEG files to batches, decoding included. reading: a folder to memory, and
how much of it are copies and accounts. rendering: procedural faces on one core.
pools: feature pools to disk and back, against plain files. layers: our layers
against those of XLA that they replace. masks: random masks against drawing the
same strokes with Pillow. saliency: a map of excitation backprop against a
gradient by the image. dp: a private step against a plain one, jax_privacy and
Opacus. torch: a training step of a recogniser against torch's. precision:
losses in bfloat16 against those in float32.
"""

import json

import jax
from absl import app, flags
from rich.console import Console
from rich.table import Table

from jaxpriv import files as files_lib
from jaxpriv.training import mesh as mesh_lib
from launch import (
  benchmark_data,
  benchmark_dp,
  benchmark_layers,
  benchmark_precision,
  benchmark_torch,
  common,
)

_SIZE = flags.DEFINE_integer("decode_size", 128, "Side of the JPEG files.", 16)
_TORCH = common.path_flag(
  "torch_python", "", "dp, torch: a Python with torch, for dp with opacus, too."
)
_BATCH = flags.DEFINE_integer("dp_batch", 64, "dp: examples of a step.", 1)
_ROUNDS = flags.DEFINE_integer(
  "dp_rounds", 10, "dp, torch: rounds that are timed of each.", 1
)
_MECHANISMS = flags.DEFINE_list(
  "precision_of", [], "precision: mechanisms; all when empty."
)
_STEPS = flags.DEFINE_integer(
  "precision_steps", 40, "precision: steps of each phase at most.", 8
)
_MAPS = flags.DEFINE_integer(
  "pool_maps", 50_000, "pools: feature maps of 16x16x64.", 64
)
_SECONDS = flags.DEFINE_float("decode_seconds", 4.0, "Length of one run.", 0)
_JSON = common.path_flag("json", "", "A JSON file to write, after each suite.")

SUITES = {
  "data": lambda: benchmark_data.decode(_SIZE.value, seconds=_SECONDS.value),
  "reading": benchmark_data.reading,
  "rendering": benchmark_data.rendering,
  "pools": lambda: benchmark_data.pools(_MAPS.value),
  "layers": benchmark_layers.time_layers,
  "masks": benchmark_layers.time_masks,
  "saliency": benchmark_layers.time_saliency,
  "dp": lambda: benchmark_dp.run(_BATCH.value, _ROUNDS.value, _TORCH.value),
  "torch": lambda: benchmark_torch.run(_ROUNDS.value, _TORCH.value),
  "precision": lambda: benchmark_precision.run(_MECHANISMS.value, _STEPS.value),
}


def main(argv: list[str]) -> None:
  suites = argv[1:] or list(SUITES)
  unknown = sorted(set(suites) - set(SUITES))
  if unknown:
    raise app.UsageError(
      f"there is no benchmark {unknown[0]!r}; there are {', '.join(SUITES)}"
    )
  mesh_lib.initialize()
  done: dict[str, list[dict]] = {}
  for suite in suites:
    rows = done[suite] = SUITES[suite]()
    if _JSON.value:
      content = {"device": jax.devices()[0].device_kind,
                 "devices": jax.device_count(), "jax": jax.__version__,
                 "suites": done}  # fmt: skip
      files_lib.atomic_write(_JSON.value, json.dumps(content, indent=2) + "\n")
    table = Table(*rows[0], title=suite)
    for row in rows:
      table.add_row(*(str(value) for value in row.values()))
    Console().print(table)


if __name__ == "__main__":
  common.run(main)
