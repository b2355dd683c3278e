"""Pictures of concepts, for tests of what a network associates with what.

A test pairs two targets X and Y with two attributes A and B. Each is a concept:
a folder of pictures below a folder of stimuli, which `read` reads, or drawn by
`draw`. `ready` chooses the pictures of a test, and `squares` cuts out what a
network is to see of them.
"""

import concurrent.futures
import csv
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from jaxpriv.data import account, alignment, images, procedural, tree
from jaxpriv.data.records import (
  ARCFACE_LANDMARKS,
  DataError,
  UnreadableImageError,
)

TABLE = "tests.csv"  # in a folder of stimuli: tests of its own
MORE = "the other target has fewer pictures"

# Share of the pictures of two concepts, each, that must show a face: if fewer
# do, they are no pictures of faces, and all are taken as they are.
LEAST_FACES = 0.75


class Pairing(NamedTuple):
  """A test: its name, and the folders of X, Y, A and B."""

  name: str
  x: str
  y: str
  a: str
  b: str


def _test(name: str, folder: str, x: str, y: str, *attributes: str) -> Pairing:
  """A test whose concepts are in one folder; without attributes, of valence."""
  targets = (f"{folder}/{x}", f"{folder}/{y}")
  a, b = (f"{folder}/{name}" for name in attributes) if attributes else _VALENCE
  return Pairing(name, *targets, a, b)


_VALENCE = ("valence/pleasant", "valence/unpleasant")
# The fifteen tests of Steed and Caliskan (FAccT 2021). Folders are called as in
# data/experiments of the authors' repository, whose pictures have owners of
# their own and are not here.
TESTS = (
  _test("Insect-Flower", "insect-flower", "flower", "insect"),
  _test("Weapon", "weapon", "white", "black", "tool", "weapon"),
  _test("Weapon (Modern)", "weapon", "white", "black", "tool-modern",
        "weapon-modern"),
  _test("Native", "native", "euro", "native", "us", "world"),
  _test("Asian", "asian", "european-american", "asian-american", "american",
        "foreign"),
  _test("Weight", "weight", "thin", "fat"),
  _test("Skin-Tone", "skin-tone", "light", "dark"),
  _test("Disability", "disabled", "disabled", "abled"),
  _test("Religion", "religion", "christianity", "judaism"),
  _test("Sexuality", "sexuality", "gay", "straight"),
  _test("Race", "race", "european-american", "african-american"),
  _test("Arab-Muslim", "arab-muslim", "other-people", "arab-muslim"),
  _test("Age", "age", "young", "old"),
  _test("Gender-Science", "gender", "male", "female", "science",
        "liberal-arts"),
  _test("Gender-Career", "gender", "male", "female", "career", "family"),
)  # fmt: skip

_PATTERNS = ("smooth", "jagged")
# Tests of drawn stimuli, which show that a program works and nothing else.
DRAWN_TESTS = (
  Pairing("Drawn-Skin-Tone", "light", "dark", *_PATTERNS),
  Pairing("Drawn-Age", "young", "old", *_PATTERNS),
  Pairing("Drawn-Gender", "female", "male", *_PATTERNS),
  Pairing("Drawn-Glasses", "without-glasses", "glasses", *_PATTERNS),
)
# Concept -> the factor of drawn faces that it sets, and to which values.
_FACES = {
  "light": ("skin_tone", (1, 2, 3)),
  "dark": ("skin_tone", (8, 9, 10)),
  "young": ("Young", (1,)),
  "old": ("Young", (0,)),
  "female": ("Male", (0,)),
  "male": ("Male", (1,)),
  "without-glasses": ("Eyeglasses", (0,)),
  "glasses": ("Eyeglasses", (1,)),
}
DRAWN = 10  # pictures of each drawn concept
_SIDE = 160
_SEED = 5


class Picture(NamedTuple):
  """A picture that is opened when it is needed.

  Attributes:
    name: unique among stimuli: its path below their folder.
    source: its file, or uint8 pixels [H, W, 3].
    five: the five points [5, 2] of the face in it, in pixels; None where it
      shows none, or nobody has looked.
  """

  name: str
  source: pathlib.Path | np.ndarray
  five: np.ndarray | None = None

  def open(self) -> Image.Image:
    """The picture, not decoded yet.

    Raises:
      UnreadableImageError: it is not there any more.
    """
    if isinstance(self.source, np.ndarray):
      return Image.fromarray(self.source)
    return images.open_image(self.source, self.name)


class Concept(NamedTuple):
  """The pictures of a concept by name, and why other files are left out."""

  pictures: tuple[Picture, ...]
  left_out: Mapping[str, str] = {}


