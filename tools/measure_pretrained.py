"""Measures how well the pretrained networks read real photographs.

  python -m tools.measure_pretrained --faces=../shared/data/faces

prints tables: how many people each recogniser finds (closed set, cosine, leave
one out), how well faces and landmarks are found, how well gender, age and
smiles are read, and images a second. The networks must have been fetched. It
takes some ten minutes on two cores; --step=10 reads every tenth photograph of
ytf_keypoints for detection.
"""

import pathlib
import time
from collections.abc import Callable, Sequence

import numpy as np
from absl import app, flags

from jaxpriv import files
from jaxpriv.data import alignment, found_faces, images, labels
from jaxpriv.data.landmarks import standard_landmarks
from jaxpriv.metrics import detection, verification
from jaxpriv.models.pretrained import blazeface, frames
from jaxpriv.training import unlabelled as unlabelled_lib
from jaxpriv.training import witnesses

_FACES = flags.DEFINE_string(
  "faces", "../shared/data/faces", "Folder with labels.csv."
)
_STEP = flags.DEFINE_integer("step", 1, "Of photographs in which to detect.")
_PARTS = flags.DEFINE_list(
  "parts",
  ["speed", "detection", "recognition", "attributes", "unlabelled"],
  "What to run.",
)
_THRESHOLD = flags.DEFINE_float(
  "face_threshold", witnesses.FACE, "Of the part unlabelled."
)

_FAR = 1e-3


class Photographs:
  """Rows of labels.csv and their pictures, and the faces found in them."""

  def __init__(self, rows: Sequence[dict[str, str]]):
    self.rows = list(rows)
    self.people = np.array([row["identity"] for row in rows])
    self._faces: witnesses.Faces | None = None

  def __len__(self):
    return len(self.rows)

  @property
  def pictures(self):
    """Opened anew: a picture that was decoded small stays small."""
    folder = files.expanded(_FACES.value)
    return [images.open_image(f"{folder}/{row['file']}") for row in self.rows]

  @property
  def faces(self) -> witnesses.Faces:
    """Found a hundred at a time."""
    if self._faces is None:
      pictures = self.pictures
      networks = [witnesses.load(name) for name in ("blazeface", "landmarks")]
      parts = [
        _find(*networks, self.rows[i : i + 100])
        for i in range(0, len(pictures), 100)
      ]
      self._faces = witnesses.Faces(*map(np.concatenate, zip(*parts)))
    return self._faces

  def numbers(self, column: str) -> np.ndarray:
    """NaN where a cell is empty or "NA"."""
    cells = [row[column].strip() for row in self.rows]
    return np.array([float("nan" if c in ("", "NA") else c) for c in cells])

  def points(self) -> np.ndarray:
    """The five labelled points [N, 5, 2]."""
    return np.stack(
      [standard_landmarks(_points(row)[None])[0, :5] for row in self.rows]
    )


def _points(row):
  return np.array(
    [[float(x) for x in pair.split(",")] for pair in row["points"].split(";")]
  )


def _find(detector, marker, rows):
  # Each step decodes the files anew, at the size that it needs.
  opened = lambda: [
    images.open_image(f"{files.expanded(_FACES.value)}/{row['file']}")
    for row in rows
  ]
  return witnesses.find(detector, marker, opened())


def of_set(name: str, keep: Callable = lambda row: True) -> Photographs:
  path = pathlib.Path(files.expanded(_FACES.value)) / "labels.csv"
  return Photographs([r for r in labels.read_rows(path, (name,)) if keep(r)])


def first_and_last(name: str) -> Photographs:
  """Two photographs of every person who has two."""
  by_person: dict[str, list] = {}
  for row in of_set(name).rows:
    by_person.setdefault(row["identity"], []).append(row)
  pairs = [
    sorted(rows, key=lambda row: row["file"])
    for _, rows in sorted(by_person.items())
    if len(rows) > 1
  ]
  return Photographs([row for rows in pairs for row in (rows[0], rows[-1])])


def score(embeddings: np.ndarray, people: np.ndarray) -> str:
  """Rank-1 and true accepts, leave one out, cosine."""
  unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
  similarity = unit @ unit.T
  same = people[:, None] == people
  upper = np.triu_indices(len(people), 1)
  tar = verification.tar_at_far(similarity[upper], same[upper], _FAR)
  np.fill_diagonal(similarity, -np.inf)
  hits = (people[similarity.argmax(1)] == people).sum()
  return f"{hits / len(people):7.1%} ({hits}/{len(people)}) | {tar:.3f}"


