"""Recognisers and layers of runs, trained and not, as readers of pictures."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxpriv.data import alignment
from jaxpriv.data.records import DataError
from jaxpriv.methods import face_detection, face_synthesis
from jaxpriv.training import activations, builders, layers, loop, witnesses
from jaxpriv.training import workdir as workdir_lib
from jaxpriv.training.method import Outputs, Phase, untrained
from tests import tiny

ME = "tests.training.layers_test"
SIDE = 20
PIXELS = np.random.default_rng(0).integers(
  0, 256, (witnesses.BATCH + 3, SIDE, SIDE, 3), np.uint8
)


class Two(nn.Module):
  """A convolution, of which a list is returned, twice another layer, a mean."""

  @nn.compact
  def __call__(self, x, *, train=False):
    maps = Pair(name="pair")(x)
    same = nn.Dense(4, name="same")
    return same(same(maps[1]).mean((1, 2))), jnp.zeros((7, 2))


class Pair(nn.Module):
  @nn.compact
  def __call__(self, x):
    y = nn.Conv(4, (3, 3), name="conv")(x)
    return [x, y * 2]


def phases(config):
  """A recogniser of colours, a network, and a phase that nobody has trained."""
  if not config.model.get("network"):
    embed = lambda state, frozen, batch: batch["image"].mean((1, 2)) * 255
    able = config.model.get("recognises")
    outputs = Outputs(embed=embed if able else None)
    last = Outputs(image=lambda s, f, b: b["image"])
    return [
      Phase("colour", (), untrained(outputs)),
      Phase("last", (), untrained(last)),
    ]
  loss = lambda apply, batch, frozen: (apply(batch["image"])[0].mean(1), {})
  of_features = lambda batch, frozen: batch["features"]
  made = lambda **inputs: builders.supervised(
    Two(), loss, optax.sgd(0.1), **inputs
  )
  return [
    Phase("two", (), made()),
    Phase("features", (), made(inputs=of_features)),
  ]


def run_of(path, align="centre", steps=0, **model):
  config = tiny.baseline("gaussian_blur", **model)
  config.method = ME
  config.data.update(image_size=SIDE, align=align)
  with config.unlocked():
    # The last is not trained, and is not needed.
    first, last = [phase.name for phase in phases(config)]
    config.phases = {first: {"steps": steps}, last: {"steps": 5}}
  workdir_lib.save_config(path, config)
  return path, config


@pytest.mark.parametrize("align", ["landmarks", "box", "centre", "whole"])
def test_the_recogniser_of_a_run(tmp_path, mesh, align):
  path, _ = run_of(tmp_path, align, recognises=True)
  found = layers.reader_of_run(path, mesh)
  assert (found.name, found.size) == ("colour", SIDE)
  if align in ("landmarks", "box"):
    np.testing.assert_array_equal(
      found.template, alignment.arcface_template(SIDE)
    )
  else:
    assert found.template is None
  rows = found.embed(PIXELS)
  np.testing.assert_allclose(rows, PIXELS.mean((1, 2)), rtol=1e-4)


def test_a_run_without_a_recogniser_is_refused(tmp_path, mesh):
  path, _ = run_of(tmp_path)
  with pytest.raises(DataError, match=r"recognises people \(colour, last\)"):
    layers.reader_of_run(path, mesh)


def test_the_outputs_of_layers_are_those_of_the_network():
  x = jnp.asarray(PIXELS[:3] / 255, jnp.float32)
  model = Two()
  variables = model.init(jax.random.key(0), x)
  found = activations.of(model, variables, x)
  assert sorted(found) == [
    *("output/0", "pair/0", "pair/1", "pair/conv", "same"),
  ]
  params = variables["params"]
  conv = nn.Conv(4, (3, 3)).apply({"params": params["pair"]["conv"]}, x)
  np.testing.assert_allclose(found["pair/conv"], conv, rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(found["pair/1"], 2 * conv, rtol=1e-5, atol=1e-6)
  # The last of two calls is that of the output.
  np.testing.assert_array_equal(found["same"], found["output/0"])
  np.testing.assert_allclose(
    activations.pooled(found["pair/0"]), x.mean((1, 2)), rtol=1e-5
  )
  assert activations.pooled(found["same"]).shape == (3, 4)


def test_a_layer_of_a_run_reads_with_what_was_trained(tmp_path, mesh):
  path, config = run_of(tmp_path, network=True, steps=1)
  phase = phases(config)[0]
  batch = {"image": PIXELS[:8], "padding": np.zeros(8, bool)}
  state = loop.train(
    phase, lambda first: iter([batch] * 3), steps=1, seed=3, workdir=path,
    mesh=mesh, options=loop.Options(save_every=1, keep=1),
  )  # fmt: skip
  found = layers.reader_of_run(path, mesh, "two/pair/1")
  assert (found.name, found.size) == ("two/pair/1", SIDE)
  x = jnp.asarray(PIXELS / 255, jnp.float32)
  expected = activations.of(Two(), builders.variables(state), x)["pair/1"]
  rows = found.embed(PIXELS)
  np.testing.assert_allclose(rows, expected.mean((1, 2)), rtol=1e-3, atol=1e-4)
  drawn = [
    layers.reader_of_run(path, mesh, "two/pair/1", seed).embed(PIXELS)
    for seed in (0, 0, 1)
  ]
  np.testing.assert_array_equal(drawn[0], drawn[1])
  assert np.abs(drawn[0] - drawn[2]).max() > 0.01
  assert np.abs(drawn[0] - rows).max() > 0.01


def test_an_unknown_layer_is_refused_with_those_that_there_are(tmp_path, mesh):
  path, _ = run_of(tmp_path, network=True)
  # That of features reads no pictures.
  every = "two/output/0, two/pair/0, two/pair/1, two/pair/conv, two/same"
  for name in ("two/nothing", "pair/1", "two"):
    with pytest.raises(
      DataError, match=f"no layer '{name}'.*there are {every}"
    ):
      layers.reader_of_run(path, mesh, name)
  with pytest.raises(DataError, match="are two/pair/0, two/pair/1, two/pair/c"):
    layers.reader_of_run(path, mesh, "two/pair")
  with pytest.raises(DataError, match=f"give --network, or a --layer: {every}"):
    layers.reader_of_run(path, mesh)


def test_networks_of_mechanisms_have_the_layers_that_are_named():
  config = tiny.face_detection()
  found = layers._layers(config, face_detection.phases(config))
  assert {f"retinaface/trunk/{i}" for i in range(3)} <= set(found)
  config = tiny.face_synthesis()
  found = layers._layers(config, face_synthesis.phases(config))
  assert {"stargan/style/output", "stargan/discriminator/Conv_1"} <= set(found)
