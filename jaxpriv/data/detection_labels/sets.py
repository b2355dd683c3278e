"""Annotations of many pictures: counted, checked, and given their sizes."""

import collections
import os
import pathlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from jaxpriv.data import images
from jaxpriv.data.detection_labels.annotations import SETTINGS, Annotation
from jaxpriv.data.records import DataError

_NAMED = 5  # files that an error names


class Counts(NamedTuple):
  """How many pictures and faces a set has, and how many faces of four kinds."""

  images: int
  faces: int
  degenerate: int
  outside: int
  without_landmarks: int
  invalid: int


def check_set(
  annotations: Sequence[Annotation], path: str | os.PathLike
) -> None:
  """Refuses what no file of labels is to hold.

  Raises:
    DataError: there is no picture, or one comes twice.
  """
  if not annotations:
    raise DataError(f"{path}: there is no picture to write labels of.")
  times = collections.Counter(one.file for one in annotations)
  if twice := [name for name, number in times.items() if number > 1]:
    raise DataError(f"{path}: {some(twice)} would be there twice.")


def distinct(
  located: Iterable[tuple[str, Annotation]],
) -> list[Annotation]:
  """Annotations of different pictures, as a file has them.

  Args:
    located: where each is, such as "label.txt, line 3", and the annotation.

  Raises:
    DataError: two are of one picture.
  """
  first: dict[str, str] = {}
  annotations = []
  for where, one in located:
    if one.file in first:
      raise DataError(
        f"{where}: {one.file} is in {first[one.file]} already. Keep one of"
        " them."
      )
    first[one.file] = where
    annotations.append(one)
  return annotations


def same_settings(annotations: Sequence[Annotation]) -> list[Annotation]:
  """Gives all annotations the settings of any: no face counts in the others."""
  known = {name for one in annotations for name in one.keep}
  return [
    one._replace(
      keep={
        name: one.keep.get(name, np.zeros(len(one.boxes), bool))
        for name in SETTINGS
        if name in known
      }
    )
    for one in annotations
  ]


def count(annotations: Iterable[Annotation]) -> Counts:
  """Counts the pictures and faces of a set."""
  table = np.array(
    [
      (
        1,
        len(one.boxes),
        one.degenerate.sum(),
        one.outside.sum(),
        np.isnan(one.landmarks).all((1, 2)).sum(),
        (one.attributes["invalid"] == 1).sum(),
      )
      for one in annotations
    ],
    int,
  )
  return Counts(*table.reshape(-1, len(Counts._fields)).sum(0).tolist())


def missing(
  annotations: Iterable[Annotation], folder: str | os.PathLike
) -> list[str]:
  """The pictures that are not in a folder."""
  place = pathlib.Path(folder).expanduser()
  return [one.file for one in annotations if not (place / one.file).is_file()]


def with_sizes(
  annotations: Sequence[Annotation], folder: str | os.PathLike
) -> list[Annotation]:
  """Takes sizes from the headers of the pictures, turned upright.

  Raises:
    DataError: a picture is missing or unreadable, or has another size than its
      annotation says.
  """
  if absent := missing(annotations, folder):
    raise DataError(
      f"{len(absent)} of {len(annotations)} pictures are not in {folder}:"
      f" {some(absent)}."
    )
  place = pathlib.Path(folder).expanduser()
  sized = []
  for one in annotations:
    with images.open_image(place / one.file) as image:
      size = images.upright_size(image)
    if one.size and one.size != size:
      raise DataError(
        f"{place / one.file} has {size[0]} x {size[1]} pixels, and its labels"
        f" say {one.size[0]} x {one.size[1]}."
      )
    sized.append(one._replace(size=size))
  return sized


def some(names: Sequence[str]) -> str:
  """The first of some names, for a message."""
  return ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
