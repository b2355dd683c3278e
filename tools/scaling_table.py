"""Tables of what is foretold by launch.compile, for `tools.benchmark_tables`.

One table for each topology, a row for each program, in the order of files; the
config is named with its settings.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

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


def tables(contents: Iterable[Mapping[str, Any]]) -> Iterator[str]:
  """Markdown of each topology.

  Args:
    contents: of JSON files of `launch.compile`.
  """
  by_topology: dict[str, list[str]] = {}
  for content in contents:
    topology = content["topology"]
    if not content.get("tuned", True):  # earlier files do not say so
      topology += ", by a compiler that tries little"
    lines = by_topology.setdefault(topology, [])
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