def framed(photographs, frame, five=None):
  """Crops of a frame; by the labelled points, or those that were found."""
  if five is None:
    five = photographs.faces.five
  placed = witnesses.matrices(frame, five=five)
  return witnesses.crops(frame, photographs.pictures, placed)


def square(photographs, size):
  """The largest central square of each photograph, uint8 [N, size, size, 3]."""
  frame = frames.Frame(size)
  placed = [
    alignment.square_matrix(
      alignment.centred_square(p, min(images.upright_size(p))), size
    )
    for p in photographs.pictures
  ]
  return witnesses.crops(frame, photographs.pictures, np.stack(placed))


def recognition() -> None:
  print("\n| recogniser | photographs | rank-1 | true accepts at .001 |")
  print("|---|---|---|---|")
  london, orl = of_set("london"), of_set("orl")
  ytf = first_and_last("ytf_keypoints")
  arcface = lambda size: frames.Frame(size, frames.ARCFACE)
  for name in ("faceres", "dlib"):
    reader = witnesses.load(name)
    row = lambda what, pixels, of, aligned=False, reader=reader: print(
      f"| {reader.name} | {what} |",
      score(witnesses.embed(reader, pixels, aligned=aligned), of.people),
      "|",
      flush=True,
    )
    row("london, own frame", framed(london, reader.frame), london)
    for size in (112, 64):
      crops = framed(london, arcface(size))
      row(f"london, ArcFace crop of {size} px", crops, london, True)
    row("orl, own frame", framed(orl, reader.frame), orl)
    for size in (reader.frame.size, 112, 64):
      crops = square(orl, size)
      plain = frames.Frame(reader.frame.size, frames.ARCFACE)
      pixels = np.asarray(frames.from_aligned(plain, crops / np.float32(255)))
      row(f"orl, not aligned, {size} px", pixels, orl)
    for what, five in (("labelled", ytf.points()), ("found", None)):
      pixels = framed(ytf, reader.frame, five)
      row(f"ytf_keypoints, first and last, points {what}", pixels, ytf)


def labelled_sets() -> dict[str, Photographs]:
  """Photographs with a box and points."""
  labelled = lambda row: bool(row["x0"] and row["points"])
  sets = {name: of_set(name, labelled) for name in ("london", "canada")}
  ytf = of_set("ytf_keypoints", labelled)
  return {**sets, "ytf_keypoints": Photographs(ytf.rows[:: _STEP.value])}


def detecting() -> None:
  print("\n| set | photographs | score > .5 | > .7 | IoU >= .5, as found |"
        " redrawn as fitted to half the people, other half | redrawn by the"
        " constants | median IoU |")  # fmt: skip
  print("|---|---|---|---|---|---|---|---|")
  sets = labelled_sets()
  for name, photographs in sets.items():
    _print_boxes(name, photographs)
  _print_aligned(of_set("london"))
  scenes = of_set("misc_backgrounds")
  alarms = [
    row["file"].split("/")[-1]
    for row, s in zip(scenes.rows, scenes.faces.scores)
    if s > witnesses.FACE
  ]
  print(f"score > .5 in {len(alarms)} of {len(scenes)} backgrounds: {alarms}")
  print("\n| set | landmark error, share of inter-ocular distance: mean |"
        " median | faces within .1 |")  # fmt: skip
  print("|---|---|---|---|")
  for name, photographs in sets.items():
    five = photographs.points()
    between = np.linalg.norm(five[:, 0] - five[:, 1], axis=-1)
    error = np.linalg.norm(photographs.faces.five - five, axis=-1).mean(1)
    error = error / between
    print(f"| {name} | {error.mean():.3f} | {np.median(error):.3f} |"
          f" {(error < 0.1).mean():.1%} |")  # fmt: skip


