"""The losses of deep poisoning against NumPy, what is drawn, what learns."""

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from configs import deep_poisoning as configs
from jaxpriv.attacks import inversion
from jaxpriv.data.records import DataError
from jaxpriv.methods import deep_poisoning
from jaxpriv.methods.deep_poisoning import release, transfer
from jaxpriv.metrics import image as image_metrics
from jaxpriv.models import poisoning, splitting
from jaxpriv.training import inference, mechanism
from jaxpriv.training import workdir as workdir_lib
from jaxpriv.training.mechanism import Trained
from tests import tiny

FEATURES = (16, 16, 32)
DATA = types.SimpleNamespace(source=None)


def on_device(batch):
  return inference.as_float({k: jnp.asarray(v) for k, v in batch.items()})


@functools.cache
def prepared(argument="demo,distilled"):
  """(config, phases, states after two steps, float batch)."""
  config = tiny.deep_poisoning(argument)
  phases = deep_poisoning.phases(config)
  batch = on_device(tiny.feature_batch(FEATURES, 8))
  states = {}
  for i, phase in enumerate(phases):
    frozen = {name: states[name] for name in phase.needs}
    state = jax.jit(phase.method.init)(jax.random.key(i), batch, frozen)
    step = jax.jit(phase.method.step)
    for j in range(2):
      state, _ = step(state, frozen, batch, jax.random.key(j))
    states[phase.name] = state
  return config, phases, states, batch


def predicted(phase, states, name, batch, **changes):
  frozen = {name: states[name] for name in phase.needs}
  batch = {**batch, **changes}
  return np.asarray(
    getattr(phase.method.outputs, name)(states[phase.name], frozen, batch)
  )


def log_softmax(x):
  x = np.float64(x) - np.float64(x).max(-1, keepdims=True)
  return x - np.log(np.exp(x).sum(-1, keepdims=True))


def test_phases_are_the_three_of_the_paper():
  _, phases, _, _ = prepared()
  assert [(p.name, p.needs) for p in phases] == [
    ("classifier", ()),
    ("reconstructor", ("classifier",)),
    ("poisoning", ("classifier", "reconstructor")),
  ]


@pytest.mark.parametrize("absolute", [False, True])
def test_loss_6_is_its_terms(absolute):
  _, (classifier, reconstructor, _), states, batch = prepared()
  config = tiny.deep_poisoning("demo,distilled", absolute=absolute)
  last = deep_poisoning.phases(config)[-1]
  released = predicted(last, states, "features", batch)
  clean = predicted(classifier, states, "clean_features", batch)
  assert released.shape == clean.shape == (8, *FEATURES)
  read = lambda z: predicted(last, states, "logits", batch, features=z)
  logits, before = log_softmax(read(released)), log_softmax(read(clean))
  labels = np.asarray(batch["attributes"])[:, :2]
  entropy = np.zeros(8)
  for i, row in enumerate(labels):
    for n, t in enumerate(row):
      entropy[i] -= logits[i, n, t] if t >= 0 else 0
  divergence = (np.exp(before) * (before - logits)).sum((1, 2))
  rebuilt = predicted(reconstructor, states, "reconstruct", batch,
                      features=released)  # fmt: skip
  ssim = np.asarray(image_metrics.ssim(batch["image"], rebuilt))
  seen = np.abs(ssim) if absolute else np.maximum(ssim, 0)
  frozen = {name: states[name] for name in last.needs}
  losses = last.method.outputs.losses(states[last.name], frozen, batch)
  np.testing.assert_allclose(
    losses["loss"],
    entropy
    + config.model.distillation * divergence
    + config.model.weight * seen,
    rtol=1e-4,
    atol=1e-5,
  )


def test_a_negative_is_worth_no_more_than_nothing():
  x = np.random.default_rng(0).random((2, 32, 32, 3)).astype(np.float32)
  seen = lambda y: deep_poisoning.visible(jnp.asarray(x), y)
  assert np.all(image_metrics.ssim(x, 1 - x) < -0.9)
  np.testing.assert_array_equal(seen(jnp.asarray(1 - x)), 0)
  slope = jax.grad(lambda y: seen(y).sum())(jnp.asarray(1 - x))
  np.testing.assert_array_equal(slope, 0)
  np.testing.assert_allclose(seen(jnp.asarray(x)), 1, atol=1e-5)
  both = deep_poisoning.visible(jnp.asarray(x), jnp.asarray(1 - x), True)
  assert np.all(both > 0.9)


