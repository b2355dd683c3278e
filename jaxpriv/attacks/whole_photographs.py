"""Faces that are pasted back into whole photographs, as networks of others see.

Faces in the photographs of the test people are replaced as `launch.release
--whole` does, and these are read by networks that no one here trained:

* Recognisers look at each face where it was, in their own frame, and so at what
  is around it: hair, ears, neck. The attacks are those of `reidentification`;
  and whoever holds photographs of other people beside their replaced ones
  learns, for each recogniser, a linear map from what it says of these to what
  it says of the originals, by which releases are linked likewise.
* A detector looks for faces in the photographs, originals and replaced ones:
  how many of those that it found are found again, and how many photographs have
  as many faces as before. It is not always right: beside this stands how many
  it finds again, and counts alike, in mirror images of the originals.
* The network that draws 68 points on faces tells how far these have moved, and
  how far the head has turned.
* Networks that read age, gender and expression tell what the new face has of
  the old one's.
"""

import pathlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from absl import logging
from PIL import Image

from jaxpriv.attacks import embedding_map, reidentification
from jaxpriv.attacks.threat import People, Reader
from jaxpriv.data import alignment, images, landmarks, pretrained, sources
from jaxpriv.data.memory import InMemory
from jaxpriv.data.records import ARCFACE_LANDMARKS
from jaxpriv.data.sources import words
from jaxpriv.metrics import detection as overlaps
from jaxpriv.metrics import finding, statistics
from jaxpriv.metrics.finding import METRICS, Finding, Interval, Metric
from jaxpriv.models.pretrained import catalogue
from jaxpriv.models.pretrained.frames import Frame
from jaxpriv.ranges import NATURAL
from jaxpriv.training import detection, progress, unlabelled, witnesses
from jaxpriv.training.mechanism import Target
from jaxpriv.training.replacing import Replacer, Whole

PRODUCTS = ("image",)
RANGES = {"photographs": NATURAL, "pairs": NATURAL}
SHOWN = "whole photograph"
FINDERS = ("blazeface", "landmarks")
READERS = ("age_gender", "expressions")
METRICS["agreement"] = Metric(
  "share",
  about="faces of which a network says what it says of the original",
)
METRICS["years apart"] = Metric(
  less=True,
  about="mean difference of the ages that a network reads in a face and in the"
  " original",
)
# The least overlap of a face with the one that was found in its place.
_OVERLAP = 0.4
_AT_ONCE = 16
_PEOPLE = 5  # the least of whom a map is learned


class _Scene(NamedTuple):
  """Photographs of test people, and their faces.

  Attributes:
    originals: uint8 [H, W, 3] each.
    owners: int [N], the photograph of each face.
    five: float64 [N, 5, 2], its points.
    identities: int [N].
  """

  originals: list[np.ndarray]
  owners: np.ndarray
  five: np.ndarray
  identities: np.ndarray


