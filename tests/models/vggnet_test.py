import jax
import jax.numpy as jnp
import numpy as np

from jaxpriv.models.vggnet import VGGNet


def run(model, images, train=False, variables=None):
  """(output, variables), with fresh variables unless given."""
  if variables is None:
    variables = jax.jit(model.init, static_argnames="train")(
      jax.random.key(0), images, train=False
    )
  fn = lambda variables: model.apply(variables, images, train=train)
  return jax.jit(fn)(variables), variables


def test_vgg16_convolutions():
  # The thirteen convolutions of VGG-16 have 14.71 M weights, biases included;
  # here norms take the place of biases.
  model = VGGNet((2, 2, 3, 3, 3))
  images = jnp.zeros((1, 64, 64, 3))
  init = lambda key: model.init(key, images, train=False)
  params = jax.eval_shape(init, jax.random.key(0))["params"]
  blocks = [v for k, v in params.items() if k.startswith("block")]
  kernels = [
    v["kernel"].size for b in blocks for k, v in b.items() if "Conv" in k
  ]
  biases = 2 * 64 + 2 * 128 + 3 * 256 + 6 * 512
  assert len(kernels) == 13
  assert round((sum(kernels) + biases) / 1e6, 2) == 14.71
  assert params["fc"]["kernel"].shape == (512, 512)


def test_shapes_and_norms():
  images = jax.random.uniform(jax.random.key(1), (3, 48, 32, 3))
  for norm in ("batch", "group"):
    model = VGGNet((1, 1), 8, 5, norm, dtype=jnp.bfloat16)
    out, variables = run(model, images)
    assert out.shape == (3, 5) and out.dtype == jnp.float32
    assert ("batch_stats" in variables) == (norm == "batch")
  alone, _ = run(model, images[:1], True, variables)
  np.testing.assert_allclose(alone, out[:1], atol=0.05)


def test_position_is_pooled_away():
  model = VGGNet((1,), 8, 5)
  images = jax.random.uniform(jax.random.key(1), (1, 16, 16, 3))
  images = images.at[:, :4].set(0.5).at[:, -4:].set(0.5)
  images = images.at[:, :, :4].set(0.5).at[:, :, -4:].set(0.5)
  out, variables = run(model, images)
  moved, _ = run(model, jnp.roll(images, 2, 1), False, variables)
  np.testing.assert_allclose(out, moved, atol=1e-5)