def test_the_decider_of_clean_features_is_the_classifier():
  _, (classifier, _, last), states, batch = prepared()
  clean = predicted(classifier, states, "clean_features", batch)
  logits = predicted(last, states, "logits", batch, features=clean)
  np.testing.assert_array_equal(
    logits.argmax(-1), predicted(classifier, states, "labels", batch)
  )


@pytest.mark.parametrize("argument", ["demo,keyed", "demo,noise",
                                      "demo,shredder"])  # fmt: skip
def test_what_is_drawn_depends_on_image_and_secret_alone(argument):
  config, phases, states, batch = prepared(argument)
  last = phases[-1]
  released = predicted(last, states, "features", batch)
  order = np.array([3, 1, 0, 2, 7, 6, 5, 4])
  moved = predicted(last, states, "features", batch,
                    image=batch["image"][order])  # fmt: skip
  np.testing.assert_allclose(moved, released[order], atol=1e-4)
  one = np.asarray(batch["image"]).copy()
  one[:] = one[:1]
  one[0, 0, 0, 0] += 1e-6  # another image is another draw, however near
  apart = predicted(last, states, "features", batch, image=jnp.asarray(one))
  np.testing.assert_array_equal(apart[1], apart[2])
  if argument != "demo,shredder":  # which draws one of a few
    assert np.abs(apart[0] - apart[1]).max() > 1e-2
  config = tiny.deep_poisoning(argument)
  config.model.secret = 1
  other = deep_poisoning.phases(config)[-1]
  changed = predicted(other, states, "features", batch)
  assert np.abs(changed - released).max() > 1e-2


def test_whoever_has_the_module_and_no_secret_supposes_a_key_and_no_noise():
  config, phases, states, batch = prepared("demo,keyed")
  suppose = lambda code: predicted(
    phases[-1], states, "features_given_code", batch, code=jnp.asarray(code)
  )
  codes = np.random.default_rng(0).normal(size=(8, config.model.dpm.code))
  codes[0] = codes[1] = 0
  made, shuffled = suppose(codes), suppose(codes[::-1])
  np.testing.assert_allclose(suppose(0 * codes)[:2], made[:2], atol=1e-5)
  assert np.abs(made - shuffled).max(axis=(1, 2, 3)).min() > 1e-3

  config, phases, states, batch = prepared("demo,noise")
  quiet = tiny.deep_poisoning("demo")
  np.testing.assert_array_equal(
    predicted(
      phases[-1], states, "features_given_code", batch, code=jnp.zeros((8, 0))
    ),
    predicted(deep_poisoning.phases(quiet)[-1], states, "features", batch),
  )  # fmt: skip


def test_the_module_of_the_paper_draws_nothing():
  _, phases, states, batch = prepared()
  config = tiny.deep_poisoning("demo,distilled")
  config.model.secret = 1
  other = deep_poisoning.phases(config)[-1]
  np.testing.assert_array_equal(
    predicted(other, states, "features", batch),
    predicted(phases[-1], states, "features", batch),
  )


def begun(config):
  """Parameters at which the module of a config begins."""
  phase = deep_poisoning.phases(config)[-1]
  _, _, states, batch = prepared("demo,noise")
  needed = {name: states[name] for name in phase.needs}
  state = jax.jit(phase.method.init)(jax.random.key(0), batch, needed)
  return jax.tree.leaves(state["params"])


def test_where_the_module_begins_depends_on_the_secret():
  config = tiny.deep_poisoning("demo,noise")
  none = begun(config)
  seen = [none]
  for secret in (1, 2, 1 + (1 << 32)):
    config.model.secret = secret
    now = begun(config)
    for other in seen:
      assert any(np.any(a != b) for a, b in zip(now, other, strict=True))
    seen.append(now)
    again = begun(config)
    assert all(np.array_equal(a, b) for a, b in zip(now, again, strict=True))


@pytest.fixture
def other(tmp_path):
  """The config of a run that another begins from."""
  config = tiny.deep_poisoning("demo")
  workdir_lib.save_config(tmp_path, config)
  return tmp_path


def takes_over(other, argument="demo", **changes):
  """The config of a run that trains the module alone."""
  config = tiny.deep_poisoning(argument)
  config.pretrained = str(other)
  for name in ("classifier", "reconstructor"):
    config.phases[name].steps = 0
  with config.unlocked():
    config.update_from_flattened_dict(changes)
  return config


