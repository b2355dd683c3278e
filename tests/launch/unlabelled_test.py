"""A folder of people's photographs without labels, through the programs."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from configs import baseline
from jaxpriv.data import pretrained
from jaxpriv.data.array_record import ArrayRecordSource
from jaxpriv.data.procedural import ProceduralFaces
from jaxpriv.release import release
from jaxpriv.release.photographs import Input
from jaxpriv.training import detection, run, unlabelled
from jaxpriv.training import mesh as mesh_lib
from jaxpriv.training import workdir as workdir_lib
from jaxpriv.training.detection import Faces
from launch import common, evaluate
from tests.launch.programs import run as program

PEOPLE, EACH, SIDE = 10, 2, 96


@pytest.fixture(scope="module")
def mesh():
  return mesh_lib.make_mesh(1)


@pytest.fixture
def plain(tmp_path):
  """Drawn people, a folder each, at odd sizes, one of them with nobody in it.

  Faces fill the picture, so that whoever finds them needs no network.
  """
  path = tmp_path / "plain"
  drawn = ProceduralFaces(PEOPLE, EACH, SIDE, 3, aligned="landmarks")
  for i in range(len(drawn)):
    record = drawn[i]
    file = path / f"person {record['identity']}" / f"{i % EACH}.png"
    file.parent.mkdir(parents=True, exist_ok=True)
    side = SIDE + 7 * (i % 5)
    Image.fromarray(record["image"]).resize((side, side)).save(file)
  Image.new("RGB", (60, 90)).save(path / "wall.png")
  return path


@pytest.fixture
def finder(tmp_path, monkeypatch):
  """Finds a face that fills a square picture."""

  def find(detector, marker, photographs, threshold):
    del detector, marker, threshold
    results = []
    for photograph in photographs:
      width, height = photograph.size
      count = int(width == height)
      points = np.tile([[0.5, 0.5]], (68, 1))
      template = ((0.34, 0.46), (0.66, 0.46), (0.5, 0.64), (0.37, 0.82),
                  (0.63, 0.82))  # fmt: skip
      for rows, point in zip(
        (range(36, 42), range(42, 48), (30,), (48,), (54,)), template
      ):
        points[list(rows)] = point
      boxes = np.array([[0.2, 0.3, 0.8, 0.9]]) * width
      results.append(
        Faces(boxes[:count], np.full(count, 0.9), points[None][:count] * width)
      )
    return results

  monkeypatch.setenv(pretrained.CACHE_VARIABLE, str(tmp_path / "cache"))
  monkeypatch.setattr(detection, "find", find)
  monkeypatch.setattr(pretrained, "missing", lambda names=(): [])
  monkeypatch.setattr(unlabelled.witnesses, "load", lambda name: name)


def config_of(path):
  config = baseline.get_config("demo,gaussian_blur")
  config.data.update(source="folder", path=str(path), image_size=32)
  config.data.splits = {"train": 0.4, "attack": 0.3, "test": 0.3}
  config.evaluation.update(
    attacks=("likeness",), controls=(), witnesses=(), batch_size=8
  )
  return config


def test_train_evaluate_release(plain, finder, mesh, tmp_path, caplog):
  workdir, output = tmp_path / "run", tmp_path / "released"
  with caplog.at_level("INFO"):
    common.train(config_of(plain), workdir, mesh)
  assert f"{plain}/wall.png" in caplog.text
  assert (workdir / run.FOUND).is_file()
  results = evaluate.evaluate(workdir, mesh)
  described = results.header["data"]
  account = {
    "seen": PEOPLE * EACH + 1,
    "used": PEOPLE * EACH,
    "left_out": {"no face was found": 1},
  }
  assert described["files"] == account
  kept = json.loads((workdir / "people.json").read_text())
  assert kept["files"] == account
  assert sum(described["images"].values()) == PEOPLE * EACH
  release.release(workdir, output, mesh, Input(str(plain)))
  rows = list(csv.DictReader((output / "labels.csv").open()))
  assert len(rows) == PEOPLE * EACH
  card = json.loads((output / "card.json").read_text())
  assert card["files"] == card["results"]["data"]["files"] == account
  assert card["framing"] == {"landmarks": PEOPLE * EACH}
  assert card["found"] == {"faces": PEOPLE * EACH, "threshold": 0.5}
  text = (output / "CARD.md").read_text()
  assert "- 1: no face was found" in text
  assert "wall" not in text + (output / "card.json").read_text()
  assert "Nothing:" not in text
  # The contact sheet shows originals: beside the run, never in the release.
  assert (workdir / "samples" / "found_in_plain.png").is_file()
  made = {p.relative_to(output).parts[0] for p in output.rglob("*")}
  assert made == {"images", "labels.csv", "card.json", "CARD.md"}


def test_another_threshold_for_a_release(plain, finder, mesh, tmp_path):
  """At 0 photographs are taken as they are, the wall among them."""
  workdir, output = tmp_path / "run", tmp_path / "released"
  workdir_lib.save_config(workdir, config_of(plain))
  place = Input(str(plain), face_threshold=0.0)
  release.release(workdir, output, mesh, place)
  card = json.loads((output / "card.json").read_text())
  assert card["framing"] == {"centre": PEOPLE * EACH + 1}
  assert not card["found"] and not card["files"]["left_out"]
  assert not (workdir / "samples").exists()


def test_without_networks_programs_go_on_as_before(plain, tmp_path):
  """`program` starts them where nothing has been fetched."""
  output = tmp_path / "packed"
  flags = [f"--input={plain}", f"--output={output}", "--image_size=32"]
  log = program("launch.pack", *flags)
  assert log.count(pretrained.FETCH) == 1
  assert len(ArrayRecordSource(output)) == PEOPLE * EACH + 1
  log = program("launch.pack", *flags[:1], f"--output={tmp_path / 'other'}",
                "--face_threshold=0", "--image_size=32")  # fmt: skip
  assert pretrained.FETCH not in log
