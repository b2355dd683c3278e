"""Hidden pixels from visible ones, by a Gaussian model of photographs.

Photographs are taken to be N(mean, V diag(p) V^T + s I), V being their first
principal components (Tipping, Bishop, "Probabilistic Principal Component
Analysis", J. R. Stat. Soc. B 61(3), 1999). Of a photograph x whose pixels are
seen where the mask m is 1, the mean of all pixels given these is known:

  E[x | m x] = mean + V c,
  (V^T diag(m) V + s diag(p)^-1) c = V^T diag(m) (x - mean),

one system of as many equations as there are components for each mask. No other
map that is linear has less squared error on such photographs, and nothing is
trained: it is the least that anybody can see who has photographs of others.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

COLUMNS = 4096  # pixels that are multiplied at once in float64
ROUNDED = (1 / 255) ** 2 / 12  # variance that rounding to bytes adds
FEWEST = 1e-6  # a variance, over the largest, that rounding does not make
NOISE = (1, 3, 10, 30, 100, 300, 1000)  # times that of the fit
SPARE, TURNS = 16, 12  # dimensions beyond those asked for; of an iteration
JITTER = 1e-6  # what float32 leaves uncertain of a product of components


class Eigenfaces(NamedTuple):
  """The Gaussian model; pixels in [0, 1].

  Attributes:
    mean: float32 [H, W, C].
    components: orthonormal, float32 [K, H, W, C]; largest variance first.
    variances: beyond the noise, along each component, float32 [K].
    noise: variance of every pixel beside them.
  """

  mean: Any
  components: Any
  variances: Any
  noise: Any

  @property
  def axes(self) -> np.ndarray:
    """The components as rows, [K, H W C]."""
    return self.components.reshape(-1, self.mean.size)

  def coefficients(self, images: np.ndarray) -> np.ndarray:
    """Images [N, H, W, C], uint8 or in [0, 1] -> float32 [N, K]."""
    centred = _unit(images) - self.mean
    return centred.reshape(len(images), -1) @ self.axes.T

  def images(self, coefficients: np.ndarray) -> np.ndarray:
    """Float32 [N, K] -> [N, H, W, C], beyond [0, 1] where it may be."""
    flat = coefficients @ self.axes
    return flat.reshape(-1, *self.mean.shape) + self.mean


def fit(images: np.ndarray, components: int) -> Eigenfaces:
  """The model of some photographs.

  Args:
    images: uint8 [N, H, W, C]; time grows with N squared, so take some 2,000.
    components: how many at most. There are fewer of few photographs, and none
      if all are alike.
  """
  mean = images.mean(0, dtype=np.float64) / 255
  # Fewer photographs than pixels: their inner products are the smaller matrix,
  # in float64, so that small components are orthogonal to large ones.
  flat, middle = images.reshape(len(images), -1), mean.reshape(-1)
  gram = np.zeros((len(images), len(images)))
  columns = range(0, flat.shape[1], COLUMNS)
  centred = lambda i: flat[:, i : i + COLUMNS] / 255 - middle[i : i + COLUMNS]
  for i in columns:
    part = centred(i)
    gram += part @ part.T
  values, vectors = np.linalg.eigh(gram)
  # As many directions as differences from the mean.
  count = min(components, len(images) - 1)
  values, vectors = values[::-1], vectors[:, ::-1]
  count = int((values[:count] > FEWEST * max(values[0], 1e-9)).sum())
  scale = np.sqrt(values[:count])
  axes = np.concatenate(
    [(centred(i).T @ (vectors[:, :count] / scale)).T for i in columns], axis=1
  )
  rest = max(gram.trace() - values[:count].sum(), 0) / len(images)
  noise = max(rest / max(flat.shape[1] - count, 1), ROUNDED)
  beyond = np.maximum(values[:count] / len(images) - noise, ROUNDED)
  return Eigenfaces(
    mean.astype(np.float32),
    axes.reshape(count, *mean.shape).astype(np.float32),
    beyond.astype(np.float32),
    float(noise),
  )


def repair(
  faces: Eigenfaces, images: np.ndarray, keep: np.ndarray
) -> np.ndarray:
  """Photographs of which some pixels are seen; the others are filled in.

  Args:
    faces: the model.
    images: [N, H, W, C], uint8 or in [0, 1]. Pixels that are not kept are not
      looked at.
    keep: bool [N, H, W], where the photograph is seen, or [H, W] for all. The
      system of a mask is solved once, whoever shares it.

  Returns:
    float32 [N, H, W, C] in [0, 1]; kept pixels are those of `images`.
  """
  axes = faces.axes
  whole = axes.astype(np.float64) @ axes.T.astype(np.float64)
  images = _unit(images)
  by_mask: dict[bytes, list[int]] = {}
  keep = np.broadcast_to(keep, images.shape[:3])
  for row, mask in enumerate(keep):
    by_mask.setdefault(np.packbits(mask).tobytes(), []).append(row)
  result = np.empty(images.shape, np.float32)
  for rows in by_mask.values():
    mask = np.broadcast_to(keep[rows[0]][..., None], faces.mean.shape)
    seen = mask.reshape(-1)
    # Products of the fewer pixels; both together are those of all.
    few_seen = 2 * seen.sum() < len(seen)
    fewer = axes[:, seen if few_seen else ~seen]
    inner = fewer @ fewer.T
    inner = inner if few_seen else whole - inner
    inner = inner + np.diag(faces.noise / faces.variances.astype(np.float64))
    centred = np.where(mask, images[rows] - faces.mean, 0)
    centred = centred.reshape(len(rows), -1)
    found = np.linalg.solve(inner, axes @ centred.T).T
    guess = np.clip(faces.images(found.astype(np.float32)), 0, 1)
    result[rows] = np.where(mask, images[rows], guess)
  return result


def tuned(
  faces: Eigenfaces, images: np.ndarray, keep: np.ndarray
) -> Eigenfaces:
  """The model with as much noise as repairs other people best.

  People to whom it was not fitted differ from its components by more than those
  to whom it was, and what is seen of them is believed too much.

  Args:
    faces: the model.
    images: uint8 [N, H, W, C], of people to whom it was not fitted.
    keep: bool [N, H, W] or [H, W], as in `repair`.
  """
  hidden = ~np.broadcast_to(keep, images.shape[:3])
  noisier = [faces._replace(noise=times * faces.noise) for times in NOISE]

  def error(model):
    difference = repair(model, images, keep) - _unit(images)
    return np.square(difference[hidden]).sum()

  return min(noisier, key=error)


def fit_on_device(
  images: jax.Array, known: jax.Array, components: int, held_out: jax.Array
) -> Eigenfaces:
  """`fit` in float32 and under jit, with the noise of people who are held out.

  That noise is what components leave of photographs of people to whom they were
  not fitted, and more than they leave of others.

  Args:
    images: float32 [N, H, W, C] in [0, 1].
    known: bool [N], False for rows that are not looked at.
    components: how many; of fewer photographs the last ones are zero.
    held_out: bool [N], the rows for the noise alone.
  """
  flat = images.reshape(len(images), -1)
  held = known & held_out
  used = (known & ~held).astype(jnp.float32)
  mean = used @ flat / jnp.maximum(used.sum(), 1)
  centred = (flat - mean) * used[:, None]
  dot = partial(jnp.matmul, precision="highest")
  values, vectors = _largest(dot(centred, centred.T), components)
  kept = values > FEWEST * jnp.maximum(values[0], 1e-9)
  axes = jnp.where(kept[:, None], dot(vectors.T, centred), 0)
  axes /= jnp.sqrt(jnp.where(kept, values, 1))[:, None]
  # Small components are orthogonal to large ones only after another pass.
  products = dot(axes, axes.T) + jnp.diag(jnp.where(kept, 0.0, 1.0))
  factor = jnp.linalg.cholesky(products)
  axes = jax.scipy.linalg.solve_triangular(factor, axes, lower=True)
  others = (flat - mean) * held[:, None]
  rest = jnp.square(others).sum() - jnp.square(dot(others, axes.T)).sum()
  free = flat.shape[1] - kept.sum()
  noise = rest / jnp.maximum(held.sum() * free, 1)
  noise = jnp.maximum(noise, ROUNDED)
  variances = values / jnp.maximum(used.sum(), 1) - noise
  return Eigenfaces(
    mean.reshape(images.shape[1:]),
    axes.reshape(-1, *images.shape[1:]),
    jnp.maximum(variances, ROUNDED),
    noise,
  )


def _largest(matrix: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
  """The largest eigenvalues of a matrix [N, N], and their vectors in columns.

  By iteration of a subspace (Golub, van Loan, "Matrix Computations", 8.2.4):
  whole decompositions take TPU's compiler a quarter of an hour. Where values
  are nearly alike, vectors are those of mixtures.
  """
  dot = partial(jnp.matmul, precision="highest")
  width = min(count + SPARE, len(matrix))
  start = jax.random.normal(jax.random.key(0), (len(matrix), width))
  turn = lambda _, space: jnp.linalg.qr(dot(matrix, space))[0]
  space = jax.lax.fori_loop(0, TURNS, turn, start)
  values, mixing = jnp.linalg.eigh(dot(dot(space.T, matrix), space))
  order = slice(None, -count - 1, -1)
  return jnp.maximum(values[order], 0), dot(space, mixing)[:, order]


def repair_on_device(
  faces: Eigenfaces, images: jax.Array, keep: jax.Array
) -> jax.Array:
  """`repair` behind one mask, as a function that jit and vmap can take.

  Args:
    faces: the model; some 64 components are enough to compare masks.
    images: float32 [N, H, W, C] in [0, 1].
    keep: bool [H, W].

  Returns:
    float32 [N, H, W, C].
  """
  axes = jnp.asarray(faces.components)
  dot = partial(jnp.einsum, precision="highest")
  mask = keep[..., None].astype(jnp.float32)
  prior = jnp.diag(faces.noise / jnp.asarray(faces.variances) + JITTER)
  inner = dot("khwc,lhwc->kl", axes * mask, axes) + prior
  seen = dot("khwc,nhwc->kn", axes * mask, images - faces.mean)
  found = jax.scipy.linalg.solve(inner, seen, assume_a="pos")
  guess = dot("khwc,kn->nhwc", axes, found) + faces.mean
  return jnp.where(mask > 0, images, jnp.clip(guess, 0, 1))


def _unit(images: np.ndarray) -> np.ndarray:
  """Float32 in [0, 1], of bytes too."""
  floats = images.astype(np.float32)
  return floats / 255 if images.dtype == np.uint8 else floats