class Ready(NamedTuple):
  """A test with its pictures.

  Attributes:
    pairing: the test.
    x: pictures of X, as many as of Y.
    y: pictures of Y.
    a: pictures of A.
    b: pictures of B.
    faces: whether X and Y, and A and B, are framed by their faces.
    left_out: name -> why, of files of these concepts.
  """

  pairing: Pairing
  x: tuple[Picture, ...]
  y: tuple[Picture, ...]
  a: tuple[Picture, ...]
  b: tuple[Picture, ...]
  faces: tuple[bool, bool]
  left_out: Mapping[str, str]


def tests_of(folder: pathlib.Path) -> tuple[Pairing, ...]:
  """The tests of a folder: those of its tests.csv, or else `TESTS`.

  The table has the columns name, x, y, a and b; the last four name folders
  below it.

  Raises:
    DataError: the table cannot be read, or a folder is outside.
  """
  path = folder / TABLE
  if not path.exists():
    return TESTS
  try:
    with open(path, newline="", encoding="utf-8-sig") as stream:
      rows = list(csv.DictReader(stream))
  except (OSError, UnicodeDecodeError, csv.Error) as error:
    raise DataError(f"{path} cannot be read: {error}.") from error
  tests: list[Pairing] = []
  for row in rows:
    cells = {field: (row.get(field) or "").strip() for field in Pairing._fields}
    if not all(cells.values()):
      empty = next(field for field, cell in cells.items() if not cell)
      raise DataError(
        f"{path}, row {len(tests) + 1}: {empty} is empty. The columns are"
        f" {', '.join(Pairing._fields)}: a name, and four folders below it."
      )
    pairing = Pairing(**cells)
    for concept in pairing[1:]:
      place = pathlib.PurePath(concept)
      if place.is_absolute() or ".." in place.parts:
        raise DataError(f"{path}: {concept} is outside of {folder}.")
    tests.append(pairing)
  names = [pairing.name for pairing in tests]
  twice = sorted({name for name in names if names.count(name) > 1})
  if twice or not names:
    what = f"names {twice[0]} twice" if twice else "has no rows"
    raise DataError(f"{path} {what}.")
  return tuple(tests)


def concepts_of(tests: Iterable[Pairing]) -> list[str]:
  """All concepts of some tests, each once."""
  return list(dict.fromkeys(name for test in tests for name in test[1:]))


def read(folder: pathlib.Path, names: Iterable[str]) -> dict[str, Concept]:
  """Reads the pictures of concepts, those in sub-folders of theirs included.

  Each is decoded once, to know that it can be.

  Args:
    folder: of the stimuli.
    names: of the concepts: folders below it.

  Returns:
    concept -> its pictures; without those that have no folder.

  Raises:
    DataError: a folder cannot be entered.
  """
  found = {}
  with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
    for name in names:
      place = folder / name
      if not place.is_dir():
        continue
      listed = tree.walk(place)
      left_out = {f"{name}/{file}": why for file, why in listed.others.items()}
      pictures = [
        Picture(f"{name}/{file}", place / file) for file in listed.photographs
      ]
      readable = list(pool.map(_is_readable, pictures))
      for picture, good in zip(pictures, readable, strict=True):
        if not good:
          left_out[picture.name] = account.UNREADABLE
      kept = (p for p, good in zip(pictures, readable, strict=True) if good)
      found[name] = Concept(tuple(kept), left_out)
  return found


def _is_readable(picture: Picture) -> bool:
  try:
    images.decode(picture.open(), reduce=8)
  except UnreadableImageError:
    return False
  return True


def draw(names: Iterable[str], count: int = DRAWN) -> dict[str, Concept]:
  """Draws concepts of `DRAWN_TESTS`: faces of known points, and patterns.

  Two concepts show other people, and differ by one factor on purpose. Smooth
  pictures are bright and warm, jagged ones dark and cold.

  Args:
    names: of the concepts; others are left out.
    count: pictures of each.
  """
  result = {}
  for name in names:
    if name in _FACES:
      result[name] = Concept(tuple(_faces(name, count)))
    elif name in _PATTERNS:
      pixels = (_pattern(name, number) for number in range(count))
      result[name] = Concept(
        tuple(Picture(f"{name}/{i}", p) for i, p in enumerate(pixels))
      )
  return result


