"""The masknet weighs hidden cells only, in either backbone at any stage."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpriv.models import iresnet, masknet, resnet
from jaxpriv.models.heads import MarginRecogniser
from jaxpriv.models.masknet import FSM, Masknet

SIDE = 32
DEPTHS = (1, 1, 1, 1)
FULL = {
  "resnet": resnet.ResNet(DEPTHS, 4, 6, block="basic"),
  "iresnet": iresnet.IResNet(DEPTHS, 4, 6),
}
# With few layers, so as to compile soon.
SMALL = {
  "resnet": resnet.ResNet(
    (1, 1), 4, 6, norm="group", stem=(3, 1, True), block="basic"
  ),
  "iresnet": iresnet.IResNet((1, 1), 4, 6, norm="group"),
}
EACH = pytest.mark.parametrize("name", SMALL)
INSERTION = 2


def masks(count=4, side=SIDE):
  """Masks of rectangles: large visible and hidden parts."""
  rng = np.random.default_rng(0)
  keep = np.ones((count, side, side), bool)
  for i, (y, x) in enumerate(rng.integers(0, side // 2, (count, 2))):
    keep[i, y : y + side // 2, x : x + side // 2] = False
  return keep


def photographs(count=4):
  rng = np.random.default_rng(1)
  return rng.random((count, SIDE, SIDE, 3), np.float32)


def shapes(model, *inputs):
  """Output and variables of a module, without computing them."""
  init = lambda key: model.init_with_output(key, *inputs, train=False)
  return jax.eval_shape(init, jax.random.key(0))


def varied(model, *inputs):
  """Variables of which no scale is 1 and no bias 0."""
  rng = np.random.default_rng(0)

  def draw(path, shape):
    values = 0.3 * rng.standard_normal(shape.shape, np.float32)
    return values + (path[-1].key == "scale")

  variables = shapes(model, *inputs)[1]
  return jax.tree_util.tree_map_with_path(draw, variables)


@functools.cache
def made(name):
  model = Masknet(SMALL[name], INSERTION)
  return model, varied(model, photographs(1), masks(1))


@functools.cache
def applied(name):
  model, variables = made(name)
  return jax.jit(lambda x, keep: model.apply(variables, x, keep, train=False))


@functools.cache
def selected(name):
  model, variables = made(name)
  return jax.jit(lambda keep: model.apply(variables, keep, method="selection"))


def nearest(keep, side):
  """The pixel in the middle of every cell."""
  step = keep.shape[-1] // side
  return keep[..., step // 2 :: step, step // 2 :: step]


@pytest.mark.parametrize("name", FULL)
@pytest.mark.parametrize("stage", [1, 2, 3, 4])
def test_it_fits_after_every_stage(name, stage):
  """The sizes of the paper at 224 px: 56, 28, 14 and 7."""
  side = 224 if name == "resnet" else 112  # a stem without stride
  model = Masknet(FULL[name], stage)
  keep = jnp.zeros((2, side, side), bool)
  output, variables = shapes(model, jnp.zeros((2, side, side, 3)), keep)
  assert output.shape == (2, 6)
  fs = jax.eval_shape(
    lambda v, m: model.apply(v, m, method="selection"), variables, keep[0]
  )
  assert fs.shape == (1, 112 // 2**stage, 112 // 2**stage, 2 ** (stage + 1))
  halvings = {"resnet": stage + 1, "iresnet": stage}[name]
  assert len(variables["params"]["fsm"]) == halvings


@EACH
def test_visible_cells_are_left_alone(name):
  keep = masks()
  fs = np.asarray(selected(name)(keep))
  visible = nearest(keep, SIDE // 4)
  assert 0 < visible.mean() < 1
  np.testing.assert_array_equal(fs[visible], 1)
  hidden = fs[~visible]
  assert (hidden < 1).all() and (hidden > 0).all()
  # A mask of which all is visible changes nothing.
  np.testing.assert_array_equal(selected(name)(np.ones_like(keep)), 1)


@EACH
def test_clean_images_see_the_backbone(name):
  images, ones = photographs(), np.ones((4, SIDE, SIDE), bool)
  run = applied(name)
  model, variables = made(name)
  own = {"params": variables["params"]["backbone"]}
  plain = jax.jit(lambda x: model.backbone.apply(own, x, train=False))(images)
  np.testing.assert_allclose(run(images, ones), plain, rtol=1e-4, atol=1e-5)
  mixed = run(images, np.where([[[True]], [[False]]] * 2, ones, masks()))
  np.testing.assert_allclose(mixed[::2], plain[::2], rtol=1e-4, atol=1e-5)
  assert np.abs(mixed[1::2] - plain[1::2]).max() > 1e-3


@EACH
def test_clean_images_see_the_backbone_to_the_last_bit(name):
  """Operation by operation: the compiler may add in another order."""
  model = Masknet(SMALL[name].clone(depths=(1,)), 1)
  images, ones = photographs(1)[:, :8, :8], np.ones((8, 8), bool)
  variables = varied(model, images, ones)
  own = {"params": variables["params"]["backbone"]}
  plain = model.backbone.apply(own, images, train=False)
  seen = model.apply(variables, images, ones, train=False)
  np.testing.assert_array_equal(seen, plain)
  zeros = model.apply(variables, images, ~ones, train=False)
  assert np.abs(zeros - plain).max() > 1e-3


@EACH
def test_a_template_is_shared_and_folded(name):
  images, template = photographs(), masks()[1]
  run = applied(name)
  each = run(images, np.stack([template] * 4))
  shared = run(images, template)
  np.testing.assert_allclose(shared, each, rtol=1e-4, atol=1e-5)
  model, variables = made(name)
  folded = jax.jit(masknet.fold(model, variables, template))(images)
  np.testing.assert_allclose(folded, shared, rtol=1e-4, atol=1e-5)
  assert np.abs(folded - run(images, masks())).max() > 1e-3


def test_a_shared_mask_is_seen_once_and_a_folded_one_never():
  """By the number of operations of the compiled programs."""
  model, variables = made("resnet")
  images, keep = photographs(), masks()

  def operations(fn, *arguments):
    return jax.jit(fn).lower(*arguments).cost_analysis()["flops"]

  run = lambda x, keep: model.apply(variables, x, keep, train=False)
  own = {"params": variables["params"]["backbone"]}
  plain = operations(
    lambda x: model.backbone.apply(own, x, train=False), images
  )
  folded = operations(masknet.fold(model, variables, keep[0]), images)
  shared = operations(run, images, keep[0])
  each = operations(run, images, keep)
  assert folded - plain == 4 * (SIDE // 4) ** 2 * 8  # one of each feature
  assert shared - folded > 10_000
  assert each - folded == pytest.approx(4 * (shared - folded), rel=0.02)


def test_the_fsm_learns_from_hidden_cells_only():
  model, variables = made("resnet")
  keep = masks()[0]
  visible = nearest(keep, SIDE // 4).astype(np.float32)

  @jax.jit
  @jax.grad
  def gradient(params, where):
    fs = model.apply({"params": params}, keep, method="selection")
    return jnp.sum(fs[0] * where[..., None])

  seen = gradient(variables["params"], visible)
  assert all((x == 0).all() for x in jax.tree.leaves(seen))
  hidden = gradient(variables["params"], 1 - visible)
  assert all((x == 0).all() for x in jax.tree.leaves(hidden["backbone"]))
  assert all(np.abs(x).max() > 0 for x in jax.tree.leaves(hidden["fsm"]))


@EACH
def test_a_gate_multiplies_the_output_of_its_stage(name):
  backbone = SMALL[name]
  own = {"params": made(name)[1]["params"]["backbone"]}
  images = photographs()
  blocks = {
    "resnet": ["conv2_1", "conv3_1"],
    "iresnet": ["stage1_block1", "stage2_block1"],
  }[name]
  inputs = []

  def watch(call, args, kwargs, context):
    if context.module.name in (blocks[1], "fc"):
      inputs.append(args[0])
    result = call(*args, **kwargs)
    if context.module.name in blocks:
      inputs.append(result)
    return result

  rng = np.random.default_rng(2)
  gate = rng.random((1, SIDE // 2, SIDE // 2, 4), np.float32)

  @jax.jit
  def run(x):
    inputs.clear()
    with nn.intercept_methods(watch):
      backbone.apply(own, x, train=False, gates={1: gate})
    return inputs[:2]

  output, following = run(images)
  np.testing.assert_allclose(following, output * gate, rtol=1e-5)


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_weights_begin_near_one(norm):
  model = FSM(16, 8, norm)
  keep = masks()[..., None].astype(np.float32)

  @jax.jit
  def begin(key):
    variables = model.init(key, keep, train=False)
    trained = model.apply(variables, keep, train=True, mutable=["batch_stats"])
    return variables, trained[0]

  variables, weights = begin(jax.random.key(0))
  assert weights.shape == (4, SIDE // 8, SIDE // 8, 16)
  assert 0.9 < float(weights.mean()) < 1
  widths = [p["Conv_0"]["kernel"].shape for p in variables["params"].values()]
  assert widths == [(3, 3, 1, 4), (3, 3, 4, 8), (3, 3, 8, 16)]


def test_averages_of_one_template_become_its_statistics():
  """With BatchNorm, training and evaluation agree on the one mask in use."""
  model = FSM(8, 4, "batch")
  keep = masks()[:1, ..., None].astype(np.float32)
  variables = varied(model, keep)

  @jax.jit
  def train(variables):
    output, updated = model.apply(
      variables, keep, train=True, mutable=["batch_stats"]
    )
    return output, {**variables, **updated}

  for _ in range(200):
    trained, variables = train(variables)
  evaluated = jax.jit(functools.partial(model.apply, train=False))(
    variables, keep
  )
  np.testing.assert_allclose(evaluated, trained, atol=1e-4)


def test_training_moves_the_averages_of_both_networks():
  backbone = resnet.ResNet((1,), 4, 6, stem=(3, 1, True), block="basic")
  model = Masknet(backbone, 1)
  images, keep = photographs(), masks()
  variables = varied(model, images, keep)
  train = lambda v: model.apply(
    v, images, keep, train=True, mutable=["batch_stats"]
  )
  moved = jax.jit(train)(variables)[1]["batch_stats"]
  for part in ("backbone", "fsm"):
    before = jax.tree.leaves(variables["batch_stats"][part])
    after = jax.tree.leaves(moved[part])
    assert len(before) == len(after) > 0
    assert all(not np.allclose(a, b) for a, b in zip(before, after))


def test_group_norm_weighs_each_mask_on_its_own():
  keep = masks()
  together = selected("resnet")(keep)
  alone = selected("resnet")(keep[1])
  np.testing.assert_allclose(together[1:2], alone, atol=1e-5)


@pytest.mark.parametrize("stem,side,stage", [
  ((3, 1, False), 16, 1),  # no halving at all
  ((7, 2, True), 36, 4),  # 18, 9, 5, 3, 2
])  # fmt: skip
def test_sizes_follow_the_backbone(stem, side, stage):
  backbone = resnet.ResNet((1, 1, 1, 1), 4, 6, stem, block="bottleneck")
  model = Masknet(backbone, stage)
  inputs = jnp.zeros((2, side, side, 3)), jnp.ones((2, side, side), bool)
  output, variables = shapes(model, *inputs)
  assert output.shape == (2, 6)
  last = max(variables["params"]["fsm"])
  channels = variables["params"]["fsm"][last]["Conv_0"]["kernel"].shape[-1]
  assert channels == 16 * 2 ** (stage - 1)


def test_half_precision_weighs_visible_cells_by_one():
  half = SMALL["resnet"].clone(dtype=jnp.bfloat16)
  model, keep = Masknet(half, INSERTION), masks()
  _, variables = made("resnet")
  fs = jax.jit(lambda keep: model.apply(variables, keep, method="selection"))
  fs = np.asarray(fs(keep))
  assert fs.dtype == np.float32
  np.testing.assert_array_equal(fs[nearest(keep, SIDE // 4)], 1)
  full = np.asarray(selected("resnet")(keep))
  np.testing.assert_allclose(fs, full, atol=0.05)
  assert not np.array_equal(fs, full)


def test_a_masknet_is_a_backbone():
  """With the weight of a head, and by way of `embed`, as recognisers are."""
  network, variables = made("resnet")
  model = MarginRecogniser(network, 5)
  images, keep = photographs(), masks()
  params = dict(shapes(model, images, keep)[1]["params"])
  assert params["weight"].shape == (5, 6)
  params.update(backbone=variables["params"], weight=np.zeros((5, 6)))
  expected = applied("resnet")(images, keep)

  @jax.jit
  def run(params):
    trained, _ = model.apply({"params": params}, images, keep, train=True)
    return trained, model.apply(
      {"params": params}, images, keep, method="embed"
    )

  for embeddings in run(params):
    np.testing.assert_allclose(embeddings, expected, rtol=1e-4, atol=1e-5)


def test_what_will_not_do():
  images = photographs(1)
  for stage in (0, 5):
    with pytest.raises(ValueError, match=f"1 to 4, not {stage}"):
      shapes(Masknet(FULL["resnet"], stage), images, masks(1))
  with pytest.raises(ValueError, match="not of the size of images"):
    shapes(Masknet(FULL["resnet"]), images, np.ones((16, 16)))
