"""Faces of nobody, chosen by gender and skin, so that each kind is there alike.

Zhang, Wang, Lin, "Big Data Assisted Object Detection with Privacy Protection",
draw faces by a generator and choose 1,000 of them. Candidates are those of a
run that draws faces, or of a StyleGAN2 generator in a file of arrays. Gender is
read by a network that no one here trained, skin by the typology angle of the
cheeks: what is seen decides, not what was asked for.

    OUTPUT/000000.png ...    the faces
    OUTPUT/labels.csv        file, set (its class), gender
    OUTPUT/selection.json    how they were chosen, and what was read of each
    OUTPUT/selection.png     some of each class, to look at
"""

import csv
import hashlib
import io
import json
import math
import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from etils import epath
from PIL import Image

from jaxpriv import files
from jaxpriv.data import (
  alignment,
  curation,
  landmarks,
  pipeline,
  pretrained,
  safetensors,
  skin,
  stylegan2_arrays,
  tree,
)
from jaxpriv.data.curation import Curator
from jaxpriv.data.records import ARCFACE_LANDMARKS, DataError
from jaxpriv.errors import SettingError
from jaxpriv.models import stylegan2
from jaxpriv.release import release
from jaxpriv.training import (
  detection,
  inference,
  pictures,
  progress,
  published,
  run,
  synthetic,
  unlabelled,
  witnesses,
)

GENDER, SKIN = "gender", "skin"
GENDERS = ("female", "male")
MALE, ANGLE = "probability of male", "typology angle"  # in `SELECTION`
READER = "age_gender"
SELECTION = "selection.json"
SHEET = "selection.png"
_AT_ONCE = 64
_SIDE = 112  # of the crops that are read of foreign images
_SHOWN = 12  # of a class
_SHOWN_SIDE = 96


class Candidates(NamedTuple):
  """Faces of nobody.

  Attributes:
    batches: of images uint8 [N, S, S, 3], as many as are asked for.
    align: how faces lie in them; "" if it is not known.
    origin: what drew them, for the record.
  """

  batches: Iterator[np.ndarray]
  align: str
  origin: dict[str, Any]


def of_run(workdir: epath.PathLike, mesh: jax.sharding.Mesh) -> Candidates:
  """Faces drawn by a run, under the conditions of its training photographs.

  Raises:
    DataError: it draws no faces, or cannot be read.
    FileNotFoundError: it is not trained to its end.
  """
  target = release.load(epath.Path(workdir), mesh)
  if not target.nobody or target.trained.phase_with("drawn") is None:
    raise DataError(
      f"{workdir} is of {target.name}, which draws no faces of nobody: give a"
      " run of a source of faces"
    )
  predict, state, frozen = target.trained.bound("drawn")
  data = run.open_data(target.config)
  rows = data.splits["train"]

  def batches() -> Iterator[np.ndarray]:
    first = 0
    while True:
      numbers = first + np.arange(_AT_ONCE)
      batch = pipeline.gather(data.source, rows[numbers % len(rows)])
      batch["index"] = numbers.astype(np.int32)
      first += _AT_ONCE
      # Unreadable photographs have no conditions, and nothing is drawn.
      if not batch["padding"].all():
        drawn = inference.predict(predict, state, frozen, [batch], mesh)
        yield published.images(drawn)

  parameters = target.trained.sha256()
  origin = {"mechanism": target.name, "parameters": parameters}
  return Candidates(batches(), target.config.data.align, origin)


