"""Whole photographs: faces are replaced, all else is as it was."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from jaxpriv.data import alignment, pasting
from jaxpriv.data import folder as folder_source
from jaxpriv.data.procedural import ProceduralFaces
from jaxpriv.data.records import DataError
from jaxpriv.release import release
from jaxpriv.release import whole as whole_lib
from jaxpriv.release.photographs import Input
from jaxpriv.training import mesh as mesh_lib
from jaxpriv.training import replacing
from jaxpriv.training import workdir as workdir_lib
from jaxpriv.training.replacing import Whole
from tests.release import toy

COLUMNS = ("file", "x0", "y0", "x1", "y1", "n_points", "points")
# Two faces that lie over each other, one far away, and one that is small.
FACES = ((20, 10, 40), (42, 18, 44), (20, 80, 36), (110, 100, 8))


@pytest.fixture(scope="module")
def mesh():
  return mesh_lib.make_mesh(1)


def points_of(x, y, side):
  return alignment.arcface_template(side) + (x, y)


def row(name, face, points=True):
  x, y, side = face
  cells = {"file": name, "x0": x, "y0": y, "x1": x + side, "y1": y + side}
  if points:
    five = ";".join(f"{a:.2f},{b:.2f}" for a, b in points_of(x, y, side))
    cells |= {"n_points": 5, "points": five}
  return cells


def write_folder(path, rows, **pictures):
  path.mkdir(parents=True)
  for name, pixels in pictures.items():
    Image.fromarray(pixels).save(path / name.replace("__", "."), quality=95)
  with open(path / "labels.csv", "w", newline="") as stream:
    writer = csv.DictWriter(stream, COLUMNS)
    writer.writeheader()
    writer.writerows(rows)
  return path


def picture(seed=0, size=(128, 144)):
  rng = np.random.default_rng(seed)
  smooth = rng.integers(60, 250, (*[s // 16 for s in size], 3), np.uint8)
  image = Image.fromarray(smooth).resize(size[::-1], Image.Resampling.BICUBIC)
  return np.asarray(image).copy()


@pytest.fixture
def folder(tmp_path):
  group, alone = picture(), picture(1)
  rows = [row("group.png", face) for face in FACES]
  rows.append(row("alone.png", (30, 30, 60)))
  rows.append({"file": "nobody.png"})
  return write_folder(
    tmp_path / "in", rows, group__png=group, alone__png=alone,
    nobody__png=picture(2),
  )  # fmt: skip


def released(folder, workdir, output, mesh, **options):
  place = Input(str(folder), max_bad_share=0.5, whole=Whole(**options),
                face_threshold=0.0)  # fmt: skip
  release.release(workdir, output, mesh, place)
  read = lambda name: np.asarray(Image.open(output / "photographs" / name))
  return read, json.loads((output / "card.json").read_text())


@pytest.fixture
def workdir(tmp_path):
  toy.make_run(tmp_path / "run", "image")
  return tmp_path / "run"


def alpha_of(shape, face):
  matrix = alignment.similarity(
    np.round(points_of(*face), 2), alignment.arcface_template(toy.SIDE)
  )
  place = pasting.window(matrix, toy.SIDE)
  canvas = np.zeros(shape, np.float32)
  pasting.put(canvas, place, pasting.opacity(matrix, toy.SIDE, place))
  return canvas


def test_faces_are_replaced_and_all_else_is_as_it_was(
  folder, workdir, tmp_path, mesh
):
  read, card = released(folder, workdir, tmp_path / "out", mesh)
  before, after = picture(), read("group.png")
  alphas = [alpha_of(before.shape[:2], face) for face in FACES[:3]]
  covered = np.max(alphas, 0) > 0
  x, y, side = FACES[3]
  small = np.zeros_like(covered)
  small[y - 1 : y + side + 1, x - 1 : x + side + 1] = True
  np.testing.assert_array_equal(
    after[~covered & ~small], before[~covered & ~small]
  )
  assert (after[small] != before[small]).any()  # blurred
  # The toy darkens to a half; the later of two faces is the larger.
  for alpha, later in zip(alphas, (alphas[1], 0 * alphas[1], 0 * alphas[1])):
    middle = (alpha == 1) & (later == 0)
    assert middle.sum() > 100
    ratio = after[middle].astype(float) / before[middle]
    assert abs(np.median(ratio) - toy.GAIN) < 0.03
  facts = card["products"]["image"]
  assert facts["faces"] == 4 and facts["treated"] == {"too small": 1}
  text = (tmp_path / "out/CARD.md").read_text()
  assert "Faces too small, which are blurred: 1" in text
  assert "both may say who is in them" in text


def test_large_faces_are_worked_at_fewer_pixels(
  folder, workdir, tmp_path, mesh, monkeypatch
):
  monkeypatch.setattr(replacing, "WORKED", 32)
  read, _ = released(folder, workdir, tmp_path / "out", mesh)
  before, after = picture(1), read("alone.png")
  alpha = alpha_of(before.shape[:2], (30, 30, 60))
  np.testing.assert_array_equal(after[alpha == 0], before[alpha == 0])
  ratio = after[alpha == 1].astype(float) / before[alpha == 1]
  assert abs(np.median(ratio) - toy.GAIN) < 0.03
  assert np.abs(ratio - toy.GAIN).mean() < 0.1


def test_pixels_of_one_face_do_not_pass_into_another(
  folder, workdir, tmp_path, mesh
):
  """Nor into what is around: a release is of the framed faces alone."""
  read, _ = released(folder, workdir, tmp_path / "out", mesh)
  changed = picture()
  edges = [alpha_of(changed.shape[:2], face) for face in FACES[:2]]
  # Under the second face near its edge, but not within the first one's crop.
  matrix = alignment.similarity(
    points_of(*FACES[0]), alignment.arcface_template(toy.SIDE)
  )
  y, x = np.mgrid[: changed.shape[0], : changed.shape[1]] + 0.5
  first = alignment.transform_points(
    matrix, np.stack([x, y], -1).reshape(-1, 2)
  ).reshape(*x.shape, 2)
  beside = (first[..., 0] > toy.SIDE + 3) & (edges[1] > 0)
  changed[beside] = 255 - changed[beside]
  rows = [row("group.png", face) for face in FACES]
  other = write_folder(tmp_path / "other", rows, group__png=changed)
  again, _ = released(other, workdir, tmp_path / "again", mesh)
  alone = (edges[0] > 0) & (edges[1] == 0)
  assert alone.sum() > 200
  np.testing.assert_array_equal(
    read("group.png")[alone], again("group.png")[alone]
  )


@pytest.mark.parametrize("faceless", ["leave_out", "keep"])
def test_photographs_without_faces_are_left_out_unless_asked_for(
  faceless, folder, workdir, tmp_path, mesh
):
  read, card = released(
    folder, workdir, tmp_path / "out", mesh, faceless=faceless
  )
  facts = card["products"]["image"]
  assert facts["faceless"] == 1 and facts["count"] == 2 + (faceless == "keep")
  text = (tmp_path / "out/CARD.md").read_text()
  with open(tmp_path / "out/photographs/labels.csv", newline="") as stream:
    listed = {r["file"] for r in csv.DictReader(stream)}
  if faceless == "keep":
    np.testing.assert_array_equal(read("nobody.png"), picture(2))
    assert (
      "kept as they are where no face, or not every one, was found: 1" in text
    )
  else:
    assert not (tmp_path / "out/photographs/nobody.png").exists()
    assert (
      "left out, as in them no face, or not every one, was found: 1" in text
    )
  assert ("nobody.png" in listed) == (faceless == "keep")


def test_a_face_of_wrong_labels_is_blurred(workdir, tmp_path, mesh):
  """Left and right exchanged: the box is what remains."""
  cells = row("one.png", (30, 30, 60))
  five = points_of(30, 30, 60)[[1, 0, 2, 4, 3]]
  cells["points"] = ";".join(f"{a:.2f},{b:.2f}" for a, b in five)
  rows = [cells, row("two.png", (30, 30, 60))]
  folder = write_folder(
    tmp_path / "in", rows, one__png=picture(), two__png=picture(1)
  )
  read, card = released(folder, workdir, tmp_path / "out", mesh)
  facts = card["products"]["image"]
  assert facts["faces"] == 1 and facts["treated"] == {"of wrong labels": 1}
  after, before = read("one.png").astype(float), picture().astype(float)
  assert after[32:88, 32:88].std() < 0.5 * before[32:88, 32:88].std()
  np.testing.assert_array_equal(after[:29], before[:29])


BOX = ("x0", "y0", "x1", "y1")


@pytest.mark.parametrize("faceless", ["leave_out", "keep"])
@pytest.mark.parametrize(
  "cells",
  [
    dict(zip(BOX, (200, 30, 260, 90), strict=True)),  # right of the picture
    dict(zip(BOX, (30, -90, 90, -30), strict=True)),  # above it
    dict(zip(BOX, (30, 129, 90, 189), strict=True)),  # just below it
    dict(zip(BOX, (30, 30, 30, 90), strict=True)),  # without area
    dict(zip(BOX[:3], (30, 30, 90), strict=True)),  # half of a box
    {"n_points": 7, "points": ";".join(["50,50"] * 7)},  # no known markup
    {"n_points": 5, "points": ";".join(["50,50"] * 5)},
  ],
)
def test_nobody_whose_place_is_wrong_is_released(
  cells, faceless, workdir, tmp_path, mesh
):
  """Not even beside somebody whose face is replaced."""
  rows = [
    row("one.png", (30, 30, 60)), {"file": "one.png", **cells},
    {"file": "two.png", **cells}, row("three.png", (30, 30, 60)),
  ]  # fmt: skip
  folder = write_folder(
    tmp_path / "in", rows, one__png=picture(), two__png=picture(1),
    three__png=picture(2),
  )  # fmt: skip
  _, card = released(folder, workdir, tmp_path / "out", mesh, faceless=faceless)
  written = sorted(p.name for p in (tmp_path / "out/photographs").iterdir())
  assert written == ["labels.csv", "three.png"]
  facts = card["products"]["image"]
  assert facts["lost"] == 2 and facts["count"] == 1 and facts["faceless"] == 0
  text = (tmp_path / "out/CARD.md").read_text()
  assert "labels say where no face can be: 2" in text


@pytest.mark.parametrize("otherwise", ["box", "keep"])
def test_faces_that_cannot_be_replaced_are_treated_as_told(
  otherwise, folder, workdir, tmp_path, mesh
):
  read, _ = released(
    folder, workdir, tmp_path / "out", mesh, otherwise=otherwise, smallest=1000
  )
  after, before = read("alone.png"), picture(1)
  inside = np.zeros(before.shape[:2], bool)
  inside[31:89, 31:89] = True
  if otherwise == "keep":
    np.testing.assert_array_equal(after, before)
  else:
    assert (after[inside] == 0).all()
    np.testing.assert_array_equal(after[:28], before[:28])


def test_names_formats_and_labels_stay(workdir, tmp_path, mesh):
  (tmp_path / "in").mkdir()
  folder = tmp_path / "in" / "a"
  write_folder(folder, [], one__jpg=picture(), two__webp=picture(1))
  Image.fromarray(picture(2)).save(folder / "three.gif")
  with open(folder / "labels.csv", "w", newline="") as stream:
    writer = csv.DictWriter(stream, COLUMNS)
    writer.writeheader()
    for name in ("one.jpg", "two.webp", "three.gif"):
      writer.writerow(row(name, (20, 20, 50)))
  _, card = released(folder, workdir, tmp_path / "out", mesh)
  names = {p.name for p in (tmp_path / "out/photographs").iterdir()}
  names.remove("labels.csv")
  assert names == {"one.jpg", "two.webp", "three.gif.png"}
  again = folder_source.FolderSource(tmp_path / "out/photographs")
  assert len(again) == 3 and np.isfinite(again.points["box"]).all()
  opened = Image.open(tmp_path / "out/photographs/one.jpg")
  assert opened.format == "JPEG" and not opened.getexif()
  with open(tmp_path / "out/photographs/labels.csv", newline="") as stream:
    rows = {r["file"]: r for r in csv.DictReader(stream)}
  assert set(rows) == names
  assert rows["one.jpg"]["x0"] == "20" and rows["one.jpg"]["n_points"] == "5"
  assert card["products"]["image"]["faces"] == 3


def test_which_faces_count_is_kept_and_nothing_of_who_they_are(
  workdir, tmp_path, mesh
):
  folder = write_folder(tmp_path / "in", [], one__png=picture())
  rows = [
    {**row("one.png", (30, 30, 60)), "easy": 1, "invalid": 0, "Male": 1},
    {**row("one.png", (90, 60, 50)), "easy": 0, "invalid": "", "Male": 0},
  ]
  with open(folder / "labels.csv", "w", newline="") as stream:
    writer = csv.DictWriter(stream, [*COLUMNS, "easy", "invalid", "Male"])
    writer.writeheader()
    writer.writerows(rows)
  released(folder, workdir, tmp_path / "out", mesh)
  with open(tmp_path / "out/photographs/labels.csv", newline="") as stream:
    written = list(csv.DictReader(stream))
  assert list(written[0]) == [*COLUMNS, "invalid", "easy"]
  assert [(r["easy"], r["invalid"]) for r in written] == [("1", "0"), ("0", "")]


def test_an_interrupted_release_goes_on(
  folder, workdir, tmp_path, mesh, monkeypatch
):
  saved = []
  save = whole_lib._save

  def failing(path, pixels):
    if saved:
      raise KeyboardInterrupt
    saved.append(path.name)
    save(path, pixels)

  monkeypatch.setattr(whole_lib, "_save", failing)
  with pytest.raises(KeyboardInterrupt):
    released(folder, workdir, tmp_path / "out", mesh)
  monkeypatch.setattr(
    whole_lib, "_save", lambda p, x: (saved.append(p.name), save(p, x))
  )
  read, card = released(folder, workdir, tmp_path / "out", mesh)
  assert sorted(saved) == ["alone.png", "group.png"]
  assert card["products"]["image"]["faces"] == 4
  with pytest.raises(DataError, match="exists"):
    released(folder, workdir, tmp_path / "out", mesh)


def test_frames_of_a_video_are_linked(workdir, tmp_path, mesh, monkeypatch):
  rows = [row(f"{i}.png", (20 + 2 * i, 20, 50)) for i in range(3)]
  folder = write_folder(
    tmp_path / "in", rows, **{f"{i}__png": picture(i) for i in range(3)}
  )
  seen = []
  make = replacing.Replacer.protected

  def protected(self, indices, of_track):
    seen.append(dict(of_track))
    return make(self, indices, of_track)

  monkeypatch.setattr(replacing.Replacer, "protected", protected)
  _, card = released(folder, workdir, tmp_path / "out", mesh, tracks=True)
  assert card["products"]["image"]["tracks"] == 1
  text = (tmp_path / "out/CARD.md").read_text()
  assert "frames of videos, with 1 track: " in text
  assert seen[0] == {0: 0, 1: 0, 2: 0}


@pytest.mark.parametrize("empty, count", [(5, 1), (6, 2)])
def test_frames_without_a_face_are_frames_though_they_are_left_out(
  empty, count, workdir, tmp_path, mesh
):
  face, last = (20, 20, 50), f"{empty + 1}.png"
  rows = [row("0.png", face), row(last, face)]
  rows += [{"file": f"{i + 1}.png"} for i in range(empty)]
  pictures = {f"{i}__png": picture(i) for i in range(empty + 2)}
  folder = write_folder(tmp_path / "in", rows, **pictures)
  _, card = released(folder, workdir, tmp_path / "out", mesh, tracks=True)
  facts = card["products"]["image"]
  assert (facts["count"], facts["tracks"]) == (2, count)


def test_what_has_no_faces_to_paste_is_refused(folder, tmp_path, mesh):
  toy.make_run(tmp_path / "features", "features")
  with pytest.raises(DataError, match="no faces that could go"):
    released(folder, tmp_path / "features", tmp_path / "out", mesh)
  toy.make_run(tmp_path / "run", "image")
  place = Input(str(folder), "array_record", whole=Whole())
  with pytest.raises(DataError, match="takes photographs of a folder"):
    release.release(tmp_path / "run", tmp_path / "out", mesh, place)
  config = toy.make_run(tmp_path / "closed", "image")
  config.release.batch_size = 0
  workdir_lib.save_config(tmp_path / "closed", config)
  with pytest.raises(DataError, match="all people of a set at once"):
    released(folder, tmp_path / "closed", tmp_path / "out", mesh)


def test_drawn_people_are_found_where_they_were(workdir, tmp_path, mesh):
  """A photograph whose frame goes beyond it."""
  faces = ProceduralFaces(2, 1, 48, 3)
  batch = faces.batch(np.arange(2))
  rows = []
  for i in range(2):
    five = batch["landmarks"][i][:5] - (12, 0)
    points = ";".join(f"{a:.2f},{b:.2f}" for a, b in five)
    rows.append({"file": f"{i}.png", "n_points": 5, "points": points})
  pictures = {f"{i}__png": batch["image"][i][:, 12:] for i in range(2)}
  folder = write_folder(tmp_path / "in", rows, **pictures)
  read, card = released(folder, workdir, tmp_path / "out", mesh)
  assert card["products"]["image"]["faces"] == 2
  changed = read("0.png") != batch["image"][0][:, 12:]
  assert changed.any(2).mean() > 0.3
