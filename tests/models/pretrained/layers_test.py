"""Layers of the pretrained networks against those of XLA and of NumPy."""

import itertools

import jax
import numpy as np
import pytest

from jaxpriv.models.pretrained import layers

RNG = np.random.default_rng(0)


def _array(*shape):
  return RNG.normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(
  "side,stride,padding",
  list(itertools.product((5, 8), (1, 2), ("SAME", "VALID"))),
)
def test_depthwise_is_a_grouped_convolution(side, stride, padding):
  x, kernel = _array(2, side, side + 1, 6), _array(3, 3, 6, 1)
  expected = jax.lax.conv_general_dilated(
    x,
    kernel.reshape(3, 3, 1, 6),
    (stride, stride),
    padding,
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
    feature_group_count=6,
  )
  actual = layers.depthwise(x, kernel, stride, padding)
  np.testing.assert_allclose(actual, expected, atol=1e-5)


@pytest.mark.parametrize("stride", (1, 2))
def test_a_convolution_of_one_pixel_is_a_product_of_matrices(stride):
  x, kernel = _array(2, 7, 7, 5), _array(1, 1, 5, 4)
  expected = jax.lax.conv_general_dilated(
    x,
    kernel,
    (stride, stride),
    "SAME",
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
  )
  np.testing.assert_allclose(
    layers.conv(x, kernel, stride), expected, atol=1e-5
  )


def test_separable_convolution_by_hand():
  x = _array(1, 3, 3, 2)
  params = {
    "a/depthwise_filter": _array(3, 3, 2, 1),
    "a/pointwise_filter": _array(1, 1, 2, 3),
    "a/bias": _array(3),
  }
  middle = (x[0] * params["a/depthwise_filter"][..., 0]).sum((0, 1))
  expected = middle @ params["a/pointwise_filter"][0, 0] + params["a/bias"]
  actual = layers.separable(params, "a", x)[0, 1, 1]
  np.testing.assert_allclose(actual, expected, atol=1e-5)


def test_pooling_pads_at_the_right_and_below():
  x = -np.arange(25, dtype=np.float32).reshape(1, 5, 5, 1)
  pooled = layers.max_pool(x, 2, 2)[0, :, :, 0]
  np.testing.assert_array_equal(
    pooled, [[0, -2, -4], [-10, -12, -14], [-20, -22, -24]]
  )
