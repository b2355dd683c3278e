"""Losses (4) to (8) against NumPy, and who learns from them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpriv.data.records import DataError
from jaxpriv.methods import embedded_autoencoder as eeae
from jaxpriv.training import inference
from tests import tiny


@functools.cache
def prepared(argument="demo"):
  """(config, phases, states after some steps, float batch)."""
  config = tiny.embedded_autoencoder(argument, alpha_1=0.5, alpha_2=2.0)
  phases = eeae.phases(config)
  batch = inference.as_float(
    {name: jnp.asarray(value) for name, value in tiny.batch(8).items()}
  )
  states = {}
  for i, phase in enumerate(phases):
    frozen = {name: states[name] for name in phase.needs}
    init = jax.jit(phase.method.init)
    state = init(jax.random.key(i), batch, frozen)
    step = jax.jit(phase.method.step)
    for j in range(4):  # until the norms' statistics mean something
      state, _ = step(state, frozen, batch, jax.random.key(j))
    states[phase.name] = state
  return config, phases, states, batch


def cross_entropy(logits, labels):
  """Equation (4) per example in float64, unknown labels left out."""
  logits = np.asarray(logits, np.float64)
  shifted = logits - logits.max(-1, keepdims=True)
  log_p = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
  total = np.zeros(len(labels))
  for i, row in enumerate(np.asarray(labels)):
    for n, t in enumerate(row):
      if t >= 0:
        total[i] -= log_p[i, n, t]
  return total


def parts(argument):
  """Every term of (7) or (8), from the networks' outputs, in float64."""
  config, phases, states, batch = prepared(argument)
  networks = eeae._networks(config)
  variables = lambda name: {
    k: states[name][k] for k in ("params", "batch_stats")
  }
  x = batch["image"]
  last = phases[-1]
  frozen = {name: states[name] for name in last.needs}
  protected = last.method.predict["protect"](states[last.name], frozen, batch)
  logits = networks["fsn"].apply(variables("fsn"), protected, train=False)
  embed = lambda x: np.asarray(
    networks["pen"].apply(variables("pen"), x, method="embed"), np.float64
  )
  a, b = embed(x), embed(protected)
  norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
  cosine = (a * b).sum(1) / norms
  utility = cross_entropy(logits, batch["attributes"])
  feedback = 0.5 * utility + 2.0 * np.maximum(cosine, config.model.cosine_floor)
  measured = last.method.predict["losses"](states[last.name], frozen, batch)
  return networks, variables, batch, protected, feedback, cosine, measured


def test_loss_7_is_its_three_terms():
  networks, variables, batch, _, feedback, cosine, measured = parts("demo")
  d = networks["fsn"].apply(variables("fsn"), batch["image"], method="trunk")
  external = networks["external"]
  r = external.apply(variables("external"), batch["image"], method="encode")
  y = networks["internal"].apply(variables("internal"), r, train=False)
  assert d.shape == y.shape
  difference = np.asarray(d, np.float64) - np.asarray(y, np.float64)
  distance = (difference**2).mean((1, 2, 3))
  np.testing.assert_allclose(
    measured["loss"], distance + feedback, rtol=1e-4, atol=1e-5
  )
  np.testing.assert_allclose(measured["cosine"], cosine, atol=1e-5)
  np.testing.assert_allclose(measured["feature_distance"], distance, rtol=1e-4)


def test_loss_8_reconstructs_and_has_the_same_feedback():
  *_, batch, protected, feedback, _, measured = parts("demo,sprn")
  x = np.asarray(batch["image"], np.float64)
  distance = ((x - np.asarray(protected, np.float64)) ** 2).mean((1, 2, 3))
  np.testing.assert_allclose(
    measured["loss"], distance + feedback, rtol=1e-4, atol=1e-5
  )


def test_phases_are_the_three_procedures():
  names = [phase.name for phase in prepared()[1]]
  assert names == ["fsn", "pen", "external", "internal"]
  assert prepared()[1][-1].needs == ("fsn", "pen", "external")
  names = [phase.name for phase in prepared("demo,sprn")[1]]
  assert names == ["fsn", "pen", "sprn"]


def test_every_term_reaches_the_internal_autoencoder():
  config, phases, states, batch = prepared()
  base = dict(alpha_1=0.0, alpha_2=0.0)
  frozen = {name: states[name] for name in phases[-1].needs}

  def gradient_norm(**alphas):
    changed = tiny.embedded_autoencoder("demo", **{**base, **alphas})
    changed.model.cosine_floor = -1.0
    method = eeae.phases(changed)[-1].method
    _, metrics = jax.jit(method.step)(
      states["internal"], frozen, batch, jax.random.key(0)
    )
    return float(metrics["gradient_norm"])

  alone = gradient_norm()
  assert alone > 0
  assert gradient_norm(alpha_1=100.0) != pytest.approx(alone, rel=1e-3)
  assert gradient_norm(alpha_2=100.0) != pytest.approx(alone, rel=1e-3)


def test_the_cosine_is_not_pushed_below_its_floor():
  config, phases, states, batch = prepared()
  frozen = {name: states[name] for name in phases[-1].needs}
  changed = tiny.embedded_autoencoder("demo", alpha_1=0.0, alpha_2=100.0)
  changed.model.cosine_floor = 1.0  # above any cosine: no gradient is left
  floored = eeae.phases(changed)[-1].method
  changed = tiny.embedded_autoencoder("demo", alpha_1=0.0, alpha_2=0.0)
  without = eeae.phases(changed)[-1].method
  norms = [
    float(
      jax.jit(method.step)(
        states["internal"], frozen, batch, jax.random.key(0)
      )[1]["gradient_norm"]
    )
    for method in (floored, without)
  ]
  assert norms[0] == pytest.approx(norms[1], rel=1e-4)


def test_protected_images_are_images_and_depend_on_the_input():
  _, phases, states, batch = prepared()
  last = phases[-1]
  frozen = {name: states[name] for name in last.needs}
  protected = last.method.predict["protect"](states[last.name], frozen, batch)
  assert protected.shape == batch["image"].shape
  assert protected.min() >= 0 and protected.max() <= 1
  other = {**batch, "image": 1 - batch["image"]}
  changed = last.method.predict["protect"](states[last.name], frozen, other)
  assert not np.array_equal(protected, changed)


def test_photographs_without_attributes_are_refused():
  config = tiny.embedded_autoencoder()
  config.data.attributes = ()
  with pytest.raises(DataError, match="--config.data.attributes"):
    eeae.phases(config)


def test_networks_that_do_not_fit_are_refused():
  config = tiny.embedded_autoencoder()
  config.model.external.strides = (2, 2, 1, 1, 1)
  with pytest.raises(ValueError, match="must end alike"):
    eeae.phases(config)


@pytest.mark.parametrize("argument,multiple", [("demo", 16), ("demo,sprn", 8)])
def test_sides_that_cannot_be_halved_are_refused(argument, multiple):
  config = tiny.embedded_autoencoder(argument)
  config.data.image_size = 3 * multiple
  eeae.phases(config)
  config.data.image_size += multiple // 2
  with pytest.raises(DataError, match=f"image_size.*multiple of {multiple}"):
    eeae.phases(config)
