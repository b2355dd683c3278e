"""RetinaFace: crops that it learns from, and what it finds in pictures."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpriv.methods.face_detection import crops, reading
from jaxpriv.metrics import anchors as anchors_lib
from jaxpriv.metrics import detection
from jaxpriv.training import inference
from tests import tiny


def scenes(rows=8, seed=0, size=tiny.SIDE, count=4):
  batch = tiny.scenes(rows, seed, size, count)
  return inference.as_float(jax.tree.map(jnp.asarray, batch))


CROP = jax.jit(crops.random_crops, static_argnames=("scales", "side", "tries"))


def ramp(rows, side):
  """Images whose red is x and whose green is y, of the middle of a pixel."""
  place = (np.arange(side, dtype=np.float32) + 0.5) / side
  x, y = np.meshgrid(place, place)
  return jnp.array(np.stack([np.stack([x, y, 0 * x], -1)] * rows))


@pytest.mark.parametrize("side", [32, 48])
def test_boxes_and_points_move_with_the_pixels(side):
  batch = scenes(8)
  batch["image"] = ramp(8, 32)
  cut = CROP(jax.random.key(0), batch, scales=(0.5, 0.75), side=side)
  seen = 0
  for i in range(8):
    image = np.asarray(cut["image"][i], np.float64)
    # Where in the scene the middle of the crop, and its length, are.
    middle = image[side // 2 - 1 : side // 2 + 1, side // 2 - 1 : side // 2 + 1]
    centre = middle[..., :2].mean((0, 1)) * 32
    inner = image[:, :, 0].mean(0)
    length = (inner[-4] - inner[3]) * 32 * side / (side - 7)
    corner, factor = centre - length / 2, side / length
    for j in range(4):
      if not cut["valid"][i, j]:
        assert not np.asarray(cut["boxes"][i, j]).any()
        continue
      seen += 1
      box = np.asarray(batch["boxes"][i, j], np.float64).reshape(2, 2)
      expected = np.clip((box - corner) * factor, 0, side).ravel()
      np.testing.assert_allclose(cut["boxes"][i, j], expected, atol=0.1)
      points = np.asarray(batch["landmarks"][i, j, :5], np.float64) + 0.5
      expected = np.clip((points - corner) * factor, 0, side) - 0.5
      np.testing.assert_allclose(cut["landmarks"][i, j, :5], expected, atol=0.1)
  assert seen >= 8


def test_crops_show_all_of_a_face_and_faces_are_kept_by_their_centres():
  batch = scenes(16, size=64)
  # Crops that show all of the one show a part of the other, if any.
  boxes = np.zeros((16, 4, 4), np.float32)
  boxes[:, 0], boxes[:, 1] = [30, 8, 38, 18], [2, 20, 30, 44]
  batch["boxes"] = jnp.array(boxes)
  batch["valid"] = jnp.array(boxes.any(-1))
  batch["image"] = ramp(16, 64)
  counts = np.zeros(4)
  for seed in range(3):
    cut = CROP(jax.random.key(seed), batch, scales=(0.5,), side=64)
    for i in range(16):
      corner = np.asarray(cut["image"][i, :2, :2, :2]).mean((0, 1)) * 64 - 0.5
      low, high = boxes[i, :, :2] - corner, boxes[i, :, 2:] - corner
      centre = (low + high) / 2
      inside = ((centre >= 0) & (centre < 32)).all(1) & boxes[i].any(-1)
      np.testing.assert_array_equal(cut["valid"][i], inside)
      whole = ((low > -0.3) & (high < 32.3)).all(1) & boxes[i].any(-1)
      assert whole.any(), corner
      counts += inside
  assert (counts[:2] > 8).all() and not counts[2:].any()


def test_where_no_crop_shows_a_face_the_whole_picture_is_taken():
  batch = scenes(4)
  batch["boxes"] = jnp.zeros((4, 4, 4)).at[:, 0].set(jnp.array([1, 1, 31, 31]))
  batch["valid"] = jnp.zeros((4, 4), bool).at[:, 0].set(True)
  batch["valid"] = batch["valid"].at[3].set(False)
  cut = CROP(jax.random.key(0), batch, scales=(0.3, 0.8), side=32)
  np.testing.assert_allclose(cut["image"], batch["image"], atol=1e-5)
  np.testing.assert_allclose(cut["boxes"][:3], batch["boxes"][:3], atol=1e-5)
  np.testing.assert_array_equal(cut["valid"], batch["valid"])


def test_a_crop_depends_on_key_and_row_alone():
  batch = scenes(8)
  cut = lambda seed, rows: CROP(
    jax.random.key(seed), rows, scales=(0.4, 0.6), side=32
  )["image"]
  other = {k: v.at[4:].set(v[:4]) for k, v in batch.items()}
  np.testing.assert_array_equal(cut(0, batch)[:4], cut(0, other)[:4])
  assert np.abs(cut(0, batch) - cut(1, batch)).max() > 0.1
  both = cut(0, {k: v.at[1].set(v[0]) for k, v in batch.items()})
  assert np.abs(both[0] - both[1]).max() > 0.1


OPTIONS = types.SimpleNamespace(
  sizes=(8.0, 16.0, 24.0, 32.0, 40.0, 48.0),
  test_scales=(1.0,),
  threshold=0.02,
  candidates=60,
  overlap=0.4,
  keep=5,
)


def stub(*answers):
  """A network that finds given boxes at 64 px, at a scale of `answers`."""

  def apply(images):
    height, width = images.shape[1:3]
    grid = anchors_lib.grid(height, width, OPTIONS.sizes)
    scores = np.full((1, len(grid), 2), [5.0, -5.0], np.float32)
    boxes = np.zeros((1, len(grid), 4), np.float32)
    points = np.zeros((1, len(grid), 10), np.float32)
    factor = width / 64
    for box, logit, scale in answers:
      if scale != factor:
        continue
      box = np.array(box, np.float64) * factor
      # The anchors that overlap it most, all of which say so.
      overlap = np.asarray(detection.iou(box, anchors_lib.corners(grid)))
      for a in np.argsort(-overlap)[:3]:
        scores[0, a] = 0, logit + overlap[a] / 10
        boxes[0, a] = anchors_lib.encode(grid[a], box)
        points[0, a] = anchors_lib.encode_points(
          grid[a], np.linspace(box[:2], box[2:], 5)
        )
    return {"scores": jnp.array(scores), "boxes": boxes, "points": points}

  return apply


def found(*answers, **changes):
  options = types.SimpleNamespace(**{**vars(OPTIONS), **changes})
  batch = {"image": jnp.zeros((1, 64, 64, 3))}
  return jax.tree.map(
    lambda x: np.asarray(x[0]), reading.detect(stub(*answers), batch, options)
  )


A, B = (10, 12, 22, 28), (36, 30, 62, 70)


def test_each_face_is_found_once_best_first_and_within_the_picture():
  got = found((A, 1.0, 1.0), (B, 2.0, 1.0))
  assert got["boxes"].shape == (5, 4)
  np.testing.assert_allclose(got["boxes"][:2], [(36, 30, 62, 64), A], atol=1e-3)
  assert 0.85 < got["scores"][0] < 0.9 and 0.7 < got["scores"][1] < 0.76
  np.testing.assert_allclose(
    got["landmarks"][1], np.linspace(A[:2], A[2:], 5) - 0.5, atol=1e-3
  )
  for value in got.values():
    assert not value[2:].any()


def test_scores_below_the_threshold_are_no_faces_and_few_are_kept():
  got = found((A, 1.0, 1.0), (B, -1.0, 1.0), threshold=0.5)
  assert (got["scores"] > 0).sum() == 1
  got = found((A, 1.0, 1.0), (B, -1.0, 1.0), keep=1)
  assert got["boxes"].shape == (1, 4)
  np.testing.assert_allclose(got["boxes"][0], A, atol=1e-3)


def test_faces_of_several_scales_are_merged_in_pixels_of_the_picture():
  near = (11, 12, 23, 29)  # of the same face as A
  answers = (A, 1.0, 1.0), (near, 3.0, 2.0), (B, 0.5, 0.5)
  got = found(*answers, test_scales=(0.5, 1.0, 2.0))
  kept = got["scores"] > 0
  np.testing.assert_allclose(
    got["boxes"][kept], [near, (36, 30, 62, 64)], atol=1e-3
  )
  # Overlaps of 0.8, above which nothing goes now.
  got = found(*answers, test_scales=(0.5, 1.0, 2.0), overlap=0.9)
  assert (got["scores"] > 0).sum() == 3


def test_a_scale_of_one_changes_no_pixel_and_others_give_whole_cells():
  images = jax.random.uniform(jax.random.key(0), (1, 84, 100, 3))
  assert reading.scaled(images, 1.0) is images
  assert reading.scaled(images, 0.5).shape == (1, 32, 64, 3)
  assert reading.scaled(images, 0.1).shape == (1, 32, 32, 3)


def test_boxes_are_drawn_where_they_are_and_only_of_faces():
  images = jnp.zeros((1, 16, 16, 3))
  boxes = jnp.array([[[2.0, 3, 8, 9], [0, 0, 16, 16]]])
  points = jnp.full((1, 2, 5, 2), 5.0)
  valid = jnp.array([[True, False]])
  got = np.asarray(reading.drawn(images, boxes, points, valid))[0]
  line = (got == np.array([1, 0.8, 0.1], np.float32)).all(-1)
  expected = np.zeros((16, 16), bool)
  expected[2:10, 1:9] = True
  expected[4:8, 3:7] = False
  np.testing.assert_array_equal(line, expected)
  green = (got == np.array([0.1, 1, 0.2], np.float32)).all(-1)
  assert green[5, 5] and green.sum() == 5
  assert (got[4:8, 3:7] > 0).any(-1).sum() == 9
  assert not got[10:, 10:].any()
