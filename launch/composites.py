r"""Makes pictures of several faces that are cut out of photographs.

  python -m launch.composites --faces=FOLDER --backgrounds=FOLDER \
    --background_files='scenes/*' --output=COMPOSITES --count=2000

Faces are those of a labels.csv with boxes or points, of photographs with one
face each; backgrounds must show nobody. The output is a folder of scenes, with
a labels.csv of tight boxes, five points and people, to train detectors on:

  --config.data.source=folder --config.data.path=COMPOSITES \
    --config.data.align=whole --config.data.max_faces=6

Picture number n depends on the settings and n alone. Interrupted, or with a
larger --count, the same command goes on. With --people=0,0.8 and --people=0.8,1
two folders have no person in common.
"""

import contextlib
import csv
import hashlib
import io
import json
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from absl import flags, logging
from etils import epath

from jaxpriv import files
from jaxpriv.data import composites, cutouts, images, tree
from jaxpriv.data.composites import Composites, Options
from jaxpriv.data.records import DataError
from jaxpriv.errors import SettingError
from jaxpriv.training import progress
from launch import common

SETTINGS = "composites.json"  # beside labels.csv
_COLUMNS = ("file", "identity", "gender", "x0", "y0", "x1", "y1", "n_points",
            "points")  # fmt: skip
_GENDERS = {1: "M", 0: "F", -1: ""}
_DEFAULT = Options()

_FACES = common.path_flag("faces", None, "Folder of labelled photographs.")
_SETS = flags.DEFINE_list("sets", [], "Of its labels.csv, only these sets.")
_PEOPLE = flags.DEFINE_list(
    "people", ["0", "1"], "From which to which share of the people, in an order"
    " by their names: 0,0.8 and 0.8,1 have nobody in common.",
)  # fmt: skip
_BACKGROUNDS = common.path_flag(
  "backgrounds", None, "Folder of photographs, some of which show nobody."
)
_BACKGROUND_SETS = flags.DEFINE_list(
  "background_sets", [], "Of its labels.csv, only these sets."
)
_BACKGROUND_FILES = flags.DEFINE_list(
    "background_files", [], "Patterns of paths below the folder, one of which"
    " must fit, such as 'nature/*'.",
)  # fmt: skip
_OUTPUT = common.path_flag("output", None, "Folder of the pictures.")
_COUNT = flags.DEFINE_integer("count", None, "How many pictures.", 1)
_SIDE = flags.DEFINE_integer(
  "side", _DEFAULT.side, "Side of the pictures in pixels."
)
_MOST = flags.DEFINE_integer(
  "most", _DEFAULT.most, "Faces of a picture at most."
)
_SMALLEST = flags.DEFINE_float(
  "smallest", _DEFAULT.smallest, "Side of the smallest face box in pixels."
)
_LARGEST = flags.DEFINE_float(
  "largest", _DEFAULT.largest, "Side of the largest face box in pixels."
)
_SCRAPS = flags.DEFINE_integer(
    "scraps", _DEFAULT.scraps, "Pieces of photographs without a face that a"
    " picture shows at most.",
)  # fmt: skip
_SEED = flags.DEFINE_integer("seed", 0, "Of all that is random.", 0)


def write(
  output: str, made: Composites, count: int
) -> dict[str, int]:  # fmt: skip
  """Writes the pictures that are not there yet, and labels.csv at the end.

  Args:
    output: the folder.
    made: draws them.
    count: how many there are to be.

  Returns:
    "pictures", "faces" and "people": how many there are.

  Raises:
    DataError: the folder holds pictures of other settings.
  """
  top = epath.Path(output)
  _claim(top, made)
  rows: list[dict[str, Any]] = []
  with progress.bar("composites", count, unit="picture") as advance:
    for number in range(count):
      name = f"{number:06}.jpg"
      if not (top / name).exists():
        files.atomic_write(top / name, images.encode(made.draw(number)))
      rows += _rows(made, number, name)
      advance(number + 1)
  stream = io.StringIO()
  writer = csv.DictWriter(stream, _COLUMNS, lineterminator="\n")
  writer.writeheader()
  writer.writerows(rows)
  files.atomic_write(top / tree.TABLE, stream.getvalue())
  people = {row["identity"] for row in rows} - {""}
  return {"pictures": count, "faces": len(rows), "people": len(people)}


