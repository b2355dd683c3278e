"""Pictures for looking at, and dots that move as little as their points."""

import numpy as np

from jaxpriv.training import pictures

SIDE, GREEN = 32, np.array([0.1, 1.0, 0.2])


def with_dots(images, points, radius=1.5):
  """In float64, a pixel and a dot at a time."""
  out = images.astype(np.float64)
  middles = (np.arange(SIDE) + 0.5) / SIDE - 0.5
  for image, dots in zip(out, points, strict=True):
    for row, y in enumerate(middles):
      for column, x in enumerate(middles):
        away = [SIDE * np.hypot(x - a, y - b) for a, b in dots if a == a]
        share = np.clip(radius + 0.5 - min(away, default=np.inf), 0, 1)
        image[row, column] += share * (GREEN - image[row, column])
  return out


def test_dots_are_drawn_where_points_are():
  rng = np.random.default_rng(0)
  images = rng.uniform(size=(2, SIDE, SIDE, 3)).astype(np.float32)
  points = rng.uniform(-0.6, 0.6, (2, 5, 2)).astype(np.float32)
  points[0, :2] = np.nan
  points[1] = np.nan
  points[1, 0] = 0.5 / SIDE  # the middle of a pixel
  got = np.asarray(pictures.dotted(images, points))
  np.testing.assert_allclose(got, with_dots(images, points), atol=1e-5)
  np.testing.assert_allclose(got[1, 16, 16], GREEN, atol=1e-6)
  assert (got[1] != images[1]).any(-1).sum() == 9


def test_a_dot_moves_as_little_as_its_point():
  """No rounding of a point makes a pixel appear."""
  images = np.zeros((1, SIDE, SIDE, 3), np.float32)
  for x in np.linspace(0, 2 / SIDE, 200, dtype=np.float32):
    pair = [[[[x + d, 0.01]]] for d in (0, 1e-3 / SIDE)]
    one, other = (
      np.asarray(pictures.dotted(images, np.float32(points))) for points in pair
    )
    np.testing.assert_allclose(one, other, atol=1.1e-3)
