"""The repair of hidden pixels against the conditional Gaussian, in float64."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxpriv.privacy import eigenfaces

SIDE = 6


def photographs(count, seed, side=SIDE):
  """Combinations of five patterns, and a little noise."""
  patterns = np.random.default_rng(0).normal(size=(5, side, side, 3))
  rng = np.random.default_rng(seed)
  mixed = np.tensordot(rng.normal(size=(count, 5)), patterns, 1)
  noise = rng.normal(size=mixed.shape)
  return np.clip(128 + 25 * mixed + 3 * noise, 0, 255).astype(np.uint8)


FACES = eigenfaces.fit(photographs(200, 1), 8)


def expected(faces, images, keep):
  """The textbook's formula, with the covariance of all pixels."""
  axes = faces.axes.astype(float)
  covariance = axes.T @ np.diag(faces.variances) @ axes
  covariance += faces.noise * np.eye(len(covariance))
  mean = faces.mean.reshape(-1).astype(float)
  results = []
  for picture, mask in zip(images / 255, keep, strict=True):
    seen = np.repeat(mask.reshape(-1), 3)
    x = picture.reshape(-1)
    known = np.linalg.solve(covariance[np.ix_(seen, seen)], (x - mean)[seen])
    guess = mean + covariance[:, seen] @ known
    guess = np.where(seen, x, np.clip(guess, 0, 1))
    results.append(guess.reshape(picture.shape))
  return np.stack(results)


masks = st.lists(
  st.lists(st.booleans(), min_size=SIDE * SIDE, max_size=SIDE * SIDE),
  min_size=3,
  max_size=3,
).map(lambda rows: np.array(rows).reshape(3, SIDE, SIDE))


@given(masks)
@settings(max_examples=30, deadline=None)
def test_repair_is_the_conditional_mean_whatever_is_hidden(keep):
  images = photographs(3, 2)
  want = expected(FACES, images, keep)
  hidden = np.where(keep[..., None], images, 99)  # must not be looked at
  got = eigenfaces.repair(FACES, hidden.astype(np.uint8), keep)
  np.testing.assert_allclose(got, want, atol=2e-4)
  one = eigenfaces.repair(FACES, images, keep[0])
  np.testing.assert_allclose(
    one, expected(FACES, images, np.stack([keep[0]] * 3)), atol=2e-4
  )


def test_hidden_pixels_come_back_where_a_few_numbers_make_a_face():
  keep = np.arange(SIDE) < SIDE // 3
  keep = np.broadcast_to(keep, (SIDE, SIDE))
  images = photographs(20, 3)
  got = eigenfaces.repair(FACES, images, keep)
  hidden = ~np.broadcast_to(keep[..., None], images.shape)
  error = lambda guess: np.abs(guess - images / 255)[hidden].mean()
  assert error(got) < 0.2 * error(np.broadcast_to(FACES.mean, images.shape))
  nothing = eigenfaces.repair(FACES, images, np.zeros((SIDE, SIDE), bool))
  np.testing.assert_allclose(
    nothing, np.broadcast_to(FACES.mean, nothing.shape), atol=1e-6
  )
  all_of_it = eigenfaces.repair(FACES, images, np.ones((SIDE, SIDE), bool))
  np.testing.assert_allclose(all_of_it, images / 255, atol=1e-6)


def test_noise_is_what_suits_people_who_are_held_out():
  """Few photographs leave components that are of nobody else."""
  rng = np.random.default_rng(8)
  change = lambda x: x + rng.integers(-40, 40, x.shape)
  noisy = lambda n, seed: np.clip(change(photographs(n, seed)), 0, 255)
  faces = eigenfaces.fit(noisy(30, 9).astype(np.uint8), 29)
  others = noisy(40, 10).astype(np.uint8)
  keep = np.arange(SIDE)[:, None] < SIDE // 2 + np.zeros(SIDE, int)
  got = eigenfaces.tuned(faces, others[:20], keep)
  assert got.noise > 2 * faces.noise

  def error(model):
    guess = eigenfaces.repair(model, others[20:], keep)
    return np.square(guess - others[20:] / 255).sum()

  assert error(got) < 0.8 * error(faces)
  # There is nothing to be chosen where the model is right.
  drawn = FACES.images(rng.normal(size=(60, 8)) * np.sqrt(FACES.variances))
  drawn += rng.normal(size=drawn.shape) * FACES.noise**0.5
  drawn = drawn[((drawn >= 0) & (drawn <= 1)).all((1, 2, 3))]
  assert len(drawn) > 10
  assert eigenfaces.tuned(FACES, drawn, keep).noise < 9 * FACES.noise


