"""The networks of StyleGAN2: sizes of the original, conditions, noise."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpriv.models import stylegan2

SMALL = dict(base=64, most=8)
NONE = jnp.zeros((1, 0))


def count(module, *args):
  made = jax.eval_shape(lambda key: module.init(key, *args), jax.random.key(0))
  return sum(leaf.size for leaf in jax.tree.leaves(made))


def width(side):
  return min(2**14 // side, 512)


def layer(inputs, outputs, window, w=0):
  """Numbers of a convolution with a bias, its style, and strength of noise."""
  style = (w + 1) * inputs if w else 0
  return window**2 * inputs * outputs + outputs + style


def test_networks_are_as_large_as_counted_layer_by_layer():
  """At 256 px, base 2^14, without a condition."""
  mapping = 8 * (512 * 512 + 512)
  got = count(stylegan2.Mapping(), jnp.zeros((1, 512)), NONE)
  assert got == mapping
  synthesis = 16 * 512 + layer(512, 512, 3, 512) + 1 + layer(512, 3, 1, 512)
  sides = [8, 16, 32, 64, 128, 256]
  for side in sides:
    synthesis += layer(width(side // 2), width(side), 3, 512) + 1
    synthesis += layer(width(side), width(side), 3, 512) + 1
    synthesis += layer(width(side), 3, 1, 512)
  assert count(stylegan2.Synthesis(256), jnp.zeros((1, 512))) == synthesis
  assert mapping + synthesis == 24_767_458
  judge = layer(3, 64, 1)
  for side in sides:
    here, half = width(side), width(side // 2)
    judge += layer(here, here, 3) + layer(here, half, 3) + here * half
  judge += layer(513, 512, 3) + (16 * 512 * 512 + 512) + (512 + 1)
  images = jnp.zeros((4, 256, 256, 3))
  got = count(stylegan2.Discriminator(), images, jnp.zeros((4, 0)))
  assert got == judge == 24_001_089


@pytest.fixture(scope="module")
def drawn():
  """(network, variables, w) of a small generator of images of 16 px."""
  network = stylegan2.Synthesis(16, **SMALL)
  w = jax.random.normal(jax.random.key(1), (3, 6))
  variables = network.init(jax.random.key(0), w)
  # Strengths are 0 at first.
  louder = jax.tree.map(lambda p: p if p.ndim else p + 0.5, variables)
  return network, louder, w


def test_noise_is_a_function_of_the_key_of_each_image(drawn):
  network, variables, w = drawn
  keys = jax.random.split(jax.random.key(2), 3)
  noisy = network.apply(variables, w, keys)
  assert noisy.shape == (3, 16, 16, 3) and noisy.dtype == jnp.float32
  turned = network.apply(variables, w[::-1], keys[::-1])[::-1]
  np.testing.assert_allclose(noisy, turned, atol=1e-5)
  other = network.apply(variables, w, keys[::-1])
  changed = np.abs(other - noisy).max((1, 2, 3))
  assert changed[0] > 1e-2 and changed[1] < 1e-5
  still = network.apply(variables, w)
  assert np.abs(still - noisy).max() > 1e-2
  np.testing.assert_array_equal(still, network.apply(variables, w))


def test_layers_have_noise_of_their_own(drawn):
  network, variables, w = drawn
  seen = {}

  def note(call, args, kwargs, context):
    if isinstance(context.module, stylegan2.StyledConv) and len(args) > 2:
      seen[context.module.name] = np.asarray(args[2])
    return call(*args, **kwargs)

  keys = jax.random.split(jax.random.key(2), 3)
  with nn.intercept_methods(note):
    network.apply(variables, w, keys)
  sides = {name: noise.shape[1:] for name, noise in seen.items()}
  assert sides == {
    "conv_4": (4, 4),
    **dict.fromkeys(("up_8", "conv_8"), (8, 8)),
    **dict.fromkeys(("up_16", "conv_16"), (16, 16)),
  }
  for side in (8, 16):
    pair = [seen[f"{kind}_{side}"].ravel() for kind in ("up", "conv")]
    assert abs(np.corrcoef(pair)[0, 1]) < 0.3


def test_colours_of_coarse_layers_reach_the_image(drawn):
  network, variables, w = drawn
  before = network.apply(variables, w)
  for side in (4, 8, 16):
    changed = jax.tree.map(lambda p: p, variables)
    changed["params"][f"rgb_{side}"]["bias"] = jnp.array([1.0, 0.0, 0.0])
    change = np.asarray(network.apply(changed, w) - before)
    # Outside of an image is 0, which edges feel.
    np.testing.assert_allclose(change[:, 6:-6, 6:-6, 0], 1, atol=1e-4)
    np.testing.assert_allclose(change[..., 1:], 0, atol=1e-5)


def test_precision_is_of_the_convolutions_alone(drawn):
  _, variables, w = drawn
  coarse = stylegan2.Synthesis(16, **SMALL, dtype=jnp.bfloat16)
  fresh = coarse.init(jax.random.key(0), w)
  assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(fresh))
  got = coarse.apply(variables, w)
  fine = stylegan2.Synthesis(16, **SMALL).apply(variables, w)
  assert got.dtype == jnp.float32
  assert 0 < np.abs(got - fine).max() < 0.2 * np.abs(fine).max()


def test_w_is_of_the_direction_of_noise_and_of_the_condition():
  network = stylegan2.Mapping(12, 2)
  noise = jax.random.normal(jax.random.key(0), (4, 5))
  condition = jnp.ones((4, 3))
  variables = network.init(jax.random.key(1), noise, condition)
  w = network.apply(variables, noise, condition)
  longer = network.apply(variables, 7 * noise, condition)
  np.testing.assert_allclose(w, longer, rtol=1e-4, atol=1e-5)
  further = network.apply(variables, noise, 2 * condition)
  assert np.abs(further - w).max() > 1e-2
  # Any number of axes before.
  many = network.apply(variables, noise[:, None], condition[:, None])
  np.testing.assert_allclose(many[:, 0], w, atol=1e-6)


def deviation(x, keep, size):
  """In float64, a group at a time."""
  result = []
  for start in range(0, len(x), size):
    rows = x[start : start + size][keep[start : start + size]]
    spread = rows.std(0) if len(rows) else np.zeros(x.shape[1:])
    result += [np.sqrt(spread**2 + 1e-8).mean()] * size
  return np.array(result)


@pytest.mark.parametrize("rows, size", [(8, 4), (6, 4), (3, 3)])
def test_a_deviation_is_that_of_the_rows_of_a_group_that_are_kept(rows, size):
  x = np.random.default_rng(0).normal(size=(rows, 2, 2, 3))
  keep = np.ones(rows, bool)
  keep[1] = False
  got = stylegan2.group_deviation(
    jnp.asarray(x, jnp.float32), jnp.asarray(keep), size
  )
  expected = deviation(x, keep, np.gcd(rows, size))
  np.testing.assert_allclose(got, expected, rtol=1e-5)
  nobody = stylegan2.group_deviation(
    jnp.asarray(x, jnp.float32), jnp.zeros(rows, bool), size
  )
  np.testing.assert_allclose(nobody, 1e-4, rtol=1e-3)


def test_rows_of_padding_are_seen_by_no_other():
  network = stylegan2.Discriminator(**SMALL)
  images = jax.random.normal(jax.random.key(0), (8, 8, 8, 3))
  condition = jnp.ones((8, 2))
  keep = jnp.arange(8) != 2
  variables = network.init(jax.random.key(1), images, condition)
  logits = network.apply(variables, images, condition, keep)
  assert logits.shape == (8, 1)
  other = images.at[2].set(50.0)
  changed = network.apply(variables, other, condition, keep)
  np.testing.assert_allclose(logits[keep], changed[keep], atol=1e-5)
  seen = network.apply(variables, other, condition)
  assert np.abs(seen - logits)[:4].max() > 1e-3
  np.testing.assert_allclose(seen[4:], logits[4:], atol=1e-5)


def test_without_groups_images_do_not_see_each_other():
  network = stylegan2.Discriminator(group=0, **SMALL)
  images = jax.random.normal(jax.random.key(0), (4, 8, 8, 3))
  condition = jnp.ones((4, 2))
  variables = network.init(jax.random.key(1), images, condition)
  whole = network.apply(variables, images, condition)
  single = network.apply(variables, images[1:2], condition[1:2])
  np.testing.assert_allclose(whole[1:2], single, atol=1e-5)


def test_a_logit_is_linear_in_the_condition():
  """So is the projection, whose part of an unknown condition is its bias."""
  network = stylegan2.Discriminator(**SMALL)
  images = jax.random.normal(jax.random.key(0), (4, 8, 8, 3))
  ask = lambda scale: network.apply(
    variables, images, scale * jnp.array([[1.0, -2.0]] * 4)
  )
  variables = network.init(jax.random.key(1), images, jnp.zeros((4, 2)))
  zero, one, two = ask(0.0), ask(1.0), ask(2.0)
  np.testing.assert_allclose(two - one, one - zero, atol=1e-5)
  assert np.abs(one - zero).max() > 1e-3
  bare = stylegan2.Discriminator(**SMALL)
  params = dict(variables["params"])
  params.pop("condition")
  alone = bare.apply({"params": params}, images, jnp.zeros((4, 0)))
  np.testing.assert_allclose(zero, alone, atol=1e-5)


def test_conditions_are_read_in_images_alone():
  network = stylegan2.Discriminator(reads=True, **SMALL)
  images = jax.random.normal(jax.random.key(0), (4, 8, 8, 3))
  one, other = jnp.ones((4, 3)), jnp.zeros((4, 3))
  variables = network.init(jax.random.key(1), images, one)
  seen, again = (network.apply(variables, images, c) for c in (one, other))
  assert seen.shape == (4, 4) and (seen[:, 0] != again[:, 0]).all()
  np.testing.assert_array_equal(seen[:, 1:], again[:, 1:])
  assert np.ptp(np.asarray(seen), axis=0).min() > 1e-3


@pytest.mark.parametrize("side", [4, 24])
def test_sides_that_cannot_be_are_refused(side):
  with pytest.raises(ValueError, match=f"side {side}: .* power of 2"):
    stylegan2.Synthesis(side).init(jax.random.key(0), jnp.zeros((1, 4)))
  images = jnp.zeros((1, side, side, 3))
  with pytest.raises(ValueError, match=f"side {side}: .* power of 2"):
    stylegan2.Discriminator().init(jax.random.key(0), images, NONE)
