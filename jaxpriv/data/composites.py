"""Pictures of several faces, cut out of photographs and pasted elsewhere.

Detectors learn from scenes, and labelled photographs are mostly of one face. A
composite is a crop of a background in which people of one group are pasted, and
scraps: pieces of their photographs that show no face, such as clothes and
necks, so that neither seams nor skin say where a face is. (Dwibedi, Misra,
Hebert, "Cut, Paste and Learn", ICCV 2017, for objects.)

Everything about a picture is a function of (seed, its number). People are dealt
to groups, and nobody is in two of them, so that pictures can be split by
person.
"""

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxpriv.data import alignment, images, pieces
from jaxpriv.data.cutouts import Face
from jaxpriv.data.pieces import Piece
from jaxpriv.data.records import DataError

# A cut-out is wider than the box by a margin in this range, in sides of the
# box, and its middle is higher, as hair is.
MARGINS = (0.3, 1.2)
_HIGHER = 0.2
_ENLARGED = 1.5  # most that a cut-out is enlarged
_TURN = math.radians(15)
_COVERED = 0.1  # most of a face that a nearer one, with its margin, covers
_TRIES = 30  # places drawn for a cut-out
_LEAST_CROP = 0.4  # of a background, of its shorter side
# Points left and right of the nose change places in a mirror.
_MIRRORED = [1, 0, 2, 4, 3]


class Options(NamedTuple):
  """How composites look.

  Attributes:
    side: of the pictures, in pixels.
    most: faces of a picture, one at least.
    smallest: least side of a face's box, sqrt(width * height), in pixels.
    largest: greatest; sides are log-uniform between them.
    scraps: pieces without a face of a picture, at most.
  """

  side: int = 256
  most: int = 6
  smallest: float = 12.0
  largest: float = 96.0
  scraps: int = 4


class Placed(NamedTuple):
  """A face as a composite shows it, in its pixels.

  Attributes:
    face: the number of the face that was cut out.
    box: float64 [4].
    five: float64 [5, 2], NaN unknown.
  """

  face: int
  box: np.ndarray
  five: np.ndarray


