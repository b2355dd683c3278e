"""The photographs that the programs are tried on."""

import csv

import pytest

from tests.launch.programs import run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """12 drawn people as PNG files.

  One file is no image; of one face only the box is known.
  """
  path = tmp_path_factory.mktemp("photographs")
  run("tools.make_faces", f"--output={path}", "--size=48")
  (path / "person_003" / "2.png").write_bytes(b"not an image")
  with open(path / "labels.csv", newline="") as stream:
    rows = list(csv.DictReader(stream))
  rows[9].update(n_points="", points="")
  with open(path / "labels.csv", "w", newline="") as stream:
    writer = csv.DictWriter(stream, rows[0])
    writer.writeheader()
    writer.writerows(rows)
  return path