def attack(
  target: Target,
  people: People,
  photographs: int = 400,
  blend: str = "feather",
  match: bool = False,
  pairs: int = 400,
) -> Iterator[Finding]:
  """Who is found in whole photographs, and which faces are.

  Nothing is measured where photographs are not of a folder, or faces are not
  framed by their points, or the networks have not been fetched; the log says
  so.

  Args:
    target: makes images of faces.
    people: whose test photographs are replaced.
    photographs: how many are looked at, at most.
    blend: see `Whole`.
    match: likewise.
    pairs: photographs of the attackers' people, beside their replaced ones,
      that a map is learned from, at most; 0: none is.
  """
  reason = _unfit(target, people)
  if reason:
    logging.warning("whole photographs are not measured: %s", reason)
    return
  raw = people.once("raw photographs", lambda: _raw(people))
  names = _names(people, raw, people.test, photographs)
  if not names:
    logging.warning("whole photographs are not measured: no face is placed")
    return
  replaced = _replaced(target, people, raw, names, Whole(blend, match))
  scene = people.once(("whole", tuple(names)), lambda: _scene(raw, names))
  # Nothing is learned from photographs in which test people are seen, too.
  tested = _names(people, raw, people.test, len(raw))
  known = {
    name: of
    for name, of in _names(people, raw, people.known, pairs).items()
    if name not in tested
  }
  learned = (
    people.once(("whole, known", tuple(known)), lambda: _scene(raw, known)),
    _replaced(target, people, raw, known, Whole(blend, match)),
  ) if known else None  # fmt: skip
  readers = [
    (name, witnesses.load(name))
    for name in words(people.options.witnesses)
    if name in catalogue.RECOGNISERS and not pretrained.missing((name,))
  ]
  for name, network in readers:
    yield from _found_again(
      target, people, scene, replaced, name, network, learned
    )
  if not pretrained.missing(FINDERS):
    yield from _detected(target, people, scene, replaced)
  if not pretrained.missing(READERS):
    yield from _looks(target, people, scene, replaced)


def _unfit(target: Target, people: People) -> str:
  """Why photographs cannot be read as a whole; "" if they can."""
  if people.data is None or "row" not in people.test.arrays:
    return "nothing says which photographs they are of"
  data = people.config.data
  if data.source != "folder" or data.get("max_faces", 0):
    return "they are not of a folder of faces"
  if data.align not in alignment.BY_POINTS:
    return f"faces are framed by config.data.align={data.align}"
  if not target.config.release.batch_size:
    return f"{target.name} protects all people of a set at once"
  return ""


def _raw(people: People) -> Any:
  data = people.config.data
  return sources.open_unframed(data, unlabelled.find(data))


def _names(
  people: Any, raw: Any, of: InMemory, most: int
) -> dict[str, list[int]]:
  """File -> records of its faces, of photographs whose faces are placed.

  Photographs of one person are taken together.
  """
  source = people.data.source
  order = np.argsort(of.identities, kind="stable")
  rows = of.arrays["row"][order].tolist()
  groups: dict[str, list[int]] = {source.name(row): [] for row in rows}
  for index in range(len(raw)):
    if raw.name(index) in groups:
      groups[raw.name(index)].append(index)
  five = raw.points["landmarks"][:, : len(ARCFACE_LANDMARKS)]
  known = np.isfinite(five).all((1, 2))
  whole = [name for name, of in groups.items() if of and known[of].all()]
  return {name: groups[name] for name in whole[:most]}


def _scene(raw: Any, names: dict[str, list[int]]) -> _Scene:
  originals, owners, rows = [], [], []
  for number, (name, records) in enumerate(names.items()):
    opened = images.open_image(pathlib.Path(raw.path) / name)
    originals.append(np.asarray(images.decode(opened)))
    owners += [number] * len(records)
    rows += records
  five = raw.points["landmarks"][rows, : len(ARCFACE_LANDMARKS)]
  return _Scene(
    originals,
    np.array(owners),
    np.asarray(five, np.float64),
    np.asarray(raw.identities)[rows],
  )


def _replaced(target, people, raw, names, whole) -> list[np.ndarray]:
  """The photographs with their faces replaced, uint8 [H, W, 3] each."""
  config = target.config
  framed = sources.Framed(
    raw,
    config.data.image_size,
    config.data.align,
    people.test.attribute_names,
  )
  replacer = Replacer(
    target.trained, raw, framed, people.mesh, config.data.align, whole
  )
  listed, done = list(names), []
  with progress.bar("whole", len(listed), unit="photograph") as advance:
    for start in range(0, len(listed), _AT_ONCE):
      opened = [
        replacer.open(n, names[n]) for n in listed[start : start + _AT_ONCE]
      ]
      there = [photograph for photograph in opened if photograph is not None]
      replacer.replace(there)
      done += [photograph.pixels for photograph in there]
      advance(len(done))
  return done