def _claim(top: epath.Path, made: Composites) -> None:
  """Says in the folder how its pictures are made.

  Raises:
    DataError: they are made otherwise, or it holds something else.
  """
  digest = hashlib.blake2b(digest_size=16)
  for face in made.faces:
    digest.update(f"{face.file} {face.box.tolist()}\n".encode())
  for name in made.backgrounds:
    digest.update(f"{name}\n".encode())
  settings = {
    **made.options._asdict(),
    "seed": made.seed,
    "photographs": digest.hexdigest(),
  }
  place = top / SETTINGS
  if place.exists():
    if files.read_json(place, dict) != settings:
      raise DataError(
        f"--output: {top} holds composites of other settings or photographs,"
        f" see {SETTINGS} in it: choose another folder"
      )
  elif top.exists() and any(top.iterdir()):
    raise DataError(f"--output: {top} is not empty: choose another folder")
  else:
    files.atomic_write(place, json.dumps(settings, indent=2) + "\n")


def _rows(made: Composites, number: int, name: str) -> Iterator[dict[str, Any]]:
  for placed in made.placed(number):
    face = made.faces[placed.face]
    row: dict[str, Any] = {
      "file": name, "identity": face.person, "gender": _GENDERS[face.male]
    }  # fmt: skip
    row |= {k: f"{v:.2f}" for k, v in zip(("x0", "y0", "x1", "y1"), placed.box)}
    if np.isfinite(placed.five).all():
      points = ";".join(f"{x:.2f},{y:.2f}" for x, y in placed.five)
      row |= {"n_points": "5", "points": points}
    yield row


def _share(words: Sequence[str]) -> tuple[float, float]:
  """Raises SettingError unless these are two shares, one after the other."""
  try:
    low, high = (float(word) for word in words)
  except ValueError:
    low, high = 0.0, 0.0
  if not 0 <= low < high <= 1:
    raise SettingError(
      f"--people: {','.join(words)} are not two shares from 0 to 1, such as"
      " 0,0.8"
    )
  return low, high


def _check_outside(output: str, *inputs: str) -> None:
  below = pathlib.Path(output).expanduser().resolve()
  for above in map(pathlib.Path, inputs):
    above = above.expanduser().resolve()
    if above == below or above in below.parents:
      raise DataError(
        f"--output: {output} is inside of {os.fspath(above)}, where composites"
        " would be taken for photographs. Choose a folder outside"
      )


@contextlib.contextmanager
def _naming(path: str, sets: str) -> Iterator[None]:
  """Has errors about a folder name the flags that it comes from."""
  try:
    yield
  except DataError as error:
    text = str(error).replace("data.path", f"--{path}")
    raise DataError(text.replace("data.sets", f"--{sets}")) from error


def main(argv: list[str]) -> None:
  common.no_arguments(argv)
  share = _share(_PEOPLE.value)
  _check_outside(_OUTPUT.value, _FACES.value, _BACKGROUNDS.value)
  options = Options(
    _SIDE.value, _MOST.value, _SMALLEST.value, _LARGEST.value, _SCRAPS.value
  )
  with _naming("faces", "sets"):
    faces = cutouts.faces(_FACES.value, _SETS.value)
  with _naming("backgrounds", "background_sets"):
    backgrounds = cutouts.backgrounds(
      _BACKGROUNDS.value, _BACKGROUND_SETS.value, _BACKGROUND_FILES.value
    )
  faces = cutouts.of_people(faces, *share)
  made = composites.Composites(faces, backgrounds, options, _SEED.value)
  counts = write(_OUTPUT.value, made, _COUNT.value or 0)
  logging.info(
    "%d pictures of %d faces of %d people in %s",
    counts["pictures"],
    counts["faces"],
    counts["people"],
    _OUTPUT.value,
  )


if __name__ == "__main__":
  flags.mark_flags_as_required(
    ["faces", "backgrounds", "output", "count"]
  )  # fmt: skip
  common.run(main)
