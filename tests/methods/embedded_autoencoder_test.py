"""Losses (4) to (8) against NumPy, and who learns from them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpriv.data.records import DataError
from jaxpriv.methods import embedded_autoencoder as eeae
from jaxpriv.training import inference
from jaxpriv.training import workdir as workdir_lib
from jaxpriv.training.mechanism import Trained
from tests import tiny


@functools.cache
def prepared(argument="demo"):
  """(config, phases, states after some steps, float batch)."""
  config = tiny.embedded_autoencoder(argument, alpha_1=0.5, alpha_2=2.0)
  phases = eeae.phases(config)
  batch = inference.as_float(
    {name: jnp.asarray(value) for name, value in tiny.batch(8).items()}
  )
  # FSN and PEN are the same in both.
  states = {} if argument == "demo" else dict(prepared()[2])
  for i, phase in enumerate(phases):
    if phase.name in states:
      continue
    frozen = {name: states[name] for name in phase.needs}
    init = jax.jit(phase.method.init)
    state = init(jax.random.key(i), batch, frozen)
    step = jax.jit(phase.method.step)
    for j in range(4):  # until the norms' statistics mean something
      state, _ = step(state, frozen, batch, jax.random.key(j))
    states[phase.name] = state
  return config, phases, states, batch


def predicted(last, name, states, batch):
  frozen = {name: states[name] for name in last.needs}
  output = jax.jit(getattr(last.method.outputs, name))
  return output(states[last.name], frozen, batch)


def applied(network, variables, x, **arguments):
  return jax.jit(functools.partial(network.apply, **arguments))(variables, x)


@functools.cache
def gradient_norm(alpha_1, alpha_2, floor):
  """Of a step of the internal autoencoder, with other weights."""
  _, phases, states, batch = prepared()
  frozen = {name: states[name] for name in phases[-1].needs}
  changed = tiny.embedded_autoencoder("demo", alpha_1=alpha_1, alpha_2=alpha_2)
  changed.model.cosine_floor = floor
  method = eeae.phases(changed)[-1].method
  _, metrics = jax.jit(method.step)(
    states["internal"], frozen, batch, jax.random.key(0)
  )
  return float(metrics["gradient_norm"])


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
  protected = predicted(last, "image", states, batch)
  logits = applied(networks["fsn"], variables("fsn"), protected, train=False)
  embed = lambda x: np.asarray(
    applied(networks["pen"], variables("pen"), x, method="embed"), np.float64
  )
  a, b = embed(x), embed(protected)
  norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
  cosine = (a * b).sum(1) / norms
  utility = cross_entropy(logits, batch["attributes"])
  feedback = 0.5 * utility + 2.0 * np.maximum(cosine, config.model.cosine_floor)
  measured = predicted(last, "losses", states, batch)
  return networks, variables, batch, protected, feedback, cosine, measured


def test_loss_7_is_its_three_terms():
  networks, variables, batch, _, feedback, cosine, measured = parts("demo")
  run = lambda name, x, **arguments: applied(
    networks[name], variables(name), x, **arguments
  )
  d = run("fsn", batch["image"], method="trunk")
  r = run("external", batch["image"], method="encode")
  y = run("internal", r, train=False)
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
  alone = gradient_norm(0.0, 0.0, -1.0)
  assert alone > 0
  assert gradient_norm(100.0, 0.0, -1.0) != pytest.approx(alone, rel=1e-3)
  assert gradient_norm(0.0, 100.0, -1.0) != pytest.approx(alone, rel=1e-3)


def test_the_cosine_is_not_pushed_below_its_floor():
  # Above any cosine: no gradient is left.
  floored = gradient_norm(0.0, 100.0, 1.0)
  without = gradient_norm(0.0, 0.0, -1.0)
  assert floored == pytest.approx(without, rel=1e-4)


def test_protected_images_are_images_and_depend_on_the_input():
  _, phases, states, batch = prepared()
  protected = predicted(phases[-1], "image", states, batch)
  assert protected.shape == batch["image"].shape
  assert protected.min() >= 0 and protected.max() <= 1
  other = {**batch, "image": 1 - batch["image"]}
  changed = predicted(phases[-1], "image", states, other)
  assert not np.array_equal(protected, changed)


@functools.cache
def noisy(pooled, secret=7):
  """(phase, its state after a step, frozen, config) with a code with noise."""
  _, phases, states, batch = prepared()
  config = tiny.embedded_autoencoder("demo", secret=secret)
  config.model.code.update(pooled=pooled, noise=0.5, code=2)
  phase = eeae.phases(config)[-1]
  frozen = {name: states[name] for name in phase.needs}
  state = jax.jit(phase.method.init)(jax.random.key(0), batch, frozen)
  step = jax.jit(phase.method.step)
  state, metrics = step(state, frozen, batch, jax.random.key(1))
  assert np.isfinite(metrics["loss"])
  return phase, state, frozen, config


@pytest.mark.parametrize("pooled", [False, True])
def test_noise_is_of_the_secret_and_the_photograph(pooled):
  """The same photograph is released alike, wherever it is in a batch."""
  batch = prepared()[-1]
  phase, state, frozen, config = noisy(pooled)
  release = jax.jit(phase.method.outputs.image)
  first = release(state, frozen, batch)
  turned = jax.tree.map(lambda x: x[::-1], batch)
  again = release(state, frozen, turned)[::-1]
  same = np.abs(first - again).max()
  assert same < 2e-6
  other = eeae.phases(noisy(pooled, secret=8)[-1])[-1]
  another = jax.jit(other.method.outputs.image)(state, frozen, batch)
  # Little is learned in one step: the output hardly depends on the code yet.
  assert np.abs(first - another).max() > 2e-5
  side = 1 if pooled else 2
  shape = eeae._code_shape(config)
  assert shape == (side, side, 2)


def test_a_pooled_code_is_all_that_is_released():
  """Of equal codes and draws come equal images, whatever the photographs."""
  _, _, states, batch = prepared()
  _, state, _, config = noisy(True)
  network = eeae._networks(config)["internal"]
  weights = {k: state[k] for k in ("params", "batch_stats")}
  r = np.random.default_rng(0).normal(size=(2, 4, 4, 16)).astype(np.float32)
  r = jnp.asarray(r[..., : config.model.external.widths[-1]])
  code = applied(network, weights, r, method="encode")
  assert code.shape == (2, 1, 1, 2) and np.abs(code).max() < 1
  drawn = (np.asarray(code)[::-1] - np.asarray(code)) / 0.5
  # The draw turns the code of each into that of the other.
  release = jax.jit(functools.partial(network.apply, train=False))
  swapped = release(weights, r, jnp.asarray(drawn))
  plain = release(weights, r, jnp.zeros((2, 1, 1, 2)))
  np.testing.assert_allclose(swapped, plain[::-1], rtol=1e-3, atol=1e-4)


def test_noise_comes_with_its_proof():
  phase, state, frozen, config = noisy(True)
  config = config.copy_and_resolve_references()
  trained = Trained((phase,), {phase.name: state})
  config.evaluation.controls = ()
  (target,) = eeae.targets(config, trained)
  (said,) = target.proven
  assert "2 numbers" in said and "at most 6.74 times" in said
  assert "a secret of its own" in target.limits[0]
  assert not target.caution
  batch = prepared()[-1]
  again = target.again.last.method.outputs.image
  different = again(state, frozen, batch) - phase.method.outputs.image(
    state, frozen, batch
  )
  assert np.abs(different).max() > 2e-5
  config.model.code.code = 40
  assert not eeae.targets(config, trained)[0].proven
  config.model.code.code = 2
  config.model.secret = 0
  assert "secret is 0" in eeae.targets(config, trained)[0].caution
  config.model.code.noise = 0.0
  (target,) = eeae.targets(config, trained)
  assert not target.proven and not target.caution and not target.limits


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


@pytest.mark.parametrize(
  "phase, changes, message",
  [
    (
      "fsn",
      {"data.attributes": ("Smiling", "Male")},
      "data.attributes: .'Male",
    ),
    ("internal", {"model.alpha_2": 0.5}, "model: "),
    ("external", {"data.align": "box"}, "data.align: landmarks, here box"),
  ],
)
def test_copies_of_other_settings_are_refused(
  tmp_path, phase, changes, message
):
  """Shapes do not tell: two attributes may have changed places."""
  workdir_lib.save_config(tmp_path, tiny.embedded_autoencoder())
  config = tiny.embedded_autoencoder()
  config.pretrained = str(tmp_path)
  config.phases[phase].steps = 0
  load = lambda name: {"params": {}}
  eeae.check(config, None, load)
  with config.unlocked():
    config.update_from_flattened_dict(changes)
  with pytest.raises(DataError, match=message):
    eeae.check(config, None, load)
  config.phases[phase].steps = 3
  eeae.check(config, None, load)