def _faces(name: str, count: int) -> list[Picture]:
  factor, values = _FACES[name]
  ids = list(_FACES).index(name) * 1000 + np.arange(count)
  params = procedural.sample_people(_SEED, ids)
  params |= procedural.sample_photographs(_SEED, ids, np.zeros(count, int))
  params[factor] = np.resize(np.array(values, np.float32), count)
  pixels = procedural.render(params, _SIDE) * 255 + 0.5
  points = procedural.locate(params, _SIDE).landmarks
  return [
    Picture(f"{name}/{i}", one.astype(np.uint8), five)
    for i, (one, five) in enumerate(
      zip(pixels, points[:, : len(ARCFACE_LANDMARKS)], strict=True)
    )
  ]


def _pattern(name: str, number: int) -> np.ndarray:
  """A picture uint8 [_SIDE, _SIDE, 3]: waves of light, or teeth."""
  rng = np.random.default_rng([_SEED, _PATTERNS.index(name), number])
  y, x = np.mgrid[:_SIDE, :_SIDE] / _SIDE
  angle, phase, mixed = rng.uniform(0, (2 * np.pi, 1, 1))
  along = x * np.cos(angle) + y * np.sin(angle)
  if name == "smooth":
    wave = np.cos(2 * np.pi * (rng.uniform(0.4, 1) * along + phase))
    first, second = np.array([[255, 225, 150], [250, 170, 130]])
  else:
    across = y * np.cos(angle) - x * np.sin(angle)
    teeth = np.abs((rng.uniform(5, 9) * across) % 1 - 0.5)
    wave = np.sign((rng.uniform(4, 7) * along + teeth + phase) % 1 - 0.5)
    first, second = np.array([[15, 20, 45], [60, 75, 105]])
  share = (0.5 + 0.5 * wave)[..., None] * (0.5 + 0.5 * mixed)
  return (first + (second - first) * share).astype(np.uint8)


def ready(
  pairing: Pairing, concepts: Mapping[str, Concept], faces: bool = True
) -> Ready:
  """Chooses the pictures of a test: as many of X as of Y, framed alike.

  X and Y are framed by their faces where `LEAST_FACES` of each show one, and so
  are A and B; pictures without a face are then left out. If a target has more
  pictures than the other, its last ones are left out, in the order of names.

  Args:
    pairing: the test.
    concepts: of `read` or `draw`, `five` being what was found.
    faces: whether faces may be framed.

  Raises:
    DataError: a concept has no folder, or no picture.
  """
  left_out: dict[str, str] = {}
  for name in pairing[1:]:
    if name not in concepts:
      raise DataError(f"{pairing.name}: there is no folder {name}")
    if not concepts[name].pictures:
      raise DataError(f"{pairing.name}: no picture of {name} can be read")
    left_out.update(concepts[name].left_out)
  x, y, a, b = (concepts[name].pictures for name in pairing[1:])
  (x, y), of_targets = _framed(x, y, faces, left_out)
  (a, b), of_attributes = _framed(a, b, faces, left_out)
  size = min(len(x), len(y))
  left_out |= {picture.name: MORE for picture in (*x[size:], *y[size:])}
  return Ready(
    pairing, x[:size], y[:size], a, b, (of_targets, of_attributes), left_out
  )


def _framed(
  first: Sequence[Picture],
  second: Sequence[Picture],
  faces: bool,
  left_out: dict[str, str],
) -> tuple[list[tuple[Picture, ...]], bool]:
  """Pictures of two concepts with a face in all of them, or in none.

  Those that go without one are added to `left_out`.
  """
  pair = (first, second)
  shown = [tuple(p for p in part if p.five is not None) for part in pair]
  if not faces or any(
    len(some) < LEAST_FACES * len(part)
    for some, part in zip(shown, pair, strict=True)
  ):
    return [tuple(p._replace(five=None) for p in part) for part in pair], False
  left_out |= {
    p.name: account.FACELESS for part in pair for p in part if p.five is None
  }
  return shown, True


def squares(
  pictures: Sequence[Picture], size: int, template: np.ndarray | None
) -> np.ndarray:
  """Cuts out the part of pictures that a network sees: a face, or the centre.

  Args:
    pictures: to cut squares out of.
    size: side of the squares.
    template: [5, 2], where the network expects the five points of a face, in
      pixels of its square. Without it, or `five` of a picture, the square is
      the largest about the centre of the picture.

  Returns:
    uint8 [N, size, size, 3].

  Raises:
    UnreadableImageError: a picture cannot be decoded any more.
  """
  result = []
  for picture in pictures:
    image = picture.open()
    if picture.five is not None and template is not None:
      matrix = alignment.similarity(picture.five[None], template[None])[0]
    else:
      side = min(images.upright_size(image))
      square = alignment.centred_square(image, side)
      matrix = alignment.square_matrix(square, size)
    result.append(alignment.warp(image, matrix, size, picture.name))
  return np.stack(result)
