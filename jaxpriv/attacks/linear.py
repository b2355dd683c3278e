"""Least squares: a linear map of features, at every position the same."""

import functools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxpriv.im2col import im2col

BLOCK = 128  # maps that are computed at once


class Linear(NamedTuple):
  """A map of features by least squares; see `least_squares`."""

  weight: np.ndarray
  window: int

  def __call__(self, features: np.ndarray) -> np.ndarray:
    """[N, H, W, C] -> [N, H, W, D], float16."""
    return np.concatenate(list(self.blocks(features)))

  def blocks(self, features: np.ndarray) -> Iterator[np.ndarray]:
    """The same in parts, where the whole is too large for memory."""
    for i in range(0, len(features), BLOCK):
      yield np.asarray(_apply_linear(features[i : i + BLOCK], *self))


@functools.partial(jax.jit, static_argnums=2)
def _apply_linear(features, weight, window):
  mapped = _windows(features, window) @ weight
  largest = float(np.finfo(np.float16).max)
  mapped = jnp.clip(mapped, -largest, largest)
  return mapped.reshape(*features.shape[:3], -1).astype(jnp.float16)


def _windows(features, window):
  """Rows [N H W, window^2 C + 1] around each position, and a constant."""
  x = im2col(features.astype(jnp.float32), (window, window), (1, 1), "SAME")
  x = x.reshape(-1, x.shape[-1])
  return jnp.concatenate([x, jnp.ones((len(x), 1))], axis=1)


class _Moments(NamedTuple):
  """Sums over rows of inputs x and outputs y: what least squares needs."""

  gram: np.ndarray  # x^T x
  cross: np.ndarray  # x^T y
  square: float  # of all y

  def plus(self, other: "_Moments") -> "_Moments":
    return _Moments(
      self.gram + other.gram,
      self.cross + other.cross,
      self.square + other.square,
    )

  def solve(self, ridge: float) -> np.ndarray:
    scale = ridge * np.trace(self.gram) / len(self.gram)
    return np.linalg.solve(
      self.gram + scale * np.eye(len(self.gram)), self.cross
    )

  def error(self, weight: np.ndarray) -> float:
    """Sum of squared differences of x @ weight and y."""
    explained = np.sum(weight * (2 * self.cross - self.gram @ weight))
    return float(self.square - explained)


def least_squares(
  released: np.ndarray,
  clean: np.ndarray,
  windows: Sequence[int] = (1, 3),
  ridges: Sequence[float] = (1e-6, 1e-4, 1e-2),
) -> Linear:
  """Maps released features to clean ones by ridge regression.

  A module of convolutions does the same at every position, so that one pair of
  maps is as many examples as it has positions. Window and ridge are chosen by
  cross-validation: fitted to the upper halves of the maps, tried on the lower
  ones, and the other way round.

  Args:
    released: [N, H, W, C].
    clean: f(x), [N, H, W, D].
    windows: positions on a side that are looked at.
    ridges: shares of the mean square of the inputs that are added.
  """
  middle = released.shape[1] // 2
  tried = []
  for window in windows:
    halves = [
      _moments(released, clean, window, *ends)
      for ends in ((0, middle), (middle, released.shape[1]))
    ]
    whole = halves[0].plus(halves[1])
    for ridge in ridges:
      error = sum(
        there.error(here.solve(ridge)) for here, there in (halves, halves[::-1])
      )
      tried.append((error, window, ridge, whole))
  _, window, ridge, whole = min(tried, key=lambda candidate: candidate[0])
  return Linear(whole.solve(ridge).astype(np.float32), window)


@functools.partial(jax.jit, static_argnums=(2, 3, 4))
def _products(z, y, window, first, end):
  # Windows of the whole map, so that those at the seam see beyond it.
  rows = _windows(z, window).reshape(*z.shape[:3], -1)[:, first:end]
  rows = rows.reshape(-1, rows.shape[-1])
  y = y[:, first:end].astype(jnp.float32).reshape(len(rows), -1)
  dot = functools.partial(jnp.matmul, precision="highest")
  return dot(rows.T, rows), dot(rows.T, y), jnp.sum(jnp.square(y))


def _moments(
  released: np.ndarray, clean: np.ndarray, window: int, first: int, end: int
) -> _Moments:
  """Moments of the rows first to end of the maps."""
  parts = []
  for i in range(0, len(released), BLOCK):
    some = slice(i, i + BLOCK)
    sums = _products(released[some], clean[some], window, first, end)
    gram, cross, square = (np.asarray(part, np.float64) for part in sums)
    parts.append(_Moments(gram, cross, float(square)))
  return functools.reduce(_Moments.plus, parts)
