"""All shapes that the paper states for 224 pixels, by abstract evaluation."""

import jax
import jax.numpy as jnp
import pytest

from jaxpriv.models.autoencoder import ExternalAutoEncoder, InternalAutoEncoder

IMAGES = jax.ShapeDtypeStruct((2, 224, 224, 3), jnp.float32)
R = jax.ShapeDtypeStruct((2, 14, 14, 512), jnp.float32)


def initialised(model, x):
  key = jax.random.key(0)
  return jax.eval_shape(lambda x: model.init(key, x, train=False), x)


def count(params, names):
  chosen = {k: v for k, v in params.items() if k.startswith(names)}
  assert chosen
  return sum(leaf.size for leaf in jax.tree.leaves(chosen))


def conv(size, inputs, outputs):
  return size * size * inputs * outputs + 2 * outputs  # and the norm's two


def test_external_autoencoder_at_224():
  model = ExternalAutoEncoder()
  variables = initialised(model, IMAGES)
  r = jax.eval_shape(
    lambda v, x: model.apply(v, x, method="encode"), variables, IMAGES
  )
  assert r.shape == R.shape
  images = jax.eval_shape(
    lambda v, r: model.apply(v, r, method="decode"), variables, r
  )
  assert images.shape == IMAGES.shape and images.dtype == jnp.float32
  widths = (3, 64, 128, 256, 512, 512)
  encoder = sum(conv(3, a, b) for a, b in zip(widths, widths[1:]))
  assert encoder == 3_912_256
  assert count(variables["params"], "encoder") == encoder
  up = (512, 256, 128, 64)
  decoder = conv(3, 512, 512) + sum(conv(4, a, b) for a, b in zip(up, up[1:]))
  decoder += 4 * 4 * 64 * 3 + 3
  assert decoder == 5_116_803
  assert count(variables["params"], ("decoder", "to_image")) == decoder


def test_internal_autoencoder_at_224():
  model = InternalAutoEncoder()
  variables = initialised(model, R)
  y = jax.eval_shape(lambda v, r: model.apply(v, r, train=False), variables, R)
  assert y.shape == R.shape
  code = jax.eval_shape(
    lambda v, r: model.apply(v, r, method="encode"), variables, R
  )
  assert code.shape == (2, 7, 7, 64)
  widths = (512, 512, 256, 256, 128, 128, 64)
  encoder = sum(conv(3, a, b) for a, b in zip(widths, widths[1:]))
  assert encoder == 4_647_552
  assert count(variables["params"], "encoder") == encoder
  widths = (64, 128, 128, 256, 256)
  decoder = sum(conv(3, a, b) for a, b in zip(widths, widths[1:]))
  decoder += conv(4, 256, 512) + 3 * 3 * 512 * 512 + 512
  assert decoder == 5_565_440
  assert count(variables["params"], ("decoder", "to_features")) == decoder


@pytest.mark.parametrize("norm", ["batch", "group"])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_parameters_stay_float32_and_images_come_out_float32(norm, dtype):
  model = ExternalAutoEncoder((8, 8, 8, 8, 8), norm=norm, dtype=dtype)
  x = jax.random.uniform(jax.random.key(0), (2, 32, 32, 3))
  variables = model.init(jax.random.key(1), x, train=False)
  assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {
    jnp.dtype(jnp.float32)
  }
  output = model.apply(variables, x, train=False)
  assert output.dtype == jnp.float32
  assert output.min() >= 0 and output.max() <= 1


def test_a_side_that_does_not_divide_is_refused():
  model = ExternalAutoEncoder((8, 8, 8, 8, 8))
  with pytest.raises(ValueError, match=r"side 40.*multiple of 16"):
    initialised(model, jax.ShapeDtypeStruct((1, 40, 40, 3), jnp.float32))


def test_strides_decide_where_the_sides_halve_and_the_decoder_mirrors_them():
  model = ExternalAutoEncoder((4, 5, 6, 7, 8), (2, 1, 2, 2, 1), norm="")
  images = jnp.ones((1, 16, 16, 3))
  params = model.init(jax.random.key(0), images, False)
  bound = model.bind(params)
  r = bound.encode(images)
  assert r.shape == (1, 2, 2, 8)
  assert bound.decode(r).shape == images.shape
  features = [params["params"][f"decoder_{i}"] for i in range(4)]
  kernels = [
    p.get("kernel", p.get("Conv_0", {}).get("kernel")).shape for p in features
  ]
  assert kernels == [(3, 3, 8, 7), (4, 4, 7, 6), (4, 4, 6, 5), (3, 3, 5, 4)]


@pytest.mark.parametrize("pooled", [False, True])
def test_noise_comes_with_a_bound_on_every_number(pooled):
  """However large its inputs: on it rests what is proven of a release."""
  network = InternalAutoEncoder(8, (8, 8, 8, 8, 8), 3, pooled=pooled, noise=0.5)
  r = 1e6 * jax.random.normal(jax.random.key(0), (4, 4, 4, 8))
  variables = network.init(jax.random.key(1), r, train=False)
  encode = lambda net: net.apply(variables, r, method="encode")
  code = encode(network)
  side = 1 if pooled else 2
  assert code.shape == (4, side, side, 3)
  assert 0.9 < jnp.abs(code).max() <= 1
  half = encode(network.clone(dtype=jnp.bfloat16))
  assert half.dtype == jnp.float32 and jnp.abs(half).max() <= 1
  # Without noise there is no bound, and none is claimed.
  assert jnp.abs(encode(network.clone(noise=0.0))).max() > 10
  drawn = jax.random.normal(jax.random.key(2), code.shape)
  silent = network.apply(variables, r, train=False)
  released = network.apply(variables, r, drawn, train=False)
  assert jnp.abs(released - silent).max() > 1e-3
