"""The two halves of a network compute the same as the whole, and no more."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from jaxpriv.models import resnet, splitting, vggnet

RESNET = resnet.ResNet((2, 1), 8, 5, (3, 1, False))
VGG = vggnet.VGGNet((1, 1), 8, 5)


def initialised(model, seed=0):
  x = jax.random.uniform(jax.random.key(seed), (4, 16, 16, 3))
  variables = model.init(jax.random.key(1), x, train=False)
  # Statistics that differ from their initial values.
  _, updated = model.apply(variables, x, train=True, mutable=["batch_stats"])
  return {**variables, **updated}, x


@pytest.mark.parametrize(
  "model,layer,shape",
  [
    (RESNET, "conv1", (4, 16, 16, 8)),
    (RESNET, "conv2_2", (4, 16, 16, 32)),
    (RESNET, "conv3_1", (4, 8, 8, 64)),
    (VGG, "block1", (4, 8, 8, 8)),
  ],
)
def test_halves_make_the_whole(model, layer, shape):
  variables, x = initialised(model)
  halves = splitting.split(model, layer, train=False)
  features = halves.featurizer(variables, x)
  assert features.shape == shape
  whole = model.apply(variables, x, train=False)
  # Other images: the decider must not use them.
  decided = jax.jit(halves.decider)(variables, features, x + 1)
  np.testing.assert_allclose(decided, whole, rtol=1e-5, atol=1e-6)
  other = halves.decider(variables, features * 1.5 + 0.1, x)
  assert np.abs(np.asarray(other - whole)).max() > 1e-3


def test_the_decider_computes_nothing_before_the_cut():
  variables, x = initialised(RESNET)
  halves = splitting.split(RESNET, "conv3_1", train=False)
  features = halves.featurizer(variables, x)
  flops = lambda fn, *a: (
    jax.jit(fn).lower(*a).compile().cost_analysis()["flops"]
  )
  whole = flops(lambda v, x: RESNET.apply(v, x, train=False), variables, x)
  assert flops(halves.decider, variables, features, x) < whole / 50


def test_gradients_pass_the_cut():
  variables, x = initialised(RESNET)
  halves = splitting.split(RESNET, "conv2_2", train=False)
  features = halves.featurizer(variables, x)

  def loss(z):
    return jnp.sum(jnp.square(halves.decider(variables, z, x)))

  gradient = jax.grad(loss)(features)
  length = jnp.linalg.norm(gradient)
  # Along the gradient, where the change is largest relative to rounding.
  step = 0.02 * gradient / length
  slope = (loss(features + step) - loss(features - step)) / 0.04
  np.testing.assert_allclose(slope, length, rtol=3e-2)


def test_a_layer_that_is_not_there_is_named_with_those_that_are():
  variables, x = initialised(RESNET)
  halves = splitting.split(RESNET, "conv9_1", train=False)
  with pytest.raises(ValueError, match="conv9_1.*conv1, norm1.*conv3_1"):
    halves.featurizer(variables, x)
  with pytest.raises(ValueError, match="conv9_1"):
    halves.decider(variables, x, x)


def test_the_halves_share_the_parameters_of_the_whole():
  variables, x = initialised(RESNET)
  before, after = splitting.halves(RESNET, "conv2_2", x, train=False)
  assert set(before) | set(after) == set(
    flatten_dict(variables["params"], sep="/")
  )
  assert {name.split("/")[0] for name in before} == {
    "conv1", "norm1", "conv2_1", "conv2_2",
  }  # fmt: skip
  assert {name.split("/")[0] for name in after} == {"conv3_1", "fc"}
  mine = splitting.parameters(variables, before)
  assert "batch_stats/conv2_2/BatchNorm_0/mean" in mine
  assert "params/conv1/kernel" in mine
  assert not any("conv3_1" in name or "fc" in name for name in mine)
  with pytest.raises(ValueError, match="conv9_1"):
    splitting.halves(RESNET, "conv9_1", x, train=False)
