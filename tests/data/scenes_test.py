"""Scenes: pictures of several people, from a folder to a batch."""

import logging
import shutil

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from PIL import Image

from jaxpriv.data import alignment, dataset, pipeline, records, sources
from jaxpriv.data.records import LANDMARKS, DataError
from jaxpriv.data.scenes import FolderScenes, group

SIZES = {"wide.png": (120, 60), "tall.png": (50, 100), "empty.png": (70, 70)}
COLUMNS = ("file", "identity", "Smiling", "x0", "y0", "x1", "y1", "points")


def _row(file, person="", smiling="", box=("",) * 4, points=""):
  values = (file, person, smiling, *box, points)
  return dict(zip(COLUMNS, map(str, values), strict=True))


@pytest.fixture
def scenes_folder(tmp_path, labels_writer):
  """White squares on black, boxed: three, two and none."""
  folder = tmp_path / "scenes"
  folder.mkdir()
  five = "12,14;16,14;14,16;12,18;16,18"
  rows = [
    _row("wide.png", "ann", 1, (10, 10, 20, 22), five),
    _row("tall.png", "eve", 0, (4, 70, 24, 95)),
    _row("wide.png", "bob", 0, (60, 20, 90, 50)),
    _row("tall.png", "", "", (20, 5, 40, 25)),
    _row("wide.png", "", 1, (100, 5, 118, 25)),
    _row("empty.png"),
  ]
  for name, (width, height) in SIZES.items():
    pixels = np.zeros((height, width, 3), np.uint8)
    for row in rows:
      if row["file"] == name and row["x0"]:
        x0, y0, x1, y1 = (int(row[side]) for side in ("x0", "y0", "x1", "y1"))
        pixels[y0:y1, x0:x1] = 255
    Image.fromarray(pixels).save(folder / name)
  labels_writer(folder, rows)
  return folder


def test_a_picture_is_a_record_of_all_its_faces(scenes_folder):
  source = FolderScenes(scenes_folder, max_faces=4)
  assert len(source) == 3 and source.max_faces == 4
  record = source[0]
  assert record["image"].shape == (60, 120, 3)
  np.testing.assert_array_equal(record["valid"], [True, True, True, False])
  np.testing.assert_array_equal(record["boxes"][1], [60, 20, 90, 50])
  np.testing.assert_array_equal(record["boxes"][3], 0)
  assert record["landmarks"].shape == (4, len(LANDMARKS), 2)
  np.testing.assert_array_equal(record["landmarks"][0, 0], [12, 14])
  assert np.isnan(record["landmarks"][1:]).all()
  people = [source.people[i] for i in record["identity"][:2]]
  assert people == ["ann", "bob"]
  np.testing.assert_array_equal(record["identity"][2:], -1)
  np.testing.assert_array_equal(record["attributes"], [[1], [0], [1], [-1]])
  assert not source[2]["valid"].any() and source[2]["left_out"] == 0
  assert "tall.png" in source.describe(1)
  # Identities are groups of people; a picture of unknown people has none.
  np.testing.assert_array_equal(source.identities, [0, 1, -1])
  assert source.identity_names == ("ann, bob", "eve")
  assert source.person(1) == "eve"


@pytest.mark.parametrize(
  "before, after",
  [("60,20,90,50", "60,20,90,51"), ("bob", "ann")],
  ids=["a box", "a person"],
)
def test_a_change_of_one_face_is_seen_before_images_are_read(
  scenes_folder, tmp_path, before, after
):
  table = (scenes_folder / "labels.csv").read_text()
  assert before in table
  faces = FolderScenes(scenes_folder).points["faces"]
  np.testing.assert_array_equal(
    faces, FolderScenes(scenes_folder).points["faces"]
  )
  other = shutil.copytree(scenes_folder, tmp_path / "other")
  (other / "labels.csv").write_text(table.replace(before, after, 1))
  changed = (faces != FolderScenes(other).points["faces"]).any(1)
  assert changed.sum() == 1


def test_the_largest_faces_are_kept_and_the_others_counted(
  scenes_folder, caplog
):
  with caplog.at_level(logging.WARNING):
    source = FolderScenes(scenes_folder, max_faces=2)
  assert "1 of 5 faces are left out" in caplog.text
  record = source[0]
  assert record["left_out"] == 1
  np.testing.assert_array_equal(
    record["boxes"], [[60, 20, 90, 50], [100, 5, 118, 25]]
  )
  assert source[1]["left_out"] == 0


