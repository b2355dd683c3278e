"""Skin tone against another library's CIELAB, and drawn cheeks."""

import jax.numpy as jnp
import numpy as np
import pytest
from skimage import color

from jaxpriv.data import augmentation, skin
from jaxpriv.data.procedural import ProceduralFaces, factors
from jaxpriv.data.records import LANDMARKS


def test_colours_equal_those_of_another_library():
  rgb = np.random.default_rng(0).random((500, 3))
  rgb[:3] = [[0, 0, 0], [1, 1, 1], [0.03, 0.03, 0.03]]
  got = np.asarray(skin.lab(jnp.asarray(rgb)))
  np.testing.assert_allclose(got, color.rgb2lab(rgb), atol=0.03)


def test_the_angle_is_that_of_its_formula():
  tones = np.array(factors.MONK_SKIN_TONES) / 255
  lab = color.rgb2lab(tones)
  expected = np.degrees(np.arctan((lab[:, 0] - 50) / lab[:, 2]))
  got = np.asarray(skin.typology_angle(jnp.asarray(tones)))
  np.testing.assert_allclose(got, expected, atol=0.1)
  assert (np.diff(got) < 0).all()  # from light to dark
  blue = skin.typology_angle(jnp.array([[0.6, 0.7, 1.0], [0.0, 0.0, 0.3]]))
  np.testing.assert_allclose(blue, [90, -90], atol=0.1)


def test_levels_begin_at_their_edges():
  angles = jnp.array([70.0, 55.0, 54.9, 28.0, 0.0, -30.1])
  assert skin.level(angles).tolist() == [0, 0, 1, 2, 4, 5]
  assert skin.level(angles, ()).tolist() == [0] * 6
  assert len(skin.CLASSES) == len(skin.EDGES) + 1


@pytest.mark.parametrize("aligned", ["landmarks", "head", ""])
def test_cheeks_are_found(aligned):
  """Drawn people differ in the angle as their levels of skin do."""
  source = ProceduralFaces(60, 1, 64, seed=2, aligned=aligned)
  batch = source.batch(np.arange(60))
  images = jnp.asarray(batch["image"], jnp.float32) / 255
  points = None if aligned else jnp.asarray(batch["landmarks"])
  colours = skin.cheeks(images, points, aligned or "landmarks")
  angles = np.asarray(skin.typology_angle(colours))
  tone = source.params(np.arange(60), "human")["skin_tone"]
  assert np.corrcoef(angles, tone)[0, 1] < -0.85


def test_cheeks_of_a_mirrored_photograph_are_the_same_pixels():
  """Points are at centres of pixels, 0 to S - 1."""
  rng = np.random.default_rng(0)
  points = np.zeros((4, len(LANDMARKS), 2), np.float32)
  points[:, :5] = [[20, 24], [43.3, 25], [32, 37], [23, 48], [40, 49.2]]
  batch = {
    "image": jnp.asarray(rng.random((4, 64, 64, 3)), jnp.float32),
    "landmarks": jnp.asarray(points),
  }
  mirrored = augmentation.mirror(batch, jnp.ones(4, bool))
  np.testing.assert_allclose(
    skin.cheeks(mirrored["image"], mirrored["landmarks"]),
    skin.cheeks(batch["image"], batch["landmarks"]),
    rtol=1e-5,
  )


def test_a_cheek_is_where_the_points_say():
  image = jnp.zeros((1, 32, 32, 3)).at[:, 8:24, 2:14].set(1.0)
  points = jnp.array([[[4.0, 8], [12, 8], [8, 12], [4, 20], [12, 20]]])
  np.testing.assert_allclose(skin.cheeks(image, points), 1.0)
  unknown = points.at[0, 3].set(jnp.nan)
  aligned = skin.cheeks(image, None)
  np.testing.assert_array_equal(skin.cheeks(image, unknown), aligned)
  assert aligned.max() < 1
  # The nose is not needed.
  nose = points.at[0, 2].set(jnp.nan)
  np.testing.assert_allclose(skin.cheeks(image, nose), 1.0)
