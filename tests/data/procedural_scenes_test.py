"""Drawn scenes: the contract of scene records, and the content of pictures."""

import pickle

import numpy as np
import pytest

from jaxpriv.data import records, sources
from jaxpriv.data.procedural import ProceduralFaces, ProceduralScenes
from jaxpriv.errors import SettingError


@pytest.fixture(scope="module")
def drawn():
  source = ProceduralScenes(120, 2, 64, seed=5, max_faces=4)
  return source, source.batch(np.arange(24))


@pytest.mark.parametrize("domain", ["human", "all"])
def test_records_have_the_shapes_of_the_contract(domain):
  source = ProceduralScenes(12, 2, 48, domain=domain, max_faces=3)
  assert len(source) == 8
  record = source[5]
  faces = dict(
    box=np.zeros((1, 4)),
    attributes=np.zeros((1, len(source.attribute_names)), np.int8),
  )
  empty = records.scene(np.zeros((48, 48, 3), np.uint8), faces, 3)
  assert record.keys() == empty.keys()
  for name, value in empty.items():
    assert np.shape(record[name]) == np.shape(value), name
    assert record[name].dtype == value.dtype, name
  assert record["valid"].any() and record["left_out"] == 0


def test_a_picture_is_a_function_of_seed_and_index(drawn):
  source, batch = drawn
  again = pickle.loads(pickle.dumps(source))
  more = ProceduralScenes(400, 2, 64, seed=5, max_faces=4)
  for index in (0, 7, 23):
    for name, value in again[index].items():
      np.testing.assert_array_equal(batch[name][index], value, name)
      np.testing.assert_array_equal(more[index][name], value, name)
  other = ProceduralScenes(120, 2, 64, seed=6, max_faces=4)[0]
  assert not np.array_equal(other["image"], batch["image"][0])
  with pytest.raises(IndexError, match="60"):
    source[60]


def test_faces_lie_apart_and_within_the_picture(drawn):
  _, batch = drawn
  counts = batch["valid"].sum(1)
  assert set(counts) >= {1, 2, 3} and (counts >= 1).all()
  for boxes, valid in zip(batch["boxes"], batch["valid"], strict=True):
    assert (boxes[~valid] == 0).all()
    faces = boxes[valid]
    assert ((faces >= 0) & (faces <= 64)).all()
    assert (faces[:, 2:] - faces[:, :2] > 3).all()
    for i, a in enumerate(faces):
      for b in faces[i + 1 :]:
        low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
        assert (high <= low).any()


def test_faces_are_from_8_pixels_on_in_scenes_of_the_default_size():
  source = ProceduralScenes(400, 1, max_faces=8)
  batch = source.batch(np.arange(40))
  boxes = batch["boxes"][batch["valid"]]
  sides = np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(1))
  assert 8 <= sides.min() < 9 and 40 < sides.max() < 56
  assert (sides < 12).mean() > 0.25


def test_eyes_nose_and_mouth_are_in_the_box(drawn):
  _, batch = drawn
  valid = batch["valid"]
  x0, y0, x1, y1 = batch["boxes"][valid].T
  for name in ("left_eye", "right_eye", "nose", "mouth_center"):
    points = batch["landmarks"][valid][:, records.LANDMARKS.index(name)]
    x, y = points.T
    assert ((x > x0) & (x < x1) & (y > y0) & (y < y1)).all(), name


def test_a_face_is_drawn_where_it_is_labelled():
  """Removing a person changes a picture only around that person."""
  source = ProceduralScenes(40, 1, 96, seed=2, max_faces=4)
  place = np.array([0.15, 0.1, -0.1])
  shared = source._shared(3)
  face = source._face(7, 0, place, shared)
  behind = np.zeros((96, 96, 3), np.float32)
  picture = source._paint(behind.copy(), [face])
  x0, y0, x1, y1 = source._labels(*face)["box"].round().astype(int)
  changed = (picture != behind).any(-1)
  assert changed[y0 + 2 : y1 - 2, x0 + 2 : x1 - 2].mean() > 0.95
  # Hair, ears and shoulders are near the face; nothing changes above.
  assert not changed[: y0 - (y1 - y0)].any()
  assert not changed[:y1, : x0 - (x1 - x0)].any()
  # The body reaches the bottom.
  assert changed[-1].any()


def test_groups_share_nobody_and_are_people_of_the_faces(drawn):
  source, batch = drawn
  who = [set(i[v].tolist()) for i, v in zip(batch["identity"], batch["valid"])]
  for index, people in enumerate(who):
    assert {person // 4 for person in people} == {source.identities[index]}
  assert any(who[i] & who[i + 1] for i in range(0, 24, 2))
  faces = ProceduralFaces(120, 1, 32, seed=5)
  stable = [source.attribute_names.index(n) for n in ("Male", "Young")]
  for row in range(24):
    for person, attributes in zip(
      batch["identity"][row][batch["valid"][row]],
      batch["attributes"][row][batch["valid"][row]],
      strict=True,
    ):
      expected = faces[int(person)]["attributes"][stable]
      np.testing.assert_array_equal(attributes[stable], expected)


def test_scenes_are_opened_by_config(data_config):
  config = data_config(
    source="procedural", align="whole", max_faces=2, image_size=48,
    num_identities=6, images_per_identity=2,
  )  # fmt: skip
  source = sources.open_source(config)
  assert len(source) == 6 and source.max_faces == 2
  record = source[1]
  assert record["boxes"].shape == (2, 4) and record["attributes"].shape == (
    2,
    4,
  )
  drawn = ProceduralScenes(6, 2, 48, max_faces=2)[1]
  np.testing.assert_array_equal(record["image"], drawn["image"])
  assert source.person(1) == "procedural human 2 to 3, seed 0"


@pytest.mark.parametrize(
  ("options", "message"),
  [
    (dict(image_size=8), "config.data.image_size = 8 "),
    (dict(num_identities=3), "config.data.num_identities = 3 is too few"),
    (dict(max_faces=0), "config.data.max_faces and .*, not 0"),
    (dict(domain="fish"), "config.data.domain names 'fish'"),
  ],
)
def test_settings_that_cannot_be_are_named(options, message):
  with pytest.raises(SettingError, match=message):
    ProceduralScenes(**options)
