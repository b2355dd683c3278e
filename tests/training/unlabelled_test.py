"""Faces of photographs without labels are found once, kept, told and shown."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

from configs import common
from jaxpriv.data import alignment, labels, pretrained
from jaxpriv.data.folder import FolderSource
from jaxpriv.training import detection, run, unlabelled
from jaxpriv.training.detection import Faces

SIDE = 40


@pytest.fixture
def cache(tmp_path, monkeypatch):
  path = tmp_path / "cache"
  monkeypatch.setenv(pretrained.CACHE_VARIABLE, str(path))
  return path


@pytest.fixture
def finder(cache, monkeypatch):
  """Finds two faces in wide photographs, none in tall ones, one in others.

  Returns how many photographs it has looked at, in a list.
  """
  looked = []

  def find(detector, marker, photographs, threshold):
    del detector, marker, threshold
    looked.append(len(photographs))
    results = []
    for photograph in photographs:
      width, height = photograph.size
      count = 2 if width > height else 0 if height > width else 1
      boxes = np.array([[0, 0, 20, 20], [24, 4, 64, 44]])[2 - count :]
      scores = np.array([0.95, 0.6])[2 - count :]
      points = np.repeat(boxes[:, None, :2] + 10.0, 68, 1)
      points[:, 36:42] -= 3
      results.append(Faces(boxes.astype(float), scores, points))
    return results

  monkeypatch.setattr(detection, "find", find)
  monkeypatch.setattr(pretrained, "missing", lambda names: [])
  monkeypatch.setattr(unlabelled.witnesses, "load", lambda name: name)
  return looked


@pytest.fixture
def photographs(tmp_path):
  """Of ann two wide ones, of bob one tall, of cid a square and a broken one."""
  path = tmp_path / "photographs"
  sizes = {"ann/1": (70, 50), "ann/2": (70, 50), "bob/1": (50, 70),
           "cid/1": (70, 70)}  # fmt: skip
  for name, size in sizes.items():
    file = path / f"{name}.png"
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (90, 120, 150)).save(file)
  (path / "cid/2.png").write_text("text")
  return path


def config(path, **changes):
  data = common.data()
  data.update({"source": "folder", "path": str(path), **changes})
  return data


def test_what_is_found_and_told(photographs, finder, caplog):
  with caplog.at_level("INFO"):
    found = unlabelled.find(config(photographs))
  assert {name: len(of) for name, of in found.items()} == {
    "ann/1.png": 2, "ann/2.png": 2, "bob/1.png": 0, "cid/1.png": 1,
  }  # fmt: skip
  assert "5 faces found in 3 of 5 photographs without labels" in caplog.text
  assert "2 show several" in caplog.text
  assert f"No face was found, left out: {photographs}/bob/1.png" in caplog.text
  source = FolderSource(photographs, found=found)
  assert len(source) == 6 and source.others == 2
  np.testing.assert_array_equal(source.identities, [0, -1, 0, -1, 1, 1])
  # The broken one is still there, to be named by who reads it.
  assert source.name(5) == "cid/2.png" and not source.found[5]
  np.testing.assert_array_equal(source[0]["box"], (24, 4, 64, 44))


def test_a_folder_of_other_things_is_warned_of(photographs, finder, caplog):
  for name in ("ann/1.png", "ann/2.png"):
    Image.new("RGB", (40, 90)).save(photographs / name)
  unlabelled.find(config(photographs))
  assert "3 of 4 photographs show no face" in caplog.text
  assert "data.align=centre" in caplog.text


def test_faces_are_found_once(photographs, finder, cache, tmp_path):
  first = unlabelled.find(config(photographs))
  assert sum(finder) == 4 and len(list((cache / "faces").iterdir())) == 1
  assert unlabelled.find(config(photographs)) == first
  shutil.copytree(photographs, tmp_path / "copy")  # keeps times
  assert unlabelled.find(config(tmp_path / "copy")) == first
  assert sum(finder) == 4
  unlabelled.find(config(photographs, face_threshold=0.6))
  assert sum(finder) == 8
  os.utime(photographs / "ann/1.png", (1, 1))
  unlabelled.find(config(photographs))
  assert sum(finder) == 12
  Image.new("RGB", (70, 70)).save(photographs / "bob/1.png")
  assert len(unlabelled.find(config(photographs))["bob/1.png"]) == 1


def test_an_interrupted_search_goes_on(photographs, finder, monkeypatch):
  monkeypatch.setattr(unlabelled, "_KEPT_TOGETHER", 2)
  look, calls = detection.find, []

  def interrupted(*arguments):
    calls.append(1)
    if len(calls) == 2:
      raise KeyboardInterrupt
    return look(*arguments)

  monkeypatch.setattr(detection, "find", interrupted)
  with pytest.raises(KeyboardInterrupt):
    unlabelled.find(config(photographs))
  done = sum(finder)
  found = unlabelled.find(config(photographs))
  assert done == 2 and sum(finder) == 4 and len(found) == 4


def test_a_cache_that_cannot_be_written(photographs, finder, cache, caplog):
  cache.write_text("a file is in the way")
  assert len(unlabelled.find(config(photographs))) == 4
  assert "cannot be kept" in caplog.text


def test_only_rows_without_labels_are_looked_at(photographs, finder):
  rows = ["file,x0,y0,x1,y1,points", "ann/1.png,1,1,30,30,",
          'ann/2.png,,,,,"1,1;9,1;5,5;2,9;8,9"', "cid/1.png,,,,,"]  # fmt: skip
  (photographs / "labels.csv").write_text("\n".join(rows))
  found = unlabelled.find(config(photographs))
  assert set(found) == {"cid/1.png"} and sum(finder) == 1
  source = FolderSource(photographs, found=found)
  np.testing.assert_array_equal(source[0]["box"], (1, 1, 30, 30))
  assert np.isnan(source[1]["box"]).all()


@pytest.mark.parametrize(
  "changes",
  [
    {"face_threshold": 0.0},
    {"source": "procedural"},
    {"max_faces": 4},
    {"align": "centre"},
    {"align": "whole"},
  ],
)
def test_nothing_is_looked_for(photographs, finder, changes):
  assert unlabelled.find(config(photographs, **changes)) is None
  assert not finder


def test_a_run_of_before_there_was_a_threshold_is_read_as_it_was_trained(
  photographs, finder
):
  data = config(photographs)
  del data.face_threshold
  assert unlabelled.find(data) is None


def test_without_networks_one_line_says_how_to_fetch_them(
  photographs, cache, caplog
):
  assert unlabelled.find(config(photographs)) is None
  (record,) = caplog.records
  assert pretrained.FETCH in record.getMessage()
  assert "5 photographs" in record.getMessage()
  caplog.clear()
  (photographs / "labels.csv").write_text("file,x0,y0,x1,y1\nann/1.png,1,1,9,9")
  assert unlabelled.find(config(photographs)) is None and not caplog.records


def test_other_processes_get_what_the_first_has_found(
  photographs, finder, monkeypatch, cache
):
  """The same bytes, in lengths that all know."""
  sent = []
  jax, sharing = unlabelled.jax, unlabelled.multihost_utils

  def broadcast(value):
    if jax.process_index() == 0:
      sent.append(np.array(value))
      return value
    expected = sent.pop(0)
    assert np.shape(value) == expected.shape
    assert np.asarray(value).dtype == expected.dtype
    return expected

  monkeypatch.setattr(jax, "process_count", lambda: 2)
  monkeypatch.setattr(sharing, "broadcast_one_to_all", broadcast)
  monkeypatch.setattr(unlabelled, "_KEPT_TOGETHER", 2)
  first = unlabelled.find(config(photographs))
  shutil.rmtree(cache)
  monkeypatch.setattr(jax, "process_index", lambda: 1)
  assert unlabelled.find(config(photographs)) == first
  assert sum(finder) == 4 and not sent and not cache.exists()


def test_the_contact_sheet_shows_boxes_and_what_is_empty(
  photographs, finder, tmp_path
):
  sheet = tmp_path / "samples" / "sheet.png"
  unlabelled.find(config(photographs), sheet)
  pixels = np.asarray(Image.open(sheet)).astype(int)
  side = unlabelled._SIDE
  assert pixels.shape == (side, 8 * side, 3)
  cells = np.split(pixels, 8, axis=1)
  colours = [
    [(abs(cell - np.array(c)).sum(-1) < 30).sum() > 100 for c in
     ((255, 0, 0), (0, 255, 0), (255, 255, 0))]
    for cell in cells
  ]  # fmt: skip
  empty, one, several = [1, 0, 0], [0, 1, 0], [0, 1, 1]
  assert np.array(colours, int).tolist() == [
    empty, one, several, several, *[[0, 0, 0]] * 4,
  ]  # fmt: skip


@pytest.mark.faces
@pytest.mark.networks
def test_real_people_of_a_plain_folder(faces, tmp_path, monkeypatch):
  """Framed nearly as by hand, at any size, turned or not."""
  weights = {n: pretrained.path_of(n) for n in unlabelled.NETWORKS}
  monkeypatch.setenv(pretrained.CACHE_VARIABLE, str(tmp_path / "cache"))
  (tmp_path / "cache").mkdir()
  for path in weights.values():
    os.symlink(path, tmp_path / "cache" / path.name)
  rows = [r for r in labels.read_rows(faces / "labels.csv", ("london",))
          if r["points"]][:8]  # fmt: skip
  people, scales = tmp_path / "people", (1, 0.4, 3, 1, 1, 1, 1, 1)
  for row, scale in zip(rows, scales, strict=True):
    (people / row["identity"]).mkdir(parents=True)
    picture = Image.open(faces / row["file"]).convert("RGB")
    picture = picture.resize([round(side * scale) for side in picture.size])
    exif = Image.Exif()
    if row is rows[3]:
      exif[0x0112] = 6
      picture = picture.transpose(Image.Transpose.ROTATE_90)
    picture.save(people / row["identity"] / "1.jpg", quality=95, exif=exif)
  settings = common.base("baselines")
  settings.data.update(source="folder", path=str(people), align="landmarks")
  settings.data.splits = {"train": 0.5, "attack": 0.25, "test": 0.25}
  data = run.open_data(settings, tmp_path / "run")
  assert len(data.source) == 8 and (tmp_path / "run" / run.FOUND).exists()
  found = unlabelled.find(settings.data)
  for row, scale in zip(rows, scales, strict=True):
    (face,) = found[f"{row['identity']}/1.jpg"]
    five = labels.five_points(face) / scale
    truth = labels.five_points(row)
    template = alignment.arcface_template(112)
    apart = alignment.transform_points(
      alignment.similarity(five, template), truth
    ) - alignment.transform_points(alignment.similarity(truth, template), truth)
    assert np.linalg.norm(apart, axis=-1).mean() < 2.5, row["file"]
