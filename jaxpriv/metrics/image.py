"""Similarity of images.

SSIM: Wang, Bovik, Sheikh, Simoncelli, IEEE TIP 13(4), 2004, as in `dm_pix`.
MS-SSIM: Wang, Simoncelli, Bovik, Asilomar 2003, equation (7).

The negative trap: SSIM is a correlation, and ranges from 1 to about -1. A
photographic negative of a face scores near -1 though anybody recognises it, so
a mechanism that *minimises* SSIM is rewarded for making negatives. As a privacy
loss or figure use max(ssim, 0) or |ssim|, never ssim itself. `ms_ssim` is
clipped at 0 at every scale, so it is never negative, but it rates a negative as
dissimilar as noise: report |ssim| beside it.
"""

from collections.abc import Sequence
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxpriv import platforms
from jaxpriv.metrics.statistics import Mean, mean_interval

WINDOW = 11
_GAUSSIAN = np.exp(-0.5 * ((np.arange(WINDOW) - WINDOW // 2) / 1.5) ** 2)
_GAUSSIAN /= _GAUSSIAN.sum()
BLOCK = 128  # pairs that are compared at once

MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


@partial(jax.jit, static_argnames="max_val")
def ssim(
  a: jax.Array,
  b: jax.Array,
  max_val: float = 1.0,
  area: jax.Array | None = None,
) -> jax.Array:
  """Structural similarity, Gaussian 11 x 11 window of sigma 1.5.

  Args:
    a: [..., H, W, C] floats in [0, max_val]; H and W at least 11.
    b: the same shape.
    max_val: the largest value a pixel can have.
    area: bool [..., H, W], the positions of the centre of the window that
      count, which are five pixels from the edge at least; None: all of these.

  Returns:
    [...] in [-1, 1], averaged over positions and channels; NaN where no
    position counts.

  Raises:
    ValueError: if the shapes differ, or the images are integers or too small.
  """
  a, b, leading = _pair(a, b)
  _require_window(a.shape)
  similarity = jnp.moveaxis(_ssim_map(a, b, max_val), 1, 3)
  edge = WINDOW // 2
  if area is not None:
    area = area.reshape(a.shape[:3])[:, edge:-edge, edge:-edge]
  return _mean(similarity, area).reshape(leading)


def _mean(values, area):
  """[N, h, w, C] -> [N], over positions in `area` [N, h, w], if it is given."""
  if area is None:
    return values.mean((1, 2, 3))
  total = (values.mean(3) * area).sum((1, 2))
  return total / area.sum((1, 2))


def _ssim_map(a, b, max_val, k1=0.01, k2=0.03):
  """SSIM at each position of a window, [N, C, H - 10, W - 10]."""
  a, b = (jnp.moveaxis(x, 3, 1) for x in (a, b))
  grey = max_val / 2  # subtracted, so that squares lose fewer digits
  a, b = a - grey, b - grey
  windows = jnp.stack([a, b, a * a, b * b, a * b])
  mean_a, mean_b, square_a, square_b, product = _windowed(windows)
  # Rounding can make variances of flat regions negative.
  variance_a = jnp.maximum(square_a - mean_a**2, 0)
  variance_b = jnp.maximum(square_b - mean_b**2, 0)
  covariance = product - mean_a * mean_b
  mean_a, mean_b = mean_a + grey, mean_b + grey
  c1, c2 = (k1 * max_val) ** 2, (k2 * max_val) ** 2
  return (
    (2 * mean_a * mean_b + c1)
    * (2 * covariance + c2)
    / ((mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2))
  )


def _windowed(x: jax.Array) -> jax.Array:
  """Means of Gaussian windows, [..., H, W] -> [..., H - 10, W - 10].

  On a CPU products with band matrices: a convolution, and even more its
  gradient, takes ten times as long (`launch.benchmark layers`). Elsewhere sums
  of shifted images: products are rounded to fewer digits there, or at full
  precision take many times as long.
  """
  if platforms.on_cpu():
    rows, columns = (_band(size) for size in x.shape[-2:])
    x = jnp.einsum("ih,...hw->...iw", rows, x, precision="highest")
    return jnp.einsum("jw,...iw->...ij", columns, x, precision="highest")
  for axis in (x.ndim - 2, x.ndim - 1):
    size = x.shape[axis] - WINDOW + 1
    x = sum(
      weight * jax.lax.slice_in_dim(x, i, i + size, axis=axis)
      for i, weight in enumerate(_GAUSSIAN.tolist())
    )
  return x


def _band(size: int) -> np.ndarray:
  """The Gaussian window at every position, [size - 10, size]."""
  band = np.zeros((size - WINDOW + 1, size), np.float32)
  for i in range(len(band)):
    band[i, i : i + WINDOW] = _GAUSSIAN
  return band


@partial(jax.jit, static_argnames="max_val")
def psnr(
  a: jax.Array,
  b: jax.Array,
  max_val: float = 1.0,
  area: jax.Array | None = None,
) -> jax.Array:
  """Peak signal-to-noise ratio in dB, [..., H, W, C] -> [...]; inf if equal.

  Of the pixels in `area` alone, bool [..., H, W], if it is given; NaN where
  there is none.
  """
  a, b, leading = _pair(a, b)
  if area is not None:
    area = area.reshape(a.shape[:3])
  # Subtracted before dividing, so that equal images have exactly no error.
  error = _mean(jnp.square((a - b) / max_val), area)
  return (-10 * jnp.log10(error)).reshape(leading)


@partial(jax.jit, static_argnames=("max_val", "scales"))
def ms_ssim(
  a: jax.Array,
  b: jax.Array,
  max_val: float = 1.0,
  scales: int | None = None,
) -> jax.Array:
  """Multi-scale structural similarity, clipped at 0.

  Args:
    a: [..., H, W, C] floats in [0, max_val].
    b: the same shape.
    max_val: the largest value a pixel can have.
    scales: how many of the five scales to use, weights renormalised; by default
      as many as fit: all from 176 pixels, four at 112, three at 64. Figures at
      different numbers of scales are not comparable.

  Returns:
    [...] in [0, 1].

  Raises:
    ValueError: as `ssim`, or if the smallest scale would be below 11 pixels.
  """
  a, b, leading = _pair(a, b)
  _require_window(a.shape)
  if scales is None:
    fitting = int(np.log2(min(a.shape[-3:-1]) / WINDOW)) + 1
    scales = min(fitting, len(MS_SSIM_WEIGHTS))
  if not 1 <= scales <= len(MS_SSIM_WEIGHTS):
    raise ValueError(f"ms_ssim has 1 to 5 scales, not {scales}")
  weights = np.array(MS_SSIM_WEIGHTS[:scales])
  weights /= weights.sum()
  product = jnp.ones(())
  for scale, weight in enumerate(weights):
    _require_window(a.shape, f" at scale {scale + 1} of {scales}")
    last = scale == scales - 1
    # Luminance counts only at the coarsest scale; elsewhere a huge k1 makes it
    # 1.
    similarity = _ssim_map(a, b, max_val, k1=0.01 if last else 1e4).mean((2, 3))
    # `where` twice: the power has no finite gradient at 0.
    positive = jnp.logical_not(similarity <= 0)  # nan stays nan
    power = jnp.where(positive, similarity, 1.0) ** weight
    product = product * jnp.where(positive, power, 0.0)
    a, b = (nn.avg_pool(x, (2, 2), strides=(2, 2)) for x in (a, b))
  return product.mean(-1).reshape(leading)


def likeness(
  images: np.ndarray,
  reconstructed: np.ndarray,
  people: np.ndarray,
  hidden: np.ndarray | None = None,
) -> dict[str, Mean]:
  """How much of the photographs is seen: metric -> its mean.

  "aligned SSIM" lets the attacker choose brightness and contrast for each image
  afterwards, with either sign, to come nearest to the photograph: a negative
  counts in full.

  Args:
    images: uint8 [N, S, S, 3].
    reconstructed: float32 [N, S, S, 3] in [0, 1], or uint8.
    people: int [N], for the interval.
    hidden: bool [N, S, S], an area that is also compared by itself: "hidden
      SSIM" and "hidden PSNR", which are left out if it is empty everywhere.
  """

  def unit(block):
    bytes_ = block.dtype == np.uint8
    return block.astype(np.float32) / 255 if bytes_ else block

  values: dict[str, list] = {}
  for i in range(0, len(images), BLOCK):
    pair = [unit(array[i : i + BLOCK]) for array in (images, reconstructed)]
    area = None if hidden is None else hidden[i : i + BLOCK]
    for name, value in _compared(*pair, area).items():
      values.setdefault(name, []).append(np.asarray(value))
  each = {name: np.concatenate(parts) for name, parts in values.items()}
  return {
    name: mean_interval(value, people)
    for name, value in each.items()
    if np.isfinite(value).any()  # the PSNR of equal images is not
  }


@jax.jit
def _compared(photograph, image, hidden):
  similarity = ssim(photograph, image)
  apart = {}
  if hidden is not None:
    apart = {
      "hidden SSIM": ssim(photograph, image, area=hidden),
      "hidden PSNR": psnr(photograph, image, area=hidden),
    }
  return {
    "SSIM": similarity,
    "aligned SSIM": jnp.maximum(
      similarity, ssim(photograph, _aligned(photograph, image))
    ),
    "|SSIM|": jnp.abs(similarity),
    "L1": jnp.mean(jnp.abs(photograph - image), axis=(1, 2, 3)),
    "PSNR": psnr(photograph, image),
    **apart,
  }


def _aligned(photograph, image):
  """a image + b nearest to the photograph, clipped, of each pair."""
  axes = (1, 2, 3)
  mean = lambda x: x.mean(axes, keepdims=True)
  x = image - mean(image)
  slope = mean(x * photograph) / (mean(x * x) + 1e-8)
  return jnp.clip(slope * x + mean(photograph), 0, 1)


def distinct_outputs(images: np.ndarray) -> int:
  """The number of different images among N.

  Few outputs for many people can only encode what the outputs keep; as many
  outputs as people leave room for an identity in each.

  Args:
    images: [N, H, W, C], uint8, or floats in [0, 1], which are rounded to uint8
      as a PNG would be.
  """
  images = np.asarray(images)
  if images.dtype != np.uint8:
    if not np.isfinite(images).all():
      raise ValueError("distinct_outputs: some pixels are not finite")
    images = np.round(np.clip(images, 0, 1) * 255).astype(np.uint8)
  return len({image.tobytes() for image in images})


def pairs_needed(
  points: Sequence[tuple[int, float]], threshold: float
) -> int | None:
  """The number of known pairs that reach an SSIM, interpolated in log N.

  Args:
    points: (pairs, SSIM), ascending in pairs.
    threshold: the SSIM to reach.

  Returns:
    the number of pairs, or None where no point reaches the threshold.
  """
  before = None
  for pairs, value in points:
    if value >= threshold:
      if before is None:
        return pairs
      low, high = before
      share = (threshold - high) / (value - high)
      return round(float(np.exp(np.log(low) + share * np.log(pairs / low))))
    before = (pairs, value)
  return None


def _pair(a, b):
  """Both as float32 [N, H, W, C], and the shape of their leading axes."""
  a, b = jnp.asarray(a), jnp.asarray(b)
  if a.shape != b.shape or a.ndim < 3:
    raise ValueError(
      f"images of shapes {a.shape} and {b.shape}: both must be"
      " [..., height, width, channels]"
    )
  for x in (a, b):
    if not jnp.issubdtype(x.dtype, jnp.floating):
      raise ValueError(
        f"images are {x.dtype}: convert them to floats in [0, max_val] first"
      )
  leading = a.shape[:-3]
  a, b = (x.astype(jnp.float32).reshape(-1, *x.shape[-3:]) for x in (a, b))
  return a, b, leading


def _require_window(shape, where=""):
  if min(shape[-3:-1]) < WINDOW:
    raise ValueError(
      f"images are {shape[-3]} x {shape[-2]}{where}: SSIM needs at least"
      f" {WINDOW} x {WINDOW}"
    )
