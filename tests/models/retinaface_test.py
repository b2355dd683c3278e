"""RetinaFace: its parameters, the order of its outputs, and what each sees."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpriv.metrics import anchors
from jaxpriv.models import retinaface


def networks(**changes):
  return {
    "mobilenet": retinaface.RetinaFace(retinaface.MobileNet(), **changes),
    "resnet50": retinaface.RetinaFace(
      retinaface.ResNet(), features=256, **changes
    ),
  }


def small(**changes):
  trunk = retinaface.MobileNet(0.125, norm=changes.get("norm", "batch"))
  return retinaface.RetinaFace(trunk, features=8, **changes)


def shapes(model, *images):
  init = lambda key, x: model.init(key, x, train=False)
  image = jax.ShapeDtypeStruct(images, jnp.float32)
  variables = jax.eval_shape(init, jax.random.key(0), image)
  apply = lambda v, x: model.apply(v, x, train=False)
  return variables, jax.eval_shape(apply, variables, image)


def begun(model, image):
  """Fresh variables of a network, in one program."""
  init = jax.jit(lambda key: model.init(key, image, train=False))
  return init(jax.random.key(0))


def size(tree):
  return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize(
  "name, trunk, total",
  [
    ("mobilenet", 213_072, 426_608),
    ("resnet50", 23_508_032, 27_293_600),
  ],
)
def test_parameters_are_as_many_as_published(name, trunk, total):
  variables, _ = shapes(networks()[name], 1, 64, 64, 3)
  assert size(variables["params"]["trunk"]) == trunk
  assert size(variables["params"]) == total


@pytest.mark.parametrize("norm", ["batch", "group"])
@pytest.mark.parametrize("name", ["mobilenet", "resnet50"])
def test_outputs_are_float32_and_so_are_parameters(name, norm):
  kind = {"mobilenet": retinaface.MobileNet, "resnet50": retinaface.ResNet}
  trunk = kind[name](norm=norm, dtype=jnp.bfloat16)
  model = retinaface.RetinaFace(
    trunk, features=8, logits=1, norm=norm, dtype=jnp.bfloat16
  )
  variables, said = shapes(model, 2, 100, 72, 3)
  cells = 13 * 9 + 7 * 5 + 4 * 3
  assert {name: x.shape for name, x in said.items()} == {
    "scores": (2, 2 * cells, 1),
    "boxes": (2, 2 * cells, 4),
    "points": (2, 2 * cells, 10),
  }
  leaves = jax.tree.leaves((variables, said))
  assert {leaf.dtype for leaf in leaves} == {jnp.dtype("float32")}
  assert ("batch_stats" in variables) == (norm == "batch")


@pytest.mark.parametrize("side, count", [(640, 16_800), (840, 29_126)])
def test_there_is_an_output_for_each_anchor(side, count):
  _, said = shapes(networks()["mobilenet"], 1, side, side, 3)
  assert said["boxes"].shape[1] == count == len(anchors.grid(side, side))


def test_an_output_is_of_the_cell_of_its_anchor():
  """Level after level, row after row, and all anchors of a cell together."""
  model = small()
  image = jax.random.uniform(jax.random.key(1), (1, 64, 32, 3))
  variables = begun(model, image)

  @jax.jit
  def read(variables):
    return model.apply(
      variables, image, train=False, capture_intermediates=True
    )

  said, seen = read(variables)
  rows = []
  for level in (1, 2, 3):
    head = variables["params"][f"boxes_{level}"]
    (x,) = seen["intermediates"][f"context_{level}"]["__call__"]
    y = np.asarray(x)[0] @ np.asarray(head["kernel"])[0, 0]
    rows += [
      y[i, j, 4 * a : 4 * a + 4]
      for i in range(64 >> level + 2)
      for j in range(32 >> level + 2)
      for a in range(2)
    ]
  np.testing.assert_allclose(said["boxes"][0], rows, rtol=1e-4, atol=1e-5)


def test_where_a_pixel_changes_the_nearest_anchors_change_most():
  model = small(norm="group")
  image = jax.random.uniform(jax.random.key(1), (1, 128, 128, 3))
  variables = begun(model, image)
  read = jax.jit(lambda x: model.apply(variables, x, train=False)["scores"][0])
  other = image.at[0, 92:100, 28:36].set(0)
  change = np.abs(read(other) - read(image)).sum(1)[: 2 * 16 * 16]
  x, y = anchors.grid(128, 128)[change.argmax(), :2]
  assert abs(x - 32) <= 12 and abs(y - 96) <= 12


def test_doubling_is_nearest_neighbours_from_the_corner():
  x = jnp.arange(27.0 * 14).reshape(1, 27, 14, 1)
  rows = np.floor(np.arange(53) * 27 / 53).astype(int)
  columns = np.floor(np.arange(28) * 14 / 28).astype(int)
  expected = np.asarray(x)[:, rows][:, :, columns]
  np.testing.assert_array_equal(retinaface.doubled(x, 53, 28), expected)


def test_coarse_maps_reach_all_finer_levels_and_fine_ones_no_coarser():
  class Trunk(nn.Module):
    def __call__(self, x, train):
      return [
        x[:, i // 2 :: i, i // 2 :: i, c : c + 1]
        for c, i in enumerate((8, 16, 32))
      ]

  model = retinaface.RetinaFace(Trunk(), features=4)
  image = jax.random.uniform(jax.random.key(0), (1, 64, 64, 3))
  variables = begun(model, image)
  read = jax.jit(lambda x: model.apply(variables, x, train=False)["boxes"][0])
  ends = np.cumsum([2 * 64, 2 * 16, 2 * 4])
  first = np.split(np.asarray(read(image)), ends[:-1])
  for channel, reached in enumerate([(1, 0, 0), (1, 1, 0), (1, 1, 1)]):
    other = np.asarray(read(image.at[..., channel].set(0)))
    parts = zip(first, np.split(other, ends[:-1]))
    changed = tuple(int(np.abs(a - b).max() > 1e-3) for a, b in parts)
    assert changed == reached


def test_a_depthwise_block_pads_all_sides_alike():
  block = retinaface.Separable(4, stride=2)
  x = jax.random.normal(jax.random.key(0), (1, 8, 6, 3))
  variables = begun(block, x)
  params = variables["params"]
  kernel = np.asarray(params["depthwise"], np.float64)[..., 0]
  padded = np.pad(np.asarray(x, np.float64)[0], ((1, 1), (1, 1), (0, 0)))
  leaky = lambda y: np.where(y > 0, y, 0.1 * y)
  norm = 1 / np.sqrt(1 + 1e-5)  # statistics as they begin
  expected = np.zeros((4, 3, 4))
  for i in range(4):
    for j in range(3):
      window = padded[2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
      y = leaky((window * kernel).sum((0, 1)) * norm)
      y = y @ np.asarray(params["Conv_0"]["kernel"], np.float64)[0, 0]
      expected[i, j] = leaky(y * norm)
  got = block.apply(variables, x, train=False)[0]
  np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_images_are_seen_less_their_mean():
  class Trunk(nn.Module):
    def __call__(self, x, train):
      return [x[:, ::8, ::8], x[:, ::16, ::16], x[:, ::32, ::32]]

  model = retinaface.RetinaFace(Trunk(), features=4)
  mean = jnp.array([123, 117, 104]) / 255
  image = jnp.broadcast_to(mean, (1, 32, 32, 3))
  variables = begun(model, image)
  read = jax.jit(lambda x: model.apply(variables, x, train=False))
  said = read(image)
  # Nothing is left but the biases, which begin at 0.
  for value in said.values():
    np.testing.assert_allclose(value, 0, atol=1e-4)
  said = read(image[..., ::-1])
  assert all(np.abs(value).max() > 1e-2 for value in said.values())


@pytest.mark.parametrize("changes", [dict(features=6), dict(logits=3)])
def test_networks_that_cannot_be_are_refused(changes):
  model = retinaface.RetinaFace(retinaface.MobileNet(), **changes)
  with pytest.raises(ValueError, match="features must divide by 4, and logits"):
    shapes(model, 1, 64, 64, 3)
