import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpriv.models import layers


@pytest.mark.parametrize(("window", "stride"), [(2, 2), (3, 1), (3, 2), (1, 1)])
def test_max_pool_equals_xla_and_its_gradient(window, stride):
  x = jax.random.normal(jax.random.key(0), (2, 8, 12, 3))
  reference = lambda x: nn.max_pool(
    x, (window, window), (stride, stride), padding="SAME"
  )
  ours = lambda x: layers.max_pool(x, window, stride)
  np.testing.assert_array_equal(ours(x), reference(x))
  weight = jax.random.normal(jax.random.key(1), reference(x).shape)
  gradient = lambda f: jax.grad(lambda x: jnp.sum(f(x) * weight))(x)
  # Sums of up to nine terms are added in another order.
  np.testing.assert_allclose(gradient(ours), gradient(reference), atol=1e-6)


def test_transposed_conv_equals_lax_and_its_gradient():
  x = jax.random.normal(jax.random.key(0), (2, 5, 6, 3))
  kernel = jax.random.normal(jax.random.key(1), (4, 4, 3, 2))

  def reference(x, kernel):
    return jax.lax.conv_transpose(
      x, kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )

  assert layers.transposed_conv(x, kernel).shape == (2, 10, 12, 2)
  np.testing.assert_allclose(
    layers.transposed_conv(x, kernel), reference(x, kernel), atol=1e-5
  )
  weight = jax.random.normal(jax.random.key(2), (2, 10, 12, 2))
  gradients = [
    jax.grad(lambda x, k, f=f: jnp.sum(f(x, k) * weight), (0, 1))(x, kernel)
    for f in (layers.transposed_conv, reference)
  ]
  for a, b in zip(*gradients):
    np.testing.assert_allclose(a, b, atol=1e-4)


@pytest.mark.parametrize(
  ("side", "stride", "padding", "channels"),
  [
    (1, 1, 1, 5),
    (1, 2, "SAME", 3),
    (2, 1, "SAME", 5),
    (2, 2, ((0, 2), (2, 1)), 5),
    (3, 1, "VALID", 5),
    (4, 2, 1, 5),
    (8, 1, 1, 3),
    (8, 2, "SAME", 3),
  ],
)
def test_conv_equals_lax_and_its_gradient(side, stride, padding, channels):
  x = jax.random.normal(jax.random.key(0), (2, side, side + 1, channels))
  arguments = dict(strides=stride, padding=padding)
  ours = layers.Conv(4, (3, 3), **arguments)
  reference = nn.Conv(4, (3, 3), **arguments)
  params = reference.init(jax.random.key(1), x)
  weight = jax.random.normal(
    jax.random.key(2), reference.apply(params, x).shape
  )
  results = [
    jax.value_and_grad(
      lambda p, x, layer=layer: jnp.sum(layer.apply(p, x) * weight), (0, 1)
    )(params, x)
    for layer in (ours, reference)
  ]
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), *results
  )


def test_convs_of_small_images_are_matrix_products():
  def has_conv(side):
    layer = layers.Conv(4, (3, 3), padding=1)
    x = jnp.ones((2, side, side, 5))
    params = layer.init(jax.random.key(0), x)
    return "conv_general" in str(jax.make_jaxpr(layer.apply)(params, x))

  assert has_conv(3)
  assert not has_conv(2)


def test_convs_in_a_loop_are_matrix_products_and_equal():
  x = jax.random.normal(jax.random.key(0), (2, 9, 8, 3))
  layer = layers.UpBlock(4)
  params = layer.init(jax.random.key(1), x, False)
  run = lambda params: layer.apply(params, x, False)
  outside = run(params)
  with layers.in_a_loop():
    inside = run(params)
    traced = str(jax.make_jaxpr(lambda params: run(params))(params))
  np.testing.assert_allclose(inside, outside, atol=1e-5)
  assert "conv_general" not in traced
  again = str(jax.make_jaxpr(lambda params: run(params))(params))
  assert "conv_general" in again


def test_other_convs_are_left_to_lax():
  x = jnp.ones((2, 8, 6))
  layer = layers.Conv(4, (3,), feature_group_count=2)
  assert layer.init_with_output(jax.random.key(0), x)[0].shape == (2, 8, 4)


def test_norms_are_named_and_others_refused():
  x = jnp.ones((2, 4, 4, 8))
  for kind, name in (("batch", "BatchNorm_0"), ("group", "GroupNorm_0")):
    block = layers.ConvBlock(8, norm=kind)
    params = block.init(jax.random.key(0), x, False)["params"]
    assert set(params) == {"Conv_0", name}
  # EEAE's demo has a code of four channels.
  for channels, groups in ((4, 1), (12, 3), (24, 3)):
    block = layers.ConvBlock(channels, norm="group")
    y, _ = block.init_with_output(jax.random.key(0), x, False)
    assert y.shape == (2, 4, 4, channels)
    scaled = layers.norm("group", True, jnp.float32)
    z = jax.random.normal(jax.random.key(1), (2, 4, 4, channels))
    result, _ = nn.Sequential([scaled]).init_with_output(jax.random.key(0), z)
    parts = np.asarray(result).reshape(2, 16, groups, -1)
    np.testing.assert_allclose(parts.mean((1, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(parts.std((1, 3)), 1, atol=1e-3)
  with pytest.raises(ValueError, match="'batch' or 'group', got 'layer'"):
    layers.norm("layer", True, jnp.float32)
