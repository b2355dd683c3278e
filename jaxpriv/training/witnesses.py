"""Pretrained networks as witnesses: photographs in, what they read out.

A witness reads faces in its own frame. `crops` cuts them out of photographs, by
landmarks or boxes that are known or that `find` finds; images that are framed
by points, such as released ones, are read as they are (`align`).
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from jaxpriv.data import alignment, images, landmarks, pretrained
from jaxpriv.data.records import ARCFACE_LANDMARKS
from jaxpriv.models.pretrained.catalogue import NETWORKS
from jaxpriv.models.pretrained.frames import Frame, from_aligned

BATCH = 32
# BlazeFace gives more than this to 99.9 per cent of 3,414 faces in frames of
# videos, but also to 6 of 18 scenes without a face and 33 of 43 cats and dogs;
# more than 0.7 to 98.1 per cent, 1 and 14.
FACE = 0.5


class Witness(NamedTuple):
  """A network and its parameters; `name` is a key of `NETWORKS`."""

  name: str
  params: pretrained.Params

  @property
  def frame(self) -> Frame:
    return NETWORKS[self.name].frame


class Faces(NamedTuple):
  """The surest face of each photograph, in its pixels.

  Attributes:
    boxes: float64 [N, 4], x0, y0, x1, y1, as BlazeFace draws them: from the
      brows to the chin.
    scores: float32 [N] in [0, 1]; `FACE` and less is no face.
    landmarks: float64 [N, 68, 2], in the order of iBUG.
    five: float32 [N, 5, 2], the points of ArcFace's template.
  """

  boxes: np.ndarray
  scores: np.ndarray
  landmarks: np.ndarray
  five: np.ndarray


def load(name: str) -> Witness:
  """The witness of this name.

  Raises:
    WeightsError: there is none, or its weights have not been fetched.
  """
  return Witness(name, pretrained.load(name))


@functools.partial(jax.jit, static_argnames=("name", "align"))
def _read(name, align, params, pixels):
  network = NETWORKS[name]
  if pixels.dtype == jnp.uint8:
    pixels = pixels.astype(jnp.float32) / 255
  if align:
    points = tuple(map(tuple, alignment.template(1, align).tolist()))
    pixels = from_aligned(network.frame, pixels, points)
  return network.apply(params, pixels)


def read(
  witness: Witness,
  pixels: np.ndarray,
  *,
  align: str = "",
  batch_size: int = BATCH,
) -> dict[str, np.ndarray]:
  """Outputs of a witness for images, in batches of one size.

  Args:
    witness: of `load`.
    pixels: uint8, or float in [0, 1], [N, S, S, 3], RGB; S is the size of the
      frame where nothing is said of `align`.
    align: one of `alignment.BY_POINTS` by which images were framed, at any S.
    batch_size: images at once; the last batch is filled up.

  Returns:
    the outputs [N, ...] of the network by name.

  Raises:
    ValueError: the images are none, or not of the frame's size.
  """
  size = pixels.shape[1] if align else witness.frame.size
  if not len(pixels) or pixels.shape[1:] != (size, size, 3):
    raise ValueError(
      f"{witness.name} reads images [N, {size}, {size}, 3], of which there is"
      f" at least one; these are {list(pixels.shape)}."
    )
  batches = []
  for start in range(0, len(pixels), batch_size):
    batch = pixels[start : start + batch_size]
    count = len(batch)
    filling = np.zeros((batch_size - count, *batch.shape[1:]), batch.dtype)
    outputs = _read(
      witness.name, align, witness.params, np.concatenate([batch, filling])
    )
    batches.append({k: np.asarray(v)[:count] for k, v in outputs.items()})
  return {
    name: np.concatenate([batch[name] for batch in batches])
    for name in batches[0]
  }


def embed(
  witness: Witness,
  pixels: np.ndarray,
  *,
  align: str = "",
  batch_size: int = BATCH,
) -> np.ndarray:
  """The embeddings [N, D] of a recogniser, as `read`; not of unit length."""
  return read(witness, pixels, align=align, batch_size=batch_size)["embedding"]


def matrices(
  frame: Frame,
  *,
  five: np.ndarray | None = None,
  boxes: np.ndarray | None = None,
) -> np.ndarray:
  """The matrices [N, 2, 3] that take faces of photographs into a frame.

  Args:
    frame: of a network.
    five: [N, 5, 2], preferred where the frame has points.
    boxes: [N, 4], as BlazeFace draws them.

  Raises:
    ValueError: the frame needs what is not given.
  """
  if frame.points and five is not None:
    points = np.array(frame.points) * frame.size
    return alignment.similarity(five, np.broadcast_to(points, five.shape))
  if frame.box and boxes is not None:
    squares = alignment.squares_of_boxes(boxes, alignment.Framing(*frame.box))
    return np.stack([alignment.square_matrix(s, frame.size) for s in squares])
  raise ValueError(
    "this network finds a face by"
    f" {' or '.join(k for k in ('points', 'box') if getattr(frame, k))}."
  )


def whole(frame: Frame, photographs: Sequence[Image.Image]) -> np.ndarray:
  """The matrices [N, 2, 3] that take all of each photograph into a frame."""
  return np.stack(
    [
      alignment.square_matrix(
        alignment.centred_square(p, max(images.upright_size(p))), frame.size
      )
      for p in photographs
    ]
  )


def crops(
  frame: Frame, photographs: Sequence[Image.Image], placed: np.ndarray
) -> np.ndarray:
  """The faces uint8 [N, size, size, 3] that matrices [N, 2, 3] cut out."""
  return np.stack(
    [
      alignment.warp(photograph, matrix, frame.size)
      for photograph, matrix in zip(photographs, placed, strict=True)
    ]
  )


def find(
  detector: Witness, marker: Witness, photographs: Sequence[Image.Image]
) -> Faces:
  """The surest face of each photograph.

  Args:
    detector: blazeface.
    marker: landmarks.
    photographs: of `images.open_image`.
  """
  photographs = [images.upright(photograph) for photograph in photographs]
  placed = whole(detector.frame, photographs)
  found = read(detector, crops(detector.frame, photographs, placed))
  back = lambda placed, points: alignment.transform_points(
    alignment.invert(placed), np.asarray(points, np.float64)
  )
  corners = found["boxes"].reshape(-1, 2, 2) * detector.frame.size
  boxes = back(placed, corners).reshape(-1, 4)
  placed = matrices(marker.frame, boxes=boxes)
  marked = read(marker, crops(marker.frame, photographs, placed))
  points = back(placed, marked["landmarks"] * marker.frame.size)
  standard = landmarks.standard_landmarks(points)
  assert standard is not None
  five = standard[:, : len(ARCFACE_LANDMARKS)]
  return Faces(boxes, found["scores"], points, five)
