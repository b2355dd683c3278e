"""Associations of a recogniser: pictures of concepts in, tests of them out.

The test is `jaxpriv.metrics.association`'s, its pictures are those of
`jaxpriv.data.stimuli`. Photographs of faces are framed by these, as the
recogniser has learned to see them; all else is a central square.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxpriv.data import landmarks, stimuli
from jaxpriv.data.records import ARCFACE_LANDMARKS, DataError
from jaxpriv.data.stimuli import Concept, Pairing, Picture, Ready
from jaxpriv.metrics import association, statistics
from jaxpriv.training import detection, progress, unlabelled, witnesses

LEVEL = 0.05
LARGE = 0.8  # an effect that is called large (Cohen, 1988)
_AT_ONCE = 16  # photographs in memory


class Reader(NamedTuple):
  """A recogniser, or a layer of another network.

  Attributes:
    name: of it.
    size: side of the squares that it reads.
    template: [5, 2], where it expects the points of a face; None: nowhere.
    embed: uint8 [N, size, size, 3] -> [N, D].
  """

  name: str
  size: int
  template: np.ndarray | None
  embed: Callable[[np.ndarray], np.ndarray]


def pretrained_reader(name: str) -> Reader:
  """A pretrained recogniser of this name.

  Raises:
    WeightsError: it has not been fetched.
  """
  witness = witnesses.load(name)
  size, points = witness.frame.size, witness.frame.points
  template = np.array(points) * size if points else None
  embed = functools.partial(witnesses.embed, witness)
  return Reader(name, size, template, embed)


def find_faces(concepts: Mapping[str, Concept]) -> dict[str, Concept]:
  """Concepts, with the largest face of each photograph.

  Nobody looks at what is drawn, or where the face is known.

  Raises:
    WeightsError: the networks that find faces have not been fetched.
  """
  wanting = [
    picture
    for concept in concepts.values()
    for picture in concept.pictures
    if picture.five is None and not isinstance(picture.source, np.ndarray)
  ]
  if not wanting:
    return dict(concepts)
  detector, marker = (witnesses.load(name) for name in unlabelled.NETWORKS)
  found: dict[str, np.ndarray | None] = {}
  with progress.bar("faces", len(wanting), unit="image") as advance:
    for start in range(0, len(wanting), _AT_ONCE):
      part = wanting[start : start + _AT_ONCE]
      opened = [picture.open() for picture in part]
      faces = detection.find(detector, marker, opened)
      for picture, of_picture in zip(part, faces, strict=True):
        found[picture.name] = _largest(of_picture)
      advance(len(found))
  return {
    name: concept._replace(
      pictures=tuple(
        picture._replace(five=found.get(picture.name, picture.five))
        for picture in concept.pictures
      )
    )
    for name, concept in concepts.items()
  }


def _largest(faces: detection.Faces | None) -> np.ndarray | None:
  """The five points [5, 2] of the largest face, if there is one."""
  if faces is None or not len(faces.boxes):
    return None
  sides = faces.boxes[:, 2:] - faces.boxes[:, :2]
  points = faces.landmarks[[sides.prod(1).argmax()]]
  standard = landmarks.standard_landmarks(points)
  assert standard is not None
  return standard[0, : len(ARCFACE_LANDMARKS)]


def prepare(
  tests: Sequence[Pairing],
  concepts: Mapping[str, Concept],
  faces: bool,
  strict: bool,
) -> tuple[list[Ready], dict[str, str]]:
  """Tests that have their pictures, and why others have not.

  Args:
    tests: to prepare.
    concepts: their pictures.
    faces: whether pictures may be framed by faces.
    strict: whether a test without its pictures is an error.

  Raises:
    DataError: one is, or no test has its pictures.
  """
  prepared, skipped = [], {}
  for test in tests:
    try:
      prepared.append(stimuli.ready(test, concepts, faces))
    except DataError as error:
      if strict:
        raise
      skipped[test.name] = str(error)
  if not prepared:
    raise DataError(
      "no test has its pictures: " + "; ".join(list(skipped.values())[:3])
    )
  return prepared, skipped


def embed(reader: Reader, tests: Sequence[Ready]) -> dict[Any, np.ndarray]:
  """Embeddings of all pictures of tests, each once, by `_key`."""
  needed = {
    _key(picture): picture
    for test in tests
    for group in (test.x, test.y, test.a, test.b)
    for picture in group
  }
  keys, rows = list(needed), []
  with progress.bar("embedding", len(keys), unit="image") as advance:
    for start in range(0, len(keys), witnesses.BATCH):
      part = [needed[key] for key in keys[start : start + witnesses.BATCH]]
      pixels = stimuli.squares(part, reader.size, reader.template)
      rows += list(reader.embed(pixels))
      advance(len(rows))
  return dict(zip(keys, rows, strict=True))


def _key(picture: Picture) -> tuple[str, bool]:
  return picture.name, picture.five is None


def measure(
  tests: Sequence[Ready],
  rows: Mapping[Any, np.ndarray],
  num_permutations: int = 9999,
  seed: int = 0,
) -> list[dict[str, Any]]:
  """The outcome of each test, as plain values.

  Beside the fields of `association.Association` there are what "framed_by" says
  of targets and of attributes, "p_holm" over these tests, "lowest_p" that so
  few pictures can have, "least_effect" that a p of `LEVEL` needs, None where
  none is enough, and "power", the chance of it where the effect is `LARGE`.

  Args:
    tests: of `prepare`.
    rows: of `embed`.
    num_permutations: see `association.association_test`.
    seed: likewise.

  Raises:
    DataError: the embeddings of a test cannot be compared.
  """
  made = []
  for test in tests:
    x, y, a, b = (
      np.stack([rows[_key(picture)] for picture in group])
      for group in (test.x, test.y, test.a, test.b)
    )
    try:
      found = association.association_test(x, y, a, b, num_permutations, seed)
    except ValueError as error:
      raise DataError(f"{test.pairing.name}: {error}") from error
    made.append(
      {
        "test": test.pairing.name,
        **dict(zip("xyab", test.pairing[1:], strict=True)),
        "framed_by": ["faces" if faced else "centre" for faced in test.faces],
        "attributes": [len(test.a), len(test.b)],
        **found._asdict(),
        "lowest_p": association.lowest_p(found.n, num_permutations),
        "least_effect": _finite(association.least_effect(found.n, LEVEL)),
        "power": association.power(found.n, LARGE, LEVEL),
        "left_out": dict(test.left_out),
      }
    )
  adjusted = statistics.holm([row["p_value"] for row in made])
  for row, p in zip(made, adjusted, strict=True):
    row["p_holm"] = float(p)
  return made


def _finite(value: float) -> float | None:
  return value if math.isfinite(value) else None
