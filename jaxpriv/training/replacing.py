"""Faces of whole photographs, replaced by those that a mechanism makes of them.

A face is framed as it is for the mechanism, protected, and pasted back
(`jaxpriv.data.pasting`), with the faces of some photographs at once on the
device.
"""

import collections
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import logging
from PIL import Image, ImageFilter

from jaxpriv.data import alignment, images, pasting, pipeline
from jaxpriv.data.records import DataError, Source, UnreadableImageError
from jaxpriv.training import inference, mechanism, pictures, tracks
from jaxpriv.training.mechanism import Trained

# Faces that the mechanism makes at once.
FACES_AT_ONCE = 64
# Larger windows are pasted at this side, and the faces enlarged: framed faces
# have fewer pixels still.
WORKED = 512
# Pixels of windows that are pasted at once, which bounds the memory.
_PIXELS_AT_ONCE = 2**19
# Why faces are not replaced: their crop is too small, or their points or box
# cannot be those of a face.
SMALL, WRONG = "too small", "of wrong labels"


class Whole(NamedTuple):
  """How faces go back into whole photographs.

  Attributes:
    blend: one of `jaxpriv.data.pasting.BLENDS`.
    match: give faces the colours and the sharpness of those they cover.
    smallest: faces whose crop is smaller, in pixels of the photograph, are
      treated otherwise.
    otherwise: "blur", "box" or "keep": what is done to faces that are too small
      or whose labels are wrong.
    faceless: "leave_out" or "keep", of photographs in which no face was found.
    visible: of "eyes" and "mouth": these stay as they were.
    tracks: photographs of a folder are frames of a video, in the order of their
      names, and a person has one new face in it.
  """

  blend: str = "feather"
  match: bool = False
  smallest: float = 12.0
  otherwise: str = "blur"
  faceless: str = "leave_out"
  visible: tuple[str, ...] = ()
  tracks: bool = False


class Face(NamedTuple):
  """One face of a photograph that is replaced.

  Attributes:
    record: its number in the source.
    matrix: takes the photograph to the crop.
    place: its window.
    alpha: float32 [side, side], how opaque it is over each pixel of the window.
  """

  record: int
  matrix: np.ndarray
  place: pasting.Window
  alpha: np.ndarray


class Photograph:
  """A photograph that is being changed.

  Attributes:
    name: its file, below the input.
    pixels: uint8 [H, W, 3].
    faces: those to replace.
    hidden: bool [H, W], pixels under faces that are not replaced yet.
    treated: reason -> how many faces were not replaced.
    faceless: whether a row of it tells no place of a face.
    lost: whether it shows somebody, and labels that cannot be right say where:
      nothing could be done about that face.
  """

  def __init__(self, name: str, pixels: np.ndarray):
    self.name, self.pixels = name, pixels
    self.faces: list[Face] = []
    self.hidden = np.zeros(pixels.shape[:2], bool)
    self.treated: collections.Counter[str] = collections.Counter()
    self.faceless = self.lost = False

  def add(self, face: Face) -> None:
    self.faces.append(face)
    under = pasting.cut(self.hidden, face.place) | (face.alpha > 0)
    pasting.put(self.hidden, face.place, under)


