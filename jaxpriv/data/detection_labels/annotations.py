"""The record that all formats are read to, one for each picture."""

import posixpath
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxpriv.data.records import ARCFACE_LANDMARKS, DataError

# In the order of WIDER's lines -> the greatest value. 0 is clear, typical,
# normal, valid, none and typical.
ATTRIBUTES = {
  "blur": 2,
  "expression": 1,
  "illumination": 1,
  "invalid": 1,
  "occlusion": 2,
  "pose": 1,
}
SETTINGS = ("easy", "medium", "hard")
NUM_POINTS = len(ARCFACE_LANDMARKS)

_LARGEST = 1e6  # pixels: no photograph is so large
# Characters that lines of text or XML cannot hold.
_NOT_IN_NAMES = re.compile(
  "[\0-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]"
)
_DRIVE = re.compile("[A-Za-z]:/")


class Annotation(NamedTuple):
  """The faces of one picture.

  Attributes:
    file: path below the folder of the pictures, "event/name.jpg".
    boxes: float64 [N, 4], x0, y0, x1, y1 in pixels, as the file has them.
    landmarks: float64 [N, 5, 2], in the order of `records.ARCFACE_LANDMARKS`,
      NaN unknown.
    visibility: int8 [N, 5], 1 seen, 0 hidden, -1 unknown, as are those of
      points that are not known.
    attributes: each of `ATTRIBUTES` -> int8 [N], -1 unknown.
    keep: those of `SETTINGS` that are known -> bool [N], the faces that count
      in it.
    quality: float64 [N], 0 or more, NaN unknown.
    size: width and height of the picture, None unknown.
  """

  file: str
  boxes: np.ndarray
  landmarks: np.ndarray
  visibility: np.ndarray
  attributes: dict[str, np.ndarray]
  keep: dict[str, np.ndarray]
  quality: np.ndarray
  size: tuple[int, int] | None = None

  @property
  def degenerate(self) -> np.ndarray:
    """bool [N]: a side is zero or negative."""
    return (self.boxes[:, 2:] - self.boxes[:, :2]).min(1) <= 0

  @property
  def outside(self) -> np.ndarray:
    """bool [N]: a box of an area has no point in the picture, as far as known.

    A box may go beyond the picture in part: people draw them so.
    """
    if self.size is None:
      return np.zeros(len(self.boxes), bool)
    inside = (self.boxes[:, :2] < self.size) & (self.boxes[:, 2:] > 0)
    return ~self.degenerate & ~inside.all(1)

  @property
  def valid(self) -> np.ndarray:
    """bool [N]: the box is neither degenerate nor outside."""
    return ~self.degenerate & ~self.outside


class Face(NamedTuple):
  """One face, of fields as in `Annotation`; what is not given is unknown."""

  box: Sequence[float]
  points: Sequence[Sequence[float]] = ((np.nan, np.nan),) * NUM_POINTS
  visible: Sequence[float] = (-1,) * NUM_POINTS
  attributes: Mapping[str, float] = {}
  keep: Mapping[str, bool] = {}
  quality: float = np.nan


def annotation(
  file: str,
  rows: Sequence[Face] = (),
  size: tuple[int, int] | None = None,
  where: Callable[[int], str] | None = None,
  keep: Iterable[str] = (),
) -> Annotation:
  """Builds an annotation of faces.

  Args:
    file: path below the folder of the pictures; backslashes become slashes.
    rows: the faces.
    size: width and height of the picture.
    where: names face i in errors, such as "label.txt, line 3".
    keep: settings that are known though no face says so.

  Raises:
    DataError: the path is not below a folder; a number is not finite or is too
      great for one of pixels; or an attribute has no such value.
  """
  file = relative(file, "an annotation")
  names = {*keep} | {name for face in rows for name in face.keep}
  built = Annotation(
    file=file,
    boxes=_array([face.box for face in rows], (4,)),
    landmarks=_array([face.points for face in rows], (NUM_POINTS, 2)),
    visibility=_array([face.visible for face in rows], (NUM_POINTS,)),
    attributes={
      name: np.array([face.attributes.get(name, -1) for face in rows])
      for name in ATTRIBUTES
    },
    keep={
      name: np.array([face.keep.get(name, False) for face in rows], bool)
      for name in SETTINGS
      if name in names
    },
    quality=_array([face.quality for face in rows], ()),
    size=(int(size[0]), int(size[1])) if size else None,
  )
  _check(built, where or (lambda i: f"{file}, face {i}"))
  unknown = np.isnan(built.landmarks).any(2)
  built.landmarks[unknown] = np.nan
  built.visibility[unknown] = -1
  return built._replace(
    visibility=built.visibility.astype(np.int8),
    attributes={
      name: values.astype(np.int8) for name, values in built.attributes.items()
    },
  )


def faces(of: Annotation) -> list[Face]:
  """The rows of an annotation, as plain numbers."""
  columns = {name: values.tolist() for name, values in of.attributes.items()}
  kept = {name: values.tolist() for name, values in of.keep.items()}
  return [
    Face(
      box,
      points,
      visible,
      {name: values[i] for name, values in columns.items()},
      {name: values[i] for name, values in kept.items()},
      quality,
    )
    for i, (box, points, visible, quality) in enumerate(
      zip(
        of.boxes.tolist(),
        of.landmarks.tolist(),
        of.visibility.tolist(),
        of.quality.tolist(),
        strict=True,
      )
    )
  ]


def relative(name: str, where: str) -> str:
  """The path of a picture below its folder, with slashes.

  Raises:
    DataError: it leads elsewhere, or no line of text can hold it.
  """
  path = posixpath.normpath(name.strip().replace("\\", "/"))
  if not name.strip() or path == ".":
    raise DataError(f"{where}: the path of a picture is empty.")
  if _NOT_IN_NAMES.search(path):
    raise DataError(
      f"{where}: {name!r} holds a character that lines of text cannot hold."
      " Rename the picture."
    )
  if path.startswith("/") or path.split("/")[0] == ".." or _DRIVE.match(path):
    raise DataError(
      f"{where}: {name!r} is not below the folder of the pictures. Give paths"
      " below it."
    )
  return path


def _array(rows: Sequence, shape: tuple[int, ...]) -> np.ndarray:
  return np.array(rows, np.float64).reshape(len(rows), *shape)


def _check(of: Annotation, where: Callable[[int], str]) -> None:
  """Refuses the first face whose numbers cannot be right."""
  flat = of.landmarks.reshape(len(of.boxes), 2 * NUM_POINTS)
  wrong = {
    "its box is not of pixels": ~(np.abs(of.boxes) < _LARGEST).all(1),
    "its points are not of pixels": (np.abs(flat) >= _LARGEST).any(1),
    "the visibility of a point is -1, 0 or 1": (
      ~np.isin(of.visibility, (-1, 0, 1)).all(1)
    ),
    "its quality is less than 0 or not finite": (
      (of.quality < 0) | np.isinf(of.quality)
    ),
  }
  for name, greatest in ATTRIBUTES.items():
    values = of.attributes[name]
    wrong[f"{name} is 0 to {greatest}, or -1 if unknown"] = ~np.isin(
      values, range(-1, greatest + 1)
    )
  for what, which in wrong.items():
    if which.any():
      raise DataError(f"{where(int(which.argmax()))}: {what}.")
  if of.size and not all(0 < side < _LARGEST for side in of.size):
    raise DataError(
      f"{of.file}: {of.size[0]} x {of.size[1]} is no size of a picture."
    )