@pytest.mark.parametrize("cache", [True, False])
def test_pictures_of_all_sizes_are_batched_whole(
  scenes_folder, data_config, cache
):
  config = data_config(
    path=str(scenes_folder),
    align="whole",
    max_faces=4,
    image_size=64,
    cache=cache,
    attributes=("Smiling",),
  )
  source = sources.open_source(config)
  assert source.max_faces == 4
  (batch,) = pipeline.epoch(
    source, np.arange(3), batch_size=4, process_index=0, process_count=1
  )
  assert batch["image"].shape == (4, 64, 64, 3)
  assert batch["boxes"].shape == (4, 4, 4)
  np.testing.assert_array_equal(batch["valid"].sum(1), [3, 2, 0, 0])
  np.testing.assert_array_equal(batch["padding"], [False, False, False, True])
  # Nobody is cropped, and the white squares are where the boxes are.
  valid = batch["valid"]
  boxes = batch["boxes"][valid]
  assert (boxes >= 0).all() and (boxes <= 64).all()
  areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
  rows = np.nonzero(valid)[0]
  for row in (0, 1):
    white = batch["image"][row, ..., 0].sum() / 255
    assert white == pytest.approx(areas[rows == row].sum(), rel=0.05)
    for x0, y0, x1, y1 in batch["boxes"][row, valid[row]]:
      assert batch["image"][row, int(y0 + y1) // 2, int(x0 + x1) // 2, 0] == 255
  # Padding adds nothing: no box, no area, no face.
  np.testing.assert_array_equal(batch["boxes"][~valid], 0)
  assert not batch["image"][3].any() and not batch["left_out"].any()


def test_one_face_a_record_is_framed_whole_too(people_folder, data_config):
  source = sources.open_source(
    data_config(path=str(people_folder), align="whole", image_size=24)
  )
  record = source[0]
  assert record["image"].shape == (24, 24, 3) and record["box"].shape == (4,)
  np.testing.assert_allclose(
    record["landmarks"][:5], alignment.arcface_template(24), atol=0.01
  )


@hypothesis.given(
  width=st.integers(8, 200),
  height=st.integers(8, 200),
  size=st.integers(8, 128),
  seed=st.integers(0, 100),
)
@hypothesis.settings(deadline=None, max_examples=30)
def test_whole_and_its_inverse_give_the_geometry_back(
  width, height, size, seed
):
  rng = np.random.default_rng(seed)
  low = rng.uniform(0, 0.5, (3, 2)) * (width, height)
  boxes = np.concatenate([low, low + rng.uniform(1, 4, (3, 2))], 1)
  faces = dict(
    box=boxes,
    landmarks=rng.uniform(0, 8, (3, len(LANDMARKS), 2)),
    attributes=np.zeros((3, 2), np.int8),
  )
  image = Image.new("RGB", (width, height))
  fields = records.scene(records.NO_IMAGE, faces, 5)
  photograph = records.Photograph(image, fields, np.full(4, np.nan), "it")
  record = alignment.frame(photograph, size, "whole")
  assert record["image"].shape == (size, size, 3)
  moved = record["boxes"][:3]
  scale = size / max(width, height)
  np.testing.assert_allclose(
    moved[:, 2:] - moved[:, :2], (boxes[:, 2:] - low) * scale, rtol=1e-3
  )
  back = alignment.invert(alignment.placement(photograph, size, "whole"))
  again = alignment.move_geometry(record, back)
  for name in ("boxes", "landmarks"):
    np.testing.assert_allclose(again[name], fields[name], atol=1e-3)
  np.testing.assert_array_equal(again["boxes"][3:], 0)


@hypothesis.given(
  st.lists(st.lists(st.integers(-1, 12), max_size=4), min_size=1, max_size=12)
)
@hypothesis.settings(deadline=None)
def test_nobody_is_in_two_groups(scenes):
  groups, members = group(np.array(people, int) for people in scenes)
  assert len(groups) == len(scenes)
  everyone = [person for some in members for person in some]
  assert len(everyone) == len(set(everyone))
  assert set(everyone) == {p for people in scenes for p in people if p >= 0}
  for number, people in zip(groups, scenes, strict=True):
    present = {person for person in people if person >= 0}
    assert (number < 0) == (not present)
    assert not present or present <= set(members[number])
  # The order of the scenes does not matter.
  turned, same = group(np.array(people, int) for people in scenes[::-1])
  assert same == members
  np.testing.assert_array_equal(turned[::-1], groups)


def test_scenes_are_split_by_group(scenes_folder):
  source = FolderScenes(scenes_folder, max_faces=4)
  data = dataset.split_data(source, dict(train=0.5, test=0.5), seed=0)
  people = [
    set(source.identities[rows]) - {-1} for rows in data.splits.values()
  ]
  assert all(people) and not people[0] & people[1]
  framed = sources.Framed(source, 32, "whole")
  for by in ("person", "image"):
    data = dataset.split_data(framed, dict(train=0.5, test=0.5), seed=0, by=by)
    batch = next(data.epoch("train", batch_size=1))
    assert batch["identity"].shape == (1, 4)


@pytest.mark.parametrize(
  "fields, message",
  [
    (dict(align="none"), "'none' is called 'centre' now"),
    (dict(align="centre"), "'centre', which would crop people.*=whole"),
    (dict(source="array_record"), "'array_record', whose records are of one"),
    (dict(source="feature_pools", own="folder"), "max_faces is 4.*give 0"),
  ],
)
def test_what_scenes_cannot_be_is_said(
  scenes_folder, data_config, fields, message
):
  config = dict(path=str(scenes_folder), align="whole", max_faces=4) | fields
  with pytest.raises(DataError, match=message):
    sources.open_source(data_config(**config))


def test_a_folder_without_boxes_has_no_scenes(tmp_path, labels_writer):
  with pytest.raises(DataError, match="no folder"):
    FolderScenes(tmp_path / "nowhere")
  with pytest.raises(DataError, match="no labels.csv.*max_faces = 32"):
    FolderScenes(tmp_path)
  labels_writer(tmp_path, [_row("a.png")])
  with pytest.raises(DataError, match="no box"):
    FolderScenes(tmp_path)