def _print_boxes(name, photographs):
  boxes, scores = photographs.faces.boxes, photographs.faces.scores
  truth = np.stack(
    [photographs.numbers(c) for c in ("x0", "y0", "x1", "y1")], 1
  )
  _, person = np.unique(photographs.people, return_inverse=True)
  learn = person % 2 == 0
  fitted = _custom(boxes[learn], truth[learn])
  # A face that is not taken for one overlaps nothing.
  found = lambda b, rows: np.where(
    scores > witnesses.FACE, _overlaps(b, truth), 0
  )[rows]
  anyone = np.full(len(boxes), True)
  kept = blazeface.HULL_OF_68 if "ytf" in name else blazeface.HEAD
  ours = found(boxes, anyone)
  theirs = found(blazeface.redrawn(boxes, fitted), ~learn)
  constant = found(blazeface.redrawn(boxes, kept), anyone)
  print(f"| {name} | {len(photographs)} | {(scores > 0.5).mean():.1%} |"
        f" {(scores > 0.7).mean():.1%} | {(ours >= 0.5).mean():.1%} |"
        f" {(theirs >= 0.5).mean():.2%} of {len(theirs)} |"
        f" {(constant >= 0.5).mean():.2%} | {np.median(constant):.2f} |",
        np.round(fitted, 3), flush=True)  # fmt: skip


def _print_aligned(london):
  """Faces that are found in crops, in which there is little around them."""
  detector = witnesses.load("blazeface")
  crops = framed(london, frames.Frame(112, frames.ARCFACE)) / np.float32(255)
  scores = witnesses.read(detector, crops, aligned=True)["scores"]
  surer = lambda than: f"> {than} {(scores > than).mean():.1%}"
  print(f"london, ArcFace crops of 112 px: score {surer(0.5)}, {surer(0.7)}")


def _overlaps(a, b):
  return np.array([detection.iou(x, y) for x, y in zip(a, b)])


def _custom(boxes, truth) -> blazeface.Custom:
  """The median custom of those who drew boxes `truth`."""
  size, wanted = (b[:, 2:] - b[:, :2] for b in (boxes, truth))
  middle = lambda b: (b[:, :2] + b[:, 2:]) / 2
  shift = np.median((middle(truth) - middle(boxes)) / size, 0)
  stretch = np.median(wanted / size, 0)
  return blazeface.Custom(*(float(x) for x in (*shift, *stretch)))


def attributes() -> None:
  print("\n| set | network | gender | balanced | age, mean error in years |")
  print("|---|---|---|---|---|")
  ytf = of_set("ytf_keypoints")
  sets = {name: of_set(name) for name in ("london", "canada", "orl")}
  sets["ytf_keypoints"] = Photographs(ytf.rows[:: 12 * _STEP.value])
  for name, photographs in sets.items():
    male = np.array([row["gender"] == "M" for row in photographs.rows])
    age = photographs.numbers("age")
    for network in ("faceres", "age_gender"):
      reader = witnesses.load(network)
      outputs = witnesses.read(reader, framed(photographs, reader.frame))
      right = (outputs["male"] > 0.5) == male
      error = np.abs(outputs["age"] - age)
      years = f"{np.nanmean(error):.1f}" if np.isfinite(age).any() else "-"
      print(f"| {name} | {network} | {right.mean():.1%} |"
            f" {(right[male].mean() + right[~male].mean()) / 2:.1%} |"
            f" {years} |", flush=True)  # fmt: skip
  london = sets["london"]
  reader = witnesses.load("expressions")
  outputs = witnesses.read(reader, framed(london, reader.frame))
  happy = outputs["expressions"][:, 1]
  smile = np.array([row["smile"] == "1" for row in london.rows])
  print(f"smile of london by P(happy): AUC"
        f" {(happy[smile][:, None] > happy[~smile]).mean():.3f}, at .5 right"
        f" {((happy > 0.5) == smile).mean():.1%}")  # fmt: skip


def speed() -> None:
  print("\n| network | size | images a second, batches of 32 |")
  print("|---|---|---|")
  for name in witnesses.NETWORKS:
    reader = witnesses.load(name)
    side = reader.frame.size
    pixels = np.random.default_rng(0).integers(
      0, 256, (32, side, side, 3), np.uint8
    )
    witnesses.read(reader, pixels)
    times = []
    for _ in range(5):
      start = time.perf_counter()
      witnesses.read(reader, pixels)
      times.append(time.perf_counter() - start)
    print(f"| {name} | {side} | {32 / min(times):.0f} |", flush=True)


