"""Writes a contact sheet of procedural faces, one person per row, as one PNG.

  python -m tools.contact_sheet --output=docs/procedural_faces.png

draws the picture of the README: people, then one row for each other domain.
"""

import io

import numpy as np
from absl import app, flags, logging
from PIL import Image

from jaxpriv import files
from jaxpriv.data.procedural import ProceduralFaces
from jaxpriv.data.records import DOMAINS

_OUTPUT = flags.DEFINE_string(
  "output", "docs/procedural_faces.png", "The PNG file to write."
)
_DOMAINS = flags.DEFINE_list(
  "domains", list(DOMAINS), "Domains to draw, in order, from the top."
)
_PEOPLE = flags.DEFINE_integer(
  "people", 5, "Rows of the first domain, a person each.", lower_bound=1
)
_PHOTOGRAPHS = flags.DEFINE_integer(
  "photographs", 8, "Columns: photographs of a person.", lower_bound=1
)
_SIZE = flags.DEFINE_integer("size", 96, "Side of a photograph in pixels.")
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the people.")


def rows(
  domain: str, people: int, photographs: int, size: int, seed: int
) -> np.ndarray:
  """uint8 [people * size, photographs * size, 3], one person per row."""
  source = ProceduralFaces(people, photographs, size, seed, domain)
  images = source.batch(np.arange(len(source)))["image"]
  grid = images.reshape(people, photographs, size, size, 3)
  return grid.swapaxes(1, 2).reshape(people * size, photographs * size, 3)


def varied(domain: str, photographs: int, size: int, seed: int) -> np.ndarray:
  """uint8 [size, photographs * size, 3], one photograph each of many people."""
  return (
    rows(domain, photographs, 1, size, seed)
    .reshape(photographs, size, size, 3)
    .swapaxes(0, 1)
    .reshape(size, photographs * size, 3)
  )


def main(argv: list[str]) -> None:
  del argv
  first, *others = _DOMAINS.value
  common = (_PHOTOGRAPHS.value, _SIZE.value, _SEED.value)
  parts = [rows(first, _PEOPLE.value, *common)]
  parts += [varied(domain, *common) for domain in others]
  buffer = io.BytesIO()
  Image.fromarray(np.concatenate(parts)).save(buffer, "PNG", optimize=True)
  output = files.expanded(_OUTPUT.value)
  files.atomic_write(output, buffer.getvalue())
  logging.info("Wrote %s.", output)


if __name__ == "__main__":
  app.run(main)
