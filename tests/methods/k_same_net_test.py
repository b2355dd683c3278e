import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxpriv.data.records import DataError
from jaxpriv.errors import SettingError
from jaxpriv.methods import k_same_net
from tests import tiny
from tests.methods.closed_set import assert_hidden, members

ROWS, SIDE, PROXIES, ATTRIBUTES = 24, 16, 7, 2


def generator(seed, attributes=ATTRIBUTES):
  """Images that are one linear function of codes, and one of attributes."""
  rng = np.random.default_rng(seed)
  faces = rng.random((PROXIES, SIDE, SIDE, 3)).astype(np.float32)
  change = rng.normal(size=(attributes, SIDE, SIDE, 3)).astype(np.float32)
  return linear(faces, change), faces, change


def linear(faces, change):
  def generate(codes, signs):
    face = jnp.einsum("gn,nhwc->ghwc", codes, faces, precision="highest")
    return face + 0.1 * jnp.einsum("ga,ahwc->ghwc", signs, change)

  return generate


def people(seed, rows=ROWS):
  rng = np.random.default_rng(seed)
  images = rng.random((rows, SIDE, SIDE, 3)).astype(np.float32)
  return images, rng.integers(-1, 2, (rows, ATTRIBUTES)).astype(np.int8)


@functools.partial(jax.jit, static_argnums=0)
def compiled(k, faces, change, images, **labels):
  generate = linear(faces, change)
  return k_same_net.k_same_net(generate, images, k, PROXIES, **labels)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([2, 3, 5]))
def test_no_recogniser_beats_one_in_k(seed, k):
  rng = np.random.default_rng(seed)
  owner = np.r_[np.arange(6), rng.integers(6, size=ROWS - 6)]
  padding = np.arange(ROWS) >= ROWS - 3
  images, attributes = people(seed)
  _, faces, change = generator(seed)
  released = np.asarray(
    compiled(
      k, faces, change, images, identity=5 + 3 * owner,
      attributes=attributes, padding=padding,
    )
  )  # fmt: skip
  assert (released[padding] == 0).all() and np.isfinite(released).all()
  assert_hidden(released[~padding], owner[~padding], k)


def small(images):
  """Thumbnails of images whose side is theirs."""
  assert images.shape[1] == k_same_net.THUMBNAIL
  return images.reshape(len(images), -1).astype(np.float64)


@pytest.mark.parametrize("k", [2, 5])
def test_a_release_is_the_mean_of_the_k_proxies_nearest_to_the_group(k):
  images, _ = people(1)
  generate, faces, _ = generator(1, 0)
  none = np.zeros((ROWS, 0), np.int8)
  released = k_same_net.k_same_net(
    generate, images, k, PROXIES, attributes=none
  )
  groups = members(released)
  assert len(groups) > 1
  for rows in groups:
    average = small(images[rows]).mean(0)
    order = np.argsort(((small(faces) - average) ** 2).sum(1))
    mean = faces[order[:k]].astype(np.float64).mean(0)
    np.testing.assert_allclose(released[rows[0]], mean, atol=1e-5)


def test_a_group_shows_the_attributes_of_its_people():
  images, _ = people(2)
  attributes = np.zeros((ROWS, ATTRIBUTES), np.int8)
  attributes[:12, 0] = 1
  attributes[6:18, 1] = 1
  attributes[0] = -1, 0  # joins the six like it, or those of no attribute
  generate, _, change = generator(2)
  released = np.asarray(
    k_same_net.k_same_net(generate, images, 3, PROXIES, attributes=attributes)
  )
  plain = np.asarray(
    k_same_net.k_same_net(
      lambda codes, signs: generate(codes, 0 * signs), images, 3, PROXIES,
      attributes=attributes,
    )
  )  # fmt: skip
  for row in range(1, ROWS):
    shown = 2.0 * attributes[row] - 1
    expected = 0.1 * np.einsum("a,ahwc->hwc", shown, change)
    np.testing.assert_allclose(released[row] - plain[row], expected, atol=1e-5)


def test_unknown_attributes_are_neither():
  signs = k_same_net.signs(jnp.array([[0, 1, -1]]))
  assert signs.tolist() == [[-1, 1, 0]]


def test_too_few_people_or_proxies():
  images, attributes = people(3, 6)
  generate, *_ = generator(3)
  with pytest.raises(ValueError, match="there are 7"):
    k_same_net.k_same_net(
      generate, people(3)[0], 8, PROXIES, attributes=people(3)[1]
    )
  with pytest.raises(ValueError, match="the set has 6"):
    k_same_net.k_same_net(generate, images, 7, PROXIES, attributes=attributes)
  run = jax.jit(
    lambda identity: k_same_net.k_same_net(
      generate, images, 3, PROXIES, identity=identity, attributes=attributes
    )
  )
  assert np.isnan(run(np.array([1, 1, 1, 2, 2, 2]))).all()
  assert np.isnan(run(np.array([0, 1, 2, 3, 4, -1]))).all()
  assert np.isfinite(run(np.array([0, 1, 2, 3, 4, 4]))).all()
  config = tiny.baseline("k_same_net", k=tiny.PEOPLE + 1)
  with pytest.raises(DataError, match="there are 6"):
    k_same_net.check(config, None, lambda name: None)
  k_same_net.check(tiny.baseline("k_same_net"), None, lambda name: None)
  with pytest.raises(SettingError, match="at least 2"):
    k_same_net.phases(tiny.baseline("k_same_net", k=1))
  config.data.image_size = 20
  with pytest.raises(SettingError, match="a multiple of 8"):
    k_same_net.phases(config)


def test_the_generator_learns_the_people_it_is_trained_on():
  config = tiny.baseline("k_same_net", k=2)
  config.phases.generator.update(
    steps=120, optimizer="adam", learning_rate=1e-2, warmup_steps=0
  )
  (phase,) = k_same_net.phases(config)
  batch = tiny.batch(16)
  # Everyone is one colour, and one row is of nobody it knows.
  colour = np.random.default_rng(4).random((tiny.PEOPLE, 1, 1, 3))
  batch["image"] = np.float32(
    np.broadcast_to(colour[batch["identity"]], batch["image"].shape)
  )
  batch["identity"][3] = tiny.PEOPLE
  step = jax.jit(phase.method.step)
  state = phase.method.init(jax.random.key(0), batch, {})
  losses = []
  for number in range(120):
    state, metrics = step(state, {}, batch, jax.random.key(number))
    losses.append(float(metrics["loss"]))
  assert losses[-1] < 0.3 * losses[0]