class Replacer:
  """Replaces faces of the photographs of a folder.

  Attributes:
    trained: the mechanism, which makes images of faces.
    raw: a `FolderSource`: photographs, boxes and points of their faces.
    source: the same records, framed for the mechanism.
    mesh: the mesh.
    size: side of framed faces.
    align: how they are framed.
    whole: how they go back.
  """

  def __init__(
    self,
    trained: Trained,
    raw: Any,
    source: Source,
    mesh: jax.sharding.Mesh,
    align: str,
    whole: Whole,
  ):
    self.trained, self.raw, self.source = trained, raw, source
    self.mesh, self.align, self.whole = mesh, align, whole
    self.size = source.image_size

  def open(
    self, name: str, records: Sequence[int], pixels: bool = True
  ) -> Photograph | None:
    """A photograph with its faces placed, those treated otherwise done.

    Args:
      name: its file.
      records: of its faces.
      pixels: False: none are decoded, and faces are only counted.

    Returns:
      None if it cannot be decoded, which the source notes.
    """
    raw, size, whole = self.raw, self.size, self.whole
    path = pathlib.Path(raw.path) / name
    try:
      if pixels:
        decoded = np.array(images.decode(images.open_image(path)))
      else:
        width, height = images.upright_size(images.open_image(path))
        decoded = np.broadcast_to(np.uint8(0), (height, width, 3))
    except UnreadableImageError as error:
      logging.warning("%s", error)
      pipeline.note_unreadable(self.source, records)
      return None
    photograph = Photograph(name, decoded)
    for index in records:
      matrix = _placed(raw, index, size, self.align)
      extent = _extent(raw, index, matrix, size)
      places = [extent, _named(raw, index)]
      if extent is None or not all(_shows(decoded, x) for x in places):
        photograph.lost |= bool(raw.told[index])
        photograph.faceless |= not raw.told[index]
        continue
      side = 0.0 if matrix is None else size / alignment.matrix_scale(matrix)
      if matrix is None or side < whole.smallest:
        photograph.treated[WRONG if matrix is None else SMALL] += 1
        if pixels:
          _treat(photograph.pixels, extent, whole)
        continue
      place = pasting.window(matrix, size)
      alpha = pasting.opacity(matrix, size, place, self.align, whole.visible)
      photograph.add(Face(index, matrix, place, alpha))
    return photograph

  def replace(
    self,
    opened: Sequence[Photograph],
    of_track: Mapping[int, int] | None = None,
  ) -> None:
    """Replaces the faces of photographs, in place.

    Args:
      opened: of `open`, some dozens of faces.
      of_track: record -> number of its track; those of one have one new face.

    Raises:
      ValueError: a protected face is not finite.
    """
    indices = [face.record for p in opened for face in p.faces]
    if not indices:
      return
    crops = dict(zip(indices, self.protected(indices, of_track), strict=True))
    waiting = [
      [[p.faces[i] for i in turn] for turn in pasting.rounds(
        [face.place for face in p.faces]
      )]
      for p in opened
    ]  # fmt: skip
    for number in range(max(map(len, waiting))):
      turn = [
        (photograph, face)
        for photograph, rounds in zip(opened, waiting, strict=True)
        if number < len(rounds)
        for face in rounds[number]
      ]
      by_side = collections.defaultdict(list)
      for photograph, face in turn:
        by_side[min(face.place.side, WORKED)].append((photograph, face))
      for side, some in sorted(by_side.items()):
        count = max(1, min(16, _PIXELS_AT_ONCE // side**2))
        for first in range(0, len(some), count):
          self._paste(some[first : first + count], crops, count)

  def protected(
    self, indices: Sequence[int], of_track: Mapping[int, int] | None = None
  ) -> np.ndarray:
    """The mechanism's faces float32 [N, S, S, 3 or 4] of records."""
    trained, source = self.trained, self.source
    output = "cut_out" if trained.phase_with("cut_out") else mechanism.IMAGE
    batch = pipeline.gather(source, np.array(indices))
    if batch["padding"].any():
      raise DataError(
        f"{source.describe(indices[int(batch['padding'].argmax())])} could be"
        " read at first and cannot be now: is it being changed?"
      )
    if of_track:
      batch["track"] = np.array([of_track[i] for i in indices], np.int32)
    batch = inference.pad_rows(batch, FACES_AT_ONCE)
    shown = inference.predict(*trained.bound(output), [batch], self.mesh)
    if not np.isfinite(shown).all():
      raise ValueError("a protected face is not finite")
    return shown.astype(np.float32)

  def _paste(self, some, crops, count: int) -> None:
    """Pastes faces worked at one side; `count` of them, some repeated."""
    whole = self.whole
    rows = []
    for photograph, face in some:
      place = face.place
      factor = max(place.side // WORKED, 1)
      matrix = face.matrix.copy()
      matrix[:, 2] += matrix[:, :2] @ np.array([place.x, place.y])
      matrix[:, :2] *= factor
      known = pasting.inside(photograph.pixels.shape, place)
      known &= ~pasting.cut(photograph.hidden, place)
      patch = pasting.cut(photograph.pixels, place)
      rows.append(
        (
          crops[face.record],
          matrix.astype(np.float32),
          _blocks(patch, factor).mean((1, 3), np.float32) / 255,
          _blocks(known, factor).all((1, 3)),
          _blocks(face.alpha, factor).mean((1, 3)),
        )
      )
    rows += [rows[-1]] * (count - len(rows))
    stacked = [np.stack(column) for column in zip(*rows, strict=True)]
    pasted = pictures.to_uint8(
      pasting.paste(*stacked, blend=whole.blend, match=whole.match)
    )
    for (photograph, face), patch in zip(some, pasted, strict=False):
      covered, place = face.alpha > 0, face.place
      if len(patch) != place.side:
        larger = Image.fromarray(patch).resize(
          (place.side, place.side), Image.Resampling.BILINEAR
        )
        patch = np.asarray(larger)
      kept = pasting.cut(photograph.pixels, place)
      made = np.where(covered[..., None], patch, kept)
      pasting.put(photograph.pixels, place, made)
      left = pasting.cut(photograph.hidden, place) & ~covered
      pasting.put(photograph.hidden, place, left)

  def tracks(self, groups: Mapping[str, Sequence[int]]) -> dict[int, int]:
    """Record -> its track, if the photographs of a folder are a video.

    Neighbouring names of one folder are taken for neighbouring frames.

    Args:
      groups: file -> records of its faces.
    """
    raw, size = self.raw, self.size
    by_folder: dict[str, list[str]] = collections.defaultdict(list)
    for name in sorted(groups):
      by_folder[str(pathlib.PurePosixPath(name).parent)].append(name)
    of_track: dict[int, int] = {}
    for names in by_folder.values():
      placed = []
      for name in names:
        matrices = [
          (i, _placed(raw, i, size, self.align)) for i in groups[name]
        ]
        placed.append([(i, _extent(raw, i, m, size)) for i, m in matrices
                       if m is not None])  # fmt: skip
      first = max(of_track.values(), default=-1) + 1
      linked = tracks.link(
        [np.array([box for _, box in faces]) for faces in placed], first
      )
      for faces, numbers in zip(placed, linked, strict=True):
        of_track |= {
          index: int(number)
          for (index, _), number in zip(faces, numbers, strict=True)
        }
    return of_track


def _blocks(pixels: np.ndarray, factor: int) -> np.ndarray:
  """Squares of pixels: [S, S, ...] as [S / factor, factor, S / factor, ...]."""
  side = len(pixels) // factor
  return pixels.reshape(side, factor, side, factor, *pixels.shape[2:])


def _placed(raw, index: int, size: int, align: str) -> np.ndarray | None:
  """The matrix of a face; None where its place is not known."""
  try:
    photograph = raw.photograph(index)
    by = alignment.framed_by(photograph, align)
    # Without a box of its own it would be framed where other faces are.
    boxed = by == "box" and np.isfinite(raw.points["box"][index]).all()
    if by not in alignment.BY_POINTS and not boxed:
      return None
    return alignment.placement(photograph, size, align)
  except UnreadableImageError as error:
    logging.warning("%s", error)
    return None


def _extent(raw, index, matrix, size) -> np.ndarray | None:
  """x0, y0, x1, y1 of a face that is not replaced, as far as it is known."""
  if matrix is not None:
    corners = np.array([[0, 0], [size, 0], [0, size], [size, size]], float)
    placed = alignment.transform_points(alignment.invert(matrix), corners)
    return np.concatenate([placed.min(0), placed.max(0)])
  box = np.asarray(raw.points["box"][index], np.float64)
  return box if np.isfinite(box).all() else None


def _named(raw, index) -> np.ndarray | None:
  """x0, y0, x1, y1 of the box or of the points that labels name."""
  box = np.asarray(raw.points["box"][index], np.float64)
  if np.isfinite(box).all():
    return box
  points = np.asarray(raw.points["landmarks"][index], np.float64)
  points = points[np.isfinite(points).all(1)]
  if not len(points):
    return None
  return np.concatenate([points.min(0), points.max(0)])


def _shows(pixels: np.ndarray, extent: np.ndarray | None) -> bool:
  """Whether a pixel lies within x0, y0, x1, y1; True where nothing is named."""
  if extent is None:
    return True
  height, width = pixels.shape[:2]
  x0, y0, x1, y1 = extent
  return (
    x0 < width and y0 < height and x1 > 0 and y1 > 0 and x0 < x1 and y0 < y1
  )


def _treat(pixels: np.ndarray, extent: np.ndarray, whole: Whole) -> None:
  """Blurs or blackens a face that is not replaced, unless it is to be kept."""
  if whole.otherwise == "keep":
    return
  height, width = pixels.shape[:2]
  x0, y0 = np.maximum(np.floor(extent[:2]), 0).astype(int)
  x1, y1 = np.minimum(np.ceil(extent[2:]), (width, height)).astype(int)
  if whole.otherwise == "box":
    pixels[y0:y1, x0:x1] = 0
    return
  patch = Image.fromarray(pixels[y0:y1, x0:x1])
  sigma = float(max(x1 - x0, y1 - y0) / 4)
  pixels[y0:y1, x0:x1] = patch.filter(ImageFilter.GaussianBlur(sigma))
