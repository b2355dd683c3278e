"""Writes a folder of procedural faces that stands in for a user's photographs.

  python -m tools.make_faces --output=runs/demo/input

The people are not those of training, as the seed differs. labels.csv lists
their identities, attributes and the positions of eyes, nose and mouth, in the
columns of `jaxpriv.data.labels`.
"""

import csv
import pathlib

import numpy as np
from absl import flags, logging
from PIL import Image

from jaxpriv.data.procedural import ProceduralFaces
from jaxpriv.data.records import ARCFACE_LANDMARKS
from launch import common

_OUTPUT = flags.DEFINE_string("output", None, "Folder to write.")
_PEOPLE = flags.DEFINE_integer("people", 12, "Number of people.")
_IMAGES = flags.DEFINE_integer("images", 4, "Photographs of each person.")
_SIZE = flags.DEFINE_integer("size", 128, "Pixels of a side.")
_SEED = flags.DEFINE_integer("seed", 2026, "Who they are.")


def write_faces(output: pathlib.Path, faces: ProceduralFaces) -> None:
  """Writes one PNG per record, and labels.csv last: it marks the end."""
  rows = []
  for index in range(len(faces)):
    record = faces[index]
    person = int(record["identity"])
    photograph = index % faces.images_per_identity
    file = pathlib.Path(f"person_{person:03d}", f"{photograph}.png")
    (output / file.parent).mkdir(parents=True, exist_ok=True)
    Image.fromarray(record["image"]).save(output / file)
    attributes = dict(zip(faces.attribute_names, record["attributes"]))
    box = dict(zip(("x0", "y0", "x1", "y1"), np.round(record["box"], 1)))
    five = record["landmarks"][: len(ARCFACE_LANDMARKS)]
    row = {
      "file": str(file),
      "identity": f"person_{person:03d}",
      "n_points": len(five),
      "points": ";".join(f"{x:.1f},{y:.1f}" for x, y in five),
    }
    rows.append({**row, **box, **{k: int(v) for k, v in attributes.items()}})
  with open(output / "labels.csv", "w", newline="") as stream:
    writer = csv.DictWriter(stream, rows[0])
    writer.writeheader()
    writer.writerows(rows)


def main(argv: list[str]) -> None:
  common.no_arguments(argv)
  output = pathlib.Path(_OUTPUT.value)
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
