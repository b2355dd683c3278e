"""Writes faces as a folder of photographs with labels.csv.

It has no flags, so that it can be imported beside any program.
"""

import csv
import pathlib

import numpy as np
from PIL import Image

from jaxpriv.data.procedural import ProceduralFaces
from jaxpriv.data.records import ARCFACE_LANDMARKS


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
