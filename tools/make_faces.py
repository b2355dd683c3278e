"""Writes a folder of procedural faces that stands in for a user's photographs.

  python -m tools.make_faces --output=runs/demo/input

The people are not those of training, as the seed differs. labels.csv lists
their identities, attributes and the positions of eyes, nose and mouth, in the
columns of `jaxpriv.data.labels`.
"""

import pathlib

from absl import flags, logging

from jaxpriv import files
from jaxpriv.data.procedural import ProceduralFaces
from launch import common
from tools.faces_folder import write_faces

_OUTPUT = flags.DEFINE_string("output", None, "Folder to write.")
_PEOPLE = flags.DEFINE_integer("people", 12, "Number of people.")
_IMAGES = flags.DEFINE_integer("images", 4, "Photographs of each person.")
_SIZE = flags.DEFINE_integer("size", 128, "Pixels of a side.")
_SEED = flags.DEFINE_integer("seed", 2026, "Who they are.")


def main(argv: list[str]) -> None:
  common.no_arguments(argv)
  output = pathlib.Path(files.expanded(_OUTPUT.value))
  if (output / "labels.csv").exists():
    logging.info("%s is there already", output)
    return
  faces = ProceduralFaces(
    _PEOPLE.value, _IMAGES.value, _SIZE.value, _SEED.value
  )
  write_faces(output, faces)
  logging.info("%d faces written to %s", len(faces), output)


if __name__ == "__main__":
  flags.mark_flags_as_required(["output"])
  common.run(main)
