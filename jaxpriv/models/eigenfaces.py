"""Faces as a Gaussian: what is most likely hidden, given what is visible.

Probabilistic principal components (Tipping and Bishop, "Probabilistic Principal
Component Analysis", JRSS B 61(3), 1999). An image is

  x = mean + W z + e,   z ~ N(0, I),   e ~ N(0, noise I)

Given the pixels that a mask keeps, the mean of the others is

  mean + W (W_k^T W_k + noise I)^-1 W_k^T (x_k - mean_k)

where W_k has the rows of W that are kept: one small system for each mask. It is
the best that anybody does by what is visible if faces are Gaussian, and a floor
for all who do better.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

MOST = 2000  # images that `fit` takes; they are an N x N matrix


class Faces(NamedTuple):
  """A Gaussian of images [S, S, 3], flattened to D numbers.

  Attributes:
    mean: [D].
    weight: W, [K, D].
    noise: variance of what W leaves out, of each number.
  """

  mean: jax.Array
  weight: jax.Array
  noise: jax.Array


def fit(images: np.ndarray, components: int) -> Faces:
  """The likeliest Gaussian with `components` directions.

  Args:
    images: uint8 [N, S, S, 3], or floats in [0, 1]; of more than `MOST` some
      are taken, evenly spread.
    components: K; fewer where there are not as many images.
  """
  rows = np.linspace(0, len(images) - 1, min(len(images), MOST)).astype(int)
  x = images[rows].reshape(len(rows), -1).astype(np.float32)
  if images.dtype == np.uint8:
    x /= 255
  mean = x.mean(0)
  x -= mean
  count, size = x.shape
  components = max(min(components, count - 1, size - 1), 0)
  values, vectors = np.linalg.eigh((x @ x.T).astype(np.float64) / count)
  values, vectors = values[::-1], vectors[:, ::-1]
  kept = values[:components]
  rest = max(values.sum() - kept.sum(), 0.0)
  noise = max(rest / max(size - components, 1), 1e-6)
  basis = vectors[:, :components].T.astype(np.float32) @ x
  # Rows of the basis have the length sqrt(count * value).
  scale = np.sqrt(np.maximum(kept - noise, 0) / np.maximum(kept * count, 1e-12))
  weight = basis * scale[:, None].astype(np.float32)
  return Faces(jnp.asarray(mean), jnp.asarray(weight), jnp.float32(noise))


def repair(faces: Faces, images: jax.Array, keep: jax.Array) -> jax.Array:
  """The images with the likeliest of what is hidden.

  Args:
    faces: the Gaussian.
    images: [B, S, S, 3] in [0, 1].
    keep: bool [S, S], one mask for all, which costs least, or [B, S, S].

  Returns:
    [B, S, S, 3] in [0, 1]; pixels that are kept are those of the images.
  """
  shape = images.shape
  shown = jnp.repeat(keep.reshape(*keep.shape[:-2], -1), shape[3], axis=-1)
  kept = shown.astype(jnp.float32)
  away = (images.reshape(len(images), -1) - faces.mean) * kept
  seen = away @ faces.weight.T
  if keep.ndim == 2:
    z = jnp.linalg.solve(_system(faces, kept), seen.T).T
  else:
    solve = lambda mask, y: jnp.linalg.solve(_system(faces, mask), y)
    z = jax.vmap(solve)(kept, seen)
  likely = jnp.clip(faces.mean + z @ faces.weight, 0, 1)
  return jnp.where(keep[..., None], images, likely.reshape(shape))


def _system(faces: Faces, kept: jax.Array) -> jax.Array:
  square = jnp.matmul(faces.weight * kept, faces.weight.T, precision="highest")
  return square + faces.noise * jnp.eye(len(square))


def hidden_error(faces: Faces, images: jax.Array, keep: jax.Array) -> jax.Array:
  """Mean squared error of the hidden pixels that `repair` finds.

  Args:
    faces: the Gaussian.
    images: [B, S, S, 3] in [0, 1].
    keep: bool [N, S, S].

  Returns:
    [N], means over images.
  """

  def one(mask):
    error = jnp.square(repair(faces, images, mask) - images).mean((0, 3))
    return error.sum() / jnp.maximum(jnp.logical_not(mask).sum(), 1)

  return jax.vmap(one)(keep)
