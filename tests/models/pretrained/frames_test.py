"""Where points and colours land in the frames of the pretrained networks."""

import numpy as np
import pytest

from jaxpriv.data import alignment
from jaxpriv.models.pretrained import frames
from jaxpriv.models.pretrained.catalogue import NETWORKS

WITH_POINTS = [name for name in NETWORKS if NETWORKS[name].frame.points]


def test_the_template_is_that_of_the_alignment():
  np.testing.assert_allclose(frames.ARCFACE, alignment.arcface_template(1))


def test_a_margin_shrinks_points_towards_the_centre():
  inner = np.array(frames.widened(frames.ARCFACE, 0.3))
  expected = (np.array(frames.ARCFACE) - 0.5) / 1.6 + 0.5
  np.testing.assert_allclose(inner, expected)


def test_colours_are_those_that_the_network_was_trained_with():
  pixel = np.array([1, 0.5, 0], np.float32).reshape(1, 1, 1, 3)
  faceres = frames.normalise(NETWORKS["faceres"].frame, pixel)
  np.testing.assert_allclose(
    np.ravel(faceres), [-103.939, 127.5 - 116.779, 255 - 123.68], rtol=1e-5
  )
  dlib = frames.normalise(NETWORKS["dlib"].frame, pixel)
  expected = np.array([255 - 122.782, 127.5 - 117.001, -104.298]) / 256
  np.testing.assert_allclose(np.ravel(dlib), expected, rtol=1e-5)
  blazeface = frames.normalise(NETWORKS["blazeface"].frame, pixel)
  np.testing.assert_allclose(np.ravel(blazeface), [1, 0, -1], atol=1e-6)


@pytest.mark.parametrize("side", (64, 112, 256))
@pytest.mark.parametrize("name", WITH_POINTS)
def test_landmarks_of_an_aligned_face_land_at_those_of_the_frame(name, side):
  frame = NETWORKS[name].frame
  y, x = np.mgrid[:side, :side] + 0.5
  wide = side / 20
  for point, place in zip(frames.ARCFACE, frame.points):
    bump = np.exp(
      -((x - point[0] * side) ** 2 + (y - point[1] * side) ** 2) / wide**2
    )
    image = np.repeat(bump[None, :, :, None], 3, -1).astype(np.float32)
    framed = np.asarray(frames.from_aligned(frame, image))[0, :, :, 0]
    v, u = np.mgrid[: frame.size, : frame.size] + 0.5
    mass = framed / framed.sum()
    found = np.array([(mass * u).sum(), (mass * v).sum()]) / frame.size
    # The five points of a frame and of ArcFace differ in shape a little.
    np.testing.assert_allclose(found, place, atol=0.025)


def test_an_aligned_face_in_the_frame_of_arcface_is_left_as_it_is():
  frame = frames.Frame(size=40, points=frames.ARCFACE)
  image = np.random.default_rng(0).random((2, 40, 40, 3), np.float32)
  np.testing.assert_allclose(
    frames.from_aligned(frame, image), image, atol=1e-5
  )


def test_beyond_an_aligned_face_its_border_is_repeated():
  frame = frames.Frame(size=60, points=frames.widened(frames.ARCFACE, 0.5))
  image = np.ones((1, 30, 30, 3), np.float32)
  image[:, :, 15:] = 0
  framed = np.asarray(frames.from_aligned(frame, image))
  np.testing.assert_allclose(framed[:, :, :25], 1, atol=1e-5)
  np.testing.assert_allclose(framed[:, :, 35:], 0, atol=1e-5)
