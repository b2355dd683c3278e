"""launch.composites: labelled photographs in, a folder of scenes out."""

import csv
import json

import numpy as np
import pytest
from absl import flags
from PIL import Image

from jaxpriv.data import composites, cutouts, dataset
from jaxpriv.data.records import DataError
from jaxpriv.data.scenes import FolderScenes
from jaxpriv.errors import UserError
from launch import composites as program
from tests.launch.programs import run

# Other programs, of which tests are in this process, too, have flags of these
# names.
for _flag in flags.FLAGS.get_flags_for_module(program.__name__):
  delattr(flags.FLAGS, _flag.name)

OPTIONS = composites.Options(side=64, most=2, smallest=12, largest=24)


@pytest.fixture
def photographs(tmp_path):
  """Eight people with a face each, and a scene without one."""
  top = tmp_path / "in"
  top.mkdir()
  rng = np.random.default_rng(0)
  rows = ["file,identity,gender,x0,y0,x1,y1,points"]
  five = '"20,25;30,25;25,30;21,35;29,35"'
  for i in range(9):
    colour = tuple(rng.integers(0, 255, 3).tolist())
    Image.new("RGB", (60, 60), colour).save(top / f"{i}.png")
    rows.append(f"{i}.png,p{i},{'MF'[i % 2]},15,20,35,40,{five}")
  rows[-1] = "8.png,,,,,,,"
  (top / "labels.csv").write_text("\n".join(rows))
  return top


def made(photographs, **changes):
  return composites.Composites(
    cutouts.faces(photographs),
    cutouts.backgrounds(photographs, (), ["8.*"]),
    OPTIONS._replace(**changes),
  )


def flags(photographs, output, *more):
  common = (f"--faces={photographs}", f"--backgrounds={photographs}")
  shape = ("--background_files=8.*", "--side=64", "--most=2", "--largest=24")
  return (*common, *shape, f"--output={output}", "--count=6", *more)


def test_the_program_makes_a_folder_of_scenes(photographs, tmp_path):
  out = tmp_path / "out"
  output = run("launch.composites", *flags(photographs, out))
  assert "6 pictures of" in output
  source = FolderScenes(out, max_faces=2)
  assert len(source) == 6
  expected = made(photographs)
  for number in range(6):
    record, placed = source[number], expected.placed(number)
    valid = record["valid"]
    assert valid.sum() == len(placed)
    np.testing.assert_allclose(
      record["boxes"][valid], [p.box for p in placed], atol=0.01
    )
    np.testing.assert_allclose(
      record["landmarks"][valid, :5], [p.five for p in placed], atol=0.01
    )
    names = [source.people[i] for i in record["identity"][valid]]
    assert names == [expected.faces[p.face].person for p in placed]
    away = record["image"].astype(int) - expected.draw(number)
    assert abs(away).mean() < 3  # JPEG
  with open(out / "labels.csv", newline="") as stream:
    rows = list(csv.DictReader(stream))
  assert all(r["gender"] == "MF"[int(r["identity"][1:]) % 2] for r in rows)
  # Nobody is in two splits.
  shares = {"train": 0.5, "attack": 0.25, "test": 0.25}
  many = tmp_path / "many"
  program.write(str(many), made(photographs), 40)
  scenes = FolderScenes(many, max_faces=2)
  parts = dataset.split_data(scenes, shares, 0).splits
  seen = [
    {n for row in rows for n in scenes[row]["identity"].tolist() if n >= 0}
    for rows in parts.values()
  ]
  assert len(seen[0] | seen[1] | seen[2]) == sum(map(len, seen)) == 8
  (wrong,) = run(
    "launch.composites", *flags(photographs, out, "--seed=1"), status=1
  ).splitlines()[-1:]
  assert wrong.startswith("error: --output") and "other settings" in wrong


def test_it_goes_on_where_it_stopped(photographs, tmp_path, monkeypatch):
  whole, cut = tmp_path / "whole", tmp_path / "cut"
  counts = program.write(str(whole), made(photographs), 6)
  source, draw = made(photographs), composites.Composites.draw
  drawn = []

  def failing(self, number):
    drawn.append(number)
    if len(drawn) == 4:
      raise KeyboardInterrupt
    return draw(self, number)

  monkeypatch.setattr(composites.Composites, "draw", failing)
  with pytest.raises(KeyboardInterrupt):
    program.write(str(cut), source, 6)
  assert not (cut / "labels.csv").exists()  # unfinished data are no data
  assert program.write(str(cut), source, 6) == counts
  assert drawn == [0, 1, 2, 3, 3, 4, 5]
  names = sorted(path.name for path in whole.iterdir())
  assert names == sorted(path.name for path in cut.iterdir())
  for name in names:
    assert (whole / name).read_bytes() == (cut / name).read_bytes()
  # More of them are added to those that are there.
  assert program.write(str(cut), source, 8)["pictures"] == 8
  assert drawn[7:] == [6, 7]


def test_other_settings_and_other_files_are_not_mixed(photographs, tmp_path):
  out = tmp_path / "out"
  program.write(str(out), made(photographs), 2)
  assert json.loads((out / program.SETTINGS).read_text())["most"] == 2
  with pytest.raises(DataError, match="other settings or photographs"):
    program.write(str(out), made(photographs, scraps=0), 2)
  fewer = made(photographs)
  fewer.faces = fewer.faces[:-1]
  with pytest.raises(DataError, match="other settings or photographs"):
    program.write(str(out), fewer, 2)
  other = made(photographs)
  other.faces[0] = other.faces[0]._replace(file=other.faces[1].file)
  with pytest.raises(DataError, match="other settings or photographs"):
    program.write(str(out), other, 2)
  (tmp_path / "full").mkdir()
  (tmp_path / "full/mine.txt").write_text("")
  with pytest.raises(DataError, match="is not empty"):
    program.write(str(tmp_path / "full"), made(photographs), 2)


@pytest.mark.parametrize(
  "words", [["0.8", "0.2"], ["0", "2"], ["a", "1"], ["0.5"]]
)
def test_shares_of_people_are_checked(words):
  with pytest.raises(UserError, match="--people: .* not two shares"):
    program._share(words)
  assert program._share(["0", "0.8"]) == (0, 0.8)


@pytest.mark.parametrize("inside", ["", "deep/er"])
def test_output_does_not_go_among_the_photographs(photographs, inside):
  with pytest.raises(DataError, match="is inside of"):
    program._check_outside(str(photographs / inside), str(photographs))
  program._check_outside(f"{photographs}2", str(photographs))


def test_errors_name_the_flags():
  with (
    pytest.raises(DataError, match="check --faces") as caught,
    program._naming("faces", "sets"),
  ):
    cutouts.faces("/nowhere/at/all")
  assert "data.path" not in str(caught.value)
