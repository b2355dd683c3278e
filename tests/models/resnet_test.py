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


@pytest.mark.parametrize("depth,total,block", [
  (18, 11_689_512, "basic"),
  (34, 21_797_672, "basic"),
  (50, 25_557_032, "bottleneck"),
  (101, 44_549_160, "bottleneck"),
])  # fmt: skip
def test_parameters_of_the_paper(depth, total, block):
  model = resnet.ResNet(resnet.DEPTHS[depth], block=block)
  images = jnp.zeros((1, 224, 224, 3))
  variables = jax.eval_shape(
    lambda: model.init(jax.random.key(0), images, train=False)
  )
  assert count(variables) == total
  blocks = [name for name in variables["params"] if "_" in name]
  assert set(blocks) == {
    f"conv{stage}_{i + 1}"
    for stage, number in enumerate(resnet.DEPTHS[depth], 2)
    for i in range(number)
  }
  # The name counts the convolutions of the blocks, conv1 and fc.
  layers = {"basic": 2, "bottleneck": 3}[block]
  assert layers * sum(resnet.DEPTHS[depth]) + 2 == depth


def test_bottlenecks_are_the_default_and_no_other_block_is_known():
  assert resnet.ResNet() == resnet.ResNet(resnet.DEPTHS[50], block="bottleneck")
  model = resnet.ResNet((1,), 8, block="dense")
  with pytest.raises(ValueError, match="basic, bottleneck, not 'dense'"):
    model.init(jax.random.key(0), jnp.zeros((1, 16, 16, 3)), train=False)


def convolved(x, kernel, stride=1):
  """A convolution padded alike on both sides, sum by sum in float64."""
  size = kernel.shape[0]
  x = np.pad(x, [(0, 0), (size // 2,) * 2, (size // 2,) * 2, (0, 0)])
  rows = (x.shape[1] - size) // stride + 1
  y = np.zeros((len(x), rows, rows, kernel.shape[-1]))
  for i in range(rows):
    for j in range(rows):
      part = x[:, i * stride : i * stride + size, j * stride :][:, :, :size]
      y[:, i, j] = np.einsum("bhwc,hwco->bo", part, kernel)
  return y


def normed(x, scale, mean=0.1, variance=2.0):
  return (x - mean) / np.sqrt(variance + 1e-5) * scale


def statistics_of(variables):
  """The same statistics and scales for all norms: 0.1, 2 and 1.5."""
  fill = lambda tree, value: jax.tree.map(lambda x: x * 0 + value, tree)
  stats = {
    n: {"mean": fill(s["mean"], 0.1), "var": fill(s["var"], 2.0)}
    for n, s in variables["batch_stats"].items()
  }
  params = {
    n: {**p, "scale": fill(p["scale"], 1.5)} if "scale" in p else p
    for n, p in variables["params"].items()
  }
  return {"params": params, "batch_stats": stats}


def drawn(block, images):
  """Variables of a block, and the kernels of its convolutions in order."""
  variables = statistics_of(block.init(jax.random.key(1), images, train=False))
  kernels = [
    np.asarray(p["kernel"], np.float64)
    for name, p in sorted(variables["params"].items())
    if name.startswith("Conv")
  ]
  return variables, kernels


@pytest.mark.parametrize("stride,channels", [(1, 8), (2, 8), (1, 4)])
def test_a_block_is_that_of_the_paper(stride, channels):
  """Three convolutions added to the input, or to its projection."""
  block = resnet.Bottleneck(8, stride)
  images = jax.random.normal(jax.random.key(0), (2, 4, 4, channels))
  variables, kernels = drawn(block, images)
  x = np.asarray(images, np.float64)
  y = np.maximum(normed(convolved(x, kernels[0]), 1.5), 0)
  y = np.maximum(normed(convolved(y, kernels[1], stride), 1.5), 0)
  y = normed(convolved(y, kernels[2]), 1.5)
  if len(kernels) == 4:
    x = normed(convolved(x, kernels[3], stride), 1.5)
  assert (len(kernels) == 4) == (stride == 2 or channels == 4)
  result = block.apply(variables, images, train=False)
  np.testing.assert_allclose(result, np.maximum(x + y, 0), atol=1e-4)


@pytest.mark.parametrize("stride,channels", [(1, 8), (2, 8), (1, 4)])
def test_a_basic_block_is_that_of_the_paper(stride, channels):
  """Two convolutions added to the input, or to its projection."""
  block = resnet.Basic(8, stride)
  images = jax.random.normal(jax.random.key(0), (2, 4, 4, channels))
  variables, kernels = drawn(block, images)
  assert [k.shape[0] for k in kernels[:2]] == [3, 3]
  x = np.asarray(images, np.float64)
  y = np.maximum(normed(convolved(x, kernels[0], stride), 1.5), 0)
  y = normed(convolved(y, kernels[1]), 1.5)
  if len(kernels) == 3:
    x = normed(convolved(x, kernels[2], stride), 1.5)
  assert (len(kernels) == 3) == (stride == 2 or channels == 4)
  result = block.apply(variables, images, train=False)
  np.testing.assert_allclose(result, np.maximum(x + y, 0), atol=1e-4)


def test_group_norm_leaves_each_image_alone():
  model = resnet.ResNet((1, 1), 8, 5, (3, 1, False), "group")
  x = jax.random.uniform(jax.random.key(0), (3, 16, 16, 3))
  variables = model.init(jax.random.key(1), x, train=False)
  assert set(variables) == {"params"}
  together = model.apply(variables, x, train=True)
  alone = model.apply(variables, x[1:2], train=True)
  assert together.shape == (3, 5)
  np.testing.assert_allclose(together[1:2], alone, atol=1e-5)
