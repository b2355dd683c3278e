"""launch.labels: labels of one format in, of another out, and counts."""

import csv
import json

import pytest
from PIL import Image

from jaxpriv.data import detection_labels
from jaxpriv.data.detection_labels import conversion
from jaxpriv.data.records import DataError
from jaxpriv.data.scenes import FolderScenes
from tests.launch.programs import run

WIDER = """0--Parade/a.png
3
10 20 30 40 2 0 0 0 1 0
50 20 0 40 0 0 0 1 0 0
300 20 8 9 0 0 0 0 0 0
b.png
0
0 0 0 0 0 0 0 0 0 0
"""


@pytest.fixture
def wider(tmp_path):
  """Labels of two pictures, and the folder of these."""
  path = tmp_path / "wider_face_val_bbx_gt.txt"
  path.write_text(WIDER)
  folder = tmp_path / "images"
  (folder / "0--Parade").mkdir(parents=True)
  for name in ("0--Parade/a.png", "b.png"):
    Image.new("RGB", (100, 80)).save(folder / name)
  return path, folder


def test_the_program_makes_a_folder_of_scenes(wider):
  path, folder = wider
  table = folder / "labels.csv"
  flags = (f"--input={path}", f"--output={table}")
  output = run("launch.labels", *flags, f"--images={folder}")
  assert "(a number comes after the first line, a path)" in output
  assert (
    "2 images, 3 faces: 1 degenerate, 1 outside, 3 without landmarks, 1 invalid"
    in output
  )
  assert "2 left out: boxes that are degenerate, outside" in output
  assert "not held by this format: sizes" in output
  source = FolderScenes(folder)
  assert source[0]["boxes"][0].tolist() == [10, 20, 40, 60]
  assert [source[i]["valid"].sum() for i in range(2)] == [1, 0]
  # It is not written over, and the error is one line.
  before = table.read_bytes()
  again = run("launch.labels", *flags, status=1)
  assert again.startswith(f"error: --output: {table} exists")
  assert "Traceback" not in again and table.read_bytes() == before


@pytest.mark.parametrize(
  "name, lost",
  [
    ("wider_face_x_bbx_gt.txt", "sizes"),
    ("label.txt", "attributes, sizes"),
    ("voc", ""),
    ("x.json", ""),
    ("labels.csv", "sizes"),
  ],
)
def test_outputs_are_of_the_format_that_their_names_say(
  wider, tmp_path, name, lost
):
  path, folder = wider
  output = str(tmp_path / "out" / name)
  lines = conversion.convert(str(path), output, images=str(folder))
  format = detection_labels.guess_by_name(output)
  about = detection_labels.FORMATS[format].about
  assert f"{output}: {about}" in lines
  told = [line for line in lines if "not held" in line]
  assert told == [f"  not held by this format: {lost}"] * bool(lost)
  back = detection_labels.read(output)
  assert [one.file for one in back] == ["0--Parade/a.png", "b.png"]
  faces = 1 if format == "labels" else 3
  assert [len(one.boxes) for one in back] == [faces, 0]
  sizes = (100, 80) if format in ("voc", "coco") else None
  assert {one.size for one in back} == {sizes}


def test_formats_can_be_said(wider, tmp_path):
  path, _ = wider
  odd = path.rename(tmp_path / "odd.json")
  with pytest.raises(DataError, match="odd.json is no JSON"):
    conversion.convert(str(odd), str(tmp_path / "a.json"))
  assert not (tmp_path / "a.json").exists()
  output = tmp_path / "out.yaml"
  with pytest.raises(DataError, match=r"--output: .*does not tell.*\(--to\)"):
    conversion.convert(str(odd), str(output), "wider")
  conversion.convert(str(odd), str(output), "wider", "coco")
  assert len(json.loads(output.read_text())["annotations"]) == 3
  with output.with_suffix(".csv").open("w", newline="") as stream:
    csv.writer(stream).writerows([("file", "x0"), ("a.jpg", "")])
  lines = conversion.convert(str(stream.name), str(tmp_path / "back.json"))
  assert "1 images, 0 faces" in lines[1]


def test_keep_lists_that_are_there_are_not_written_over(wider, tmp_path):
  path, _ = wider
  (tmp_path / "wider_hard_val.mat").write_text("of others")
  output = tmp_path / "wider_face_val.mat"
  with pytest.raises(DataError, match="--output: .*wider_hard_val.mat exists"):
    conversion.convert(str(path), str(output))
  assert not output.exists()


def test_missing_pictures_are_named_and_nothing_is_written(wider, tmp_path):
  path, folder = wider
  (folder / "b.png").unlink()
  output = tmp_path / "out.json"
  with pytest.raises(DataError, match="1 of 2 pictures are not in .*: b.png"):
    conversion.convert(str(path), str(output), images=str(folder))
  assert not output.exists()
