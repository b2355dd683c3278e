"""Photographs that nobody has labelled: their faces, found once and kept.

A folder's photographs that name neither a box nor points are looked through by
two networks that no one here trained (`detection`). The result is kept in the
user's cache folder, as rows of labels.csv for some photographs at a time, so
that training, evaluating and releasing find faces once, and an interruption
loses little.
"""

import csv
import functools
import hashlib
import io
import pathlib
from collections.abc import Callable, Iterator, Sequence

import jax
import numpy as np
from absl import logging
from etils import epath
from jax.experimental import multihost_utils
from ml_collections import ConfigDict
from PIL import Image, ImageDraw

from jaxpriv import files as files_lib
from jaxpriv.data import (
  alignment,
  folder,
  found_faces,
  images,
  labels,
  pretrained,
)
from jaxpriv.data.found_faces import Found
from jaxpriv.data.labels import Row
from jaxpriv.data.records import UnreadableImageError
from jaxpriv.data.sources import words
from jaxpriv.training import detection, pictures, progress, witnesses

NETWORKS = ("blazeface", "landmarks")
# Kept results of another version of the search are not used.
VERSION = 2
# Photographs whose faces are kept together, and those in memory at once.
_KEPT_TOGETHER = 256
_AT_ONCE = witnesses.BATCH
# Photographs of a contact sheet, in a row, and their side in pixels.
_SHOWN, _COLUMNS, _SIDE = 48, 8, 160


def find(data: ConfigDict, sheet: epath.Path | None = None) -> Found | None:
  """Faces of those photographs of a data config that no label frames.

  All processes of a run get what the first one has found.

  Args:
    data: with source, path, sets, align and face_threshold; see `configs`.
    sheet: where to draw a contact sheet, if there is anything to be found. It
      shows original photographs.

  Returns:
    what `FolderSource` takes; None where there is nothing to look for, or
    photographs are not framed by faces, or the networks are missing, which the
    log says.

  Raises:
    DataError: the folder or its labels cannot be read.
  """
  # A run of a version that found no faces was trained without them.
  threshold = data.get("face_threshold", 0)
  source = data.own if data.source == "feature_pools" else data.source
  framed = data.align in alignment.OF_FACES and not data.get("max_faces", 0)
  if source != "folder" or threshold <= 0 or not framed:
    return None
  names = folder.wanting(data.path, words(data.sets), data.get("level", 1))
  if not names:
    return None
  place = folder.existing(data.path)
  if _shared(lambda: " ".join(pretrained.missing(NETWORKS))):
    logging.warning(
      "%d photographs of %s name neither a box nor points, and the networks"
      " that find faces are missing: %s. Without them the median box of the"
      " labelled faces is taken, or the central square.",
      len(names),
      place,
      pretrained.FETCH,
    )
    return None
  found = search(place, names, threshold)
  _tell(place, names, found, threshold)
  if sheet is not None and jax.process_index() == 0:
    pictures.save_png(sheet, contact_sheet(place, found))
    logging.info("Look at what was found: %s (it shows originals)", sheet)
  return found


def _tell(place, names, found, threshold) -> None:
  several = sum(len(of) > 1 for of in found.values())
  logging.info(
    "%s: %d faces found in %d of %d photographs without labels, of scores above"
    " data.face_threshold = %g%s",
    place,
    sum(map(len, found.values())),
    sum(bool(of) for of in found.values()),
    len(names),
    threshold,
    f"; {several} show several, of which the largest is that of the row or the"
    " sub-folder, and the others are nobody known"
    if several
    else "",
  )
  faceless = sum(not of for of in found.values())
  if faceless > len(found) / 2:
    logging.warning(
      "%d of %d photographs show no face and are left out. If they are of other"
      " things, give data.align=centre or data.face_threshold=0: they are then"
      " taken as they are",
      faceless,
      len(found),
    )
  for name in names:
    if name in found and not found[name]:
      logging.warning("No face was found, left out: %s", place / name)


def search(
  place: pathlib.Path, names: Sequence[str], threshold: float
) -> Found:
  """Faces of the photographs of a folder, found now or kept from before.

  Args:
    place: the folder.
    names: files below it.
    threshold: see `detection.find`.

  Raises:
    WeightsError: a network is missing.
  """
  rows: list[Row] = []
  with progress.bar("faces", len(names), unit="image") as advance:
    for start in range(0, len(names), _KEPT_TOGETHER):
      part = names[start : start + _KEPT_TOGETHER]

      def report(done, start=start):
        advance(start + done)

      make = functools.partial(_kept, place, part, threshold, report)
      rows += csv.DictReader(io.StringIO(_shared(make), newline=""))
      report(len(part))
  return found_faces.by_file(rows)


