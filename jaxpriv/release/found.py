"""Faces that a detector trained here finds in a folder, as labels of them.

Labels are for people to look at and to correct; with a labels.csv in the folder
its faces are those that are trained on, released and replaced.
"""

import pathlib
from typing import NamedTuple

import jax
import numpy as np
from absl import logging
from etils import epath
from PIL import Image

from jaxpriv.data import detection_labels, images, tree
from jaxpriv.data.detection_labels import Annotation, Face
from jaxpriv.data.labelled_pictures import Images
from jaxpriv.data.records import DataError, UnreadableImageError
from jaxpriv.release import release
from jaxpriv.training import any_size, progress


class Found(NamedTuple):
  """Labels of photographs, and those that could not be read.

  Attributes:
    annotations: of each photograph that could be read, faces best first.
    unreadable: file -> why it could not.
  """

  annotations: list[Annotation]
  unreadable: dict[str, str]


class _Sizes(NamedTuple):
  """Width and height of a photograph, and how much smaller it is looked at."""

  size: tuple[int, int]
  scale: float


def find(
  workdir: epath.PathLike,
  folder: str,
  threshold: float,
  longest: int,
  mesh: jax.sharding.Mesh,
) -> Found:
  """Looks through all photographs of a folder.

  Args:
    workdir: a run with a detector, trained to its end.
    folder: the photographs.
    threshold: the least score of a face.
    longest: photographs whose longer side has more pixels are made smaller.
    mesh: the mesh.

  Raises:
    DataError: the run has no detector, or the folder shows nothing.
    FileNotFoundError: the run is not trained to its end.
  """
  trained = release.load(epath.Path(workdir), mesh).trained
  if trained.phase_with("detect") is None:
    raise DataError(f"{workdir} has no detector: give a run that trained one")
  detect, state, frozen = trained.bound("detect")
  place = pathlib.Path(folder).expanduser()
  if not place.is_dir():
    raise DataError(f"There is no folder {place}.")
  names = tree.walk(place).photographs
  if not names:
    raise DataError(f"{place} has no photographs.")
  sizes, unreadable = {}, {}
  for name in names:
    try:
      with images.open_image(place / name) as opened:
        size = images.upright_size(opened)
        images.decode(opened, name=name)
    except UnreadableImageError as error:
      logging.warning("left out: %s", error)
      unreadable[name] = str(error)
      continue
    sizes[name] = _Sizes(size, max(1.0, max(size) / longest))
  readable = list(sizes)
  with progress.bar("faces", len(readable), unit="image") as advance:
    found = any_size.detect_any(
      lambda x: detect(state, frozen, {"image": x}),
      Images(
        lambda i: _small(place / readable[i], sizes[readable[i]]),
        len(readable),
      ),
      advance=advance,
    )
  annotations = [
    _annotation(name, one, sizes[name], threshold)
    for name, one in zip(readable, found, strict=True)
  ]
  return Found(annotations, unreadable)


def _small(path: pathlib.Path, of: _Sizes) -> np.ndarray:
  opened = images.decode(images.open_image(path), of.scale, name=str(path))
  side = lambda pixels: max(round(pixels / of.scale), 1)
  size = (side(of.size[0]), side(of.size[1]))
  if opened.size != size:
    opened = opened.resize(size, Image.Resampling.BILINEAR, reducing_gap=2)
  return np.asarray(opened)


def _annotation(name, found, of: _Sizes, threshold: float) -> Annotation:
  points = found.get("landmarks")
  rows = []
  for i in np.argsort(-found["scores"], kind="stable").tolist():
    if found["scores"][i] < threshold:
      continue
    box = (of.scale * found["boxes"][i].astype(np.float64)).tolist()
    if points is None:
      rows.append(Face(box))
    else:
      five = of.scale * points[i].astype(np.float64)
      rows.append(Face(box, five.tolist()))
  return detection_labels.annotation(name, rows, size=of.size)
