"""Augmentation is bounded, a function of the row, and not the identity."""

import dm_pix as pix
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxpriv.data import augmentation
from jaxpriv.data.augmentation import Augmentation, augment
from jaxpriv.data.procedural import ProceduralFaces, ProceduralScenes
from jaxpriv.data.records import LANDMARKS

NONE = Augmentation(
  flip=False, shift=0.0, brightness=0.0, contrast=0.0, saturation=0.0
)


@pytest.fixture
def images():
  rng = np.random.default_rng(0)
  return jnp.asarray(rng.uniform(0.3, 0.7, (16, 24, 24, 3)), jnp.float32)


def test_nothing_asked_for_changes_nothing(images):
  np.testing.assert_array_equal(
    augment(jax.random.key(0), images, NONE), images
  )


@pytest.mark.parametrize(
    "field, value",
    [("flip", True), ("shift", 0.1), ("brightness", 0.2), ("contrast", 0.3),
     ("saturation", 0.5)],
)  # fmt: skip
def test_each_part_varies_images_one_by_one(images, field, value):
  same = jnp.broadcast_to(images[:1], images.shape)
  result = augment(jax.random.key(1), same, NONE._replace(**{field: value}))
  changed = np.abs(result - same).max((1, 2, 3)) > 1e-4
  assert changed.any()
  distinct = len(np.unique(np.asarray(result).reshape(16, -1), axis=0))
  assert distinct == 2 if field == "flip" else distinct == 16
  assert result.shape == images.shape and result.dtype == jnp.float32
  assert result.min() >= 0 and result.max() <= 1


def colours():
  """Random ones, some out of range; black, white, pure colours and greys."""
  rng = np.random.default_rng(1)
  image = rng.uniform(-0.3, 1.3, (8, 9, 3)).astype(np.float32)
  image[0] = rng.integers(0, 2, (9, 3))
  image[1] = image[1, :, :1]
  image[2] = -np.abs(image[2])
  return jnp.asarray(image)


@pytest.mark.parametrize("factor", [0.0, 0.4, 1.0, 1.6, 50.0])
def test_saturation_is_that_of_dm_pix(factor):
  ours = augmentation._saturate(colours(), factor)
  peer = pix.adjust_saturation(colours(), factor)
  np.testing.assert_allclose(ours, peer, atol=2e-5)


@pytest.mark.parametrize("factor", [0.4, 1.6])
def test_saturation_has_a_gradient_everywhere(factor):
  """The search for units that a clip lets through climbs by it."""
  slope = jax.grad(lambda x: augmentation._saturate(x, factor).sum())(colours())
  assert np.isfinite(slope).all()
  grey = slope[1]
  # Of three channels that are one, whose sum is thrice their value.
  np.testing.assert_allclose(grey.sum(-1), 3, atol=1e-5)


def test_a_flip_mirrors(images):
  result = augment(jax.random.key(2), images, NONE._replace(flip=True))
  flipped = np.array(
    [np.array_equal(r, x[:, ::-1]) for r, x in zip(result, images)]
  )
  unchanged = np.array([np.array_equal(r, x) for r, x in zip(result, images)])
  assert (flipped ^ unchanged).all() and 2 < flipped.sum() < 14


def test_a_shift_moves_a_blob_by_no_more_than_asked():
  y, x = np.mgrid[:41, :41]
  blob = np.exp(-((x - 20) ** 2 + (y - 20) ** 2) / 18.0)
  images = jnp.asarray(np.repeat(blob[None, ..., None], 64, 0), jnp.float32)
  images = jnp.repeat(images, 3, -1)
  result = np.asarray(
    augment(jax.random.key(3), images, NONE._replace(shift=0.1))
  )
  gray = result[..., 0]
  mass = gray.sum((1, 2))
  moved_x = (gray * x).sum((1, 2)) / mass - 20
  moved_y = (gray * y).sum((1, 2)) / mass - 20
  for moved in (moved_x, moved_y):
    assert np.abs(moved).max() < 4.2  # a tenth of 41 pixels
    assert moved.max() > 2 and moved.min() < -2
  # The scale varies the area by its square.
  area = mass / blob.sum()
  assert 0.8 < area.min() < 0.95 and 1.05 < area.max() < 1.22