def of_arrays(path: str, seed: int, truncation: float) -> Candidates:
  """Faces drawn by a StyleGAN2 generator without classes.

  Args:
    path: a file of safetensors, with the names of stylegan2-ada-pytorch.
    seed: of all faces.
    truncation: 1 draws faces as various as those it learned from.

  Raises:
    DataError: the file is of no such generator.
  """
  arrays = safetensors.read(path)
  sizes = stylegan2_arrays.sizes(arrays, path)
  generator = synthetic.Generator(
    stylegan2.Mapping(sizes.width, sizes.layers),
    stylegan2.Synthesis(sizes.side, sizes.base, sizes.most),
    sizes.latent,
  )
  table = stylegan2_arrays.table(sizes.side, sizes.layers)
  state = synthetic.loaded(generator, arrays, conditions=0, table=table)
  at_once = max(1, min(_AT_ONCE, 2**20 // sizes.side**2))

  @jax.jit
  def draw(state, first):
    root = jax.random.key(seed)
    numbers = first + jnp.arange(at_once)
    keys = jax.vmap(lambda number: jax.random.fold_in(root, number))(numbers)
    none = jnp.zeros((at_once, 0))
    return synthetic.generate(generator, state, none, keys, truncation)

  def batches() -> Iterator[np.ndarray]:
    first = 0
    while True:
      yield published.images(np.asarray(draw(state, first)))
      first += at_once

  with open(path, "rb") as stream:
    digest = hashlib.file_digest(stream, "sha256").hexdigest()
  origin = {"generator": digest, "seed": seed, "truncation": truncation}
  return Candidates(batches(), "", origin)


class Read(NamedTuple):
  """Gender and skin, as they are seen in faces.

  Attributes:
    male: float64 [N], a probability; NaN where it was not read.
    angle: float64 [N], the typology angle of the cheeks in degrees; NaN where
      there is no face.
  """

  male: np.ndarray
  angle: np.ndarray


def read(images: np.ndarray, align: str, gender: bool = True) -> Read:
  """Reads faces uint8 [N, S, S, 3]; those of unknown framing are found first.

  Args:
    images: some dozens.
    align: how they are framed; "" if it is not known.
    gender: whether it is read.

  Raises:
    WeightsError: a network that is needed is missing.
  """
  there = np.ones(len(images), bool)
  if align not in alignment.BY_POINTS:
    images, there = _cropped(images)
    align = "landmarks"
  male, angle = np.full((2, len(there)), np.nan)
  if there.any():
    faces = images[there]
    if gender:
      said = witnesses.read(witnesses.load(READER), faces, align=align)
      male[there] = said["male"]
    colours = skin.cheeks(jnp.asarray(faces, jnp.float32) / 255, None, align)
    angle[there] = skin.typology_angle(colours)
  return Read(male, angle)


def _cropped(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """The surest face of each image, aligned; and whether there is one."""
  detector, marker = (witnesses.load(name) for name in unlabelled.NETWORKS)
  found = detection.find(detector, marker, [*map(Image.fromarray, images)])
  crops = np.zeros((len(images), _SIDE, _SIDE, 3), np.uint8)
  there = np.zeros(len(images), bool)
  for i, faces in enumerate(found):
    if faces is None or not len(faces.boxes):
      continue
    five = landmarks.standard_landmarks(faces.landmarks[:1])
    assert five is not None  # of 68 points
    matrix = alignment.similarity(
      five[0, : len(ARCFACE_LANDMARKS)], alignment.arcface_template(_SIDE)
    )
    crops[i] = alignment.warp(Image.fromarray(images[i]), matrix, _SIDE)
    there[i] = True
  return crops, there


class Kinds:
  """By what faces are told apart.

  Attributes:
    by: of GENDER and SKIN.
    edges: of the typology angle in degrees, falling.
    names: of the values of each.
  """

  def __init__(self, by: Sequence[str], edges: Sequence[float]):
    self.by, self.edges = tuple(by), tuple(float(edge) for edge in edges)
    wrong = [name for name in self.by if name not in (GENDER, SKIN)]
    if wrong or not self.by or len(set(self.by)) != len(self.by):
      raise SettingError(
        f"faces are told apart by {GENDER}, {SKIN} or both, not by"
        f" {', '.join(self.by) or 'nothing'}"
      )
    if list(self.edges) != sorted(set(self.edges), reverse=True):
      raise SettingError(
        f"edges of the typology angle fall, as in {skin.EDGES}, and not"
        f" {self.edges}"
      )
    of = {GENDER: GENDERS, SKIN: self._classes()}
    self.names = tuple(of[name] for name in self.by)

  def _classes(self) -> tuple[str, ...]:
    if self.edges == skin.EDGES:
      return skin.CLASSES
    bounds = [f"{edge:g}" for edge in self.edges]
    if not bounds:
      return ("any skin",)
    between = [f"{low} to {high}" for high, low in zip(bounds, bounds[1:])]
    return (f"above {bounds[0]}", *between, f"below {bounds[-1]}")

  def of(self, seen: Read) -> np.ndarray:
    """Classes int64 [N, F]; -1 where there is no face."""
    unknown = np.isnan(seen.angle)
    levels = np.asarray(skin.level(jnp.asarray(seen.angle), self.edges))
    values = {GENDER: seen.male > 0.5, SKIN: levels}
    columns = [
      np.where(unknown, -1, values[name].astype(np.int64)) for name in self.by
    ]
    return np.stack(columns, 1)


def write(
  candidates: Candidates,
  output: str | os.PathLike,
  kinds: Kinds,
  count: int,
  most: int,
) -> dict[str, Any]:
  """Writes a folder of chosen faces, whole or not at all.

  Args:
    candidates: what is chosen from, in this order.
    output: the folder to make.
    kinds: by what they are told apart.
    count: how many are wanted, of each class alike.
    most: candidates that are looked at, at most.

  Returns:
    the content of `SELECTION`.

  Raises:
    DataError: the folder is there already.
  """
  top = epath.Path(output)
  levels = [len(names) for names in kinds.names]
  if count < math.prod(levels):
    raise SettingError(
      f"--count={count}, and there are {math.prod(levels)} classes: ask for one"
      " face of each at least, or tell them apart by less (--by, --skin)"
    )
  if top.exists():
    raise DataError(f"--output: {top} is there already: choose another folder")
  partial = top.parent / f"{top.name}.curating"
  if partial.exists():
    partial.rmtree()
  partial.mkdir(parents=True)
  curator = Curator(curation.balanced(count, levels))
  faces: list[dict[str, Any]] = []
  shown: dict[curation.Class, list[np.ndarray]] = {
    k: [] for k in curator.wanted
  }
  seen, shape = 0, ()
  with progress.bar("faces", count, unit="face") as advance:
    for images in candidates.batches:
      if seen >= most or not curator.short:
        break
      images, shape = images[: most - seen], images.shape
      told = read(images, candidates.align, GENDER in kinds.by)
      classes = kinds.of(told)
      for i in np.flatnonzero(curator.take(classes)).tolist():
        kind = tuple(classes[i].tolist())
        name = f"{len(faces):06}.png"
        files.atomic_write(partial / name, pictures.png_bytes(images[i]))
        faces.append(
          {
            "file": name,
            "candidate": seen + i,
            "class": curation.spelled(kind, kinds.names),
            **_numbers(told, i),
          }
        )
        if len(shown[kind]) < _SHOWN:
          shown[kind].append(images[i])
      seen += len(images)
      advance(len(faces))
  if not faces:
    partial.rmtree()
    raise DataError(
      f"none of {seen} candidates is of a class that is wanted;"
      f" {curator.unknown} show no face"
    )
  if curator.short:
    logging.warning(
      "%s %d candidates were looked at: look at more, or draw from a source"
      " that knows such faces",
      curator.told(kinds.names),
      seen,
    )
  content = _content(candidates, kinds, curator, seen, faces)
  files.atomic_write(partial / SELECTION, json.dumps(content, indent=2) + "\n")
  points = _points(candidates.align, shape)
  files.atomic_write(partial / tree.TABLE, _table(faces, points))
  pictures.save_png(partial / SHEET, _sheet(shown))
  partial.rename(top)
  return content


def _numbers(told: Read, row: int) -> dict[str, float]:
  """The known figures of a face, rounded for people to read."""
  numbers = {
    MALE: round(float(told.male[row]), 4),
    ANGLE: round(float(told.angle[row]), 2),
  }
  return {name: value for name, value in numbers.items() if value == value}


def _content(candidates, kinds, curator, seen, faces) -> dict[str, Any]:
  words = lambda numbers: {
    curation.spelled(kind, kinds.names): number
    for kind, number in numbers.items()
  }
  of = {
    GENDER: pretrained.path_of(READER).name,
    SKIN: {"scale": "individual typology angle", "edges": kinds.edges},
  }
  return {
    "origin": candidates.origin,
    "by": {name: of[name] for name in kinds.by},
    "candidates": seen,
    "without a face": curator.unknown,
    "candidates of each class": words(curator.candidates),
    "wanted": words(curator.wanted),
    "chosen": words(curator.counts),
    "faces": faces,
  }


def _points(align: str, shape: tuple[int, ...]) -> str:
  """Five points of all faces, if nobody could find them: they fill the image.

  In heads they are found, which tells how these are turned.
  """
  if align != "landmarks" or not shape:
    return ""
  places = alignment.template(shape[1], align).tolist()
  return ";".join(f"{x:.2f},{y:.2f}" for x, y in places)


def _table(faces: Sequence[dict[str, Any]], points: str) -> str:
  stream = io.StringIO()
  columns = ["file", "set", "gender", *(["n_points", "points"] * bool(points))]
  writer = csv.writer(stream, lineterminator="\n")
  writer.writerow(columns)
  for face in faces:
    gender = "" if MALE not in face else "FM"[face[MALE] > 0.5]
    row = (face["file"], face["class"], gender, "5", points)
    writer.writerow(row[: len(columns)])
  return stream.getvalue()


def _sheet(shown: dict[curation.Class, list[np.ndarray]]) -> np.ndarray:
  """A row of faces for each class that has some; white where it has none."""
  blank = np.full((_SHOWN_SIDE, _SHOWN_SIDE, 3), 255, np.uint8)
  longest = max(map(len, shown.values()))
  rows = {}
  for kind, images in shown.items():
    small = [
      np.asarray(Image.fromarray(x).resize((_SHOWN_SIDE, _SHOWN_SIDE)))
      for x in images
    ]
    if small:
      rows[str(kind)] = np.stack(small + [blank] * (longest - len(small)))
  return pictures.grid(rows, longest)