def load(name):
  """A run that holds all phases."""
  return {"params": {}}


@pytest.mark.parametrize(
  "argument", ["demo", "demo,keyed", "demo,refreshed,noise", "demo,shredder"]
)
def test_variants_begin_from_what_another_run_has_trained(other, argument):
  config = takes_over(other, argument)
  transfer.check_pretrained(config, None, load)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"model.featurizer": "nopeek"}, "model.featurizer: plain, here nopeek"),
    ({"model.kept": ("Bangs", "Male")}, "model.kept: .*Smiling.*here .*Bangs"),
    ({"model.layer": "conv3_1"}, "model.layer: conv2_1, here conv3_1"),
    ({"model.reconstructor.blocks": 2}, "model.reconstructor: "),
    ({"model.resnet.width": 16}, "model.resnet: "),
    ({"data.image_size": 64}, "data.image_size: 32, here 64"),
    ({"phases.poisoning.steps": 0, "model.dpm.blocks": 2}, "model.dpm: "),
    ({"phases.classifier.steps": 3}, "whose features it inverts is not"),
  ],
)
def test_copies_of_other_settings_are_refused(other, changes, message):
  config = takes_over(other, **changes)
  with pytest.raises(DataError, match=message):
    transfer.check_pretrained(config, None, load)
  # A run that trains everything anew may change all settings.
  for options in config.phases.values():
    options.steps = 3
  transfer.check_pretrained(config, None, load)


def test_what_is_not_there_is_left_to_the_run_to_say(other, tmp_path):
  """Which names the phases, and says what is no run directory."""
  config = takes_over(other, pretrained_phases=("encoder",))
  transfer.check_pretrained(config, None, load)
  config = takes_over(tmp_path / "nothing")
  transfer.check_pretrained(config, None, lambda name: None)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"phases.poisoning.steps": 3}, "give --config.phases.poisoning.steps=0"),
    ({"pretrained_phases": ("reconstructor",)}, "leaves out classifier"),
  ],
)
def test_what_cannot_learn_from_pools_is_refused(other, changes, message):
  config = takes_over(other, **{"phases.poisoning.steps": 0} | changes)
  config.data.source = "feature_pools"
  with pytest.raises(DataError, match=message):
    transfer.check_pretrained(config, None, load)


def test_with_pools_the_featurizer_stays_and_pooled_images_do_not_matter():
  config = tiny.deep_poisoning("demo,bare")
  config.data.source = "feature_pools"
  phase = deep_poisoning.phases(config)[0]
  batch = on_device(tiny.feature_batch(FEATURES, 8))
  state = jax.jit(phase.method.init)(jax.random.key(0), batch, {})
  step = jax.jit(phase.method.step)
  new, metrics = step(state, {}, batch, jax.random.key(1))
  cut = splitting.halves(
    deep_poisoning.split.make(config).network, config.model.layer,
    batch["image"], train=False,
  )  # fmt: skip
  before, after = cut
  for part in ("params", "batch_stats"):
    old, now = (flatten_dict(dict(s[part]), sep="/") for s in (state, new))
    for name in old:
      layer = name.split("/")[0]
      same = np.array_equal(old[name], now[name])
      assert same == any(n.startswith(layer + "/") for n in before), name
  assert deep_poisoning.featurizer_sha256(
    config, state
  ) == deep_poisoning.featurizer_sha256(config, new)
  other = np.asarray(batch["image"]).copy()
  other[1::2] = 0.3
  again, _ = step(state, {}, {**batch, "image": jnp.asarray(other)},
                  jax.random.key(1))  # fmt: skip
  np.testing.assert_allclose(
    again["params"]["fc"]["kernel"], new["params"]["fc"]["kernel"], atol=1e-7
  )
  other[0] = 0.3  # one's own image does
  again, _ = step(state, {}, {**batch, "image": jnp.asarray(other)},
                  jax.random.key(1))  # fmt: skip
  difference = again["params"]["fc"]["kernel"] - new["params"]["fc"]["kernel"]
  assert np.abs(difference).max() > 1e-6