def test_the_sharding_does_not_matter(images):
  mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
  options = Augmentation()
  step = jax.jit(lambda key, x: augment(key, x, options))
  alone = step(jax.random.key(4), images)
  sharded = jax.device_put(images, NamedSharding(mesh, P("data")))
  np.testing.assert_allclose(step(jax.random.key(4), sharded), alone, atol=1e-6)


def test_the_key_makes_the_variation(images):
  options = Augmentation()
  first = augment(jax.random.key(5), images, options)
  np.testing.assert_array_equal(
    first, augment(jax.random.key(5), images, options)
  )
  assert (
    np.abs(first - augment(jax.random.key(6), images, options)).max() > 0.01
  )


def _pictures():
  faces = ProceduralFaces(4, 2, 32).batch(np.arange(8))
  scenes = ProceduralScenes(32, 1, 32, max_faces=4).batch(np.arange(8))
  return {"faces": faces, "scenes": scenes}


@pytest.mark.parametrize("name", ["faces", "scenes"])
def test_mirrored_twice_is_as_before(name):
  batch = _pictures()[name]
  flipped = jnp.array([True, False] * 4)
  once = augmentation.mirror(batch, flipped)
  twice = augmentation.mirror(once, flipped)
  assert twice.keys() == batch.keys()
  for key, value in batch.items():
    np.testing.assert_allclose(twice[key], value, atol=1e-5, err_msg=key)
    np.testing.assert_array_equal(np.asarray(once[key])[1::2], value[1::2])
  np.testing.assert_array_equal(
    np.asarray(once["image"])[0], batch["image"][0, :, ::-1]
  )


def test_geometry_goes_with_the_pixels_of_a_mirror():
  """A bright pixel at a point, and a bright box, are found again."""
  point, box = np.array([4.0, 9.0]), np.array([3.0, 7.0, 6.0, 12.0])
  image = np.zeros((1, 16, 20, 3), np.float32)
  image[0, 7:12, 3:6] = 0.5
  image[0, 9, 4] = 1
  left = LANDMARKS.index("left_eye")
  landmarks = np.full((1, 2, len(LANDMARKS), 2), np.nan, np.float32)
  landmarks[0, 0, left] = point
  visibility = np.full((1, 2, len(LANDMARKS)), -1, np.int8)
  visibility[0, 0, left] = 1
  batch = dict(
    image=image,
    boxes=np.array([[box, np.zeros(4)]]),
    valid=np.array([[True, False]]),
    landmarks=landmarks,
    visibility=visibility,
    pose=np.array([[[0.1, 0.2, 0.3], [np.nan] * 3]]),
  )
  result = augmentation.mirror(batch, jnp.array([True]))
  right = LANDMARKS.index("right_eye")
  x, y = np.asarray(result["landmarks"][0, 0, right]).astype(int)
  assert result["image"][0, y, x, 0] == 1
  assert np.isnan(result["landmarks"][0, 0, left]).all()
  assert result["visibility"][0, 0, right] == 1
  x0, y0, x1, y1 = np.asarray(result["boxes"][0, 0]).astype(int)
  assert (result["image"][0, y0:y1, x0:x1] > 0).all()
  assert (x1 - x0, y1 - y0) == (3, 5)
  np.testing.assert_array_equal(result["boxes"][0, 1], 0)
  np.testing.assert_allclose(result["pose"][0, 0], [-0.1, 0.2, -0.3])


def test_half_of_a_batch_is_mirrored_by_row():
  images = jnp.arange(64.0)[:, None, None, None] + jnp.arange(2.0)[:, None]
  mirrored = lambda key, x: augmentation.random_mirror(key, {"image": x})
  result = np.asarray(mirrored(jax.random.key(0), images)["image"])
  turned = result[:, 0, 0, 0] > result[:, 0, 1, 0]
  assert 16 < turned.sum() < 48
  # The augmentation of a row does not depend on the number of rows after it.
  part = np.asarray(mirrored(jax.random.key(0), images[:8])["image"])
  np.testing.assert_array_equal(part, result[:8])
