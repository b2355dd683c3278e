"""Whole photographs with their faces replaced, under the names they had.

    photographs/<name>         as in the input; without EXIF and other metadata
    photographs/labels.csv     boxes and five points of the faces in them, and
                               which of them count when detectors are scored

Every face is framed and protected as in `images`, and pasted back
(`jaxpriv.training.replacing`). Faces that cannot be are treated as
`Whole.otherwise` says, and counted.
"""

import collections
import csv
import io
import pathlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from absl import logging
from etils import epath
from PIL import Image

from jaxpriv import files
from jaxpriv.data import tree
from jaxpriv.data.detection_labels.annotations import SETTINGS
from jaxpriv.data.records import DataError
from jaxpriv.release.product import Facts, Job, Product, Sections
from jaxpriv.reports import markdown as md
from jaxpriv.reports import wording
from jaxpriv.training import mechanism, progress
from jaxpriv.training.replacing import FACES_AT_ONCE, SMALL, WRONG, Replacer

FOLDER = "photographs"
# Columns of labels.csv that say which faces count; see `detection_labels`.
COUNTED = ("invalid", *SETTINGS)
# Formats in which a photograph is written as it was read; others become PNG.
_FORMATS = {
  **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif"), "jpeg"),
  **{".png": "png", ".webp": "webp", ".bmp": "bmp"},
  **dict.fromkeys((".tif", ".tiff"), "tiff"),
}
_QUALITY = 95


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
  frames = groups | {name: [] for name in faceless}
  if kept:
    groups = frames
  names = {name: _released_name(name) for name in sorted(groups)}
  _check_distinct(names)
  replacer = Replacer(
    job.target.trained, raw, source, job.mesh, job.config.data.align, whole
  )
  of_track = replacer.tracks(frames) if whole.tracks else {}
  if whole.tracks:
    logging.info(
      "%s in frames are of %s",
      _many(len(of_track), "face"),
      _many(len(set(of_track.values())), "track"),
    )
  start, made = time.monotonic(), 0
  counts: collections.Counter[str] = collections.Counter()
  rows: list[dict[str, Any]] = []
  unread = empty = lost = done = 0
  with progress.bar("release", len(names), unit="photograph") as advance:
    for chunk in _chunks(list(names), groups):
      todo = [n for n in chunk if not _at(job, names[n]).exists()]
      opened = []
      for name in chunk:
        photograph = replacer.open(name, groups[name], pixels=name in todo)
        if photograph is None:
          unread += 1
          continue
        if photograph.lost:
          lost += 1
          logging.warning("%s: somebody is told of where no face can be: left"
                          " out", name)  # fmt: skip
          continue
        empty += photograph.faceless
        if photograph.faceless and not kept:
          continue
        counts.update(photograph.treated)
        counts["replaced"] += len(photograph.faces)
        rows.extend(_rows(raw, names[name], groups[name]))
        opened.append(photograph)
      replacer.replace([p for p in opened if p.name in todo], of_track)
      for photograph in opened:
        if photograph.name in todo:
          _save(_at(job, names[photograph.name]), photograph.pixels)
          made += 1
      done += len(chunk)
      advance(done)
  _write_labels(_at(job, tree.TABLE), rows)
  _tell(made, time.monotonic() - start)
  return {
    "count": len(names) - unread - lost - (0 if kept else empty),
    "faces": counts["replaced"],
    "treated": {k: counts[k] for k in (SMALL, WRONG) if counts[k]},
    "otherwise": whole.otherwise,
    "faceless": len(faceless) + empty,
    **({"lost": lost} if lost else {}),
    "faceless_kept": kept,
    "blend": whole.blend,
    "match": whole.match,
    "visible": list(whole.visible),
    "unread": unread,
    **({"tracks": len(set(of_track.values()))} if whole.tracks else {}),
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
      faces + len(groups[name]) > FACES_AT_ONCE or len(chunk) >= 16
    ):
      yield chunk
      chunk, faces = [], 0
    chunk.append(name)
    faces += len(groups[name])
  if chunk:
    yield chunk


def _save(path: epath.Path, pixels: np.ndarray) -> None:
  buffer = io.BytesIO()
  kind = _FORMATS[path.suffix.lower()]
  options = {"quality": _QUALITY} if kind in ("jpeg", "webp") else {}
  Image.fromarray(pixels).save(buffer, kind, **options)
  path.parent.mkdir(parents=True, exist_ok=True)
  files.atomic_write(path, buffer.getvalue())


def _rows(raw, name: str, indices: Sequence[int]) -> Iterator[dict[str, Any]]:
  """Boxes and points of the faces of a photograph, as labels.csv has them.

  Of other columns those are kept by which detectors are scored: they do not
  depend on who is shown.
  """
  counted = [
    (column, list(raw.attribute_names).index(column))
    for column in COUNTED
    if column in raw.attribute_names
  ]
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
    for column, place in counted:
      if (value := int(raw.attribute_values[index, place])) >= 0:
        row[column] = str(value)
    yield row


def _write_labels(path: epath.Path, rows: Sequence[dict[str, Any]]) -> None:
  stream = io.StringIO()
  present = {key for row in rows for key in row}
  columns = ["file", "x0", "y0", "x1", "y1", "n_points", "points"]
  columns += [column for column in COUNTED if column in present]
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


def _many(number: int, noun: str) -> str:
  return f"{wording.count(number)} {noun}{'' if number == 1 else 's'}"


def sections(facts: Facts) -> Sections:
  """Says what the files are."""
  treatment = {
    "blur": "blurred", "box": "blackened", "keep": "left as they were",
  }[facts["otherwise"]]  # fmt: skip
  text = (
    f"{md.code(FOLDER)} holds {_many(facts['count'], 'photograph')} under the"
    f" names they had. Faces replaced: {wording.count(facts['faces'])}, blended"
    f" by {facts['blend']}; {md.code('labels.csv')} in it holds the boxes and"
    " points of faces."
  )
  for reason, number in facts["treated"].items():
    text += f" Faces {reason}, which are {treatment}: {wording.count(number)}."
  if number := facts["faceless"]:
    found = f"no face, or not every one, was found: {wording.count(number)}."
    if facts["faceless_kept"]:
      text += f" Photographs kept as they are where {found}"
    else:
      text += f" Photographs left out, as in them {found}"
  if number := facts.get("lost"):
    text += " Photographs left out, as they show somebody and labels say where"
    text += f" no face can be: {wording.count(number)}."
  if facts["visible"]:
    text += f" Of each face the {' and '.join(facts['visible'])} are kept."
  if tracks := facts.get("tracks"):
    text += f" Photographs are frames of videos, with {_many(tracks, 'track')}:"
    text += " a face that depends on its track is one face in all of it."
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
  files=(FOLDER,),
  write=write,
  sections=sections,
  question="photographs; which ones?",
  resumable=True,
)
