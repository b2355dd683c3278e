"""Tests what networks associate with what, by their embeddings (iEAT).

  python -m launch.associations --network=faceres --stimuli=procedural
  python -m launch.associations --network=dlib --stimuli=FOLDER --tests=Age,Race
  python -m launch.associations --workdir=runs/demo --stimuli=FOLDER
  python -m launch.associations --workdir=Std:runs/std,GB:runs/gb --random \
    --layer=retinaface/trunk/2 --stimuli=FOLDER

A folder of stimuli has a sub-folder of pictures for each concept. A test asks
whether pictures of one target lie nearer to those of one attribute, and those
of another target to another attribute, than if targets were dealt out at
random. Each network is a column: a pretrained one, what each run has trained,
and what the first run had before training (RI). The results are printed, and
written to --output as JSON.
"""

import datetime
import json
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from absl import app, flags, logging
from etils import epath
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jaxpriv import files
from jaxpriv.data import pretrained, stimuli
from jaxpriv.data.records import DataError
from jaxpriv.data.stimuli import Concept, Pairing
from jaxpriv.errors import SettingError
from jaxpriv.models.pretrained.catalogue import RECOGNISERS
from jaxpriv.reports import wording
from jaxpriv.training import associations, layers, progress
from jaxpriv.training import mesh as mesh_lib
from jaxpriv.training.associations import LARGE, LEVEL, Reader
from launch import common

PROCEDURAL = "procedural"
RANDOM = "RI"  # the column of a network with random parameters

_NETWORK = flags.DEFINE_enum(
  "network", None, RECOGNISERS, "A pretrained recogniser."
)
_WORKDIR = flags.DEFINE_list(
  "workdir",
  [],
  "Run directories, each with a name of its column before it: NAME:RUN.",
)
_LAYER = flags.DEFINE_string(
  "layer", "", "Of these runs, as PHASE/PATH; empty: their last recogniser."
)
_RANDOM = flags.DEFINE_bool(
  "random", False, "Also test the first run's network before training."
)
_STIMULI = common.path_flag(
  "stimuli", None, f"A folder with a sub-folder a concept, or {PROCEDURAL}."
)
_TESTS = flags.DEFINE_list("tests", [], "Names of tests; all when empty.")
_OUTPUT = common.path_flag("output", "", "A JSON file to write.")
_ALIGN = flags.DEFINE_enum(
    "align", "faces", ["faces", "centre"], "How photographs are framed: by"
    " their faces, if most show one, or as the central square."
)  # fmt: skip
_PERMUTATIONS = flags.DEFINE_integer(
  "permutations", 9999, "Random ones, where not all are looked at.", 1
)
_SEED = flags.DEFINE_integer(
  "seed", 0, "Of the permutations, and of --random.", 0
)


def choose(tests: Sequence[Pairing], names: Sequence[str]) -> list[Pairing]:
  """The tests of these names; all of them without names.

  Raises:
    DataError: there is none of a name.
  """
  by_name = {test.name: test for test in tests}
  for name in names:
    if name not in by_name:
      raise DataError(
        f"--tests: there is no test {name!r}; there are {', '.join(by_name)}"
      )
  return [by_name[name] for name in names] if names else list(tests)


def gather(
  place: str, names: Sequence[str]
) -> tuple[list[Pairing], dict[str, Concept]]:
  """Tests, and the pictures of their concepts.

  Raises:
    DataError: there is no such folder or test, or tests.csv is wrong.
  """
  if place == PROCEDURAL:
    chosen = choose(stimuli.DRAWN_TESTS, names)
    with progress.slow("Drawing pictures"):
      return chosen, stimuli.draw(stimuli.concepts_of(chosen))
  folder = pathlib.Path(place)
  if not folder.is_dir():
    raise DataError(
      f"--stimuli: there is no folder {place}. It has a sub-folder of pictures"
      f" for each concept; {PROCEDURAL} has them drawn"
    )
  chosen = choose(stimuli.tests_of(folder), names)
  with progress.slow("Reading pictures"):
    return chosen, stimuli.read(folder, stimuli.concepts_of(chosen))


def weakness(row: Mapping[str, Any], count: int) -> str:
  """Says what a test, one of `count`, is too small for; "" if for nothing."""
  lowest = row["lowest_p"]
  if lowest * count <= LEVEL:
    return ""
  least = f"{row['test']}: p is {wording.real(lowest)} at the least"
  if row["least_effect"] is None:
    return f"{least}, so that it can show nothing at {LEVEL}."
  others = count - math.floor(LEVEL / lowest * (1 + 1e-9))
  return (
    f"{least}, so that after Holm it can show something only if"
    f" {wording.count(others)} of the other tests do."
  )


def runs(entries: Sequence[str]) -> dict[str, str]:
  """Directories of runs by the names of their columns.

  Args:
    entries: NAME:RUN, or RUN, whose name is that of the directory.

  Raises:
    SettingError: two have one name, or one has no directory.
  """
  found: dict[str, str] = {}
  for entry in entries:
    name, colon, place = entry.partition(":")
    if not colon or place.startswith("//"):  # gs://bucket
      name, place = epath.Path(entry).name, entry
    if not name or not place or name in found:
      raise SettingError(
        f"--workdir: {entry!r} is not NAME:RUN, with a name of its own"
      )
    found[name] = files.expanded(place)
  return found


