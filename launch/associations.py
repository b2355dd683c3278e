"""Tests what a recogniser associates with what, by its embeddings (iEAT).

  python -m launch.associations --network=faceres --stimuli=procedural
  python -m launch.associations --network=dlib --stimuli=FOLDER --tests=Age,Race
  python -m launch.associations --workdir=runs/demo --stimuli=FOLDER

A folder of stimuli has a sub-folder of pictures for each concept. A test asks
whether pictures of one target lie nearer to those of one attribute, and those
of another target to another attribute, than if targets were dealt out at
random. The results are printed, and written to --output as JSON.
"""

import datetime
import json
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from absl import app, flags, logging
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jaxpriv import files
from jaxpriv.data import pretrained, stimuli
from jaxpriv.data.records import DataError
from jaxpriv.data.stimuli import Concept, Pairing
from jaxpriv.models.pretrained.catalogue import RECOGNISERS
from jaxpriv.reports import wording
from jaxpriv.training import associations, progress
from jaxpriv.training import mesh as mesh_lib
from jaxpriv.training.associations import LARGE, LEVEL
from launch import common

PROCEDURAL = "procedural"

_NETWORK = flags.DEFINE_enum(
  "network", None, RECOGNISERS, "A pretrained recogniser."
)
_WORKDIR = common.path_flag(
  "workdir", "", "A run directory, whose own recogniser is tested instead."
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
_SEED = flags.DEFINE_integer("seed", 0, "Of the permutations.", 0)


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


def print_table(rows: Sequence[Mapping[str, Any]], console: Console) -> None:
  """Prints the tests, and what they are too small for."""
  table = Table(
    box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0)
  )
  table.add_column("test", overflow="fold")
  for title in ("n", "d", "p", "Holm", "partitions", "least d", "power"):
    table.add_column(title, justify="right", no_wrap=True)
  for row in rows:
    least = row["least_effect"]
    table.add_row(
      Text(row["test"]),
      wording.count(row["n"]),
      wording.fixed(row["effect_size"], 2),
      wording.real(row["p_value"], 2),
      wording.real(row["p_holm"], 2),
      "all " * row["exact"] + wording.count(row["permutations"]),
      wording.NOTHING if least is None else wording.fixed(least, 2),
      wording.percent(row["power"]),
    )
  console.print(table)
  notes = [
    "\nd above 0: X goes with A, and Y with B. p: one-sided, over so many"
    f" partitions. Holm: p adjusted for {len(rows)} tests. least d: about what"
    f" a p of {LEVEL} needs without that. power: the chance of it where d is"
    f" {LARGE} in truth.",
    *(weakness(row, len(rows)) for row in rows),
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
  if bool(_NETWORK.value) == bool(_WORKDIR.value):
    raise app.UsageError("give either --network or --workdir")
  tests, concepts = gather(_STIMULI.value, _TESTS.value)
  if _NETWORK.value:
    reader = associations.pretrained_reader(_NETWORK.value)
  else:
    mesh_lib.initialize()
    mesh = mesh_lib.make_mesh()
    reader = associations.reader_of_run(_WORKDIR.value, mesh)
  faces = _ALIGN.value == "faces" and reader.template is not None
  if faces:
    concepts = associations.find_faces(concepts)
  prepared, skipped = associations.prepare(
    tests, concepts, faces, strict=bool(_TESTS.value)
  )
  rows = associations.measure(
    prepared,
    associations.embed(reader, prepared),
    _PERMUTATIONS.value,
    _SEED.value,
  )
  tell(rows, skipped)
  print_table(rows, Console())
  if _OUTPUT.value:
    content = {
      "recogniser": reader.name,
      "terms": pretrained.terms(reader.name) if _NETWORK.value else "",
      "stimuli": pathlib.Path(_STIMULI.value).name,
      "created": datetime.datetime.now(datetime.UTC).isoformat(),
      "seed": _SEED.value,
      "tests": rows,
      "skipped": skipped,
    }
    files.atomic_write(_OUTPUT.value, json.dumps(content, indent=2) + "\n")
    print(f"Written to {_OUTPUT.value}")


if __name__ == "__main__":
  flags.mark_flags_as_required(["stimuli"])
  common.run(main)
