"""Utility of a face detector: how well it finds the faces of whole scenes.

No attack: its average precision on scenes that it has not seen stands beside
that of the same boxes laid over other scenes. Photographs of other folders are
looked at as they are, and BlazeFace, which no one here trained, beside it.
"""

import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np
from absl import logging
from PIL import Image

from jaxpriv.attacks.threat import People
from jaxpriv.data import pipeline, pretrained
from jaxpriv.data.scenes import FolderScenes
from jaxpriv.data.sources import words
from jaxpriv.metrics import detection as detection_lib
from jaxpriv.metrics import finding, statistics, wider
from jaxpriv.metrics.finding import Finding
from jaxpriv.ranges import NATURAL, NOT_NEGATIVE
from jaxpriv.training import any_size, detection, inference, progress, witnesses
from jaxpriv.training.mechanism import Target
from jaxpriv.training.method import need

PRODUCTS = ("model",)
RANGES = {
  "images": NATURAL,
  "easy": NOT_NEGATIVE,
  "medium": NOT_NEGATIVE,
  "hard": NOT_NEGATIVE,
}
CLAIM = "detection"
BY = "model"
FINDERS = ("blazeface", "landmarks")
PRECISION = 0.9
_BATCH = 32
_ROOM = 1024  # faces of a photograph
_UNSURE = 0.1  # least score of BlazeFace that counts


class Pictures(NamedTuple):
  """Whole pictures and the faces in them.

  Attributes:
    name: of the folder, and of the set.
    images: uint8 [H, W, 3] each.
    boxes: [M, 4] of each, x0 y0 x1 y1.
  """

  name: str
  images: list[np.ndarray]
  boxes: list[np.ndarray]


