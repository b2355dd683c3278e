"""The networks of StarGAN v2 against counts of the original and plain NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import convolve

from jaxpriv.models import stargan

SMALL = dict(width=4, most=8)


def images(rows=2, side=16, channels=3, seed=0):
  rng = np.random.default_rng(seed)
  return rng.uniform(-1, 1, (rows, side, side, channels)).astype(np.float32)


def parameters(module, *args):
  made = jax.eval_shape(lambda key: module.init(key, *args), jax.random.key(0))
  return sum(leaf.size for leaf in jax.tree.leaves(made))


def test_networks_are_as_large_as_the_originals():
  """At 256 px; counted for the authors' program, of 2 and of 3 domains.

  Its generator with a high-pass skip has 1x1 convolutions that it never uses:
  of 512 to 256, 256 to 128 and 128 to 64 channels.
  """
  x, y, style = (
    jnp.zeros((1, 256, 256, 3)),
    jnp.zeros(1, int),
    np.zeros((1, 64)),
  )
  latent = np.zeros((1, 16))
  assert parameters(stargan.Generator(), x, style) == 33_892_995
  unused = 512 * 256 + 256 * 128 + 128 * 64
  high_pass = stargan.Generator(high_pass=1.0)
  assert parameters(high_pass, x, style) == 43_467_395 - unused
  assert parameters(stargan.Mapping(2), latent, y) == 2_438_272
  assert parameters(stargan.Mapping(3), latent, y) == 3_259_072
  assert parameters(stargan.Encoder(2, 64), x, y) == 20_916_928
  assert parameters(stargan.Encoder(2, 1), x, y) == 20_852_290


def test_instances_are_normalised_in_float32():
  x = (images(channels=5) * 3 + 7).astype(np.float64)
  mean, variance = x.mean((1, 2)), x.var((1, 2))
  expected = x - mean[:, None, None]
  expected /= np.sqrt(variance[:, None, None] + 1e-5)
  got = stargan.instance_norm(jnp.asarray(x, jnp.float32))
  np.testing.assert_allclose(got, expected, atol=1e-5)
  # Its sum of 16 thousand is beyond what bfloat16 counts exactly.
  coarse = jnp.full((1, 128, 128, 1), 1.0, jnp.bfloat16).at[0, 0, 0].set(2.0)
  got = stargan.instance_norm(coarse)
  assert got.dtype == jnp.bfloat16
  assert abs(float(got[0, 0, 0, 0]) - 128) < 70


def test_the_high_pass_filter_is_eight_times_less_the_neighbours():
  x = images(1, 9, 2)
  kernel = -np.ones((3, 3))
  kernel[1, 1] = 8
  expected = [
    convolve(x[0, :, :, i], kernel, mode="constant") for i in range(2)
  ]
  got = stargan.high_pass(jnp.asarray(x))[0]
  np.testing.assert_allclose(got, np.stack(expected, -1), atol=1e-5)


@pytest.mark.parametrize("down", [True, False])
def test_a_block_whose_convolutions_are_zero_passes_its_input_on(down):
  x = jnp.asarray(images(channels=4))
  block = stargan.ResidualBlock(4, norm=True, down=down)
  variables = jax.tree.map(jnp.zeros_like, block.init(jax.random.key(0), x))
  expected = np.asarray(x)
  if down:
    corners = [expected[:, i::2, j::2] for i in (0, 1) for j in (0, 1)]
    expected = sum(corners) / 4
  got = block.apply(variables, x)
  np.testing.assert_allclose(got, expected / np.sqrt(2), atol=1e-6)


@pytest.mark.parametrize("skip", [True, False])
def test_a_styled_block_passes_its_input_on_only_with_a_skip(skip):
  x, style = jnp.asarray(images(channels=4)), jnp.ones((2, 3))
  block = stargan.StyledBlock(4, up=True, skip=skip)
  variables = block.init(jax.random.key(0), x, style)
  zeros = jax.tree.map(jnp.zeros_like, variables)
  expected = np.asarray(x).repeat(2, 1).repeat(2, 2) / np.sqrt(2)
  got = block.apply(zeros, x, style)
  np.testing.assert_allclose(got, expected if skip else 0, atol=1e-6)


def test_a_style_scales_and_moves_each_channel():
  x, style = jnp.asarray(images(channels=4)), jnp.asarray([[1.0], [2.0]])
  layer = stargan.AdaptiveNorm()
  variables = layer.init(jax.random.key(0), x, style)
  dense = variables["params"]["Dense_0"]
  assert not dense["bias"].any()
  gains, moves = np.split(np.asarray(style @ dense["kernel"]), 2, 1)
  normed = stargan.instance_norm(x)
  got = layer.apply(variables, x, style)
  expected = normed * (1 + gains[:, None, None]) + moves[:, None, None]
  np.testing.assert_allclose(got, expected, atol=1e-5)


def test_only_the_head_of_a_domain_answers_for_it():
  x, latent = jnp.asarray(images(3)), jnp.ones((3, 5))
  for module, inputs in (
    (stargan.Encoder(3, 4, **SMALL), x),
    (stargan.Mapping(3, 4, hidden=8, shared=1), latent),
  ):
    domains = jnp.array([0, 1, 2])
    variables = module.init(jax.random.key(0), inputs, domains)

    def of(domain, module=module, variables=variables, inputs=inputs):
      return module.apply(variables, inputs, jnp.full(3, domain))

    mixed = module.apply(variables, inputs, domains)
    assert mixed.shape == (3, 4)
    for i in range(3):
      np.testing.assert_allclose(mixed[i], of(i)[i], rtol=1e-5, atol=1e-6)
    assert np.abs(of(0) - of(1)).max() > 1e-3


def test_images_do_not_see_each_other():
  """Nothing is normalised over a batch."""
  x, style = jnp.asarray(images(4)), jnp.asarray(images(4)[:, 0, 0])
  generator = stargan.Generator(halvings=2, **SMALL)
  variables = generator.init(jax.random.key(0), x, style)
  whole = generator.apply(variables, x, style)
  single = generator.apply(variables, x[2:3], style[2:3])
  assert whole.shape == x.shape and whole.dtype == jnp.float32
  np.testing.assert_allclose(whole[2:3], single, atol=1e-5)
  other = generator.apply(variables, x, style + 1)
  assert np.abs(other - whole).max() > 1e-3


def test_details_are_passed_on_where_they_are_to_be_kept():
  x, style = jnp.asarray(images(2, 32)), jnp.zeros((2, 3))
  generator = stargan.Generator(halvings=2, high_pass=1.0, **SMALL)
  variables = generator.init(jax.random.key(0), x, style)
  keep = lambda value: jnp.full((2, 32, 32, 1), value)
  everywhere = generator.apply(variables, x, style)
  np.testing.assert_allclose(
    everywhere, generator.apply(variables, x, style, keep(1.0)), atol=1e-5
  )
  nowhere = generator.apply(variables, x, style, keep(0.0))
  assert np.abs(nowhere - everywhere).max() > 1e-2
  weaker = stargan.Generator(halvings=2, high_pass=1e9, **SMALL)
  np.testing.assert_allclose(
    nowhere, weaker.apply(variables, x, style), atol=1e-4
  )


def test_sides_that_cannot_be_halved_are_refused():
  y, style = jnp.zeros(1, int), jnp.zeros((1, 3))
  with pytest.raises(ValueError, match="side 24 cannot be halved 4 times"):
    stargan.Generator(halvings=4).init(
      jax.random.key(0), jnp.zeros((1, 24, 24, 3)), style
    )
  with pytest.raises(ValueError, match="side 24 cannot be halved down to 4"):
    stargan.Encoder(2, 1).init(jax.random.key(0), jnp.zeros((1, 24, 24, 3)), y)
