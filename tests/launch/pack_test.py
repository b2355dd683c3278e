"""launch.pack: a folder in, a packed set out, unreadable files named."""

import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from jaxpriv.data import alignment, sources
from jaxpriv.data.array_record import ArrayRecordSource
from jaxpriv.data.folder import FolderSource
from launch import pack

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path) -> pathlib.Path:
  """Three people; one of the eight files is not an image."""
  place = tmp_path / "faces"
  place.mkdir()
  rng = np.random.default_rng(0)
  points = alignment.arcface_template(60)
  cell = ";".join(f"{x:.2f},{y:.2f}" for x, y in points)
  lines = ["file,identity,gender,points"]
  for i in range(8):
    coarse = rng.uniform(0, 255, (4, 4, 3)).astype(np.uint8)
    smooth = Image.fromarray(coarse).resize((60, 60), Image.Resampling.BICUBIC)
    smooth.save(place / f"{i}.png")
    lines.append(f'{i}.png,p{i % 3},{"MF"[i % 2]},"{cell}"')
  (place / "4.png").write_text("text")
  (place / "labels.csv").write_text("\n".join(lines))
  return place


def test_the_packed_records_are_those_of_the_folder(folder, tmp_path):
  source = sources.Framed(FolderSource(folder), 32, max_bad_share=0.2)
  output = tmp_path / "packed"
  count = pack.pack(source, str(output), image_format="png")
  packed = ArrayRecordSource(output)
  assert count == len(packed) == 7
  assert packed.attribute_names == ("Male",)
  assert packed.identity_names == ("p0", "p1", "p2")
  kept = [0, 1, 2, 3, 5, 6, 7]
  for i, index in enumerate(kept):
    for name, value in source[index].items():
      np.testing.assert_array_equal(packed[i][name], value)
  assert len(source.unreadable) == 1


def _run(*flags):
  return subprocess.run(
    [sys.executable, "-m", "launch.pack", *flags],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=False,
  )


def test_the_program(folder, tmp_path):
  output = tmp_path / "packed"
  flags = (f"--input={folder}", f"--output={output}", "--image_size=32")
  done = _run(*flags, "--max_bad_share=0.2")
  assert done.returncode == 0, done.stderr
  assert "7 images of 3 people packed" in done.stderr
  assert re.search(
    "7 of 8 files are used.*\n +1 unreadable: 4.png", done.stderr
  )
  assert ArrayRecordSource(output)[0]["image"].shape == (32, 32, 3)
  within = _run(flags[0], f"--output={folder}/packed")
  assert within.returncode == 1 and "is inside of --input" in within.stderr
  assert not (folder / "packed.partial").exists()
  strict = _run(*flags[:1], f"--output={tmp_path / 'other'}")
  assert strict.returncode == 1 and "--max_bad_share" in strict.stderr
  assert "data.max_bad_share" not in strict.stderr
  assert "Traceback" not in strict.stderr
  assert not (tmp_path / "other").exists()
