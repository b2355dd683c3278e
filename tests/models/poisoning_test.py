"""Shapes and counts of the poisoning module and of reconstructors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from jaxpriv.models import poisoning, resnet
from tests.models.resnet_test import convolved, normed, statistics_of


def shape_and_count(model, shape):
  def run():
    x = jnp.zeros(shape)
    y, variables = model.init_with_output(jax.random.key(0), x, train=False)
    return y, variables["params"]

  y, params = jax.eval_shape(run)
  count = sum(int(np.prod(x.shape)) for x in jax.tree.leaves(params))
  return y.shape, count


@pytest.mark.parametrize(
  "side,channels,count",
  [(14, 1024, 4_468_736), (28, 512, 1_120_256), (56, 256, 281_600)],
)
def test_modules_of_four_bottlenecks(side, channels, count):
  shape = (2, side, side, channels)
  result = shape_and_count(poisoning.DeepPoisoningModule(), shape)
  assert result == (shape, count)


@pytest.mark.parametrize(
  "side,channels,options,millions",
  [
    (14, 1024, dict(), 2.48),
    (28, 512, dict(), 0.643),
    (56, 256, dict(factor=4), None),
    (14, 1024, dict(factor=4, residual=True), None),
  ],
)
def test_reconstructors_return_to_the_image(side, channels, options, millions):
  model = poisoning.Reconstructor(**options)
  shape, count = shape_and_count(model, (2, side, side, channels))
  assert shape == (2, 224, 224, 3)
  assert millions is None or count == pytest.approx(millions * 1e6, rel=5e-3)


@pytest.mark.parametrize("residual,channels", [(0, 6), (1, 16), (1, 6)])
def test_an_inverse_bottleneck_is_that_of_the_paper(residual, channels):
  """Convolution, norm, convolution, norm, convolution, ReLU."""
  block = poisoning.InverseBottleneck(16, bool(residual))
  images = jax.random.normal(jax.random.key(0), (2, 3, 3, channels))
  variables = statistics_of(block.init(jax.random.key(1), images, train=False))
  kernels = [
    np.asarray(p["kernel"], np.float64)
    for name, p in sorted(variables["params"].items())
    if name.startswith("Conv")
  ]
  x = np.asarray(images, np.float64)
  y = normed(convolved(x, kernels[0]), 1.5)
  y = normed(convolved(y, kernels[1]), 1.5)
  y = convolved(y, kernels[2])
  if residual:
    y += convolved(x, kernels[3]) if channels != 16 else x
  result = block.apply(variables, images, train=False)
  np.testing.assert_allclose(result, np.maximum(y, 0), atol=1e-4)


def test_the_module_is_residual_blocks_one_after_the_other():
  model = poisoning.DeepPoisoningModule(2)
  x = jax.random.normal(jax.random.key(0), (2, 3, 3, 8))
  variables = model.init(jax.random.key(1), x, train=False)
  y = x
  for name in ("Bottleneck_0", "Bottleneck_1"):
    own = {kind: tree[name] for kind, tree in variables.items()}
    y = resnet.Bottleneck(8).apply(own, y, train=False)
  result = model.apply(variables, x, train=False)
  np.testing.assert_allclose(result, y, atol=1e-6)


@pytest.mark.parametrize("output", ["clamp", "min_max"])
@pytest.mark.parametrize("residual", [False, True])
def test_images_are_images(output, residual):
  model = poisoning.Reconstructor(16, 1, 2, residual, output)
  x = 3 * jax.random.normal(jax.random.key(0), (3, 4, 4, 32))
  y, _ = model.init_with_output(jax.random.key(1), x, train=False)
  assert y.shape == (3, 16, 16, 3) and y.dtype == jnp.float32
  assert y.min() >= 0 and y.max() <= 1
  if output == "min_max":
    np.testing.assert_allclose(y.min((1, 2, 3)), 0, atol=1e-6)
    np.testing.assert_allclose(y.max((1, 2, 3)), 1, atol=1e-5)
  assert np.ptp(np.asarray(y), axis=0).max() > 1e-3


def test_what_cannot_be_reached_is_refused():
  model = poisoning.Reconstructor(24, 1, 4)
  with pytest.raises(ValueError, match="side 4 do not .* of side 24"):
    model.init(jax.random.key(0), jnp.zeros((1, 4, 4, 8)), train=False)


def test_the_module_changes_nothing_at_first():
  z = jax.random.uniform(jax.random.key(0), (2, 4, 4, 16))
  for norm in ("batch", "group"):
    model = poisoning.DeepPoisoningModule(2, norm=norm, identity=True)
    result, _ = model.init_with_output(jax.random.key(1), z, train=False)
    np.testing.assert_allclose(result, z, atol=1e-6)


def test_a_shuffled_reconstructor_computes_nothing_at_full_size():
  model = poisoning.Reconstructor(32, shuffle=True)
  z = jnp.ones((2, 8, 8, 32))
  y, variables = model.init_with_output(jax.random.key(0), z, train=False)
  assert y.shape == (2, 32, 32, 3)
  kernels = jax.tree.leaves(variables["params"])
  assert any(x.shape == (3, 3, 8, 12) for x in kernels)


def test_filters_against_their_sums():
  z = np.random.default_rng(0).random((2, 5, 6, 3)).astype(np.float32)
  padded = np.pad(z, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
  expected = np.zeros_like(z)
  for i in range(3):
    for j in range(3):
      expected += padded[:, i : i + 5, j : j + 6] / 9
  result = poisoning.mean_filter(jnp.asarray(z), 3)
  np.testing.assert_allclose(result, expected, atol=1e-6)
  expected = gaussian_filter(
    z.astype(float), (0, 0.8, 0.8, 0), mode="nearest", truncate=2.5
  )
  result = poisoning.gaussian_filter(jnp.asarray(z), 0.8)
  np.testing.assert_allclose(result, expected, atol=1e-6)


def test_content_keys_differ_for_images_that_hardly_do():
  images = np.random.default_rng(0).random((50, 4, 4, 3)).astype(np.float32)
  images[1:25] = images[0]
  for i in range(1, 24):  # one pixel, by one step of uint8; 24 is the same
    images[i, i % 4, i // 4 % 4, i % 3] += 1 / 255
  keys = jax.random.key_data(poisoning.content_keys(jnp.asarray(images), 3))
  assert len(np.unique(keys, axis=0)) == 49
  np.testing.assert_array_equal(keys[0], keys[24])
  alone = poisoning.content_keys(jnp.asarray(images[7:8]), 3)
  np.testing.assert_array_equal(jax.random.key_data(alone)[0], keys[7])
  other = jax.random.key_data(poisoning.content_keys(jnp.asarray(images), 4))
  assert not np.any(np.all(keys == other, axis=1))
