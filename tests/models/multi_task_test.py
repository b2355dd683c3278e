"""Shapes and counts of HyperFace, and the layers that Flax does not have."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpriv.models import layers, multi_task


def shapes(module, shape, **arguments):
  x = jax.ShapeDtypeStruct(shape, jnp.float32)
  result = jax.eval_shape(
    lambda x: module.init_with_output(
      jax.random.key(0), x, train=False, mutable=True, **arguments
    ),
    x,
  )
  return result


def count(variables):
  return sum(
    int(np.prod(x.shape)) for x in jax.tree.leaves(variables["params"])
  )


def test_hyperface_is_that_of_the_paper():
  model = multi_task.MultiTask(multi_task.HyperFace())
  (outputs, logs), variables = shapes(model, (2, 227, 227, 3))
  assert count(variables) - 5 == 33_821_318
  assert set(variables) == {"params"}  # no batch statistics
  sizes = {task: y.shape for task, y in outputs.items()}
  assert sizes == {
    "detection": (2, 2),
    "landmarks": (2, 42),
    "visibility": (2, 21),
    "pose": (2, 3),
    "gender": (2, 2),
  }
  assert logs.shape == (5,)
  kernels = variables["params"]["backbone"]
  assert kernels["conv1a"]["kernel"].shape == (4, 4, 96, 256)
  assert kernels["conv3a"]["kernel"].shape == (2, 2, 384, 256)
  assert kernels["conv_all"]["kernel"].shape == (1, 1, 768, 192)
  assert kernels["fc_full"]["kernel"].shape == (6 * 6 * 192, 3072)


@pytest.mark.parametrize(
  "side,options,units",
  [
    (32, dict(), 16),
    (40, dict(widths=(8, 16, 24, 32), standardize=True), 16),
    (40, dict(widths=(32, 64), gradients=4), 16),
    (40, dict(widths=(), gradients=8), 0),
  ],
)
def test_small_networks_see_one_region_at_a_time(side, options, units):
  model = multi_task.MultiTask(multi_task.SmallMultiTask(**options), units)
  x = jax.random.uniform(jax.random.key(0), (3, side, side, 3))
  variables = model.init(jax.random.key(1), x, train=False)
  assert set(variables) == {"params"}
  together, _ = model.apply(variables, x, train=True)
  alone, _ = model.apply(variables, x[1:2], train=True)
  for task, y in together.items():
    assert np.ptp(np.asarray(y), axis=0).max() > 1e-4, task
    np.testing.assert_allclose(y[1:2], alone[task], atol=1e-5)


def test_local_response_normalisation_by_its_formula():
  x = np.random.default_rng(0).normal(0, 30, (2, 3, 3, 9)).astype(np.float32)
  result = multi_task.local_response_norm(jnp.asarray(x))
  for c in range(9):
    near = x[..., max(c - 2, 0) : c + 3].astype(np.float64)
    scale = (1 + 1e-4 / 5 * (near**2).sum(-1)) ** 0.75
    np.testing.assert_allclose(result[..., c], x[..., c] / scale, rtol=1e-5)


@pytest.mark.parametrize(
  "stride,padding,bias", [(1, "SAME", False), (2, "VALID", True)]
)
def test_standardised_kernels(stride, padding, bias):
  layer = layers.StandardizedConv(6, (3, 3), stride, padding, bias)
  x = jax.random.normal(jax.random.key(0), (2, 9, 9, 4))
  params = layer.init(jax.random.key(1), x)["params"]
  params["gain"] = jnp.arange(1.0, 7)
  if bias:
    params["bias"] = jnp.arange(6.0)
  kernel = np.asarray(params["kernel"], np.float64)
  kernel = kernel - kernel.mean((0, 1, 2))
  kernel = kernel / np.sqrt(36 * kernel.var((0, 1, 2)) + 1e-4)
  kernel = kernel * np.arange(1, 7)
  plain = nn.Conv(6, (3, 3), stride, padding=padding, use_bias=bias)
  other = {"kernel": jnp.float32(kernel)}
  if bias:
    other["bias"] = params["bias"]
  np.testing.assert_allclose(
    layer.apply({"params": params}, x),
    plain.apply({"params": other}, x),
    atol=1e-4,
  )


def test_gradients_of_an_edge_point_across_it():
  """Dark left of a line, bright right of it: direction 0, and no other."""
  image = np.zeros((1, 16, 16, 3), np.float32)
  image[:, :, 6:] = 0.8
  histograms = np.asarray(multi_task.oriented_gradients(jnp.asarray(image)))
  assert histograms.shape == (1, 4, 4, 11)
  histogram, colour = histograms[0, :, :, :8], histograms[0, :, :, 8:]
  assert (histogram[:, 1].argmax(-1) == 0).all()
  assert (histogram[:, 1, 0] > 0.5).all()
  # Neighbouring bins, half a bin away, get a share, perpendicular ones none.
  assert (histogram[:, 1, 1] < 0.5 * histogram[:, 1, 0]).all()
  assert not histogram[:, 1, 2:7].max() > 1e-3
  assert not histogram[:, 3].max() > 1e-3
  np.testing.assert_allclose(colour[:, 0], -1, atol=1e-6)
  np.testing.assert_allclose(colour[:, 3], 0.6, atol=1e-6)
  turned = multi_task.oriented_gradients(jnp.asarray(image.swapaxes(1, 2)))
  assert (np.asarray(turned)[0, 1, :, :8].argmax(-1) == 2).all()
  # Histograms do not depend on the brightness of a photograph.
  dim = np.asarray(multi_task.oriented_gradients(jnp.asarray(image / 4)))
  np.testing.assert_allclose(dim[..., :8], histograms[..., :8], atol=0.1)


def test_fixed_features_leave_out_what_all_of_a_region_has_in_common():
  """A constant shift of colour, without saturation, changes nothing."""
  network = multi_task.SmallMultiTask(widths=(), features=8, gradients=8)
  x = jax.random.uniform(jax.random.key(0), (2, 40, 40, 3)) * 0.5
  variables = network.init(jax.random.key(1), x, train=False)
  assert {k: v["kernel"].shape for k, v in variables["params"].items()} == {
    "Dense_0": (5 * 5 * 11, 8)
  }
  one = network.apply(variables, x, train=False)
  other = network.apply(variables, x + jnp.array([0.4, 0, 0.1]), train=False)
  np.testing.assert_allclose(one, other, atol=1e-4)
  assert np.ptp(np.asarray(one)) > 0.1