def _kept(place, names, threshold, advance) -> str:
  """Rows as text of a CSV file: kept ones, or new ones that are then kept."""
  name = f"{_key(place, names, threshold)}.csv"
  path = pretrained.cache_folder() / "faces" / name
  try:
    return path.read_text(encoding="utf-8")
  except (OSError, UnicodeDecodeError):
    pass
  stream = io.StringIO(newline="")
  writer = csv.DictWriter(stream, found_faces.COLUMNS, lineterminator="\n")
  writer.writeheader()
  detector, marker = (witnesses.load(name) for name in NETWORKS)
  for start in range(0, len(names), _AT_ONCE):
    part = names[start : start + _AT_ONCE]
    writer.writerows(_look(place, part, detector, marker, threshold))
    advance(start + len(part))
  try:
    files_lib.atomic_write(path, stream.getvalue())
  except OSError as error:
    logging.warning("faces are found but cannot be kept: %s", error)
  return stream.getvalue()


def _key(place, names, threshold) -> str:
  """Hash of the photographs, of the networks, and of how they are used."""
  digest = hashlib.sha256(f"{VERSION} {threshold}".encode())
  for network in NETWORKS:
    digest.update(pretrained.path_of(network).name.encode() + b"\0")
  for name in names:
    try:
      status = (place / name).stat()
      state = f"{status.st_size} {status.st_mtime_ns}"
    except OSError:
      state = "missing"
    digest.update(f"{name}\0{state}\0".encode("utf-8", "surrogateescape"))
  return digest.hexdigest()[:32]


def _look(place, names, detector, marker, threshold) -> Iterator[Row]:
  opened = {}
  for name in names:
    try:
      opened[name] = images.open_image(place / name)
    except UnreadableImageError:
      continue  # whoever reads the photographs names it
  found = detection.find(detector, marker, list(opened.values()), threshold)
  for name, faces in zip(opened, found, strict=True):
    if faces is None:
      continue
    if not len(faces.boxes):
      yield {"file": name}
    for box, score, points in zip(*faces, strict=True):
      corners = dict(zip(("x0", "y0", "x1", "y1"), (f"{v:.2f}" for v in box)))
      cells = ";".join(f"{x:.2f},{y:.2f}" for x, y in points)
      yield {
        "file": name,
        **corners,
        "n_points": str(len(points)),
        "points": cells,
        "score": f"{score:.3f}",
      }


def _shared(make: Callable[[], str]) -> str:
  """A text that the first process makes, in all processes.

  Files need not lie in one place for all of them, and machines of several kinds
  need not round scores alike.
  """
  text = make() if jax.process_index() == 0 else ""
  if jax.process_count() == 1:
    return text
  data = np.frombuffer(text.encode(), np.uint8)
  size = int(multihost_utils.broadcast_one_to_all(np.int32(len(data))))
  sent = np.zeros(size, np.uint8)
  sent[: len(data)] = data
  return bytes(np.asarray(multihost_utils.broadcast_one_to_all(sent))).decode()


def contact_sheet(place: pathlib.Path, found: Found) -> np.ndarray:
  """Photographs with the faces found in them, from the least sure on.

  Args:
    place: the folder.
    found: as `find` gives it, not empty.

  Returns:
    uint8 [H, W, 3]: thumbnails, evenly chosen, with boxes, five points and
    scores: green for the largest face, yellow for others, and a red frame where
    there is none.
  """
  score = lambda name: max(
    (float(face["score"]) for face in found[name]), default=0.0
  )
  names = sorted(found, key=lambda name: (score(name), name))
  chosen = np.linspace(0, len(names) - 1, min(len(names), _SHOWN))
  cells = [_thumbnail(place / names[round(i)], found[names[round(i)]])
           for i in chosen.tolist()]  # fmt: skip
  while len(cells) % _COLUMNS:
    cells.append(np.full_like(cells[0], 255))
  rows = [
    np.concatenate(cells[i : i + _COLUMNS], 1)
    for i in range(0, len(cells), _COLUMNS)
  ]
  return np.concatenate(rows)


def _thumbnail(path: pathlib.Path, faces: Sequence[Row]) -> np.ndarray:
  """One photograph [_SIDE, _SIDE, 3], framed in white."""
  canvas = Image.new("RGB", (_SIDE, _SIDE), "white")
  try:
    opened = images.open_image(path)
    size = images.upright_size(opened)
    scale = (_SIDE - 4) / max(size)
    small = images.decode(opened, 1 / scale).resize(
      (max(round(size[0] * scale), 1), max(round(size[1] * scale), 1))
    )
  except UnreadableImageError:  # it was there when it was looked through
    return np.asarray(canvas)
  canvas.paste(small, (2, 2))
  draw = ImageDraw.Draw(canvas)
  if not faces:
    draw.rectangle((0, 0, _SIDE - 1, _SIDE - 1), outline="red", width=3)
  order = found_faces.largest_first(faces)
  for face, colour in zip(order, ["lime", *["yellow"] * len(order)]):
    place = lambda x, y: (2 + x * scale, 2 + y * scale)
    x0, y0, x1, y1 = labels.extent(face)
    draw.rectangle((*place(x0, y0), *place(x1, y1)), outline=colour)
    for x, y in labels.five_points(face):
      left, top = place(x, y)
      draw.rectangle((left - 1, top - 1, left, top), fill=colour)
    score = f"{float(face['score']):.2f}"
    draw.text(place(x0, y1), score, fill=colour, stroke_width=1,
              stroke_fill="black")  # fmt: skip
  return np.asarray(canvas)