def readers() -> dict[str, Reader]:
  """The networks that flags ask for, by the names of their columns.

  Raises:
    DataError: a run has no such layer, or recognises nobody.
    SettingError: see `runs`; or a column has the name of another one.
  """
  found, asked = {}, runs(_WORKDIR.value)
  if _NETWORK.value:
    found[_NETWORK.value] = associations.pretrained_reader(_NETWORK.value)
  if not asked:
    return found
  others = {*found, *([RANDOM] if _RANDOM.value else [])}
  if taken := others & set(asked):
    raise SettingError(
      f"--workdir: {taken.pop()} is the name of another column"
    )
  mesh_lib.initialize()
  mesh = mesh_lib.make_mesh()
  made = lambda place, seed=None: layers.reader_of_run(
    place, mesh, _LAYER.value, seed
  )
  if _RANDOM.value:
    found[RANDOM] = made(next(iter(asked.values())), _SEED.value)
  return found | {name: made(place) for name, place in asked.items()}


def cells(row: Mapping[str, Any] | None) -> tuple[str, str, str]:
  """d, p and p after Holm, which has a * where that shows something."""
  if row is None:
    return "", "", ""
  return (
    wording.fixed(row["effect_size"], 2),
    wording.real(row["p_value"], 2),
    wording.real(row["p_holm"], 2) + "*" * (row["p_holm"] <= LEVEL),
  )


def print_table(
  columns: Mapping[str, Sequence[Mapping[str, Any]]], console: Console
) -> None:
  """Prints the tests of each network, and what they are too small for."""
  table = Table(
    box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0)
  )
  table.add_column("test", overflow="fold")
  several = len(columns) > 1
  titles = (
    ("n", *columns, "least d", "power")
    if several
    else ("n", "d", "p", "Holm", "partitions", "least d", "power")
  )
  for title in titles:
    table.add_column(Text(title), justify="right", no_wrap=True)
  by_test = [{row["test"]: row for row in of} for of in columns.values()]
  for name in dict.fromkeys(name for of in by_test for name in of):
    rows = [of.get(name) for of in by_test]
    there = [row for row in rows if row is not None]
    last = there[-1]
    if several:
      # d above p after Holm: seven networks go on a page.
      said = ["\n".join(cells(row)[::2]) for row in rows]
    else:
      partitions = "all " * last["exact"] + wording.count(last["permutations"])
      said = [*cells(last), partitions]
    least = last["least_effect"]
    table.add_row(
      Text(name),
      "/".join(map(wording.count, sorted({row["n"] for row in there}))),
      *said,
      wording.NOTHING if least is None else wording.fixed(least, 2),
      wording.percent(last["power"]),
    )
  console.print(table)
  counts = "/".join(map(str, sorted({len(of) for of in by_test})))
  told = "\nd above 0: X goes with A, and Y with B."
  if several:
    told += f" Below d: p, one-sided, adjusted by Holm for the {counts} tests"
    told += f" of its network, with * at {LEVEL} or less."
  else:
    told += " p: one-sided, over so many partitions. Holm: p adjusted for"
    told += f" {counts} tests, with * at {LEVEL} or less."
  notes = [
    f"{told} least d: about what a p of {LEVEL} needs without that. power: the"
    f" chance of it where d is {LARGE} in truth.",
    *dict.fromkeys(
      weakness(row, len(of)) for of in columns.values() for row in of
    ),
  ]
  for note in filter(None, notes):
    console.print(Text(note))


def tell(rows: Sequence[Mapping[str, Any]], skipped: Mapping[str, str]) -> None:
  """Logs pictures that are left out, once each, and tests without pictures."""
  reasons: dict[str, dict[str, None]] = {}
  for row in rows:
    for name, why in row["left_out"].items():
      reasons.setdefault(why, {})[name] = None
  for why, names in reasons.items():
    logging.warning(
      "%d left out, %s: %s", len(names), why, ", ".join(sorted(names))
    )
  for why in skipped.values():
    logging.warning("Not run: %s", why)


def main(argv: list[str]) -> None:
  common.no_arguments(argv)
  if not (_NETWORK.value or _WORKDIR.value):
    raise app.UsageError("give --network, --workdir or both")
  if (_LAYER.value or _RANDOM.value) and not _WORKDIR.value:
    raise app.UsageError("--layer and --random are of runs: give --workdir")
  tests, concepts = gather(_STIMULI.value, _TESTS.value)
  found: dict[str, Concept] = {}
  columns, content = {}, {}
  for name, reader in readers().items():
    faces = _ALIGN.value == "faces" and reader.template is not None
    if faces and not found:
      found = associations.find_faces(concepts)
    prepared, skipped = associations.prepare(
      tests, found if faces else concepts, faces, strict=bool(_TESTS.value)
    )
    rows = associations.measure(
      prepared,
      associations.embed(reader, prepared),
      _PERMUTATIONS.value,
      _SEED.value,
    )
    tell(rows, skipped)
    columns[name] = rows
    content[name] = {
      "recogniser": reader.name,
      "terms": pretrained.terms(name) if name == _NETWORK.value else "",
      "tests": rows,
      "skipped": skipped,
    }
  print_table(columns, Console())
  if _OUTPUT.value:
    whole = {
      "stimuli": pathlib.Path(_STIMULI.value).name,
      "created": datetime.datetime.now(datetime.UTC).isoformat(),
      "seed": _SEED.value,
      "columns": content,
    }
    files.atomic_write(_OUTPUT.value, json.dumps(whole, indent=2) + "\n")
    print(f"Written to {_OUTPUT.value}")


if __name__ == "__main__":
  flags.mark_flags_as_required(["stimuli"])
  common.run(main)