def attack(
  target: Target,
  people: People,
  images: int = 500,
  easy: float = 16,
  medium: float = 12,
  hard: float = 8,
  folders: Sequence[str] = (),
) -> Iterator[Finding]:
  """Average precision by the protocol of WIDER FACE, easy, medium and hard.

  Faces that are too small for a setting are ignored there: it does not matter
  whether they are found. The floor is what the boxes found in one scene score
  in the next one, as of a detector that has not looked. Of photographs it is
  also told how many of all faces are found before a tenth of what is found is
  wrong.

  Args:
    target: with an output `detect`.
    people: whose test records are scenes; nothing is measured if they are not.
    images: scenes looked at, of the test records and of each folder; 0 is none.
    easy: the least height of a face's box in pixels of the records, or of the
      photographs of a folder.
    medium: likewise.
    hard: likewise.
    folders: further photographs, as they are: PATH, or PATH:SET, of a folder
      with a labels.csv. That the detector has not learned from them is for the
      caller to know.

  Raises:
    DataError: a folder has no scenes.
  """
  phase = target.trained.phase_with("detect")
  scenes = people.test
  count = min(images, len(scenes))
  if phase is None or "boxes" not in scenes.arrays or not count:
    return
  heights = {"easy": easy, "medium": medium, "hard": hard}
  elsewhere = [
    people.once(
      ("pictures", entry, images), functools.partial(read, entry, images)
    )
    for entry in words(folders)
  ]
  detect = need(phase.method.outputs.detect, "detect")
  state, frozen = target.trained.state(phase), target.trained.frozen(phase)
  processes = jax.process_count()
  found = inference.predict(
    detect,
    state,
    frozen,
    pipeline.epoch(
      scenes, np.arange(count), batch_size=-(-_BATCH // processes) * processes
    ),
    people.mesh,
  )
  boxes = [
    scenes.arrays["boxes"][i][scenes.arrays["valid"][i]] for i in range(count)
  ]
  yield from _findings(rows_of(found), boxes, heights, target.name)
  for pictures in elsewhere:
    with progress.slow(f"Looking for faces in {pictures.name}"):
      each = any_size.detect_any(
        lambda x: detect(state, frozen, {"image": x}), pictures.images
      )
    rows = [_rows(one["boxes"], one["scores"]) for one in each]
    where = {"scenes": pictures.name}
    yield from _findings(rows, pictures.boxes, heights, target.name, where)
    if pretrained.missing(FINDERS):
      logging.warning("%s is not fetched: %s", FINDERS[0], pretrained.FETCH)
      continue
    rows = people.once(
      ("found in", pictures.name), functools.partial(_by_others, pictures)
    )
    yield from _findings(rows, pictures.boxes, heights, "", where)


def read(entry: str, most: int) -> Pictures:
  """The first photographs of a folder, PATH or PATH:SET, and their faces.

  Raises:
    DataError: it has no labels.csv of scenes.
    UnreadableImageError: a photograph cannot be decoded.
  """
  path, colon, name = entry.rpartition(":")
  if not colon or "/" in name:
    path, name = entry, ""
  source = FolderScenes(path, (name,) if name else (), _ROOM)
  records = [source[i] for i in range(min(most, len(source)))]
  return Pictures(
    "/".join([*os.path.abspath(path).split(os.sep)[-2:], name]).rstrip("/"),
    [record["image"] for record in records],
    [record["boxes"][record["valid"]] for record in records],
  )


def _by_others(pictures: Pictures) -> list[np.ndarray]:
  """Faces that BlazeFace finds, in the form of `rows_of`."""
  detector, marker = map(witnesses.load, FINDERS)
  rows: list[np.ndarray] = []
  with progress.bar("blazeface", len(pictures.images), unit="image") as advance:
    for start in range(0, len(pictures.images), _BATCH):
      part = map(Image.fromarray, pictures.images[start : start + _BATCH])
      for faces in detection.find(detector, marker, list(part), _UNSURE):
        assert faces is not None  # they are decoded
        rows.append(_rows(faces.boxes, faces.scores))
      advance(len(rows))
  return rows


def _findings(
  detections: Sequence[np.ndarray],
  boxes: Sequence[np.ndarray],
  heights: Mapping[str, float],
  subject: str,
  where: Mapping[str, str] = {},
) -> Iterator[Finding]:
  """Figures of boxes that were found; without a subject, by BlazeFace."""
  told = dict(
    claim=CLAIM,
    wanted=finding.KEPT if subject else finding.TOLD,
    subject=subject or finding.NOBODY,
    by=BY if subject else FINDERS[0],
  )
  # Nearly as many boxes as faces, in other places.
  others = [*detections[1:], *detections[:1]]
  for name, least in heights.items():
    kept = wanted(boxes, least)
    faces = sum(len(indices) for _, indices in kept)
    if not faces:
      continue
    floor = wider.wider_average_precision(others, kept)
    yield finding.of(
      metric="AP",
      figures=precision(detections, kept),
      floor=floor if len(boxes) > 1 else 0.0,
      where={
        **where,
        "faces": name,
        "height": f"from {least:g} px",
        "number": faces,
      },
      **told,
    )
  if not where or not any(map(len, boxes)):
    return
  yield finding.of(
    metric="recall at precision 90%",
    figures=recall(detections, boxes),
    floor=recall(others, boxes).rate if len(boxes) > 1 else 0.0,
    where={**where, "faces": "all"},
    **told,
  )


def rows_of(found: Mapping[str, np.ndarray]) -> list[np.ndarray]:
  """Detections of each image [n, 5], x, y, width, height and score, best first.

  Args:
    found: boxes [B, K, 4], x0 y0 x1 y1, and scores [B, K], 0 where there is no
      face.
  """
  return [
    _rows(boxes, scores)
    for boxes, scores in zip(found["boxes"], found["scores"], strict=True)
  ]


def _rows(boxes: np.ndarray, scores: np.ndarray) -> np.ndarray:
  order = np.argsort(-scores, kind="stable")
  order = order[scores[order] > 0]
  low, high = boxes[order, :2], boxes[order, 2:]
  return np.concatenate([low, high - low, scores[order, None]], 1)


def wanted(
  boxes: Sequence[np.ndarray], least: float
) -> list[tuple[np.ndarray, np.ndarray]]:
  """Ground truth of `metrics.wider`, where faces of some height are wanted.

  Args:
    boxes: of each image [M, 4], x0 y0 x1 y1.
    least: height in pixels.
  """
  truth = []
  for faces in boxes:
    low, high = faces[:, :2], faces[:, 2:]
    kept = np.flatnonzero((high - low)[:, 1] >= least)
    truth.append((np.concatenate([low, high - low], 1), kept))
  return truth


def precision(
  detections: Sequence[np.ndarray],
  truth: Sequence[tuple[np.ndarray, np.ndarray]],
) -> statistics.Mean:
  """Average precision, with an interval by images drawn anew (bootstrap).

  A draw without a wanted face takes the value of all images.
  """

  def of(drawn, otherwise=0.0):
    chosen = [truth[i] for i in drawn]
    if not any(len(indices) for _, indices in chosen):
      return otherwise
    return wider.wider_average_precision([detections[i] for i in drawn], chosen)

  count = len(truth)
  value = of(np.arange(count))
  low, high = statistics.bootstrap_interval(lambda i: of(i, value), count)
  # All images may score beyond what most draws of them do.
  return statistics.Mean(value, min(low, value), max(high, value), count)


def recall(
  detections: Sequence[np.ndarray], boxes: Sequence[np.ndarray]
) -> statistics.Proportion:
  """Faces found where `PRECISION` of what is found is right.

  The interval is by images drawn anew (bootstrap), or Wilson's of the faces
  where that is wider.

  Args:
    detections: of each image, as `rows_of`.
    boxes: of each image [M, 4], x0 y0 x1 y1; one face at least.
  """
  corners = [
    np.concatenate([d[:, :2], d[:, :2] + d[:, 2:4], d[:, 4:]], 1)
    for d in detections
  ]

  def of(drawn):
    faces = sum(len(boxes[i]) for i in drawn)
    hits = detection_lib.hits_at_precision(
      [corners[i] for i in drawn], [boxes[i] for i in drawn], PRECISION
    )
    return hits, faces

  hits, faces = of(np.arange(len(boxes)))
  plain = statistics.proportion(hits, faces)

  def rate(drawn):
    some, count = of(drawn)
    return some / count if count else plain.rate

  low, high = statistics.bootstrap_interval(rate, len(boxes))
  return plain._replace(low=min(low, plain.low), high=max(high, plain.high))
