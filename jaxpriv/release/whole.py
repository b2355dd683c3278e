"""Whole photographs with their faces replaced, under the names they had.

    photographs/<name>     as in the input; without EXIF and other metadata
    labels.csv             boxes and five points of the faces in them

Every face is framed and protected as in `images`, and pasted back
(`jaxpriv.data.pasting`). Faces that cannot be are treated as `Whole.otherwise`
says, and counted.
"""

import collections
import csv
import io
import pathlib
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import logging
from etils import epath
from PIL import Image, ImageFilter

from jaxpriv import files
from jaxpriv.data import alignment, images, pasting, pipeline, tracks
from jaxpriv.data.records import DataError, UnreadableImageError
from jaxpriv.release.photographs import Whole
from jaxpriv.release.product import Facts, Job, Product, Sections
from jaxpriv.reports import markdown as md
from jaxpriv.reports import wording
from jaxpriv.training import inference, mechanism, pictures, progress

FOLDER = "photographs"
# Formats in which a photograph is written as it was read; others become PNG.
_FORMATS = {
  **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif"), "jpeg"),
  **{".png": "png", ".webp": "webp", ".bmp": "bmp"},
  **dict.fromkeys((".tif", ".tiff"), "tiff"),
}
_QUALITY = 95
_FACES_AT_ONCE = 64
# Pixels of windows that are pasted at once, which bounds the memory.
_PIXELS_AT_ONCE = 2**19
# Why faces are not replaced: their crop is too small, or their points or box
# cannot be those of a face.
SMALL, WRONG = "too small", "of wrong labels"


class _Face(NamedTuple):
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


class _Photograph:
  """A photograph that is being changed.

  Attributes:
    name: its file, below the input.
    pixels: uint8 [H, W, 3].
    faces: those to replace.
    hidden: bool [H, W], pixels under faces that are not replaced yet.
    treated: reason -> how many faces were not replaced.
    lost: whether it shows somebody of whom nobody knows where.
  """

  def __init__(self, name: str, pixels: np.ndarray):
    self.name, self.pixels = name, pixels
    self.faces: list[_Face] = []
    self.hidden = np.zeros(pixels.shape[:2], bool)
    self.treated: collections.Counter[str] = collections.Counter()
    self.lost = False

  def add(self, face: _Face) -> None:
    self.faces.append(face)
    under = pasting.cut(self.hidden, face.place) | (face.alpha > 0)
    pasting.put(self.hidden, face.place, under)


def write(job: Job) -> Facts:
  """Writes the photographs that are not there yet, and labels.csv.

  Raises:
    DataError: too many photographs are unreadable, or two would have one name.
    ValueError: a protected face is not finite.
  """
  whole, source = job.need_whole(), job.need_photographs().source
  raw = job.need_photographs().raw
  groups: dict[str, list[int]] = {}
  for index in range(len(source)):
    groups.setdefault(source.name(index), []).append(index)
  faceless = [
    name for name in getattr(raw, "faceless", ()) if name not in groups
  ]
  kept = whole.faceless == "keep"
  if kept:
    groups |= {name: [] for name in faceless}
  names = {name: _released_name(name) for name in sorted(groups)}
  _check_distinct(names)
  of_track = _tracks(job, groups) if whole.tracks else {}
  start, made = time.monotonic(), 0
  counts: collections.Counter[str] = collections.Counter()
  rows: list[dict[str, Any]] = []
  unread = lost = done = 0
  with progress.bar("release", len(names), unit="photograph") as advance:
    for chunk in _chunks(list(names), groups):
      todo = [n for n in chunk if not _at(job, names[n]).exists()]
      opened = []
      for name in chunk:
        photograph = _open(job, name, groups[name], pixels=name in todo)
        if photograph is None:
          unread += 1
          continue
        lost += photograph.lost
        if photograph.lost and not kept:
          continue
        counts.update(photograph.treated)
        counts["replaced"] += len(photograph.faces)
        rows.extend(_rows(raw, names[name], groups[name]))
        opened.append(photograph)
      _replace(job, [p for p in opened if p.name in todo], of_track)
      for photograph in opened:
        if photograph.name in todo:
          _save(_at(job, names[photograph.name]), photograph.pixels)
          made += 1
      done += len(chunk)
      advance(done)
  _write_labels(job.directory / "labels.csv", rows)
  _tell(made, time.monotonic() - start)
  return {
    "count": len(names) - unread - (0 if kept else lost),
    "faces": counts["replaced"],
    "treated": {k: counts[k] for k in (SMALL, WRONG) if counts[k]},
    "otherwise": whole.otherwise,
    "faceless": len(faceless) + lost,
    "faceless_kept": kept,
    "blend": whole.blend,
    "match": whole.match,
    "visible": list(whole.visible),
    "unread": unread,
  }


def _released_name(name: str) -> str:
  suffix = pathlib.PurePosixPath(name).suffix.lower()
  return name if suffix in _FORMATS else f"{name}.png"


def _check_distinct(names) -> None:
  twice = [n for n, k in collections.Counter(names.values()).items() if k > 1]
  if twice:
    raise DataError(
      f"two photographs of the input would both be released as {twice[0]}:"
      " rename one of them"
    )