@pytest.mark.parametrize("count", [4, 150])
def test_the_model_has_the_covariance_of_the_photographs(count):
  """With fewer and with more photographs than pixels."""
  images = photographs(count, 4)
  faces = eigenfaces.fit(images, 200)
  flat = images.reshape(count, -1) / 255.0
  np.testing.assert_allclose(faces.mean.reshape(-1), flat.mean(0), atol=1e-6)
  kept = len(faces.components)
  assert kept <= min(count - 1, flat.shape[1])
  axes = faces.axes
  np.testing.assert_allclose(axes @ axes.T, np.eye(kept), atol=1e-5)
  model = axes.T @ np.diag(faces.variances) @ axes
  model += faces.noise * np.eye(flat.shape[1])
  np.testing.assert_allclose(model, np.cov(flat.T, ddof=0), atol=1e-4)
  few = eigenfaces.fit(images, 2)
  covariance = np.cov(flat.T, ddof=0)
  largest = np.linalg.eigvalsh(covariance)[::-1]
  np.testing.assert_allclose(few.variances + few.noise, largest[:2], rtol=1e-4)
  rest = (covariance.trace() - largest[:2].sum()) / (flat.shape[1] - 2)
  assert few.noise == pytest.approx(rest, rel=1e-3)


def test_photographs_that_are_all_alike_are_their_mean():
  images = np.full((5, SIDE, SIDE, 3), 77, np.uint8)
  faces = eigenfaces.fit(images, 3)
  assert not len(faces.components)
  got = eigenfaces.repair(faces, images, np.zeros((SIDE, SIDE), bool))
  np.testing.assert_allclose(got, images / 255, atol=1e-6)


def test_coefficients_are_those_of_the_components():
  images = photographs(7, 5)
  again = FACES.images(FACES.coefficients(images))
  error = np.abs(again - images / 255).mean()
  assert error < 0.02 < np.abs(FACES.mean - images / 255).mean()
  np.testing.assert_allclose(
    FACES.coefficients(again), FACES.coefficients(images), atol=1e-4
  )


def test_the_model_of_a_batch_is_that_of_the_photographs():
  images = photographs(80, 6).astype(np.float32) / 255
  known = np.arange(80) != 10
  held = np.arange(80) % 4 == 3
  fit = jax.jit(eigenfaces.fit_on_device, static_argnums=2)
  got = fit(images, known, 8, held)
  flat = images.reshape(80, -1).astype(np.float64)
  used, others = flat[~held & known], flat[held]
  mean = used.mean(0)
  np.testing.assert_allclose(got.mean.reshape(-1), mean, atol=1e-6)
  axes = np.asarray(got.components, np.float64).reshape(8, -1)
  np.testing.assert_allclose(axes @ axes.T, np.eye(8), atol=1e-5)
  values, vectors = np.linalg.eigh(np.cov(used.T, ddof=0))
  values, vectors = values[::-1][:8], vectors[:, ::-1][:, :8]
  # Five patterns stand out; beyond them axes of near variances mix.
  np.testing.assert_allclose(
    np.abs(axes @ vectors)[:5, :5], np.eye(5), atol=2e-3
  )
  left = others - mean
  left = left - left @ axes.T @ axes
  noise = np.square(left).sum() / (len(left) * (flat.shape[1] - 8))
  assert got.noise == pytest.approx(noise, rel=1e-3)
  expected = np.maximum(values - noise, eigenfaces.ROUNDED)
  np.testing.assert_allclose(got.variances[:5], expected[:5], rtol=1e-3)
  np.testing.assert_allclose(got.variances[5:], expected[5:], rtol=0.2)


def test_the_model_of_a_batch_that_is_all_alike_is_its_mean():
  images = np.full((8, SIDE, SIDE, 3), 0.3, np.float32)
  faces = eigenfaces.fit_on_device(
    images, np.ones(8, bool), 4, np.arange(8) == 3
  )
  assert not np.asarray(faces.components).any()
  got = eigenfaces.repair_on_device(faces, images, np.zeros((SIDE, SIDE), bool))
  np.testing.assert_allclose(got, images, atol=1e-6)


def test_repair_of_many_masks_at_once_is_that_of_each():
  rng = np.random.default_rng(6)
  shares = np.linspace(0.1, 0.9, 11)[:, None, None]
  keeps = rng.random((11, SIDE, SIDE)) < shares
  keeps[-1], keeps[0] = True, False
  images = photographs(4, 7)
  each = jax.vmap(eigenfaces.repair_on_device, (None, None, 0))
  got = jax.jit(each)(FACES, images.astype(np.float32) / 255, keeps)
  for row, keep in zip(got, keeps, strict=True):
    want = eigenfaces.repair(FACES, images, keep)
    np.testing.assert_allclose(row, want, atol=2e-3)
  np.testing.assert_allclose(got[-1], images / 255, atol=1e-6)
