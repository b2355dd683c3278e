"""How features are inverted: networks, least squares, search, alignment.

Who knows what, and what they do with these, is in `reconstruction`. Whatever
learns is a `Method`, trained by the engine on people whom it is not scored on.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from jaxpriv.im2col import im2col
from jaxpriv.metrics import identification, statistics
from jaxpriv.metrics import image as image_metrics
from jaxpriv.models.poisoning import DeepPoisoningModule, Reconstructor
from jaxpriv.training import tasks
from jaxpriv.training.method import Outputs, Phase

BLOCK = 128

# The paper names its five others only by kind: these vary what it says varies.
VARIANTS: Mapping[str, Mapping[str, Any]] = {
  "R1, residual": dict(residual=True),
  "R2, one block": dict(blocks=1),
  "R3, factor 4": dict(factor=4),
  "R4, stretched": dict(output="min_max"),
  "R5, residual, three blocks": dict(residual=True, blocks=3),
}


def inverter(
  name: str,
  network: ConfigDict,
  side: int,
  options: ConfigDict,
  features: Callable | None = None,
  **changes: Any,
) -> Phase:
  """An attacker's inverter; see `tasks.reconstruction`."""
  model = Reconstructor(side, **{**network, **changes})
  if features is None:
    return tasks.reconstruction(name, model, options)
  return tasks.reconstruction(name, model, options, features=features)


class Linear(NamedTuple):
  """A map of features by least squares; see `least_squares`."""

  weight: np.ndarray
  window: int

  def __call__(self, features: np.ndarray) -> np.ndarray:
    """[N, H, W, C] -> [N, H, W, D], float16."""
    parts = [
      np.asarray(_apply_linear(features[i : i + BLOCK], *self))
      for i in range(0, len(features), BLOCK)
    ]
    return np.concatenate(parts)


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
  maps is as many examples as it has positions. Window and ridge are those that
  serve the lower halves of the maps best when fitted to the upper ones, and the
  other way round.

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
  _, window, ridge, whole = min(tried, key=lambda found: found[0])
  return Linear(whole.solve(ridge).astype(np.float32), window)


@functools.partial(jax.jit, static_argnums=(2, 3, 4))
def _products(z, y, window, first, end):
  # Windows of all the map, so that those at the seam see what is beyond it.
  rows = _windows(z, window).reshape(*z.shape[:3], -1)[:, first:end]
  rows = rows.reshape(-1, rows.shape[-1])
  y = y[:, first:end].astype(jnp.float32).reshape(len(rows), -1)
  dot = functools.partial(jnp.matmul, precision="highest")
  return dot(rows.T, rows), dot(rows.T, y), jnp.sum(jnp.square(y))


def _moments(
  released: np.ndarray, clean: np.ndarray, window: int, first: int, end: int
) -> _Moments:
  """Of the rows first to end of the maps."""
  parts = []
  for i in range(0, len(released), BLOCK):
    some = slice(i, i + BLOCK)
    made = _products(released[some], clean[some], window, first, end)
    gram, cross, square = (np.asarray(part, np.float64) for part in made)
    parts.append(_Moments(gram, cross, float(square)))
  return functools.reduce(_Moments.plus, parts)


def aligner(
  name: str,
  options: ConfigDict,
  decide: Callable,
  featurize: Callable,
) -> Phase:
  """A5: maps released features to what looks like clean ones, without pairs.

  It matches the mean and the covariance of channels, over positions and batch,
  of clean features of other photographs, and the classes that D gives.

  Args:
    name: of the phase.
    options: of it.
    decide: (features, images, frozen) -> logits [B, A, 2].
    featurize: (images, frozen) -> f(images).

  Returns:
    a phase on batches of released "features" beside unrelated "image"s; its
    predict function "align" maps the former.
  """
  model = DeepPoisoningModule(2, norm="group")

  def moments(z, keep):
    weight = jnp.broadcast_to(keep[:, None, None], z.shape[:3]).reshape(-1)
    z = z.reshape(-1, z.shape[-1])
    total = jnp.maximum(weight.sum(), 1)
    mean = weight @ z / total
    z = (z - mean) * weight[:, None]
    return mean, z.T @ z / total

  def loss(apply, batch, frozen):
    images = batch["image"]
    z = batch["features"].astype(jnp.float32)
    aligned = apply(z)
    real = featurize(images, frozen)
    keep = jnp.logical_not(batch["padding"]).astype(jnp.float32)
    (mean, spread), (mean_, spread_) = (
      moments(aligned, keep),
      moments(real, keep),
    )
    distance = jnp.sum(jnp.square(mean - mean_)) / jnp.sum(jnp.square(mean_))
    distance += jnp.sum(jnp.square(spread - spread_)) / jnp.sum(
      jnp.square(spread_)
    )
    said = jax.nn.softmax(decide(z, images, frozen))
    says = jax.nn.log_softmax(decide(aligned, images, frozen))
    apart = -jnp.sum(said * says, axis=(1, 2))
    return apart + distance, {"distance": distance, "cross_entropy": apart}

  def align(apply, batch, frozen):
    return apply(batch["features"].astype(jnp.float32))

  return tasks.supervised_phase(
    name,
    model,
    loss,
    options,
    needs=("target",),
    inputs=lambda batch, frozen: batch["features"].astype(jnp.float32),
    validated=False,
    outputs=Outputs(align=align),
  )