def _faces(scene: _Scene, frame: Frame, pictures) -> np.ndarray:
  """The faces of photographs where they were, in the frame of a network."""
  opened = [Image.fromarray(pixels) for pixels in pictures]
  placed = witnesses.matrices(frame, five=scene.five)
  return witnesses.crops(frame, [opened[i] for i in scene.owners], placed)


def _found_again(target, people, scene, replaced, name, network, learned):
  """The attacks of re-identification by one recogniser."""

  def embed(pictures, scene=scene):
    faces = _faces(scene, network.frame, pictures)
    with progress.slow(f"{name} reads {len(faces):,} faces"):
      return witnesses.embed(network, faces)

  reader = Reader(
    name, embed, trained_on=pretrained.weights_of(name).trained_on
  )
  originals = people.once(
    ("whole", name, len(scene.owners)), lambda: embed(scene.originals)
  )
  plain = reidentification.undisguised(originals, scene.identities)
  if not target.control:
    for rank in plain:
      told = reidentification.undisguised_finding(rank, reader)
      yield told._replace(where={**told.where, "shown": SHOWN})
  embeddings = embed(replaced)
  for rank in reidentification.attacks(originals, embeddings, scene.identities):
    yield reidentification.disguised_finding(
      target, rank, reader, plain, shown=SHOWN
    )
  if learned is None:
    return
  known, made = learned
  if len(np.unique(known.identities[known.identities >= 0])) < _PEOPLE:
    return
  before = people.once(
    ("whole, known", name, len(known.owners)),
    lambda: embed(known.originals, known),
  )
  after = embedding_map.unit(embed(made, known))
  linear = embedding_map.ridge(
    after,
    embedding_map.unit(before),
    known.identities,
    embedding_map.inner_products(after),
  )
  mapped = linear(embedding_map.unit(embeddings))
  for rank in reidentification.attacks(originals, mapped, scene.identities):
    yield reidentification.disguised_finding(
      target,
      rank._replace(attack=f"embedding map, ridge, {rank.attack}"),
      reader,
      plain,
      shown=SHOWN,
      pairs=len(after),
    )


def _looks(target, people, scene, replaced) -> Iterator[Finding]:
  """Findings: age, gender and expression of new faces, against the old ones."""
  networks = [witnesses.load(name) for name in READERS]

  def read(pictures):
    said: dict[str, np.ndarray] = {}
    for network in networks:
      faces = _faces(scene, network.frame, pictures)
      with progress.slow(f"{network.name} reads {len(faces):,} faces"):
        said |= witnesses.read(network, faces)
    return said

  before = people.once(
    ("looks", len(scene.owners)), lambda: read(scene.originals)
  )
  after = read(replaced)
  told = lambda claim, metric, figures, floor, by: finding.of(
    claim,
    finding.TOLD,
    metric,
    figures,
    subject=target.name,
    by=by,
    floor=float(floor),
    where={"shown": SHOWN},
  )
  for claim, by, answer in (
    ("gender", READERS[0], lambda said: said["male"] > 0.5),
    ("expression", READERS[1], lambda said: said["expressions"].argmax(1)),
  ):
    one, other = answer(before), answer(after)
    counts = np.unique(one, return_counts=True)[1]
    figures = statistics.grouped_proportion(one == other, scene.owners)
    yield told(claim, "agreement", figures, counts.max() / len(one), by)
  one, other = (np.ravel(said["age"]) for said in (before, after))
  years = statistics.mean_interval(np.abs(one - other), scene.owners)
  guess = np.abs(one - one.mean()).mean()
  yield told("age", "years apart", years, guess, READERS[0])


def _mirror(faces: detection.Faces, width: int) -> detection.Faces:
  """Faces of a mirror image, where they are in the photograph; no points."""
  boxes = faces.boxes.copy()
  boxes[:, [0, 2]] = width - faces.boxes[:, [2, 0]]
  return faces._replace(boxes=boxes)


