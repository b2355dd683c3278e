"""Small folders of generated images, and data configs that name them."""

import csv
import pathlib

import ml_collections
import numpy as np
import pytest
from PIL import Image

from jaxpriv.data import alignment

SIZE = 48


def picture(seed: int, size: int = SIZE) -> np.ndarray:
  """A smooth image that JPEG keeps nearly as it is."""
  rng = np.random.default_rng(seed)
  coarse = rng.uniform(0, 255, (4, 4, 3)).astype(np.uint8)
  smooth = Image.fromarray(coarse).resize(
    (size, size), Image.Resampling.BICUBIC
  )
  return np.asarray(smooth)


@pytest.fixture
def people_folder(tmp_path) -> pathlib.Path:
  """Eight people with three JPEGs each, labelled, five points on each."""
  folder = tmp_path / "people"
  folder.mkdir()
  points = alignment.arcface_template(SIZE)
  cell = ";".join(f"{x:.3f},{y:.3f}" for x, y in points)
  rows = []
  for i in range(24):
    Image.fromarray(picture(i)).save(folder / f"{i:02d}.jpg", quality=95)
    rows.append(
      dict(
        file=f"{i:02d}.jpg",
        set="even" if i % 2 == 0 else "odd",
        identity=f"person{i // 3}",
        gender="MF"[i // 3 % 2],
        age=20 + i,
        glasses="",
        points=cell,
      )
    )
  write_labels(folder, rows)
  return folder


def write_labels(folder: pathlib.Path, rows: list[dict]) -> None:
  with open(folder / "labels.csv", "w", newline="") as file:
    writer = csv.DictWriter(file, rows[0])
    writer.writeheader()
    writer.writerows(rows)


@pytest.fixture
def data_config():
  """A function that makes a data config of given fields."""

  def make(**fields):
    config = dict(
      source="folder",
      path="",
      name="",
      split="",
      sets=(),
      image_size=SIZE,
      align="landmarks",
      max_faces=0,
      num_identities=4,
      images_per_identity=2,
      seed=0,
      domain="human",
      attributes=(),
      cache=True,
      max_bad_share=0.1,
    )
    return ml_collections.ConfigDict(config | fields)

  return make


@pytest.fixture
def labels_writer():
  return write_labels


@pytest.fixture
def make_picture():
  return picture
