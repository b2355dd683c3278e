"""The demo's input folder can be read back as what it was drawn from."""

import pathlib
import subprocess
import sys

import numpy as np

from jaxpriv.data.folder import FolderSource
from jaxpriv.data.procedural import ProceduralFaces

ROOT = pathlib.Path(__file__).parents[1]


def run(output):
  # In its own process: absl's flags are global, and programs share their names.
  command = [sys.executable, "-m", "tools.make_faces", f"--output={output}"]
  options = ["--people=3", "--images=2", "--size=48", "--seed=7"]
  subprocess.run([*command, *options], cwd=ROOT, check=True)


def test_folder_holds_the_drawn_people(tmp_path):
  run(tmp_path / "input")
  source = FolderSource(tmp_path / "input")
  drawn = ProceduralFaces(3, 2, 48, 7)
  assert len(source) == 6
  assert source.identities.tolist() == [0, 0, 1, 1, 2, 2]
  columns = [source.attribute_names.index(n) for n in drawn.attribute_names]
  for index in range(6):
    read, expected = source[index], drawn[index]
    np.testing.assert_array_equal(read["image"], expected["image"])
    np.testing.assert_array_equal(
      read["attributes"][columns], expected["attributes"]
    )
    np.testing.assert_allclose(read["box"], expected["box"], atol=0.051)


def test_what_is_there_stays(tmp_path):
  (tmp_path / "labels.csv").write_text("mine")
  run(tmp_path)
  assert (tmp_path / "labels.csv").read_text() == "mine"
  assert len(list(tmp_path.iterdir())) == 1
