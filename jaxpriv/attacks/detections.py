"""Utility of a face detector: how well it finds the faces of whole scenes.

No attack: its average precision on scenes that it has not seen stands beside
that of the same boxes laid over other scenes. Photographs of other folders are
looked at as they are, and BlazeFace, which no one here trained, beside it.
"""

import functools
from collections.abc import Iterator, Mapping, Sequence

import jax
import numpy as np
from absl import logging
from PIL import Image

from jaxpriv.attacks.threat import People
from jaxpriv.data import labelled_pictures, pipeline, pretrained
from jaxpriv.data.labelled_pictures import Pictures, Truth
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
_UNSURE = 0.1  # least score of BlazeFace that counts
_SAME = 0.5  # overlap from which on a box is of a face


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
    folders: further photographs, as they are; see `labelled_pictures.read`.
      Where their labels tell which faces are easy, medium and hard, these
      count, and not heights. That the detector has not learned from them is
      for the caller to know.

  Raises:
    DataError: a folder has no scenes.
  """
  phase = target.trained.phase_with("detect")
  scenes = people.test
  count = min(images, len(scenes))
  if phase is None or "boxes" not in scenes.arrays or not count:
    return
  heights = {"easy": easy, "medium": medium, "hard": hard}
  elsewhere = {
    entry: people.once(
      ("pictures", entry, images),
      functools.partial(labelled_pictures.read, entry, images),
    )
    for entry in words(folders)
  }
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
  truth = []
  for i in range(count):
    boxes = scenes.arrays["boxes"][i][scenes.arrays["valid"][i]]
    truth.append(Truth(boxes, np.zeros(len(boxes), bool), {}))
  yield from _findings(rows_of(found), truth, heights, target.name)
  for entry, pictures in elsewhere.items():
    total = len(pictures.images)
    with progress.bar(pictures.name, total, unit="image") as advance:
      each = any_size.detect_any(
        lambda x: detect(state, frozen, {"image": x}),
        pictures.images,
        advance=advance,
      )
    rows = [_rows(one["boxes"], one["scores"]) for one in each]
    where = {"scenes": pictures.name}
    yield from _findings(rows, pictures.truth, heights, target.name, where)
    if pretrained.missing(FINDERS):
      logging.warning("%s is not fetched: %s", FINDERS[0], pretrained.FETCH)
      continue
    rows = people.once(
      ("found in", entry, images), functools.partial(_by_others, pictures)
    )
    yield from _findings(rows, pictures.truth, heights, "", where)


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
  truth: Sequence[Truth],
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
    kept = wanted(truth, name, least)
    faces = sum(len(indices) for _, indices in kept)
    if not faces:
      continue
    floor = wider.wider_average_precision(others, kept)
    labelled = any(name in one.keep for one in truth)
    yield finding.of(
      metric="AP",
      figures=precision(detections, kept),
      floor=floor if len(truth) > 1 else 0.0,
      where={
        **where,
        "faces": name,
        "height": "as labelled" if labelled else f"from {least:g} px",
        "number": faces,
      },
      **told,
    )
  boxes = [one.boxes[~one.ignored] for one in truth]
  if not where or not any(map(len, boxes)):
    return
  detections, others = (
    [*map(_of_known, rows, truth)] for rows in (detections, others)
  )
  yield finding.of(
    metric="recall at precision 90%",
    figures=recall(detections, boxes),
    floor=recall(others, boxes).rate if len(boxes) > 1 else 0.0,
    where={**where, "faces": "all"},
    **told,
  )


def _of_known(rows: np.ndarray, truth: Truth) -> np.ndarray:
  """Detections without those that overlap an ignored face most."""
  if not truth.ignored.any() or not len(rows):
    return rows
  corners = np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:4]], 1)
  overlap = detection_lib.iou(corners[:, None], truth.boxes[None])
  of = overlap.argmax(1)
  return rows[(overlap.max(1) < _SAME) | ~truth.ignored[of]]


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
  truth: Sequence[Truth], name: str, least: float
) -> list[tuple[np.ndarray, np.ndarray]]:
  """Ground truth of `metrics.wider`, where some faces are wanted.

  Args:
    truth: of each image.
    name: a setting, such as "easy". Where labels do not tell which faces count
      in it, those count that are not ignored and as high as this:
    least: height in pixels.
  """
  rows = []
  for boxes, ignored, keep in truth:
    low, high = boxes[:, :2], boxes[:, 2:]
    tall = ((high - low)[:, 1] >= least) & ~ignored
    kept = np.flatnonzero(keep.get(name, tall))
    rows.append((np.concatenate([low, high - low], 1), kept))
  return rows


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
