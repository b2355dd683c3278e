"""The likeliest of what is hidden is the conditional mean of a Gaussian."""

import jax
import numpy as np
import pytest

from jaxpriv.models import eigenfaces

SIDE = 4
SIZE = SIDE * SIDE * 3


def drawn(count=300, rank=5, seed=0):
  rng = np.random.default_rng(seed)
  directions = rng.normal(size=(rank, SIZE)) * 0.06
  x = 0.5 + rng.normal(size=(count, rank)) @ directions
  x += rng.normal(size=x.shape) * 0.02
  return x.reshape(count, SIDE, SIDE, 3).astype(np.float32)


def covariance(faces):
  weight = np.asarray(faces.weight, np.float64)
  return weight.T @ weight + float(faces.noise) * np.eye(SIZE)


def test_it_is_the_likeliest_gaussian_of_its_rank():
  """By the eigenvectors of the covariance of the images, in float64."""
  images = drawn()
  x = images.reshape(len(images), -1).astype(np.float64)
  values, vectors = np.linalg.eigh(np.cov(x.T, bias=True))
  noise = values[:-5].mean()
  top, along = values[-5:], vectors[:, -5:]
  expected = (along * (top - noise)) @ along.T + noise * np.eye(SIZE)
  faces = eigenfaces.fit(images, 5)
  np.testing.assert_allclose(covariance(faces), expected, atol=2e-6)
  np.testing.assert_allclose(faces.mean, x.mean(0), atol=1e-6)


@pytest.mark.parametrize("masks", ["one", "each"])
def test_hidden_pixels_are_the_conditional_mean(masks):
  images = drawn(seed=1)[:6]
  rng = np.random.default_rng(2)
  keep = rng.random((6, SIDE, SIDE)) < 0.4
  if masks == "one":
    keep = keep[0]
  faces = eigenfaces.fit(drawn(), 5)
  got = np.asarray(jax.jit(eigenfaces.repair)(faces, images, keep))
  cov, mean = covariance(faces), np.asarray(faces.mean, np.float64)
  for i, image in enumerate(images.reshape(6, -1).astype(np.float64)):
    kept = np.repeat((keep if masks == "one" else keep[i]).ravel(), 3)
    known = np.linalg.solve(cov[np.ix_(kept, kept)], image[kept] - mean[kept])
    expected = image.copy()
    expected[~kept] = mean[~kept] + cov[np.ix_(~kept, kept)] @ known
    np.testing.assert_allclose(got[i].ravel(), expected, atol=2e-5)
    np.testing.assert_array_equal(got[i].ravel()[kept], images[i].ravel()[kept])


def test_errors_are_of_hidden_pixels_alone():
  images, faces = drawn(303)[300:], eigenfaces.fit(drawn(303)[:300], 5)
  keep = np.random.default_rng(0).random((4, SIDE, SIDE)) < 0.5
  got = eigenfaces.hidden_error(faces, images, keep)
  for mask, value in zip(keep, got, strict=True):
    repaired = np.asarray(eigenfaces.repair(faces, images, mask))
    square = (repaired - images)[:, ~mask] ** 2
    assert value == pytest.approx(square.mean(), rel=1e-4)
  blind = eigenfaces.hidden_error(faces, images, keep & False)
  assert (np.asarray(got) < np.asarray(blind)).all()


def test_images_all_alike_and_fewer_than_components():
  images = np.full((3, SIDE, SIDE, 3), 100, np.uint8)
  faces = eigenfaces.fit(images, 64)
  half = np.arange(SIDE * SIDE).reshape(SIDE, SIDE) % 2 == 0
  got = np.asarray(eigenfaces.repair(faces, images / np.float32(255), half))
  np.testing.assert_allclose(got, 100 / 255, atol=1e-5)