def _at(job: Job, name: str) -> epath.Path:
  return job.directory / FOLDER / name


def _chunks(names: Sequence[str], groups) -> Iterator[list[str]]:
  """Photographs with some dozens of faces, and at most as many of them."""
  chunk: list[str] = []
  faces = 0
  for name in names:
    if chunk and (
      faces + len(groups[name]) > _FACES_AT_ONCE or len(chunk) >= 16
    ):
      yield chunk
      chunk, faces = [], 0
    chunk.append(name)
    faces += len(groups[name])
  if chunk:
    yield chunk


def _open(
  job: Job, name: str, indices: Sequence[int], pixels: bool
) -> _Photograph | None:
  """A photograph with its faces placed, those treated otherwise done.

  None if it cannot be decoded, which the source notes.
  """
  source, raw = job.need_photographs().source, job.need_photographs().raw
  path = pathlib.Path(raw.path) / name
  try:
    if pixels:
      decoded = np.array(images.decode(images.open_image(path)))
    else:  # it is released already: only its faces are counted
      width, height = images.upright_size(images.open_image(path))
      decoded = np.broadcast_to(np.uint8(0), (height, width, 3))
  except UnreadableImageError as error:
    logging.warning("%s", error)
    pipeline.note_unreadable(source, indices)
    return None
  photograph = _Photograph(name, decoded)
  whole, size = job.need_whole(), job.config.data.image_size
  for index in indices:
    matrix = _placed(raw, index, size, job.config.data.align)
    extent = _extent(raw, index, matrix, size)
    if extent is None:
      photograph.lost = True
      continue
    side = 0.0 if matrix is None else size / alignment.matrix_scale(matrix)
    if matrix is None or side < whole.smallest:
      photograph.treated[WRONG if matrix is None else SMALL] += 1
      if pixels:
        _treat(photograph.pixels, extent, whole)
      continue
    place = pasting.window(matrix, size)
    alpha = pasting.opacity(matrix, size, place, whole.visible)
    photograph.add(_Face(index, matrix, place, alpha))
  return photograph


def _placed(raw, index: int, size: int, align: str) -> np.ndarray | None:
  """The matrix of a face; None where its place is not known."""
  try:
    photograph = raw.photograph(index)
    by = alignment.framed_by(photograph, align)
    # Without a box of its own it would be framed where other faces are.
    boxed = by == "box" and np.isfinite(raw.points["box"][index]).all()
    if by != "landmarks" and not boxed:
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


def _treat(pixels: np.ndarray, extent: np.ndarray, whole: Whole) -> None:
  """Blurs or blackens a face that is not replaced, unless it is to be kept."""
  if whole.otherwise == "keep":
    return
  height, width = pixels.shape[:2]
  x0, y0 = np.maximum(np.floor(extent[:2]), 0).astype(int)
  x1, y1 = np.minimum(np.ceil(extent[2:]), (width, height)).astype(int)
  if x0 >= x1 or y0 >= y1:
    return
  if whole.otherwise == "box":
    pixels[y0:y1, x0:x1] = 0
    return
  patch = Image.fromarray(pixels[y0:y1, x0:x1])
  sigma = float(max(x1 - x0, y1 - y0) / 4)
  pixels[y0:y1, x0:x1] = patch.filter(ImageFilter.GaussianBlur(sigma))


