import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ml_collections import ConfigDict

from configs import embedded_autoencoder
from jaxpriv.data import pretrained
from jaxpriv.data.records import DataError
from jaxpriv.errors import SettingError
from jaxpriv.methods import lowkey
from jaxpriv.training import inference, mechanism, pictures
from jaxpriv.training import mesh as mesh_lib
from tests import tiny

ROWS, SIDE, FEATURES = 4, 8, 5
OPTIONS = dict(bound=0.05, steps=5, rate=0.01, sigma=0.5, seed=0)


def drawn(seed, count=2):
  """The weights of an ensemble."""
  rng = np.random.default_rng(seed)
  return np.float32(rng.normal(size=(count, SIDE * SIDE * 3, FEATURES)))


def of_weights(weights):
  return [
    lambda x, w=w: jnp.tanh(
      jnp.matmul(x.reshape(len(x), -1) - 0.5, w / 8, precision="highest")
    )
    for w in weights
  ]


def ensemble(seed, count=2):
  return of_weights(drawn(seed, count))


def photographs(seed, rows=ROWS):
  """uint8, and the extremes among them."""
  rng = np.random.default_rng(seed)
  images = rng.integers(0, 256, (rows, SIDE, SIDE, 3))
  images[:, 0], images[:, 1] = 0, 255
  return images.astype(np.uint8)


# Of whole levels and of others. A program is compiled for every one.
BOUNDS = (1 / 255, 0.0117, 3 / 255, 0.05, 0.1234, 0.2)


@functools.partial(jax.jit, static_argnames="bound")
def perturbed(images, weights, rate, bound):
  options = OPTIONS | dict(bound=bound, rate=rate)
  return lowkey.perturbed(images, of_weights(weights), **options)


@settings(max_examples=30, deadline=None)
@given(
  st.integers(0, 10**6),
  st.sampled_from(BOUNDS),
  st.sampled_from([0.0025, 0.05, 1.0]),
)
def test_no_pixel_changes_by_more_than_the_bound(seed, bound, rate):
  clear = photographs(seed)
  released = perturbed(np.float32(clear) / 255, drawn(seed), rate, bound)
  assert released.min() >= 0 and released.max() <= 1
  assert np.abs(released - clear / 255).max() <= bound + 1e-6
  written = pictures.to_uint8(released).astype(int)
  assert np.abs(written - clear).max() <= 255 * bound + 1e-3
  assert (written != clear).any()


@pytest.mark.parametrize(
  "bound,levels", [(3 / 255, 3), (0.05, 12), (1 / 255, 1)]
)
def test_the_bound_is_in_whole_levels(bound, levels):
  clear = photographs(1)
  released = lowkey.perturbed(
    jnp.float32(clear) / 255, ensemble(1), **OPTIONS | dict(bound=bound, rate=1)
  )
  written = pictures.to_uint8(released).astype(int)
  assert np.abs(written - clear).max() == levels


def test_recognisers_of_the_ensemble_see_somebody_else():
  clear = jnp.float32(photographs(2)) / 255
  networks = ensemble(2)
  grown = []
  for steps in (0, 5, 20):
    released = lowkey.perturbed(
      clear, networks, **OPTIONS | dict(steps=steps, rate=0.004)
    )
    grown.append(
      [
        lowkey.distance(embed(clear), embed(view))
        for embed in networks
        for view in (released, lowkey.smoothed(released, 0.5))
      ]
    )
  none, some, most = np.array(grown)
  # Of every image, by every recogniser, smoothed or not.
  assert (some > none).all() and (most.mean(1) > some.mean(1)).all()
  assert most.mean() > 4 * none.mean()


def test_a_step_goes_up_the_gain_of_the_paper():
  """The gradient, in float64 and by differences."""
  clear = np.float64(photographs(3, 1)) / 255
  weight = np.random.default_rng(3).normal(size=(SIDE * SIDE * 3, FEATURES))
  embed = lambda x: jnp.matmul(
    x.reshape(len(x), -1), np.float32(weight), precision="highest"
  )
  start, after = (
    np.float64(
      lowkey.perturbed(
        jnp.float32(clear), [embed], **OPTIONS | dict(steps=steps)
      )
    )
    for steps in (0, 1)
  )
  taps = np.exp(-0.5 * (np.arange(-1, 2) / 0.5) ** 2)
  taps /= taps.sum()

  def smooth(x):
    x = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), "edge")
    x = sum(t * x[:, i : i + SIDE] for i, t in enumerate(taps))
    return sum(t * x[:, :, i : i + SIDE] for i, t in enumerate(taps))

  features = lambda x: x.reshape(-1) @ weight
  square = np.sum(features(clear) ** 2)
  gain = lambda y: sum(
    np.sum((features(view) - features(clear)) ** 2) / square
    for view in (y, smooth(y))
  )
  rng = np.random.default_rng(4)
  for place in rng.integers(0, clear.size, 40):
    nudge = np.zeros(clear.size)
    nudge[place] = 1e-4
    nudge = nudge.reshape(clear.shape)
    slope = gain(start + nudge) - gain(start - nudge)
    moved = (after - start).reshape(-1)[place]
    if 0.02 < start.reshape(-1)[place] < 0.98:
      assert np.sign(moved) == np.sign(slope)


