import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from scipy.signal import correlate

from jaxpriv.models import iresnet
from jaxpriv.models.iresnet import STAGES, IResNet


def shapes(model, side):
  images = jnp.zeros((2, side, side, 3))
  initialise = lambda key: model.init(key, images, train=False)
  return jax.eval_shape(initialise, jax.random.key(0))


def init(model, images):
  return jax.jit(model.init, static_argnames="train")(
    jax.random.key(0), images, train=False
  )


def apply(model, variables, images, train=False, **kwargs):
  run = lambda variables: model.apply(variables, images, train=train, **kwargs)
  return jax.jit(run)(variables)


def size(tree):
  return sum(x.size for x in jax.tree.leaves(tree))


def expected_parameters(depths, width, side, features):
  """Counted layer by layer; a norm has a scale and a bias per channel."""
  total = 9 * 3 * width + 2 * width + width
  channels = width
  for stage, depth in enumerate(depths):
    out = width * 2**stage
    for i in range(depth):
      total += 2 * channels + 9 * channels * out + 2 * out + out
      total += 9 * out * out + 2 * out
      if i == 0:
        total += channels * out + 2 * out
      channels = out
  total += 2 * channels
  total += (side // 16) ** 2 * channels * features + features
  # The last norm has its bias alone: the scale is fixed.
  return total + features


@pytest.mark.parametrize(
  "depth, millions", [(18, 24.03), (34, 34.14), (50, 43.59), (100, 65.16)]
)
def test_parameter_counts(depth, millions):
  variables = shapes(IResNet(STAGES[depth]), 112)
  count = size(variables["params"])
  assert count == expected_parameters(STAGES[depth], 64, 112, 512)
  # The parameter counts of arcface_torch's models.
  assert round(count / 1e6, 2) == millions
  # The name counts two layers per block, the stem and fc.
  assert 2 * sum(STAGES[depth]) + 2 == depth


def test_group_norm_has_no_statistics_and_the_same_layers():
  batch = shapes(IResNet((1, 1, 1, 1), 16, 32), 32)
  group = shapes(IResNet((1, 1, 1, 1), 16, 32, norm="group"), 32)
  assert "batch_stats" in batch and "batch_stats" not in group
  # All but the bias of the last norm, which groups do not have.
  assert size(batch["params"]) - size(group["params"]) == 32


@pytest.mark.parametrize("stem_stride, code", [(1, 4), (2, 2)])
def test_stage_shapes(stem_stride, code):
  model = IResNet((2, 1, 1, 1), 8, 32, stem_stride=stem_stride)
  variables = shapes(model, 64)
  assert variables["params"]["fc"]["kernel"].shape == (code * code * 64, 32)
  first = variables["params"]["stage1_block1"]
  second = variables["params"]["stage1_block2"]
  # The first block of a stage has the 1x1 shortcut even where widths agree.
  assert len([x for x in first if x.startswith("Conv")]) == 3
  assert len([x for x in second if x.startswith("Conv")]) == 2


@pytest.fixture(scope="module")
def small():
  model = IResNet((1, 1), 8, 16, dropout=0.5)
  images = jax.random.uniform(jax.random.key(1), (4, 32, 32, 3))
  return model, init(model, images), images


def test_embeddings_are_float32_in_bfloat16_too(small):
  model, variables, images = small
  full = apply(model, variables, images)
  half = apply(model.clone(dtype=jnp.bfloat16), variables, images)
  assert full.dtype == half.dtype == jnp.float32
  assert full.shape == (4, 16)
  assert not np.array_equal(full, half)
  scale = np.abs(full).max()
  np.testing.assert_allclose(half, full, atol=0.1 * scale)
  stored = model.clone(param_dtype=jnp.bfloat16)
  kinds = shapes(stored, 32)["params"]
  assert kinds["Conv_0"]["kernel"].dtype == jnp.bfloat16


def test_training_updates_statistics_and_drops(small):
  model, variables, images = small
  run = lambda key: apply(
    model,
    variables,
    images,
    train=True,
    rngs={"dropout": jax.random.key(key)},
    mutable=["batch_stats"],
  )
  a, stats = run(0)
  b, _ = run(1)
  assert not np.allclose(a, b)
  before = variables["batch_stats"]["embedding_norm"]["mean"]
  after = stats["batch_stats"]["embedding_norm"]["mean"]
  assert not np.allclose(before, after)
  # A batch is normalised to mean 0 and variance 1, as the scale is fixed at 1.
  np.testing.assert_allclose(a.mean(0), 0, atol=1e-5)
  np.testing.assert_allclose(a.std(0), 1, atol=1e-3)
  assert set(variables["params"]["embedding_norm"]) == {"bias"}


def test_group_norm_sees_one_example_at_a_time():
  model = IResNet((1, 1), 8, 16, norm="group")
  images = jax.random.uniform(jax.random.key(1), (3, 32, 32, 3))
  variables = init(model, images)
  whole = apply(model, variables, images, train=True)
  alone = apply(model, variables, images[1:2], train=True)
  np.testing.assert_allclose(whole[1:2], alone, atol=1e-4)


def test_block_by_hand():
  """A block with identity norms, against float64 correlations."""
  block = iresnet.Block(features=3, stride=2)
  rng = np.random.default_rng(0)
  x = rng.normal(size=(1, 6, 6, 2))
  variables = block.init(jax.random.key(0), jnp.asarray(x), False)
  params = variables["params"]
  slope = np.array([0.25, -0.5, 0.1])
  params["PReLU_0"]["slope"] = jnp.asarray(slope)
  rest = 1 / np.sqrt(1 + 1e-5)

  def conv(x, kernel, stride):
    kernel = np.asarray(kernel, np.float64)
    pad = kernel.shape[0] // 2
    x = np.pad(x, ((pad, pad), (pad, pad), (0, 0)))
    out = [correlate(x, kernel[..., i], "valid")[..., 0] for i in range(3)]
    return np.stack(out, -1)[::stride, ::stride]

  y = conv(rest * x[0], params["Conv_0"]["kernel"], 1) * rest
  y = np.where(y > 0, y, slope * y)
  y = rest * conv(y, params["Conv_1"]["kernel"], 2)
  y = y + rest * conv(x[0], params["Conv_2"]["kernel"], 2)
  got = block.apply(variables, jnp.asarray(x), False)
  np.testing.assert_allclose(got[0], y, rtol=1e-4, atol=1e-5)


def test_input_is_centred(small):
  model, variables, images = small
  # Grey is 0, and without biases 0 stays 0 up to fc.
  grey = jnp.full_like(images, 0.5)
  np.testing.assert_array_equal(apply(model, variables, grey), 0)


def test_convolutions_start_by_fan_out(small):
  flat = traverse_util.flatten_dict(small[1]["params"])
  kernels = [v for k, v in flat.items() if v.ndim == 4 and v.size > 500]
  assert len(kernels) == 4
  for kernel in kernels:
    fan_out = kernel.shape[0] * kernel.shape[1] * kernel.shape[3]
    assert float(kernel.std()) == pytest.approx((2 / fan_out) ** 0.5, rel=0.15)