class Composites:
  """Composites of some faces before some backgrounds, drawn when asked for."""

  def __init__(
    self,
    faces: Sequence[Face],
    backgrounds: Sequence[str],
    options: Options = Options(),
    seed: int = 0,
  ):
    """Reads no image.

    Args:
      faces: of `cutouts.faces`.
      backgrounds: of `cutouts.backgrounds`.
      options: how they look.
      seed: of all that is random.

    Raises:
      DataError: an option will not do, or no face is large enough.
    """
    _check(options)
    self.faces, self.backgrounds = list(faces), list(backgrounds)
    self.options, self.seed = options, seed
    least = options.smallest / _ENLARGED
    self._of: dict[str, list[int]] = {}
    for i, face in enumerate(self.faces):
      if face.side >= least:
        self._of.setdefault(face.owner, []).append(i)
    if not self._of:
      raise DataError(
        f"all of {len(self.faces)} faces are too small: their boxes must have"
        f" {least:g} pixels on a side to be shown at {options.smallest:g}"
      )
    people = sorted(self._of)
    order = np.random.default_rng([seed, 1]).permutation(len(people)).tolist()
    self.groups = [
      [people[i] for i in order[start : start + options.most]]
      for start in range(0, len(people), options.most)
    ]

  def placed(self, number: int) -> list[Placed]:
    """The faces of a picture; no photograph is read for them."""
    pieces = [p for p in self._pieces(number) if p.shown]
    return [self._placed(piece) for piece in pieces]

  def draw(self, number: int) -> np.ndarray:
    """A picture: uint8 [side, side, 3].

    Raises:
      UnreadableImageError: a photograph cannot be decoded.
    """
    rng = np.random.default_rng([self.seed, 2, number])
    canvas = self._background(rng)
    for piece in self._pieces(number):
      pieces.paste(canvas, piece, _decoded(self.faces[piece.face].file))
    return np.clip(np.rint(canvas * 255), 0, 255).astype(np.uint8)

  def _placed(self, piece: Piece) -> Placed:
    face = self.faces[piece.face]
    centre = (face.box[:2] + face.box[2:])[None] / 2
    centre = alignment.transform_points(piece.matrix, centre)[0]
    half = (face.box[2:] - face.box[:2]) / 2
    half = half * alignment.matrix_scale(piece.matrix)
    five = alignment.transform_points(piece.matrix, face.five)
    if np.linalg.det(piece.matrix[:, :2]) < 0:
      five = five[_MIRRORED]
    return Placed(piece.face, np.concatenate([centre - half, centre + half]),
                  five)  # fmt: skip

  def _background(self, rng: np.random.Generator) -> np.ndarray:
    """A crop of one, float64 [side, side, 3] in [0, 1]."""
    image = _decoded(self.backgrounds[rng.integers(len(self.backgrounds))])
    length = min(image.size) * rng.uniform(_LEAST_CROP, 1)
    corner = rng.uniform(size=2) * (np.array(image.size) - length)
    square = np.concatenate([corner, corner + length])
    side = self.options.side
    pixels = alignment.warp(image, alignment.square_matrix(square, side), side)
    gain, shift = pieces.light(rng)
    pixels = pieces.lit(pixels, gain, shift)
    return pixels[:, ::-1].copy() if rng.integers(2) else pixels

  def _pieces(self, number: int) -> list[Piece]:
    """The pieces as they are pasted: scraps, then faces, small ones first."""
    rng = np.random.default_rng([self.seed, 3, number])
    group = self.groups[rng.integers(len(self.groups))]
    count = min(1 + int(rng.integers(self.options.most)), len(group))
    chosen = [group[i] for i in rng.permutation(len(group))[:count]]
    shown = [self._of[name][rng.integers(len(self._of[name]))]
             for name in chosen]  # fmt: skip
    faces: list[Piece] = []
    sides = [self._side(rng, self.faces[i].side) for i in shown]
    for side, face in sorted(zip(sides, shown), reverse=True):
      placed = self._face(rng, face, side, faces)
      if placed is not None:
        faces.append(placed)
    scraps = [
      self._scrap(rng, shown[rng.integers(count)])
      for _ in range(int(rng.integers(self.options.scraps + 1)))
    ]
    return [s for s in scraps if s is not None] + faces[::-1]

  def _side(self, rng: np.random.Generator, native: float) -> float:
    """The side at which something of so many pixels is shown."""
    low = self.options.smallest
    high = max(min(self.options.largest, native * _ENLARGED), low)
    return low * (high / low) ** rng.uniform()

  def _face(self, rng, number, side, others) -> Piece | None:
    """A face of this side where it covers nobody; None if there is no room."""
    face = self.faces[number]
    margin = rng.uniform(*MARGINS)
    box_half = (face.box[2:] - face.box[:2]) / 2
    middle = (face.box[:2] + face.box[2:]) / 2 - (0, _HIGHER * face.side)
    half = box_half + face.side * np.array([margin / 2, margin / 2 + _HIGHER])
    # All of the box is opaque.
    fade = rng.uniform(0.3, 1) * margin / (1 + margin) / 2
    turned = pieces.turned(rng, side / face.side, _TURN)
    gain, shift = pieces.light(rng)
    centre = (face.box[:2] + face.box[2:]) / 2
    room = self.options.side - 2 * box_half * side / face.side
    for _ in range(_TRIES):
      place = self.options.side / 2 + (rng.uniform(size=2) - 0.5) * room
      matrix = np.column_stack([turned, place - turned @ centre])
      piece = Piece(
        number, matrix, middle, half, fade, gain, shift, True
      )  # fmt: skip
      if all(self._covered(piece, other) <= _COVERED for other in others):
        return piece
    return None

  def _covered(self, small: Piece, large: Piece) -> float:
    """The share of a face's box in the upright box around a cut-out."""
    box = self._placed(small).box
    middle = alignment.transform_points(large.matrix, large.middle[None])[0]
    half = large.half * alignment.matrix_scale(large.matrix)
    low = np.maximum(box[:2], middle - half)
    shared = np.minimum(box[2:], middle + half) - low
    return float(np.maximum(shared, 0).prod() / (box[2:] - box[:2]).prod())

  def _scrap(self, rng, number) -> Piece | None:
    """A piece of a photograph beside its face; None if there is none."""
    face, options = self.faces[number], self.options
    gain, shift = pieces.light(rng)
    for _ in range(_TRIES):
      half = face.side * rng.uniform(0.25, 0.8, size=2)
      middle = rng.uniform(size=2) * face.size
      apart = np.maximum(face.box[:2] - middle, middle - face.box[2:])
      if (apart <= half).all():
        continue  # it would show some of the face
      native = 2 * float(np.sqrt(half.prod()))
      scale = self._side(rng, native) / native
      turned = pieces.turned(rng, scale, math.pi)
      place = rng.uniform(size=2) * options.side
      matrix = np.column_stack([turned, place - turned @ middle])
      fade = rng.uniform(0.1, 0.4)
      return Piece(number, matrix, middle, half, fade, gain, shift, False)
    return None


def _check(options: Options) -> None:
  """Raises DataError where no picture can be drawn."""
  least = {"side": 32, "most": 1, "scraps": 0, "smallest": 1}
  for name, low in least.items():
    if not getattr(options, name) >= low:
      raise DataError(f"{name} = {getattr(options, name)}: it is {low} or more")
  if not options.smallest <= options.largest <= options.side / 2:
    raise DataError(
      f"largest = {options.largest:g}: it is at least smallest,"
      f" {options.smallest:g}, and at most half of side, {options.side}"
    )


@functools.lru_cache(maxsize=256)
def _decoded(path: str):
  return images.upright(images.open_image(path))