def test_the_hash_is_of_the_featurizer_alone():
  config = tiny.deep_poisoning("demo,distilled")
  state = prepared()[2]["classifier"]
  whole = deep_poisoning.featurizer_sha256(config, state)
  add = lambda part, name: {
    **state,
    part: {
      **state[part],
      name: jax.tree.map(lambda x: x + 1, state[part][name]),
    },
  }
  hashed = lambda state: deep_poisoning.featurizer_sha256(config, state)
  assert hashed(add("params", "fc")) == whole
  assert hashed(add("params", "conv1")) != whole
  assert hashed(add("batch_stats", "norm1")) != whole
  # Another decider reads the same features.
  config.model.resnet.depths, config.model.resnet.pooled = (1, 2, 1), True
  assert hashed(state) == whole
  config.model.resnet.stem = (3, 1, False)
  assert hashed(state) != whole


def test_the_attributes_are_halved_in_order():
  config = tiny.deep_poisoning()
  assert deep_poisoning.split_attributes(config) == (
    ("Male", "Smiling"),
    ("Bangs",),
  )
  config.model.kept = ("Bangs",)
  assert deep_poisoning.split_attributes(config)[1] == ("Male", "Smiling")
  config.model.kept = ("Hat",)
  with pytest.raises(DataError, match="Hat.*have Male, Smiling, Bangs"):
    deep_poisoning.phases(config)
  config.model.kept, config.data.attributes = (), ()
  with pytest.raises(DataError, match="no attribute.*labels.csv"):
    deep_poisoning.phases(config)


def test_what_there_is_not_is_refused():
  with pytest.raises(ValueError, match="unknown option.*nonsense.*refreshed"):
    configs.get_config("demo,nonsense")
  config = tiny.deep_poisoning(module="nonsense")
  with pytest.raises(ValueError, match="module is one of dpm"):
    deep_poisoning.phases(config)


@pytest.mark.parametrize(
  "scale, shape",
  [("demo", (32, 32, 32)), ("gpu", (8, 8, 1024)), ("paper", (14, 14, 1024))],
)
def test_features_are_of_the_size_of_the_layer(scale, shape):
  """On paper; configs_trace_test has all phases."""
  config = configs.get_config(scale)
  with config.unlocked():
    config.data.attributes = tuple(f"a{i}" for i in range(40))
  side = config.data.image_size
  batch = on_device(tiny.batch(8, side=16, attributes=40))
  batch["image"] = jnp.zeros((8, side, side, 3))
  method = deep_poisoning.phases(config)[0].method
  state = jax.eval_shape(method.init, jax.random.key(0), batch, {})
  z = jax.eval_shape(method.outputs.clean_features, state, {}, batch)
  assert (z.shape, z.dtype) == ((8, *shape), jnp.float32)


def test_everybody_in_all_splits_is_for_the_task_of_telling_them_apart():
  config = tiny.deep_poisoning("demo")
  deep_poisoning.check(config, DATA, None)
  config.data.split_by = "image"
  with pytest.raises(DataError, match="it is for config.model.task=identity"):
    deep_poisoning.check(config, DATA, None)
  config.model.task = "identity"
  deep_poisoning.check(config, DATA, None)


def test_the_task_may_be_who_it_is():
  config = tiny.deep_poisoning("demo", task="identity")
  with pytest.raises(DataError, match="data.split_by=image"):
    deep_poisoning.phases(config)
  config.data.split_by = "image"
  assert deep_poisoning.split_attributes(config) == (
    (),
    ("Male", "Smiling", "Bangs"),
  )
  phase = deep_poisoning.phases(config)[0]
  batch = on_device(tiny.batch(8, attributes=3))
  batch["identity"] = batch["identity"].at[0].set(-1).at[1].set(tiny.PEOPLE)
  state = jax.jit(phase.method.init)(jax.random.key(0), batch, {})
  losses = phase.method.outputs.losses(state, {}, batch)["loss"]
  said = predicted(phase, {"classifier": state}, "labels", batch)
  assert said.shape == (8, 1) and said.max() < tiny.PEOPLE
  # Nobody known: nothing to learn.
  np.testing.assert_array_equal(losses[:2], 0)
  assert np.all(losses[2:] > 0)
  labels = deep_poisoning.task_labels(config, tiny.batch(8))
  assert list(labels) == ["identity"]


