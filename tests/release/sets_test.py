"""Sets hold the same photographs under the same names, and are counted."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from jaxpriv.data import folder as folder_source
from jaxpriv.data import pretrained, skin
from jaxpriv.data.procedural import ProceduralFaces
from jaxpriv.data.records import DataError
from jaxpriv.release import sets
from jaxpriv.release.photographs import Input
from jaxpriv.training import mesh as mesh_lib
from jaxpriv.training.replacing import Whole
from tests.release import toy
from tools import faces_folder


@pytest.fixture(scope="module")
def mesh():
  return mesh_lib.make_mesh(1)


@pytest.fixture(autouse=True)
def no_networks(monkeypatch):
  monkeypatch.setattr(pretrained, "missing", lambda names: tuple(names))


@pytest.fixture
def folder(tmp_path):
  faces_folder.write_faces(tmp_path / "in", ProceduralFaces(4, 2, 64, 5))
  return tmp_path / "in"


def place(folder, **options):
  return Input(str(folder), whole=Whole(**options), face_threshold=0.0)


def test_five_sets_of_one_folder(folder, tmp_path, mesh):
  for name in "ab":
    toy.make_run(tmp_path / name, "image")
  runs = {"gb": str(tmp_path / "a"), "rb": str(tmp_path / "b")}
  counts = sets.build(place(folder), runs, tmp_path / "out", mesh)
  assert list(counts) == ["std", "gb", "rb", "grb"]
  assert json.loads((tmp_path / "out/counts.json").read_text()) == counts
  for name in ("std", "gb", "rb"):
    assert counts[name]["photographs"] == counts[name]["faces"] == 8
    assert counts[name]["gender"] == {"unknown": 8}
    assert sum(counts[name]["skin"].values()) == 8
  assert counts["grb"]["faces"] == 24
  total = {
    level: sum(counts[name]["skin"][level] for name in ("std", "gb", "rb"))
    for level in skin.CLASSES
  }
  assert counts["grb"]["skin"] == total
  # The toy makes skin darker.
  assert counts["gb"]["skin"]["dark"] > counts["std"]["skin"]["dark"]
  original = np.asarray(Image.open(folder / "person_001/0.png"))
  at = lambda where: np.asarray(Image.open(tmp_path / "out" / where))
  mine = "photographs/person_001/0.png"
  np.testing.assert_array_equal(at(f"std/{mine}"), original)
  assert (at(f"gb/{mine}") != original).any()
  np.testing.assert_array_equal(
    at("grb/photographs/gb/person_001/0.png"), at(f"gb/{mine}")
  )
  whole = folder_source.FolderSource(tmp_path / "out/grb/photographs")
  assert len(whole) == 24


def test_what_is_finished_is_kept(folder, tmp_path, mesh):
  toy.make_run(tmp_path / "a", "image")
  runs = {"gb": str(tmp_path / "a")}
  counts = sets.build(place(folder), runs, tmp_path / "out", mesh)
  card = tmp_path / "out/gb/card.json"
  before = card.stat().st_mtime_ns
  assert sets.build(place(folder), runs, tmp_path / "out", mesh) == counts
  assert card.stat().st_mtime_ns == before


def test_photographs_of_other_formats_lead_to_their_originals(
  folder, tmp_path, mesh
):
  Image.open(folder / "person_001/0.png").save(folder / "person_001/0.gif")
  (folder / "person_001/0.png").unlink()
  table = (folder / "labels.csv").read_text()
  (folder / "labels.csv").write_text(
    table.replace("person_001/0.png", "person_001/0.gif")
  )
  toy.make_run(tmp_path / "a", "image")
  sets.build(place(folder), {"gb": str(tmp_path / "a")}, tmp_path / "out", mesh)
  with open(tmp_path / "out/std/photographs/labels.csv", newline="") as stream:
    names = {row["file"] for row in csv.DictReader(stream)}
  assert "person_001/0.gif" in names
  assert (tmp_path / "out/gb/photographs/person_001/0.gif.png").exists()


@pytest.mark.parametrize("name", ["std", "grb", "a/b", ""])
def test_names_that_cannot_be_are_refused(name, folder, tmp_path, mesh):
  with pytest.raises(DataError, match="cannot be the name of a set"):
    sets.build(place(folder), {name: "run"}, tmp_path / "out", mesh)


def test_sets_do_not_go_among_the_photographs(folder, mesh):
  with pytest.raises(DataError, match="is inside of"):
    sets.build(place(folder), {"gb": "run"}, folder / "out", mesh)
