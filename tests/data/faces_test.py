"""Real photographs: counts, people, and the positions of faces."""

import numpy as np
import pytest

from jaxpriv.data import alignment, sources
from jaxpriv.data.folder import FolderSource
from jaxpriv.data.scenes import FolderScenes

pytestmark = pytest.mark.faces

TEMPLATE = alignment.arcface_template(112)


@pytest.mark.parametrize(
  "name, images, people, varied",
  [
    ("ytf_keypoints", 3414, 280, ("Male",)),
    ("london", 204, 102, ("Male", "Smiling", "Young")),
    ("orl", 400, 40, ("Male", "Eyeglasses")),
  ],
)
def test_sets_are_whole(faces, data_config, name, images, people, varied):
  config = data_config(
    path=str(faces), sets=(name,), image_size=64, max_bad_share=0.001
  )
  source = sources.open_source(config)
  # The points of one photograph are on a hand.
  wrong = ["ytf_155_08.jpg: its points do not lie as those of a face"]
  wrong = wrong if name == "ytf_keypoints" else []
  assert all(a in b for a, b in zip(wrong, source.unreadable, strict=True))
  images -= len(wrong)
  assert len(source) == images
  assert len(np.unique(source.identities)) == people
  assert (source.identities >= 0).all()
  assert source.attribute_names == varied
  pixels = source.batch(np.arange(images))["image"]
  assert pixels.shape == (images, 64, 64, 3)
  assert (pixels.std((1, 2, 3)) > 10).all()


@pytest.mark.parametrize("name", ["ytf_keypoints", "london", "canada"])
def test_aligned_points_are_near_the_template(faces, name):
  source = sources.Framed(FolderSource(faces, (name,)), 112)
  landmarks = np.array(
    [source[i]["landmarks"][:5] for i in range(0, len(source), 7)]
  )
  complete = landmarks[np.isfinite(landmarks).all((1, 2))]
  assert len(complete) > 4
  error = np.linalg.norm(complete - TEMPLATE, axis=-1).mean(1)
  assert np.median(error) < 5


@pytest.mark.parametrize("name", ["ytf_keypoints", "london", "canada"])
def test_box_crops_frame_like_the_template(faces, name):
  source = sources.Framed(FolderSource(faces, (name,)), 112, "box")
  landmarks = np.array(
    [source[i]["landmarks"][:5] for i in range(0, len(source), 7)]
  )
  complete = landmarks[np.isfinite(landmarks).all((1, 2))]
  assert np.abs(np.median(complete, axis=0) - TEMPLATE).max() < 6


def test_smiling_photographs_are_framed_like_neutral_ones(faces):
  source = FolderSource(faces, ("london",))
  photographs = [source.photograph(i) for i in range(len(source))]
  boxes = np.array([photograph.fields["box"] for photograph in photographs])
  assert np.isnan(boxes).all(1).sum() == 102  # the smiling ones
  squares = np.array([photograph.square for photograph in photographs])
  assert np.isfinite(squares).all()
  spread = np.abs(squares - np.median(squares, axis=0))
  assert np.percentile(spread, 95) < 40  # of 512 pixels


def test_group_photographs_give_a_record_per_face(faces):
  source = sources.Framed(FolderSource(faces, ("dlib_groups",)), 64)
  assert len(source) == 41
  assert len({source.describe(i) for i in range(41)}) == 8


def test_pose_of_video_frames_is_plausible(faces):
  source = FolderSource(faces, ("ytf_keypoints",))
  pose = np.array([source.photograph(i).fields["pose"] for i in range(500)])
  assert np.isfinite(pose).all()
  assert np.abs(np.median(pose, axis=0)).max() < np.deg2rad(8)
  assert np.percentile(np.abs(pose[:, 0]), 99) < np.deg2rad(90)


def test_groups_of_people_are_scenes_with_everybody_in_them(faces):
  source = sources.Framed(FolderScenes(faces, ("dlib_groups",), 8), 96, "whole")
  records = [source[i] for i in range(len(source))]
  assert [int(r["valid"].sum()) for r in records] == [7, 6, 3, 6, 3, 7, 7, 2]
  for record in records:
    boxes = record["boxes"][record["valid"]]
    assert ((boxes > -1) & (boxes < 97)).all() and record["left_out"] == 0
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    nose = record["landmarks"][record["valid"], 2]
    assert (np.abs(nose - middle) < (boxes[:, 2:] - boxes[:, :2]) / 2).all()
