"""ResNet has the counts and shapes of the paper's table."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpriv.models import resnet


def count(variables):
  return sum(
    int(np.prod(x.shape)) for x in jax.tree.leaves(variables["params"])
  )


@pytest.mark.parametrize("depth,total", [(50, 25_557_032), (101, 44_549_160)])
def test_parameters_of_the_paper(depth, total):
  model = resnet.ResNet(resnet.DEPTHS[depth])
  images = jnp.zeros((1, 224, 224, 3))
  variables = jax.eval_shape(
    lambda: model.init(jax.random.key(0), images, train=False)
  )
  assert count(variables) == total
  blocks = [name for name in variables["params"] if "_" in name]
  assert len(blocks) == sum(resnet.DEPTHS[depth])
  assert {"conv2_3", "conv3_1", "conv4_1", "conv5_3"} <= set(blocks)


def test_group_norm_leaves_each_image_alone():
  model = resnet.ResNet((1, 1), 8, 5, (3, 1, False), "group")
  x = jax.random.uniform(jax.random.key(0), (3, 16, 16, 3))
  variables = model.init(jax.random.key(1), x, train=False)
  assert set(variables) == {"params"}
  together = model.apply(variables, x, train=True)
  alone = model.apply(variables, x[1:2], train=True)
  assert together.shape == (3, 5)
  np.testing.assert_allclose(together[1:2], alone, atol=1e-5)