def search(
  release: Callable[[Any, jax.Array, jax.Array], jax.Array],
  states: Any,
  features: np.ndarray,
  start: np.ndarray,
  code: int = 0,
  smoothness: float | np.ndarray = 0.02,
  steps: int = 300,
  rate: float = 0.03,
) -> np.ndarray:
  """A6: photographs, and keys, whose features come nearest to these.

  Squared distance and total variation (Mahendran, Vedaldi, "Understanding Deep
  Image Representations by Inverting Them", CVPR 2015), by Adam.

  Args:
    release: (states, images [B, S, S, 3], keys [B, code]) -> P(f(images)),
      differentiable.
    states: passed on to it.
    features: [B, H, W, C].
    start: [B, S, S, 3], where the search begins.
    code: length of a key; it begins at 0, the mean of all.
    smoothness: weight of the total variation, of all or of each, [B].
    steps: of Adam.
    rate: of Adam.

  Returns:
    images [B, S, S, 3] in [0, 1].
  """
  optimizer = optax.adam(optax.cosine_decay_schedule(rate, steps))

  def loss(sought, target, weight, states):
    x, keys = sought
    images = jnp.clip(x, 0, 1)
    error = release(states, images, keys) - target
    error = jnp.mean(jnp.square(error), axis=(1, 2, 3))
    error /= jnp.mean(jnp.square(target), axis=(1, 2, 3)) + 1e-12
    variation = sum(
      jnp.mean(jnp.abs(jnp.diff(images, axis=axis)), axis=(1, 2, 3))
      for axis in (1, 2)
    )
    # What is out of range has no gradient: it is drawn back.
    return jnp.sum(error + weight * variation) + jnp.sum(jnp.square(x - images))

  @jax.jit
  def step(sought, moments, target, weight, states):
    gradient = jax.grad(loss)(sought, target, weight, states)
    updates, moments = optimizer.update(gradient, moments)
    return optax.apply_updates(sought, updates), moments

  weights = np.broadcast_to(np.float32(smoothness), len(features))
  found = []
  for i in range(0, len(features), BLOCK):
    weight = weights[i : i + BLOCK]
    target = np.asarray(features[i : i + BLOCK], np.float32)
    sought = (
      np.asarray(start[i : i + BLOCK], np.float32),
      np.zeros((len(target), code), np.float32),
    )
    moments = optimizer.init(sought)
    for _ in range(steps):
      sought, moments = step(sought, moments, target, weight, states)
    found.append(np.clip(np.asarray(sought[0]), 0, 1))
  return np.concatenate(found)


SMOOTHNESS = (0.002, 0.02, 0.2, 2.0)


def smoothest(
  search: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray],
  images: np.ndarray,
  features: np.ndarray,
  start: np.ndarray,
) -> float | None:
  """The smoothness by which most is seen of an attacker's own photographs.

  Args:
    search: (start, features, smoothness [B]) -> images, as `search`.
    images: uint8 [N, S, S, 3], which are to be found.
    features: [N, H, W, C], theirs.
    start: [N, S, S, 3], where the search begins.

  Returns:
    one of SMOOTHNESS, or None where the start is nearer than what any finds.
  """
  count = len(SMOOTHNESS)
  found = search(
    np.tile(start, (count, 1, 1, 1)),
    np.tile(features, (count, 1, 1, 1)),
    np.repeat(np.asarray(SMOOTHNESS, np.float32), len(images)),
  )
  target = images.astype(np.float32) / 255
  seen = lambda made: float(np.mean(image_metrics.ssim(target, made)))
  best, chosen = seen(start), None
  for smoothness, made in zip(SMOOTHNESS, np.split(found, count), strict=True):
    if seen(made) > best:
      best, chosen = seen(made), smoothness
  return chosen


def likeness(
  images: np.ndarray, reconstructed: np.ndarray, people: np.ndarray
) -> dict[str, statistics.Mean]:
  """How much of the photographs is seen: metric -> its mean.

  "aligned SSIM" lets the attacker choose brightness and contrast for each image
  afterwards, with either sign, to come nearest to the photograph: a negative
  counts in full.

  Args:
    images: uint8 [N, S, S, 3].
    reconstructed: float32 [N, S, S, 3] in [0, 1].
    people: int [N], for the interval.
  """
  values: dict[str, list] = {}
  for i in range(0, len(images), BLOCK):
    photograph = images[i : i + BLOCK].astype(np.float32) / 255
    for name, value in _compared(
      photograph, reconstructed[i : i + BLOCK]
    ).items():
      values.setdefault(name, []).append(np.asarray(value))
  each = {name: np.concatenate(parts) for name, parts in values.items()}
  return {
    name: statistics.mean_interval(value, people)
    for name, value in each.items()
    if np.isfinite(value).any()  # the PSNR of equal images is not
  }


@jax.jit
def _compared(photograph, image):
  ssim = image_metrics.ssim(photograph, image)
  return {
    "SSIM": ssim,
    "aligned SSIM": jnp.maximum(
      ssim, image_metrics.ssim(photograph, _aligned(photograph, image))
    ),
    "|SSIM|": jnp.abs(ssim),
    "L1": jnp.mean(jnp.abs(photograph - image), axis=(1, 2, 3)),
    "PSNR": image_metrics.psnr(photograph, image),
  }


def _aligned(photograph, image):
  """a image + b nearest to the photograph, clipped, of each pair."""
  axes = (1, 2, 3)
  mean = lambda x: x.mean(axes, keepdims=True)
  x = image - mean(image)
  slope = mean(x * photograph) / (mean(x * x) + 1e-8)
  return jnp.clip(slope * x + mean(photograph), 0, 1)


def linked(gallery: np.ndarray, probes: np.ndarray) -> statistics.Proportion:
  """How often row i of the gallery is nearest to row i of the probes."""
  rows = np.arange(len(gallery))
  flat = lambda x: x.reshape(len(x), -1).astype(np.float32)
  found = identification.rank1(flat(gallery), rows, flat(probes), rows)
  return statistics.proportion(found.hits, found.total)
