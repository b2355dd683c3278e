"""Modulated convolutions against one convolution an image, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import correlate

from jaxpriv import platforms
from jaxpriv.models import modulated

RNG = np.random.default_rng(0)
TAPS = np.array([1.0, 3.0, 3.0, 1.0])


def correlated(image, kernel):
  """[H, W, C] by [h, w, C, features], zeros outside, one channel at a time."""
  return np.stack(
    [
      sum(
        correlate(image[..., i], kernel[..., i, j], mode="constant")
        for i in range(image.shape[-1])
      )
      for j in range(kernel.shape[-1])
    ],
    -1,
  )


def spread(image, edge=4):
  """Zeros between pixels, then the filter, with `edge` pixels around."""
  height, width, channels = image.shape
  wide = np.zeros((2 * height + 2 * edge, 2 * width + 2 * edge, channels))
  wide[edge:-edge:2, edge:-edge:2] = image
  kernel = np.outer(TAPS, TAPS) / 16  # 1 over each of the four phases
  result = np.zeros_like(wide)
  for i in range(4):
    for j in range(4):
      # Taps are centred half a pixel behind: 2 before, 1 after.
      result += kernel[i, j] * np.roll(wide, (2 - i, 2 - j), (0, 1))
  return result


def by_image(x, kernel, style, demodulate, up):
  result = []
  for image, scales in zip(x, style):
    own = kernel * scales[:, None]
    if demodulate:
      own = own / np.sqrt(np.square(own).sum((0, 1, 2)) + 1e-8)
    y = correlated(spread(image) if up else image, own)
    result.append(y[4:-4, 4:-4] if up else y)
  return np.stack(result)


@pytest.mark.parametrize("on_cpu", [True, False])
@pytest.mark.parametrize("up", [False, True])
@pytest.mark.parametrize("demodulate", [False, True])
def test_each_image_has_a_kernel_of_its_own(
  demodulate, up, on_cpu, monkeypatch
):
  """By both routes, as there is one for accelerators."""
  monkeypatch.setattr(platforms, "on_cpu", lambda: on_cpu)
  x, style = RNG.normal(size=(3, 6, 4, 5)), RNG.normal(size=(3, 5)) + 1
  kernel = RNG.normal(size=(3, 3, 5, 2))
  got = modulated.modulated_conv(
    *(jnp.asarray(a, jnp.float32) for a in (x, kernel, style)),
    demodulate=demodulate,
    up=up,
  )
  expected = by_image(x, kernel, style, demodulate, up)
  assert got.shape == expected.shape
  np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


def test_noise_in_comes_out_with_variance_one_whatever_the_style():
  x = RNG.normal(size=(4, 32, 32, 16)).astype(np.float32)
  kernel = jnp.asarray(RNG.normal(size=(3, 3, 16, 8)), jnp.float32)
  style = jnp.asarray(RNG.normal(size=(4, 16)) * 30, jnp.float32)
  y = modulated.modulated_conv(jnp.asarray(x), kernel, style)
  inner = np.asarray(y)[:, 1:-1, 1:-1]
  np.testing.assert_allclose(inner.std((1, 2)), 1, atol=0.15)


def test_styles_are_multiplied_in_float32():
  x = jnp.ones((1, 4, 4, 2), jnp.bfloat16)
  kernel, style = jnp.ones((3, 3, 2, 1)), jnp.array([[1.0, 2.0]])
  y = modulated.modulated_conv(x, kernel, style)
  assert y.dtype == jnp.bfloat16
  # Nine of 1 and nine of 2, over the root of 9 + 36.
  assert float(y[0, 1, 1, 0]) == pytest.approx(27 / np.sqrt(45), rel=1e-2)


def test_doubling_is_bilinear_and_halving_its_transpose():
  x = RNG.normal(size=(2, 4, 6, 3)).astype(np.float32)
  got = np.asarray(modulated.doubled(jnp.asarray(x)))
  expected = np.stack([spread(image)[4:-4, 4:-4] for image in x])
  np.testing.assert_allclose(got, expected, atol=1e-5)
  inner = np.s_[:, 1:-1, 1:-1]
  resized = jax.image.resize(x, got.shape, "linear")
  np.testing.assert_allclose(got[inner], resized[inner], atol=1e-5)
  wider = modulated.doubled(jnp.asarray(x), 1)
  np.testing.assert_allclose(wider[:, 1:-1, 1:-1], got, atol=1e-6)
  # <halved(y), x> = <y, doubled(x)> / 4.
  y = jnp.asarray(RNG.normal(size=got.shape), jnp.float32)
  product = (modulated.halved(y) * x).sum()
  np.testing.assert_allclose(product, (y * got).sum() / 4, rtol=1e-4)


def test_a_constant_image_stays_one():
  x = jnp.ones((1, 8, 8, 1))
  inner = lambda y: np.asarray(y)[0, 2:-2, 2:-2, 0]
  np.testing.assert_allclose(inner(modulated.doubled(x)), 1, rtol=1e-6)
  np.testing.assert_allclose(inner(modulated.halved(x)), 1, rtol=1e-6)


@pytest.mark.parametrize("rate", [1.0, 0.01])
def test_a_rate_changes_how_fast_a_layer_learns_and_nothing_else(rate):
  """Outputs have the variance of inputs, and a step moves them by the rate."""
  x = jnp.asarray(RNG.normal(size=(500, 64)), jnp.float32)
  layer = modulated.Dense(128, rate, bias=2.0)
  params = layer.init(jax.random.key(0), x)
  y = np.asarray(layer.apply(params, x))
  np.testing.assert_allclose(y.mean(), 2, atol=0.1)
  np.testing.assert_allclose(y.std(), 1, atol=0.1)
  # As Adam does, each number moves by one.
  moved = jax.tree.map(lambda p: p + 1, params)
  change = np.asarray(layer.apply(moved, x)) - y
  expected = rate * (np.asarray(x).sum(1) / 8 + 1)
  np.testing.assert_allclose(change[:, 0], expected, rtol=1e-2, atol=1e-4)
