"""Images of any size are read as if each were padded and read alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpriv.methods.face_detection import reading
from jaxpriv.training import any_size
from tests import tiny


@pytest.mark.parametrize(
  "side, padded",
  [(1, 128), (128, 128), (129, 192), (2048, 2048), (2049, 2080), (2080, 2080)],
)
def test_sides_are_few(side, padded):
  assert any_size.padded_side(side) == padded


def test_sides_may_be_given():
  assert any_size.padded_side(40, (32, 96)) == 96
  assert any_size.padded_side(100, (32, 96)) == 128


def boxes_of(images):
  """A detector that finds bright pixels, and says how many shapes it saw."""
  _, height, width, _ = images.shape
  seen.append(images.shape)
  bright = images[..., 0].reshape(len(images), -1)
  scores, where = jax.lax.top_k(bright, 3)
  x, y = where % width, where // width
  boxes = jnp.stack([x, y, x + 4, y + 3], -1).astype(jnp.float32)
  return {"boxes": boxes, "scores": scores, "landmarks": boxes[:, :, None, :2]}


seen = []


def test_answers_are_in_order_clipped_and_of_faces_alone():
  seen.clear()
  rng = np.random.default_rng(0)
  shapes = [(20, 30), (40, 33), (32, 32), (64, 50), (9, 31)]
  images, expected = [], []
  for height, width in shapes:
    image = np.zeros((height, width, 3), np.uint8)
    y, x = rng.integers(0, height), rng.integers(0, width)
    image[y, x] = 200
    image[height - 1, width - 1, 0] = 100
    images.append(image)
    expected.append([(x, y), (width - 1, height - 1)])
  found = any_size.detect_any(boxes_of, images, (32, 64), batch_size=2)
  assert sorted(seen) == [(2, 32, 32, 3), (2, 64, 64, 3)]
  for answer, places, (height, width) in zip(found, expected, shapes):
    assert len(answer["boxes"]) == 2
    np.testing.assert_array_equal(answer["boxes"][:, :2], places)
    np.testing.assert_allclose(answer["scores"], [200 / 255, 100 / 255])
    np.testing.assert_array_equal(answer["landmarks"][:, 0], places)
    x, y = places[1]
    np.testing.assert_array_equal(answer["boxes"][1], (x, y, width, height))


def test_boxes_in_the_padding_are_left_out():
  def detect(images):
    boxes = jnp.array([[[2.0, 2, 9, 9], [21, 2, 30, 9], [18, 2, 30, 9]]])
    return {"boxes": boxes, "scores": jnp.array([[0.9, 0.8, 0.7]])}

  image = np.zeros((10, 20, 3), np.uint8)
  (found,) = any_size.detect_any(detect, [image], (32,), batch_size=1)
  np.testing.assert_allclose(found["scores"], [0.9, 0.7])
  np.testing.assert_array_equal(found["boxes"][1], (18, 2, 20, 9))


def apply(images):
  """A detector that looks at each cell's mean colour alone."""
  rng = np.random.default_rng(0)
  said = {"scores": [], "boxes": [], "points": []}
  for stride in (8, 16, 32):
    batch, height, width, _ = images.shape
    cells = images.reshape(
      batch, height // stride, stride, width // stride, stride, 3
    ).mean((2, 4))
    for name, count in ("scores", 2), ("boxes", 4), ("points", 10):
      weights = rng.normal(0, 4, (3, 2 * count)).astype(np.float32)
      said[name].append((cells @ weights).reshape(batch, -1, count))
  return {name: jnp.concatenate(rows, 1) for name, rows in said.items()}


def test_a_detector_says_of_two_sizes_what_it_says_of_each_padded():
  options = tiny.face_detection(keep=4, threshold=0.0).model
  detect = lambda x: reading.detect(apply, {"image": x}, options)
  rng = np.random.default_rng(1)
  sizes = [(30, 44), (64, 20)]
  images = [rng.integers(0, 256, (*size, 3), np.uint8) for size in sizes]
  together = any_size.detect_any(detect, images, (32, 64), batch_size=2)
  alone = jax.jit(detect)
  for image, found in zip(images, together):
    height, width = image.shape[:2]
    padded = np.zeros((1, 32 if height < 32 else 64, 64, 3), np.float32)
    padded = padded[:, :, : 32 if width < 32 else 64]
    padded[0, :height, :width] = image / 255.0
    expected = jax.tree.map(lambda x: np.asarray(x[0]), alone(padded))
    boxes = np.clip(expected["boxes"], 0, [width, height] * 2)
    kept = (boxes[:, 2:] > boxes[:, :2]).all(1) & (expected["scores"] > 0)
    assert kept.sum() > 1
    np.testing.assert_allclose(found["boxes"], boxes[kept], atol=1e-3)
    for name in ("scores", "landmarks"):
      np.testing.assert_allclose(found[name], expected[name][kept], atol=1e-3)


@pytest.mark.parametrize(
  "images, options, message",
  [
    ([np.zeros((8, 8), np.uint8)], {}, "image 0 must be uint8"),
    ([np.zeros((8, 8, 3))], {}, "not float64"),
    ([np.zeros((0, 8, 3), np.uint8)], {}, "with pixels"),
    ([], dict(sides=(32, 40)), "multiples of 32"),
    ([], dict(sides=(64, 32)), "ascend"),
    ([], dict(batch_size=0), "batch_size"),
  ],
)
def test_what_cannot_be_read_is_refused(images, options, message):
  with pytest.raises(ValueError, match=message):
    any_size.detect_any(boxes_of, images, **options)


def test_no_image_is_no_answer():
  assert any_size.detect_any(boxes_of, []) == []
