"""Writes the tables of docs/results/scaling.md from files of launch.compile.

  python -m launch.compile --config=deep_poisoning:gpu --topology=h200:8 \
    --json=compiled/poisoning.json
  python -m tools.scaling_table compiled > tables.md

One table for each topology, a row for each program, in the order of the files'
names; the config is named with its settings.
"""

import json
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from absl import app

_GIB, _MIB = 2**30, 2**20
_HEAD = (
  "| config | program | batch | parameters | holds | TFLOP | communicated"
  " | at best | 90% from |\n|---|---|---|---|---|---|---|---|---|"
)
# Short, as columns are narrow.
_SHORT = {
  "all-reduce": "reduce",
  "all-gather": "gather",
  "reduce-scatter": "scatter",
  "all-to-all": "exchange",
  "collective-permute": "permute",
}


def tables(folder: pathlib.Path) -> Iterator[str]:
  """Markdown of each topology.

  Args:
    folder: of JSON files.

  Raises:
    ValueError: there are none, or one is of something else.
  """
  by_topology: dict[str, list[str]] = {}
  paths = sorted(folder.glob("*.json"))
  if not paths:
    raise ValueError(f"{folder}: no .json files of launch.compile --json")
  for path in paths:
    content = json.loads(path.read_text())
    if not {"arguments", "topology", "programs"} <= content.keys():
      raise ValueError(f"{path}: not a file of launch.compile --json")
    lines = by_topology.setdefault(content["topology"], [])
    name = ", ".join(
      f"`{argument.removeprefix('--config').removeprefix('=').lstrip('.')}`"
      for argument in content["arguments"]
    )
    lines += [row(name, program) for program in content["programs"]]
  for topology, lines in by_topology.items():
    yield f"{topology}:\n\n" + "\n".join([_HEAD, *lines]) + "\n"


def row(config: str, program: Mapping[str, Any]) -> str:
  """One line of a table."""
  cells = (
    config,
    program["name"],
    f"{program['batch']:,}",
    f"{program['parameters'] / _MIB:,.1f} MiB",
    f"{program['held'] / _GIB:.2f} GiB"
    + ("" if program["fits"] else ", **does not fit**"),
    f"{program['flops'] / program['devices'] / 1e12:.3f}",
    ", ".join(
      f"{each['number']} {_SHORT[kind]} {each['bytes'] / _MIB:,.1f} MiB"
      for kind, each in program["collectives"].items()
    ),
    _best(program),
    f"{program['efficient_batch']:,}" if program["efficient_batch"] else "",
  )
  return f"| {' | '.join(cells)} |"


def _best(program: Mapping[str, Any]) -> str:
  bounds = program["bounds"]
  if not bounds:
    return ""
  limit = max(bounds, key=bounds.__getitem__)
  speed = program["examples"] / max(bounds[limit], 1e-12)
  return f"{speed:,.0f} images/s, {limit}"


def main(argv: list[str]) -> None:
  if len(argv) != 2:
    raise app.UsageError("Name the folder of JSON files.")
  print("\n".join(tables(pathlib.Path(argv[1]))))


if __name__ == "__main__":
  app.run(main)