def test_a_release_is_a_function_of_its_image_and_the_seed():
  clear = jnp.float32(photographs(5)) / 255
  released = lowkey.perturbed(clear, ensemble(5), **OPTIONS)
  again = lowkey.perturbed(clear, ensemble(5), **OPTIONS)
  np.testing.assert_array_equal(released, again)
  alone = lowkey.perturbed(clear[2:3], ensemble(5), **OPTIONS)
  np.testing.assert_allclose(alone[0], released[2], atol=1e-6)
  other = lowkey.perturbed(clear, ensemble(5), **OPTIONS | dict(seed=1))
  assert np.abs(other - released).max() > 1e-3


def test_phases():
  *own, last = lowkey.phases(tiny.baseline("lowkey"))
  assert [phase.name for phase in own] == ["iresnet", "vgg"]
  assert last.name == "lowkey" and last.needs == ("iresnet", "vgg")
  config = tiny.baseline("lowkey", bound=0.001)
  with pytest.raises(SettingError, match="at least 1/255"):
    lowkey.phases(config)
  config = tiny.baseline("lowkey", pretrained=("blazeface",))
  with pytest.raises(SettingError, match="names blazeface"):
    lowkey.phases(config)
  config = tiny.baseline("lowkey")
  with config.unlocked():
    config.model.recognisers = {}
  with pytest.raises(SettingError, match="needs a recogniser"):
    lowkey.phases(config)


def test_eight_devices_equal_one():
  """Of the same recognisers; those of sharded_test.py differ by rounding."""
  *own, last = lowkey.phases(tiny.baseline("lowkey"))
  batch = tiny.batch(16)
  shown = inference.as_float({k: jnp.asarray(v) for k, v in batch.items()})
  states = {
    phase.name: phase.method.init(jax.random.key(0), shown, {}) for phase in own
  }
  one, eight = (
    inference.predict(
      last.method.outputs.image, {}, states, [batch], mesh_lib.make_mesh(count)
    )
    for count in (1, 8)
  )
  assert (np.abs(one - eight) > 1e-5).mean() < 1e-3
  assert np.abs(one - batch["image"] / 255).max() > 0.01


def test_what_is_not_fetched_is_named(tmp_path, monkeypatch):
  monkeypatch.setenv(pretrained.CACHE_VARIABLE, str(tmp_path))
  config = tiny.baseline("lowkey", pretrained=("dlib",))
  assert "dlib is not here" in lowkey.unfit(config, {})
  with pytest.raises(DataError, match="launch.fetch"):
    lowkey.check(config, None, lambda name: None)
  assert not lowkey.unfit(tiny.baseline("lowkey"), {})


@pytest.mark.networks
def test_a_control_with_a_pretrained_recogniser_alone():
  """It needs nothing that the run has trained."""
  config = embedded_autoencoder.get_config("demo")
  model = dict(
    bound=0.05, rate=0.02, steps=1, sigma=0.03, pretrained=("dlib",),
    recognisers={},
  )  # fmt: skip
  with config.unlocked():
    config.controls = ConfigDict(
      dict(
        lowkey=dict(
          method="lowkey", model=model, phases=dict(lowkey=dict(steps=0))
        )
      )
    )
  config.evaluation.controls = ("lowkey",)
  trained = mechanism.Trained((), {})
  target = mechanism.Target("eeae", config, trained, ("image",))
  _, control = mechanism.with_controls(target)
  image, state, frozen = control.trained.bound("image")
  clear = tiny.faces(2)["image"].astype(np.float32) / 255
  released = jax.jit(image)(state, frozen, {"image": clear})
  embed = lowkey._pretrained("dlib")
  assert (lowkey.distance(embed(clear), embed(released)) > 1e-3).all()
