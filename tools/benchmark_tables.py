"""Writes tables of what was measured on devices, and of what was foretold.

  python -m tools.benchmark_tables FOLDER > tables.md

The files are those of tools/on_device.sh, by `launch.measure`, which have
programs, and by suites of `launch.benchmark` and others, which have rows; and
those of `launch.compile --json`, which have a topology. Empty cells were not
measured. They are the tables of docs/benchmarks.md and docs/results/scaling.md.
"""

import json
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from absl import app

from tools import scaling_table

_GIB = 2**30
_COLUMNS = (
  "config", "program", "batch", "ms", "images/s", "of best", "TFLOP/s",
  "input wait", "holds", "held at most", "compiled in",
)  # fmt: skip


def tables(folder: pathlib.Path) -> Iterator[str]:
  """Markdown of all files of a folder, by the devices that they are of.

  Args:
    folder: of JSON files.

  Raises:
    ValueError: there are none, or one is of something else.
  """
  contents = {p.stem: _read(p) for p in sorted(folder.glob("*.json"))}
  if not contents:
    raise ValueError(f"{folder}: no .json files of programs that measure")
  foretold = [c for c in contents.values() if "topology" in c]
  yield from scaling_table.tables(foretold)
  contents = {k: c for k, c in contents.items() if "topology" not in c}
  measured = {k: c for k, c in contents.items() if "programs" in c}
  for where in dict.fromkeys(map(_where, measured.values())):
    mine = {k: c for k, c in measured.items() if _where(c) == where}
    rows = [
      cells(name, row) for name, c in mine.items() for row in c["programs"]
    ]
    if rows:
      yield f"{where}:\n\n{markdown(_COLUMNS, rows)}"
    yield from _not_measured(mine)
    yield from _private(mine)
  for content in contents.values():
    for suite, rows in content.get("suites", {}).items():
      columns = list(dict.fromkeys(name for row in rows for name in row))
      lines = [[str(row.get(name, "")) for name in columns] for row in rows]
      yield f"{suite}, {_where(content)}:\n\n{markdown(columns, lines)}"


def cells(config: str, row: Mapping[str, Any]) -> list[str]:
  """One program that was measured; its name is that of its file."""
  share, wait = row["share_of_best"], row.get("input_wait")
  spread = (row["high_ms"] - row["low_ms"]) / row["ms"]
  return [
    config,
    row["program"] + ("" if row.get("finite", True) else ", not finite"),
    f"{row['batch']:,}",
    f"{_number(row['ms'])} (spread {spread:.0%})",
    f"{row['images_per_second']:,.0f}",
    "" if share is None else f"{share:.1%}, by {row['limit']}",
    _number(row["teraflops"]),
    "" if wait is None else f"{wait:.0%}",
    _gib(row["held"]),
    _at_most(row),
    f"{row['compile_seconds']:.0f} s",
  ]


def _at_most(row: Mapping[str, Any]) -> str:
  """The peak; where it was higher before, only that it was no more."""
  if row["peak"] is None:
    return ""
  before = row["peak_before"] is not None and row["peak_before"] >= row["peak"]
  return ("no more than " if before else "") + _gib(row["peak"])


def _number(value: float) -> str:
  """Three digits, or all before the point."""
  return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _gib(size: int) -> str:
  return f"{size / _GIB:.2f} GiB"


def _not_measured(contents: Mapping[str, Mapping]) -> Iterator[str]:
  lines = [
    f"- {name}, {program}: {reason}"
    for name, content in contents.items()
    for kind in ("failed", "left_out")
    for program, reason in content[kind].items()
  ]
  if lines:
    yield "Not measured:\n\n" + "\n".join(lines) + "\n"


def _private(contents: Mapping[str, Mapping]) -> Iterator[str]:
  """Private steps against plain ones of the same config and phase."""
  steps: dict[bool, dict[tuple, Mapping]] = {False: {}, True: {}}
  for name, content in contents.items():
    for row in content["programs"]:
      key = (content["config"], row["program"], row["dtype"])
      # A file of the call `dp` is of the same minutes as its other one.
      if ":" not in row["program"]:
        mine = steps[content["private"]]
        if key not in mine or name.startswith("dp_"):
          mine[key] = row
  lines = []
  for key, row in steps[True].items():
    plain = steps[False].get(key)
    if plain:
      each = [r["ms"] / r["examples"] for r in (row, plain)]
      lines.append(
        [*key[:2], f"{each[0] / each[1]:.2f}", f"{row['ms'] / plain['ms']:.2f}"]
      )
  if lines:
    columns = ("config", "phase", "time of an example", "time of a step")
    yield f"Private against plain:\n\n{markdown(columns, lines)}"


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
  """A table, with a line at its end."""
  lines = [columns, ["---"] * len(columns), *rows]
  return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def _where(content: Mapping[str, Any]) -> str:
  version = content.get("jax")
  by = f"JAX {version}" if version else f"torch {content.get('torch')}"
  return f"{content.get('devices')} x {content.get('device')}, {by}"


def _read(path: pathlib.Path) -> dict[str, Any]:
  content = json.loads(path.read_text())
  kinds = {"suites"}, {"programs", "failed"}, {"programs", "topology"}
  if not any(kind <= content.keys() for kind in kinds):
    raise ValueError(
      f"{path}: not a file of tools/on_device.sh or launch.compile"
    )
  return content


def main(argv: list[str]) -> None:
  if len(argv) != 2:
    raise app.UsageError("one argument: the folder of JSON files")
  print("\n".join(tables(pathlib.Path(argv[1]))))


if __name__ == "__main__":
  app.run(main)