def test_what_is_published_of_an_obfuscator_is_its_classifier_alone():
  config = tiny.deep_poisoning("demo,obfuscator")
  phase = deep_poisoning.phases(config)[0]
  batch = on_device(tiny.batch(8, attributes=3))
  state = jax.jit(phase.method.init)(jax.random.key(0), batch, {})
  assert set(state["params"]) == {"classifier", "rival", "reader"}
  public = deep_poisoning.public_classifier(config, state)
  assert set(public["params"]) == {"classifier"}
  assert deep_poisoning.featurizer_sha256(
    config, public
  ) == deep_poisoning.featurizer_sha256(config, state)


def test_settings_that_contradict_each_other_are_refused():
  config = tiny.deep_poisoning(module="none")
  with pytest.raises(ValueError, match="poisoning.steps=0"):
    deep_poisoning.phases(config)
  config = tiny.deep_poisoning("demo,shredder", refreshed=True)
  with pytest.raises(ValueError, match="refreshed"):
    deep_poisoning.phases(config)
  config = tiny.deep_poisoning("demo,nopeek")
  config.data.source = "feature_pools"
  with pytest.raises(ValueError, match="nopeek trains a featurizer"):
    deep_poisoning.phases(config)


def test_what_features_do_not_promise_is_said_of_the_mechanism_alone():
  config = configs.get_config("demo")
  phases = tuple(mechanism.phases(config))
  states = {phase.name: {"params": 1} for phase in phases}
  mine, *controls = mechanism.targets(config, Trained(phases, states))
  assert "secrecy of a deterministic map" in mine.limits[0]
  assert controls and not any(target.limits for target in controls)
  states[phases[-1].name] = {}  # it has trained a decider and no more
  decider, *_ = mechanism.targets(config, Trained(phases, states))
  assert decider.products == ("model",) and not decider.limits


def test_scores_are_of_known_labels_and_constants_of_the_commoner_one():
  config, (classifier, *_), states, batch = prepared()
  scores = classifier.method.outputs.scores(states["classifier"], {}, batch)
  assert list(scores) == ["Male_accuracy", "Smiling_accuracy"]
  assert np.isnan(scores["Male_accuracy"][0])  # unknown in tiny.batch
  said = predicted(classifier, states, "labels", batch)
  right = said[1:, 0] == np.asarray(batch["attributes"])[1:, 0]
  np.testing.assert_array_equal(scores["Male_accuracy"][1:], right)
  rows = {"attributes": np.array([[1, 0, 0], [1, 1, 0], [-1, 1, 0]], np.int8)}
  constants = deep_poisoning.baseline(rows, config)
  assert constants == {"Male_accuracy": 1.0, "Smiling_accuracy": 2 / 3}


def test_every_unseen_reconstructor_fits_every_cut():
  for side, channels, size in ((32, 32, 64), (16, 64, 64), (14, 1024, 224),
                               (28, 512, 224), (8, 1024, 128)):  # fmt: skip
    z = jnp.zeros((1, side, side, channels))
    for changes in inversion.VARIANTS.values():
      model = poisoning.Reconstructor(size, **{"shuffle": True, **changes})
      made = jax.eval_shape(
        lambda z, m=model: m.init_with_output(
          jax.random.key(0), z, train=False
        ),
        z,
      )
      assert made[0].shape == (1, size, size, 3)


def test_filters_come_before_noise_which_needs_keys():
  z = jax.random.normal(jax.random.key(0), (2, 6, 6, 3))
  keys = jax.random.split(jax.random.key(1), 2)
  after = lambda keys=None, **some: release.after(
    ConfigDict(dict(dict(noise=0.0, gaussian=0.0, mean=0), **some)), z, keys
  )
  filtered = poisoning.gaussian_filter(z, 0.8)
  np.testing.assert_array_equal(after(gaussian=0.8), filtered)
  np.testing.assert_array_equal(after(mean=3), poisoning.mean_filter(z, 3))
  both = poisoning.mean_filter(filtered, 3)
  np.testing.assert_array_equal(after(gaussian=0.8, mean=3), both)
  np.testing.assert_array_equal(after(noise=1.0, mean=3), after(mean=3))
  noise = after(keys, noise=0.5, mean=3) - after(mean=3)
  power = jnp.sqrt(jnp.mean(jnp.square(after(mean=3)), axis=(1, 2, 3)))
  drawn = jax.vmap(lambda key: jax.random.normal(key, z.shape[1:]))(keys)
  expected = 0.5 * power[:, None, None, None] * drawn
  np.testing.assert_allclose(noise, expected, atol=1e-5)