def _matches(one: detection.Faces, other: detection.Faces) -> list[int]:
  """For each face the other one that lies where it does; -1: there is none."""
  if not len(other.boxes):
    return [-1] * len(one.boxes)
  overlap = overlaps.iou(one.boxes[:, None], other.boxes[None])
  best = overlap.argmax(1)
  return np.where(overlap.max(1) >= _OVERLAP, best, -1).tolist()


def _detected(target, people, scene, replaced) -> Iterator[Finding]:
  """Faces, photographs with their count, and points, by a detector."""
  detector, marker = map(witnesses.load, FINDERS)

  def find(pictures):
    found = []
    for start in range(0, len(pictures), _AT_ONCE):
      part = pictures[start : start + _AT_ONCE]
      found += detection.find(
        detector, marker, [Image.fromarray(p) for p in part]
      )
    return found

  before = people.once(
    ("detected", len(scene.originals)), lambda: find(scene.originals)
  )
  mirrored = people.once(
    ("mirrored", len(scene.originals)),
    lambda: [
      _mirror(faces, picture.shape[1])
      for faces, picture in zip(
        find([picture[:, ::-1] for picture in scene.originals]),
        scene.originals,
        strict=True,
      )
    ],
  )
  after = find(replaced)
  again, of, moved, sides, shapes, pairs = [], [], [], [], [], []
  for number, (one, other) in enumerate(zip(before, after, strict=True)):
    for i, best in enumerate(_matches(one, other)):
      again.append(best >= 0)
      of.append(number)
      if best >= 0:
        box = one.boxes[i]
        side = np.sqrt((box[2:] - box[:2]).prod())
        apart = np.linalg.norm(one.landmarks[i] - other.landmarks[best], axis=1)
        moved.append(apart.mean() / side)
        shapes.append((one.landmarks[i] - (box[:2] + box[2:]) / 2) / side)
        sides.append(number)
        pairs.append((one.landmarks[i], other.landmarks[best]))
  if not again:
    logging.warning("the detector finds no face in the photographs")
    return
  still = [
    best >= 0
    for one, other in zip(before, mirrored, strict=True)
    for best in _matches(one, other)
  ]
  alike = lambda found: np.array(
    [len(a.boxes) == len(b.boxes) for a, b in zip(before, found, strict=True)]
  )
  everyone = np.arange(len(before))
  for metric, hits, unchanged, groups in (
    ("found", np.array(again), np.array(still), np.array(of)),
    ("same count", alike(after), alike(mirrored), everyone),
  ):
    ceiling = statistics.grouped_proportion(unchanged, groups)
    yield finding.of(
      "detection",
      finding.KEPT,
      metric,
      statistics.grouped_proportion(hits, groups),
      subject=target.name,
      by=FINDERS[0],
      floor=0.0,
      ceiling=Interval(ceiling.rate, ceiling.low, ceiling.high),
      where={"shown": SHOWN},
    )
  if not moved:
    return
  mean = np.mean(shapes, 0)
  guess = np.linalg.norm(np.array(shapes) - mean, axis=-1).mean()
  yield finding.of(
    "landmarks",
    finding.KEPT,
    "error / box side",
    statistics.mean_interval(np.array(moved), np.array(sides)),
    subject=target.name,
    by=FINDERS[1],
    floor=float(guess),
    where={"shown": SHOWN},
  )
  yaw = np.degrees(
    [landmarks.pose_of_68(np.array(side))[:, 0] for side in zip(*pairs)]
  )
  yield finding.of(
    "pose",
    finding.TOLD,
    "mean error",
    statistics.mean_interval(np.abs(yaw[0] - yaw[1]), np.array(sides)),
    subject=target.name,
    by=FINDERS[1],
    floor=float(np.abs(yaw[0] - yaw[0].mean()).mean()),
    where={"shown": SHOWN},
  )