def unlabelled() -> None:
  """As programs frame photographs whose labels they do not know."""
  print("\n| set | photographs | of several faces | framed, IoU >= .5, as drawn"
        " | redrawn by the constants | of the surest face |"
        " aligned apart, px of 112: mean | median |")  # fmt: skip
  print("|---|---|---|---|---|---|---|---|")
  for name, photographs in labelled_sets().items():
    _print_framed(name, photographs)
  _print_groups(of_set("dlib_groups"))
  scenes = [
    row
    for row in of_set("misc_backgrounds").rows
    if "rainbow" in row["file"]  # the others show a person
  ]
  animals = of_set("afhq_samples").rows
  for name, rows in (("scenes without a face", scenes), ("animals", animals)):
    found = _search(rows)
    some = [file for file, faces in found.items() if faces]
    print(f"{name}: {sum(map(len, found.values()))} faces in {len(some)} of"
          f" {len(rows)} photographs", some[:8])  # fmt: skip
  smiling = of_set("london", lambda row: not row["points"]).rows
  for name, rows in (("london, smiling", smiling), ("orl", of_set("orl").rows)):
    counts = np.array([len(faces) for faces in _search(rows).values()])
    print(f"{name}: faces in {(counts > 0).sum()} of {len(rows)} photographs,"
          f" several in {(counts > 1).sum()}")  # fmt: skip


def _search(rows):
  """Found faces of the files of rows, which are kept."""
  names = list(dict.fromkeys(row["file"] for row in rows))
  place = pathlib.Path(files.expanded(_FACES.value))
  return unlabelled_lib.search(place, names, _THRESHOLD.value)


def _print_framed(name, photographs):
  found = _search(photographs.rows)
  truth = np.stack(
    [photographs.numbers(c) for c in ("x0", "y0", "x1", "y1")], 1
  )
  nothing = np.full(4, np.nan)
  extent = lambda faces: labels.extent(faces[0]) if faces else nothing
  of_file = [found[row["file"]] for row in photographs.rows]
  largest = [found_faces.largest_first(faces) for faces in of_file]
  ours, surest = (np.stack([*map(extent, of)]) for of in (largest, of_file))
  custom = blazeface.HULL_OF_68 if "ytf" in name else blazeface.HEAD
  share = lambda boxes: f"{(_overlaps(boxes, truth) >= 0.5).mean():.2%}"
  redrawn = lambda boxes: share(blazeface.redrawn(boxes, custom))
  there = np.isfinite(ours).all(1)
  five = [labels.five_points(faces[0]) for faces in largest if faces]
  apart = _apart(np.stack(five), photographs.points()[there])
  several = sum(len(faces) > 1 for faces in of_file)
  print(f"| {name} | {len(ours)} | {several} | {share(ours)} |"
        f" {redrawn(ours)} | {redrawn(surest)} | {apart.mean():.2f} |"
        f" {np.median(apart):.2f} |", flush=True)  # fmt: skip


def _apart(found: np.ndarray, labelled: np.ndarray) -> np.ndarray:
  """How far apart crops [N] are: mean distance of five points, px of 112."""
  template = np.broadcast_to(alignment.arcface_template(112), found.shape)
  ours, theirs = (
    alignment.transform_points(alignment.similarity(five, template), labelled)
    for five in (found, labelled)
  )
  return np.linalg.norm(ours - theirs, axis=-1).mean(1)


def _print_groups(groups):
  found, hits, right = _search(groups.rows), 0, 0
  truth: dict[str, list] = {}
  for row in groups.rows:
    truth.setdefault(row["file"], []).append(labels.extent(row))
  for file, boxes in truth.items():
    ours = np.array([labels.extent(face) for face in found[file]])
    shared = detection.iou(np.array(boxes)[:, None], ours.reshape(1, -1, 4))
    hits += (shared.max(1, initial=0) >= 0.5).sum()
    right += (shared.max(0, initial=0) >= 0.5).sum()
  count = sum(map(len, found.values()))
  print(f"dlib_groups: {hits} of {len(groups)} faces found; of {count} found"
        f" {right} are faces")  # fmt: skip


def main(argv: list[str]) -> None:
  del argv
  parts = dict(speed=speed, detection=detecting, recognition=recognition,
               attributes=attributes, unlabelled=unlabelled)  # fmt: skip
  for part in _PARTS.value:
    parts[part]()


if __name__ == "__main__":
  app.run(main)
