"""Frames faces: five-point similarity to the ArcFace template, or a box crop.

Whole pictures can also be scaled and padded, so that nobody is cropped.

The similarity is the least-squares one of Umeyama, "Least-squares estimation of
transformation parameters between two point patterns", TPAMI 1991; the template
is the 112 x 112 one that ArcFace (Deng et al., CVPR 2019) was trained on.

Points are (x, y) in pixels; a matrix [2, 3] maps points of the photograph to
points of the output.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from PIL import Image

from jaxpriv.data import images
from jaxpriv.data.records import (
  ARCFACE_LANDMARKS,
  DataError,
  Photograph,
  Record,
  UnreadableImageError,
)

ALIGNMENTS = ("landmarks", "head", "box", "centre", "whole")
# Those that look for a face; the others frame the image.
OF_FACES = ("landmarks", "head", "box")
# Those that bring its points to a template.
BY_POINTS = ("landmarks", "head")

_TEMPLATE_112 = np.array(
  [
    [38.2946, 51.6963],
    [73.5318, 51.5014],
    [56.0252, 71.7366],
    [41.5493, 92.3655],
    [70.7299, 92.2041],
  ]
)

# Bilinear sampling below this scale would skip pixels.
_MIN_SCALE = 0.8
# In pixels: a smaller shift does not show in eight bits.
_NEGLIGIBLE = 0.01
# Measured on 3,594 labelled faces: misfits were 0.50 at most, but for one face
# of 0.95, whose points were wrong; the least share inside was 0.64. Points with
# left and right exchanged have a misfit of 0.97.
LARGEST_MISFIT = 0.55
_LEAST_INSIDE = 0.25
_CORNERS = np.array([[0, 0], [1, 0], [0, 1], [1, 1]], np.float64)
# A head with hair, ears and chin: so many sides of ArcFace's square, about this
# place in it.
_HEAD_SIDE, _HEAD_MIDDLE = 1.7, np.array([0.5, 0.42])
_GRID = np.stack(
  np.meshgrid(*[(np.arange(8) + 0.5) / 8] * 2), -1
).reshape(-1, 2)  # fmt: skip


class Framing(NamedTuple):
  """Where the template's square lies relative to a face box.

  Attributes:
    x: centre of the square minus centre of the box, in box widths.
    y: the same downwards, in box heights.
    side: side of the square over sqrt(width * height) of the box.
  """

  x: float
  y: float
  side: float


# Medians over 3,400 video frames with a tight box, from brows to chin.
TIGHT_BOX = Framing(x=0.01, y=-0.26, side=1.34)


def arcface_template(size: int) -> np.ndarray:
  """The five points [5, 2] of `ARCFACE_LANDMARKS` in a square of `size`."""
  return _TEMPLATE_112 * (size / 112)


def template(size: int, align: str) -> np.ndarray:
  """The five points [5, 2] of faces framed by one of `BY_POINTS`.

  Others are given those of "landmarks", which a box approximates.
  """
  points = arcface_template(size)
  if align == "head":
    points = transform_points(head_matrix(size), points)
  return points


def head_matrix(size: int) -> np.ndarray:
  """The matrix [2, 3] from ArcFace's square to that of a head, both of `size`.

  Hair, ears and chin lie in the latter, but for long hair.
  """
  corner = (_HEAD_MIDDLE - _HEAD_SIDE / 2) * size
  far = corner + _HEAD_SIDE * size
  return square_matrix(np.concatenate([corner, far]), size)


def are_distinct(five: np.ndarray) -> np.ndarray:
  """Whether points [..., N, 2] are known and not all of them in one place.

  Points of a face that was not found are often written as zeros.
  """
  finite = np.isfinite(five).all((-2, -1))
  return finite & (np.ptp(five, axis=-2).max(-1) > 1)


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
  """Least-squares similarity without reflection that takes source to target.

  In the plane, rotation and scale are one complex factor and Umeyama's
  singular value decomposition becomes a linear regression over the complex
  numbers.

  Args:
    source: [..., N, 2] with at least two distinct points.
    target: [..., N, 2].

  Returns:
    float64 [..., 2, 3].
  """
  source = np.asarray(source, np.float64) @ (1, 1j)
  target = np.asarray(target, np.float64) @ (1, 1j)
  mean = source.mean(-1, keepdims=True)
  centred = source - mean
  factor = (centred.conj() * target).sum(-1) / (np.abs(centred) ** 2).sum(-1)
  shift = target.mean(-1) - factor * mean[..., 0]
  rows = [[factor.real, -factor.imag, shift.real]]
  rows += [[factor.imag, factor.real, shift.imag]]
  return np.moveaxis(np.array(rows), (0, 1), (-2, -1))


def misfit(five: np.ndarray) -> np.ndarray:
  """How far points [..., 5, 2] are from a face: 0 is the template, 1 nowhere.

  It is the distance from the template that remains once they are moved onto it,
  by the template's spread; `LARGEST_MISFIT` is the largest of a face.
  """
  template = np.broadcast_to(arcface_template(1), np.shape(five))
  moved = transform_points(
    similarity(five, template), np.asarray(five, np.float64)
  )
  spread = np.linalg.norm(_TEMPLATE_112 - _TEMPLATE_112.mean(0)) / 112
  return np.linalg.norm(moved - template, axis=(-2, -1)) / spread


def square_matrix(square: np.ndarray, size: int) -> np.ndarray:
  """The matrix [2, 3] that maps a square x0, y0, x1, y1 to [0, size]^2."""
  x0, y0, x1, _ = np.asarray(square, np.float64)
  scale = size / (x1 - x0)
  return np.array([[scale, 0, -scale * x0], [0, scale, -scale * y0]])


def squares_of_boxes(boxes: np.ndarray, framing: Framing) -> np.ndarray:
  """Crops [..., 4] that frame boxes [..., 4] as the template frames points."""
  boxes = np.asarray(boxes, np.float64)
  low, high = boxes[..., :2], boxes[..., 2:]
  extent = high - low
  centre = (low + high) / 2 + extent * (framing.x, framing.y)
  half = framing.side * np.sqrt(extent.prod(-1, keepdims=True)) / 2
  return np.concatenate([centre - half, centre + half], -1)


def measure_framing(boxes: np.ndarray, five: np.ndarray) -> Framing:
  """Median framing over faces whose box [N, 4] and five points are known.

  Args:
    boxes: [N, 4], not empty.
    five: [N, 5, 2], `are_distinct`.
  """
  unit = similarity(five, np.broadcast_to(arcface_template(1), five.shape))
  inverse = invert(unit)
  centre = transform_points(inverse, np.full((len(five), 1, 2), 0.5))[:, 0]
  extent = boxes[:, 2:] - boxes[:, :2]
  offset = (centre - (boxes[:, :2] + boxes[:, 2:]) / 2) / extent
  side = matrix_scale(inverse) / np.sqrt(extent.prod(-1))
  medians = np.median(np.column_stack([offset, side]), axis=0)
  return Framing(*(float(m) for m in medians))


def transform_points(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
  """Applies a matrix [..., 2, 3] to points [..., N, 2]."""
  linear = np.swapaxes(matrix[..., :2], -1, -2)
  return points @ linear + matrix[..., None, :, 2]


def invert(matrix: np.ndarray) -> np.ndarray:
  """The inverse of affine matrices [..., 2, 3]."""
  linear = np.linalg.inv(matrix[..., :2])
  return np.concatenate([linear, -linear @ matrix[..., 2:]], -1)


def matrix_scale(matrix: np.ndarray) -> np.ndarray:
  """How much longer lengths become under a similarity [..., 2, 3]."""
  return np.hypot(matrix[..., 0, 0], matrix[..., 1, 0])


def frame(photograph: Photograph, size: int, align: str) -> Record:
  """Cuts the face out of a photograph and moves its geometry along.

  Args:
    photograph: the face.
    size: side of the output in pixels.
    align: "landmarks" for the similarity to the template where the five points
      are known and the box otherwise, "head" for the wider square of
      `head_matrix` about that, "box" for the box, "centre" for the
      largest central square, which is also the fallback for images without a
      box, and "whole" for all of the image, centred between black bars.

  Returns:
    The record with image uint8 [size, size, 3]; landmarks, box or boxes, and
    roll are those of the faces in it. A box moves and grows with its face but
    stays upright.

  Raises:
    UnreadableImageError: the pixels cannot be decoded.
  """
  matrix = placement(photograph, size, align)
  if images.upright_size(photograph.image) == (size, size) and _is_identity(
    matrix, size
  ):
    whole = images.decode(photograph.image, name=photograph.name)
    return dict(photograph.fields, image=np.asarray(whole))
  pixels = warp(photograph.image, matrix, size, photograph.name)
  return dict(move_geometry(photograph.fields, matrix), image=pixels)


def move_geometry(fields: Mapping, matrix: np.ndarray) -> Record:
  """Geometry of a record, of a face or scene, under a similarity [2, 3]."""
  name = "boxes" if "boxes" in fields else "box"
  box = np.asarray(fields[name], np.float64)
  low, high = box[..., :2], box[..., 2:]
  centre = transform_points(matrix, (low + high)[..., None, :] / 2)[..., 0, :]
  half = (high - low) / 2 * matrix_scale(matrix)
  box = np.concatenate([centre - half, centre + half], -1)
  if name == "boxes":
    box = np.where(fields["valid"][:, None], box, 0)
  roll = np.arctan2(matrix[1, 0], matrix[0, 0])
  pose = np.asarray(fields["pose"], np.float64) + (0, 0, roll)
  points = transform_points(matrix, np.asarray(fields["landmarks"]))
  return {
    **fields,
    "landmarks": points.astype(np.float32),
    name: box.astype(np.float32),
    "pose": pose.astype(np.float32),
  }


def warp(
  image: Image.Image, matrix: np.ndarray, size: int, name: str = ""
) -> np.ndarray:
  """Resamples an image under a similarity [2, 3]; black outside the image.

  A photograph larger than needed is first shrunk with a filter of matching
  width, otherwise its fine detail would alias.

  Args:
    image: an image of `images.open_image`, not decoded yet.
    matrix: takes pixels of the upright image to pixels of the output.
    size: side of the output.
    name: names the image in errors.

  Returns:
    uint8 [size, size, 3].
  """
  width, height = images.upright_size(image)
  pixels = images.decode(image, float(1 / matrix_scale(matrix)), name)
  matrix = matrix * (width / pixels.width, height / pixels.height, 1)
  return np.asarray(_resample(pixels, matrix, size))


def _shrink(image: Image.Image, matrix: np.ndarray):
  """Resizes an image so that the matrix, adapted to it, has scale 1."""
  scale = float(matrix_scale(matrix))
  width, height = (max(1, round(side * scale)) for side in image.size)
  small = image.resize(
    (width, height), Image.Resampling.BILINEAR, reducing_gap=2.0
  )
  ratio = (image.width / small.width, image.height / small.height, 1)
  return small, matrix * ratio


def _resample(image: Image.Image, matrix: np.ndarray, size: int) -> Image.Image:
  inverse = invert(matrix)
  box = transform_points(inverse, np.array([[0, 0], [size, size]])).ravel()
  inside = np.clip(box, 0, image.size * 2)
  turned = abs(inverse[1, 0]) * size > _NEGLIGIBLE
  if not turned and np.abs(box - inside).max() < _NEGLIGIBLE:
    return image.resize(
      (size, size), Image.Resampling.BILINEAR, box=tuple(inside)
    )
  if matrix_scale(matrix) < _MIN_SCALE:
    image, matrix = _shrink(image, matrix)
  return image.transform(
    (size, size),
    Image.Transform.AFFINE,
    tuple(invert(matrix).ravel()),
    Image.Resampling.BILINEAR,
  )


def _is_identity(matrix: np.ndarray, size: int) -> bool:
  moved = np.abs(matrix - np.eye(2, 3)).max(0) * (size, size, 1)
  return bool(moved.max() < _NEGLIGIBLE)


def check(align: str) -> None:
  """Raises DataError unless this is one of `ALIGNMENTS`."""
  if align == "none":
    raise DataError(
      "data.align='none' is called 'centre' now: the largest central square"
      " ('whole' keeps all of the image)."
    )
  if align not in ALIGNMENTS:
    raise DataError(
      f"data.align is {align!r}; it must be one of {', '.join(ALIGNMENTS)}."
    )


def framed_by(photograph: Photograph, align: str) -> str:
  """The one of `ALIGNMENTS` that frames a face when `align` is asked for."""
  check(align)
  if align in BY_POINTS and are_distinct(_five(photograph)):
    return align
  if align in ("centre", "whole"):
    return align
  return "box" if np.isfinite(photograph.square).all() else "centre"


def _five(photograph: Photograph) -> np.ndarray:
  return photograph.fields["landmarks"][: len(ARCFACE_LANDMARKS)]


def placement(photograph: Photograph, size: int, align: str) -> np.ndarray:
  """The matrix [2, 3] by which `frame` takes a photograph to its output.

  Raises:
    UnreadableImageError: the box or the points cannot be those of a face in
      this photograph.
  """
  means = framed_by(photograph, align)
  if means in BY_POINTS:
    five = _five(photograph)
    matrix = similarity(five, arcface_template(size))
    if misfit(five) > LARGEST_MISFIT:
      raise UnreadableImageError(
        f"{photograph.name}: its points do not lie as those of a face. Left and"
        " right are as seen in the image, x comes before y"
      )
    _check_inside(photograph, matrix, size, "points give")
    return _widened(matrix, size, align)
  if means == "box":
    matrix = square_matrix(photograph.square, size)
    _check_inside(photograph, matrix, size, "box gives")
    return _widened(matrix, size, align)
  extent = images.upright_size(photograph.image)
  side = max(extent) if means == "whole" else min(extent)
  return square_matrix(centred_square(photograph.image, side), size)


def _widened(matrix: np.ndarray, size: int, align: str) -> np.ndarray:
  if align != "head":
    return matrix
  wide = head_matrix(size)
  return np.concatenate(
    [wide[:, :2] @ matrix[:, :2], transform_points(wide, matrix[None, :, 2]).T],
    1,
  )


def _check_inside(
  photograph: Photograph, matrix: np.ndarray, size: int, what: str
) -> None:
  """Raises UnreadableImageError if most of a frame is not in the image."""
  extent = images.upright_size(photograph.image)
  inside = lambda points: ((points >= 0) & (points <= extent)).all(-1)
  inverse = invert(matrix)
  if inside(transform_points(inverse, _CORNERS * size)).all():
    return
  share = inside(transform_points(inverse, _GRID * size)).mean()
  if share < _LEAST_INSIDE:
    raise UnreadableImageError(
      f"{photograph.name}: {share:.0%} of the frame that its {what} lies"
      f" in the photograph of {extent[0]} x {extent[1]} pixels; coordinates are"
      " pixels of the upright photograph"
    )


def centred_square(image: Image.Image, side: float) -> np.ndarray:
  """x0, y0, x1, y1 of a square about the centre of an image."""
  width, height = images.upright_size(image)
  left, top = (width - side) / 2, (height - side) / 2
  return np.array([left, top, left + side, top + side])