def _replace(job: Job, opened: Sequence[_Photograph], of_track) -> None:
  """Replaces the faces of photographs, in place."""
  indices = [face.record for p in opened for face in p.faces]
  if not indices:
    return
  crops = dict(zip(indices, _protected(job, indices, of_track), strict=True))
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
      by_side[face.place.side].append((photograph, face))
    for side, some in sorted(by_side.items()):
      count = max(1, min(16, _PIXELS_AT_ONCE // side**2))
      for first in range(0, len(some), count):
        _paste(job, some[first : first + count], crops, count)


def _protected(job: Job, indices: Sequence[int], of_track) -> np.ndarray:
  """The mechanism's faces float32 [N, S, S, 3 or 4] of records."""
  trained = job.target.trained
  source = job.need_photographs().source
  output = "cut_out" if trained.phase_with("cut_out") else mechanism.IMAGE
  batch = pipeline.gather(source, np.array(indices))
  if batch["padding"].any():
    raise DataError(
      f"{source.describe(indices[int(batch['padding'].argmax())])} could be"
      " read at first and cannot be now: is it being changed?"
    )
  if of_track:
    batch["track"] = np.array([of_track[i] for i in indices], np.int32)
  batch = inference.pad_rows(batch, _FACES_AT_ONCE)
  shown = inference.predict(*trained.bound(output), [batch], job.mesh)
  if not np.isfinite(shown).all():
    raise ValueError("a protected face is not finite")
  return shown.astype(np.float32)


def _paste(job: Job, some, crops, count: int) -> None:
  """Pastes faces whose windows are of one size; rows are filled up to count."""
  whole, size = job.need_whole(), job.config.data.image_size
  rows = []
  for photograph, face in some:
    place = face.place
    matrix = face.matrix.copy()
    matrix[:, 2] += matrix[:, :2] @ np.array([place.x, place.y])
    known = pasting.inside(photograph.pixels.shape, place)
    known &= ~pasting.cut(photograph.hidden, place)
    patch = pasting.cut(photograph.pixels, place).astype(np.float32) / 255
    rows.append(
      (crops[face.record], matrix.astype(np.float32), patch, known, face.alpha)
    )
  if rows[0][0].shape[0] != size:
    raise ValueError(f"faces of {rows[0][0].shape[0]} pixels, not {size}")
  rows += [rows[-1]] * (count - len(rows))
  stacked = [np.stack(column) for column in zip(*rows, strict=True)]
  pasted = np.asarray(
    pasting.paste(*stacked, blend=whole.blend, match=whole.match)
  )
  for (photograph, face), patch in zip(some, pasted, strict=False):
    covered, place = face.alpha > 0, face.place
    kept = pasting.cut(photograph.pixels, place)
    made = np.where(covered[..., None], pictures.to_uint8(patch), kept)
    pasting.put(photograph.pixels, place, made)
    left = pasting.cut(photograph.hidden, place) & ~covered
    pasting.put(photograph.hidden, place, left)


def _tracks(job: Job, groups) -> dict[int, int]:
  """Record -> its track, over photographs of a folder in order of their names.

  Neighbouring names of one folder are taken for neighbouring frames.
  """
  raw, size = job.need_photographs().raw, job.config.data.image_size
  align = job.config.data.align
  by_folder: dict[str, list[str]] = collections.defaultdict(list)
  for name in sorted(groups):
    by_folder[str(pathlib.PurePosixPath(name).parent)].append(name)
  of_track: dict[int, int] = {}
  for names in by_folder.values():
    placed = []
    for name in names:
      matrices = [(i, _placed(raw, i, size, align)) for i in groups[name]]
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


def _save(path: epath.Path, pixels: np.ndarray) -> None:
  buffer = io.BytesIO()
  kind = _FORMATS[path.suffix.lower()]
  options = {"quality": _QUALITY} if kind in ("jpeg", "webp") else {}
  Image.fromarray(pixels).save(buffer, kind, **options)
  path.parent.mkdir(parents=True, exist_ok=True)
  files.atomic_write(path, buffer.getvalue())


def _rows(raw, name: str, indices: Sequence[int]) -> Iterator[dict[str, Any]]:
  """Boxes and points of the faces of a photograph, as labels.csv has them."""
  if not indices:
    yield {"file": name}
  for index in indices:
    row: dict[str, Any] = {"file": name}
    box = np.asarray(raw.points["box"][index], np.float64)
    if np.isfinite(box).all():
      row |= {k: f"{v:g}" for k, v in zip(("x0", "y0", "x1", "y1"), box)}
    five = np.asarray(raw.points["landmarks"][index][:5], np.float64)
    if np.isfinite(five).all():
      points = ";".join(f"{x:.2f},{y:.2f}" for x, y in five)
      row |= {"n_points": "5", "points": points}
    yield row


def _write_labels(path: epath.Path, rows: Sequence[dict[str, Any]]) -> None:
  stream = io.StringIO()
  columns = ["file", "x0", "y0", "x1", "y1", "n_points", "points"]
  writer = csv.DictWriter(stream, columns, lineterminator="\n")
  writer.writeheader()
  writer.writerows(rows)
  files.atomic_write(path, stream.getvalue())


def _tell(made: int, seconds: float) -> None:
  device = jax.devices()[0]
  logging.info(
    "%d photographs in %.0f s, %.2f a second, on %d of %s",
    made,
    seconds,
    made / max(seconds, 1e-9),
    jax.device_count(),
    device.device_kind,
  )


def sections(facts: Facts) -> Sections:
  """Says what the files are."""
  treatment = {
    "blur": "blurred", "box": "blackened", "keep": "left as they were",
  }[facts["otherwise"]]  # fmt: skip
  text = (
    f"{md.code(FOLDER)} holds {wording.count(facts['count'])} photographs under"
    f" the names they had, in which {wording.count(facts['faces'])} faces are"
    f" replaced (blended by {facts['blend']}); {md.code('labels.csv')} holds"
    " the boxes and points of faces."
  )
  for reason, number in facts["treated"].items():
    text += f" {wording.count(number)} faces {reason} are {treatment}."
  if number := facts["faceless"]:
    what = "as they were" if facts["faceless_kept"] else "left out"
    text += f" {wording.count(number)} photographs, in which no face was found,"
    text += f" are {what}."
  if facts["visible"]:
    text += f" Of each face the {' and '.join(facts['visible'])} are kept."
  if facts["match"]:
    text += " Faces have the colours and the sharpness of those they cover."
  return [
    (
      "",
      f"{text} All else of the photographs is as it was, and so are their"
      " names: both may say who is in them.",
    )
  ]


WHOLE = Product(
  name=mechanism.IMAGE,
  noun="whole photographs",
  files=(FOLDER, "labels.csv"),
  write=write,
  sections=sections,
  question="photographs; which ones?",
  resumable=True,
)
