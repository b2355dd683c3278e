"""Excitation backprop against explicit matrices in float64, and its laws."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxpriv.models import layers, saliency
from jaxpriv.models.feature_selection import FeatureSelectionNetwork
from jaxpriv.models.iresnet import IResNet
from jaxpriv.models.resnet import ResNet
from jaxpriv.models.saliency import UnknownOperation, excitation_backprop
from jaxpriv.models.vggnet import VGGNet

SIDE, WIDTH, CLASSES = 8, 4, 3
few = settings(max_examples=10, deadline=None)
seeds = st.integers(0, 2**31 - 1)


class Plain(nn.Module):
  """Convolution, norm, ReLU, max pooling, mean, Dense."""

  normed: bool = True

  @nn.compact
  def __call__(self, x):
    x = nn.Conv(WIDTH, (3, 3), padding=1, name="conv")((x - 0.5) / 0.5)
    if self.normed:
      x = nn.BatchNorm(use_running_average=True, name="norm")(x)
    x = layers.max_pool(nn.relu(x), 2, 2)
    return nn.Dense(CLASSES, name="fc")(x.mean((1, 2)))


class Residual(nn.Module):
  """A block added to its input, without ReLU in between, then Dense."""

  @nn.compact
  def __call__(self, x):
    norm = functools.partial(nn.BatchNorm, use_running_average=True)
    x = nn.Conv(WIDTH, (3, 3), padding=1, use_bias=False, name="stem")(x)
    y = nn.relu(norm(name="norm1")(x))
    y = nn.Conv(WIDTH, (3, 3), padding=1, use_bias=False, name="conv")(y)
    x = nn.relu(x + norm(name="norm2")(y))
    return nn.Dense(CLASSES, name="fc")(x.reshape(len(x), -1))


def randomised(model, seed=0, signs=False, shifts=True):
  """Variables of all signs; scales positive and shifts 0 unless asked for."""
  shapes = jax.eval_shape(
    model.init, jax.random.key(0), jnp.zeros((1, SIDE, SIDE, 3))
  )
  rng = np.random.default_rng(seed)

  def draw(path, leaf):
    if path[-1] == "var":
      return rng.uniform(0.5, 2, leaf.shape)
    if path[-1] == "scale":
      sign = rng.choice([-1, 1], leaf.shape) if signs else 1
      return sign * rng.uniform(0.5, 2, leaf.shape)
    if path[-1] in ("bias", "mean"):
      return shifts * rng.normal(0, 0.1, leaf.shape)
    return rng.normal(size=leaf.shape)

  flat = {
    path: np.asarray(draw(path, leaf), np.float32)
    for path, leaf in traverse_util.flatten_dict(shapes).items()
  }
  return traverse_util.unflatten_dict(flat)


def images(seed=0, batch=2):
  rng = np.random.default_rng(seed)
  return rng.uniform(size=(batch, SIDE, SIDE, 3)).astype(np.float32)


@functools.partial(jax.jit, static_argnums=0, static_argnames="options")
def compiled(model, variables, x, top, options=()):
  fn = lambda x: model.apply(variables, x)
  return excitation_backprop(fn, x, top, **dict(options))


def sent(fn, x, top, **options):
  run = lambda x, top: excitation_backprop(fn, x, top, **options)
  return jax.jit(run)(x, top)


def maps(model, variables, x, top, **options):
  options = tuple(sorted(options.items()))
  return np.asarray(compiled(model, variables, x, top, options=options))


# The rules by hand: a layer is a matrix [inputs, outputs], one image a vector.


def convolution(kernel):
  """The matrix of a 3x3 convolution that keeps the size."""
  inputs, outputs = kernel.shape[2:]
  matrix = np.zeros((SIDE, SIDE, inputs, SIDE, SIDE, outputs))
  for y in range(SIDE):
    for x in range(SIDE):
      for i in range(3):
        for j in range(3):
          row, column = y + i - 1, x + j - 1
          if 0 <= row < SIDE and 0 <= column < SIDE:
            matrix[row, column, :, y, x] = kernel[i, j]
  return matrix.reshape(SIDE * SIDE * inputs, -1)


def affine(variables, name, x, repeats):
  """(result, scale) of a norm for x [repeats * channels]."""
  p, s = variables["params"][name], variables["batch_stats"][name]
  scale = np.float64(p["scale"]) / np.sqrt(np.float64(s["var"]) + 1e-5)
  tile = lambda v: np.tile(np.float64(v), repeats)
  scale = tile(scale)
  return (x - tile(s["mean"])) * scale + tile(p["bias"]), scale


def shared(p, matrix, a):
  """Equation 1: among inputs a >= 0 by their positive weights."""
  positive = np.maximum(matrix, 0)
  total = a @ positive
  quotient = np.divide(p, total, out=np.zeros_like(total), where=total > 0)
  return a * (positive @ quotient)


def last(p, matrix, a, contrast):
  return shared(p, matrix, a) - contrast * shared(p, -matrix, a)


def finished(p, contrast):
  p = p.reshape(SIDE, SIDE, 3)
  if contrast:
    total = np.maximum(p.sum(-1, keepdims=True), 0)
    p = np.maximum(p, 0)
    p = p / np.maximum(p.sum(-1, keepdims=True), 1e-300) * total
    p = p / max(p.sum(), 1e-300)
  return p


def plain_by_hand(variables, image, p, fold, contrast):
  params = jax.tree.map(np.float64, variables["params"])
  a = np.float64(image).ravel()
  conv = convolution(params["conv"]["kernel"])
  places = SIDE * SIDE
  y = (a - 0.5) / 0.5 @ conv + np.tile(params["conv"]["bias"], places)
  y, scale = affine(variables, "norm", y, places)
  active = np.maximum(y, 0).reshape(SIDE // 2, 2, SIDE // 2, 2, WIDTH)
  windows = active.transpose(0, 2, 4, 1, 3).reshape(-1, WIDTH, 4)
  pooled = windows.max(-1)
  p = last(p, params["fc"]["kernel"], pooled.mean(0), contrast)
  sums = pooled.sum(0)
  p = pooled * np.divide(p, sums, out=np.zeros(WIDTH), where=sums > 0)
  won = (windows == pooled[..., None]) & (pooled[..., None] > 0)
  p = (won * p[..., None]).reshape(SIDE // 2, SIDE // 2, WIDTH, 2, 2)
  p = p.transpose(0, 3, 1, 4, 2).ravel()
  return finished(
    shared(p, conv * np.sign(scale) if fold else conv, a), contrast
  )


def residual_by_hand(variables, image, p, fold, contrast):
  params = jax.tree.map(np.float64, variables["params"])
  stem = convolution(params["stem"]["kernel"])
  conv = convolution(params["conv"]["kernel"])
  places = SIDE * SIDE
  a = np.float64(image).ravel()
  x = a @ stem
  inner = np.maximum(affine(variables, "norm1", x, places)[0], 0)
  y, scale = affine(variables, "norm2", inner @ conv, places)
  p = last(p, params["fc"]["kernel"], np.maximum(x + y, 0), contrast)
  x, y = np.maximum(x, 0), np.maximum(y, 0)
  quotient = np.divide(p, x + y, out=np.zeros_like(p), where=x + y > 0)
  # The first norm stands after a sum of two uses: its signs are left out.
  back = shared(y * quotient, conv * np.sign(scale) if fold else conv, inner)
  return finished(shared(x * quotient + back, stem, a), contrast)


@pytest.mark.parametrize("norm", ["fold", "pass"])
@pytest.mark.parametrize("contrast", [False, True])
@pytest.mark.parametrize(
  "model, by_hand", [(Plain(), plain_by_hand), (Residual(), residual_by_hand)]
)
def test_against_explicit_matrices(model, by_hand, norm, contrast):
  variables = randomised(model, signs=True)
  x = images()
  top = np.float32([[1, 0, 0], [0.2, 0.5, 0]])
  result = maps(model, variables, x, top, norm=norm, contrast=contrast)
  assert result.dtype == np.float32
  for image, signal, got in zip(x, top, result, strict=True):
    wanted = by_hand(variables, image, signal, norm == "fold", contrast)
    assert wanted.max() > 1e-3
    np.testing.assert_allclose(got, wanted, atol=1e-6, rtol=1e-4)


def test_folding_is_that_of_a_network_folded_by_hand():
  variables = randomised(Plain(), signs=True)
  params, stats = variables["params"], variables["batch_stats"]["norm"]
  scale = params["norm"]["scale"] / np.sqrt(stats["var"] + 1e-5)
  assert (scale < 0).any() and (scale > 0).any()
  bias = (params["conv"]["bias"] - stats["mean"]) * scale
  conv = dict(
    kernel=params["conv"]["kernel"] * scale, bias=bias + params["norm"]["bias"]
  )
  folded = {"params": {"conv": conv, "fc": params["fc"]}}
  x, top = images(), np.eye(3, dtype=np.float32)[:2]
  wanted = maps(Plain(normed=False), folded, x, top)
  np.testing.assert_allclose(
    maps(Plain(), variables, x, top), wanted, atol=1e-6
  )
  passed = maps(Plain(), variables, x, top, norm="pass")
  assert np.abs(passed - wanted).max() > 1e-3


@few
@given(seeds)
def test_laws(seed):
  """Sums to 1, never negative, linear, and each image by itself."""
  model = Plain()
  variables = randomised(model, seed, shifts=False)
  x = images(seed)
  rng = np.random.default_rng(seed)
  one = np.eye(CLASSES, dtype=np.float32)[rng.integers(0, CLASSES, 2)]
  other = rng.uniform(size=one.shape).astype(np.float32)
  first, second = (maps(model, variables, x, top) for top in (one, other))
  assert first.min() >= 0
  # Without biases a unit is active only if something excites it. The target is
  # dead if all its weights of active channels are negative.
  sums = first.sum((1, 2, 3))
  alive = (variables["params"]["fc"]["kernel"] @ one.T > 0).any(0)
  np.testing.assert_allclose(sums[alive], 1, atol=1e-5)
  np.testing.assert_array_equal(sums[~alive], 0)
  both = maps(model, variables, x, 2 * one + 0.5 * other)
  np.testing.assert_allclose(both, 2 * first + 0.5 * second, atol=1e-6)
  swapped = maps(model, variables, x[::-1], one[::-1])
  np.testing.assert_allclose(swapped[::-1], first, atol=1e-7)
  passed = maps(model, variables, x, one, norm="pass")
  np.testing.assert_allclose(passed, first, atol=1e-7)


@few
@given(seeds, st.lists(st.floats(1e-3, 1e3), min_size=WIDTH, max_size=WIDTH))
def test_the_scale_of_a_channel_does_not_matter(seed, factors):
  variables = randomised(Plain(), seed)
  factors = np.float32(factors)
  scaled = jax.tree.map(np.copy, variables)
  scaled["params"]["conv"]["kernel"] *= factors
  scaled["params"]["conv"]["bias"] *= factors
  scaled["batch_stats"]["norm"]["mean"] *= factors
  scaled["params"]["norm"]["scale"] /= factors
  x, top = images(seed), np.ones((2, CLASSES), np.float32)
  wanted = maps(Plain(), variables, x, top)
  np.testing.assert_allclose(maps(Plain(), scaled, x, top), wanted, atol=1e-5)


def test_batch_equals_single_and_compiled_equals_not():
  model = Residual()
  variables = randomised(model, signs=True)
  x, top = images(), np.eye(3, dtype=np.float32)[:2]
  whole = maps(model, variables, x, top)
  fn = lambda x: model.apply(variables, x)
  np.testing.assert_allclose(
    excitation_backprop(fn, jnp.asarray(x), jnp.asarray(top)), whole, atol=1e-6
  )
  alone = maps(model, variables, x[1:], top[1:])
  np.testing.assert_allclose(alone, whole[1:], atol=1e-7)


def test_dead_targets_and_units_active_by_bias_alone_give_zeros():
  variables = randomised(Plain())
  variables["params"]["fc"]["kernel"][:, 0] = -1
  variables["params"]["fc"]["bias"][:] = 5
  x, top = images(), np.eye(3, dtype=np.float32)[:2]
  for contrast in (False, True):
    result = maps(Plain(), variables, x, top, contrast=contrast)
    assert np.isfinite(result).all()
    np.testing.assert_array_equal(result[0], 0)
    assert result[1].sum() > 0.9
  # A black image excites nothing, however active the biases make the network.
  black = maps(Plain(), variables, 0 * x, np.ones_like(top))
  np.testing.assert_array_equal(black, 0)


NETWORKS = {
  "resnet": ResNet((1,), 4, CLASSES),
  "bfloat16": ResNet((1,), 4, CLASSES, (3, 1, False), dtype=jnp.bfloat16),
  "group": ResNet((1,), 4, CLASSES, (3, 1, False), norm="group"),
  "iresnet": IResNet((1,), 8, CLASSES),
  "vgg": VGGNet((1, 1), 8, CLASSES),
  "fsn": FeatureSelectionNetwork(2, (4, 8), (2, 1), (16, 16)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_our_networks(name):
  model = NETWORKS[name]
  x = jnp.asarray(images(batch=1))

  @jax.jit
  def run(x):
    variables = model.init(jax.random.key(0), x, train=False)
    if name == "iresnet":  # slopes of both signs
      slope = variables["params"]["PReLU_0"]["slope"]
      variables["params"]["PReLU_0"]["slope"] = slope.at[::2].multiply(-1)
    fn = lambda x: model.apply(variables, x, train=False)
    shape = jax.eval_shape(fn, x).shape
    top = jnp.ones(shape) / np.prod(shape)
    return excitation_backprop(fn, x, top)

  result = np.asarray(run(x))
  assert result.shape == x.shape and result.dtype == np.float32
  assert result.min() >= 0
  # The missing signal ended at units that only statistics or biases excite.
  loss = dict(group=0.1, iresnet=0.1).get(name, 1e-5)
  assert 1 - loss <= result.sum() <= 1 + 1e-5


def everywhere(x):
  """Sums to logits [B, 1], so that the whole signal is sent to x."""
  return x.reshape(len(x), -1).sum(-1, keepdims=True)


@jax.custom_vjp
def custom(x):
  return 2 * x


custom.defvjp(lambda x: (2 * x, None), lambda _, g: (g,))

CONSERVING = {
  "average pooling": lambda x: nn.avg_pool(x, (2, 2), (2, 2)),
  "max pooling of XLA": lambda x: nn.max_pool(x, (2, 2), (2, 2)),
  "maximum": lambda x: x.max((1, 2)),
  "resized": lambda x: jax.image.resize(x, (2, 6, 6, 3), "linear"),
  "nearest": lambda x: jax.image.resize(x, (2, 8, 8, 3), "nearest"),
  "concatenated": lambda x: jnp.concatenate([x, x[:, ::-1], x * 0], -1),
  "stacked": lambda x: jnp.stack(jnp.split(x, 2, axis=1)),
  "rolled, transposed": lambda x: jnp.roll(x, 1, 1).transpose(0, 3, 2, 1),
  "leaky": lambda x: nn.leaky_relu(x - 0.5) + x,
  "relu6, saturated": lambda x: nn.relu6(100 * x),
  "clipped": lambda x: jnp.clip(2 * x, 0, 1),
  "sigmoid": lambda x: nn.sigmoid(x - 0.5),
  "checkpointed": jax.checkpoint(lambda x: nn.relu(x) / 3),
  "custom": custom,
  "cast": lambda x: x.astype(jnp.bfloat16),
  "lengths of 1": lambda x: x * jax.lax.rsqrt((x**2).sum(-1, keepdims=True)),
  "broadcast": lambda x: x.mean((1, 2), keepdims=True) + jnp.ones((1, 4, 4, 3)),
  "gated": lambda x: x * jax.lax.stop_gradient(nn.softmax(x)),
  "thresholded": lambda x: x * (x > -1),
  "tensors": lambda x: jnp.einsum("oh,bhwc->bowc", jnp.ones((3, 4)), x),
  "inverted": lambda x: nn.relu((1 - x) / 0.5),
}


@pytest.mark.parametrize("name", CONSERVING)
def test_operations_that_keep_the_sum(name):
  x = jnp.asarray(images()[:, :4, :4] * 0.9 + 0.05)
  fn = lambda x: everywhere(CONSERVING[name](x).astype(jnp.float32))
  if name == "stacked":
    fn = lambda x: everywhere(CONSERVING[name](x).swapaxes(0, 1))
  result = sent(fn, x, jnp.ones((2, 1)))
  assert result.min() >= 0
  np.testing.assert_allclose(result.sum((1, 2, 3)), 1, atol=1e-5)


def test_of_two_the_positive_part_of_each_counts():
  x = jnp.asarray(images()[:, :1, :3, :1] + 0.1)
  fn = lambda x: everywhere(
    jnp.concatenate([x[:, :, :1] - x[:, :, 1:2], x[:, :, 2:]], 2)
  )
  result = sent(fn, x, jnp.ones((2, 1)))
  assert (result[:, :, 1] == 0).all()


def test_what_is_zero_sends_nothing_down_though_a_norm_shifts_it():
  x = images()
  keep = np.random.default_rng(0).uniform(size=(SIDE, SIDE, 1)) > 0.5
  layer = lambda x: x @ jnp.eye(3)
  masked = sent(lambda x: everywhere(layer(x) * keep + 1), x, jnp.ones((2, 1)))
  np.testing.assert_array_equal(masked > 0, np.broadcast_to(keep, x.shape))
  relu = lambda x: everywhere(nn.relu(layer(x) - 0.5) + 1)
  np.testing.assert_array_equal(sent(relu, x, jnp.ones((2, 1))) > 0, x > 0.5)


@pytest.mark.parametrize(
  "turn", [lambda y: -y, lambda y: 0.5 - y, lambda y: (y + 1) / -2]
)
def test_signs_that_are_no_norms_are_folded_too(turn):
  weights = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
  slope = turn(1) - turn(0)
  turned = lambda x: everywhere(nn.relu(turn(x @ weights)))
  folded = lambda x: everywhere(nn.relu(x @ (weights * slope) + turn(0)))
  result = sent(turned, images(), jnp.ones((2, 1)))
  wanted = sent(folded, images(), jnp.ones((2, 1)))
  assert result.max() > 0
  np.testing.assert_allclose(result, wanted, atol=1e-6)


def test_hidden_pixels_get_nothing_and_others_do():
  keep = np.random.default_rng(0).uniform(size=(SIDE, SIDE, 1)) > 0.5
  variables = randomised(Plain())
  fn = lambda x: Plain().apply(variables, x * keep)
  result = sent(fn, images(), jnp.ones((2, CLASSES)) / CLASSES)
  hidden = np.broadcast_to(~keep, result.shape)
  assert (result[hidden] == 0).all()
  assert result[~hidden].sum() > 0.9


@pytest.mark.parametrize("shift, factor", [(0.5, 2), (0, 1), (1, 1), (0.2, -3)])
def test_an_image_excites_by_its_distance_from_the_least(shift, factor):
  """However a network normalises it, and the other way round if it inverts."""
  weights = np.random.default_rng(0).normal(size=(SIDE * SIDE * 3, CLASSES))
  fn = lambda x: ((x - shift) * factor).reshape(len(x), -1) @ weights
  x, top = images(), np.eye(3, dtype=np.float32)[:2]
  result = sent(fn, x, top)
  a = np.float64(1 - x if factor < 0 else x).reshape(2, -1)
  wanted = [shared(t, weights, v) for t, v in zip(top, a, strict=True)]
  np.testing.assert_allclose(
    result.reshape(2, -1), wanted, atol=1e-7, rtol=1e-4
  )


def test_images_that_come_normalised_are_read_after_the_first_layer():
  variables = randomised(Plain(normed=False), shifts=False)
  layer = lambda x: Plain(normed=False).apply(variables, (x + 1) / 2)
  normalised = jnp.asarray(images() * 2 - 1)
  top = jnp.eye(CLASSES)[:2]
  first = sent(layer, normalised, top, read="first")
  assert first.shape == (2, SIDE, SIDE, WIDTH)
  np.testing.assert_allclose(first.sum((1, 2, 3)), 1, atol=1e-5)
  result = sent(layer, normalised, top)
  assert (result[normalised < 0] == 0).all()


def test_contrast_is_that_of_the_outputs_own_layers():
  """Two heads: the dual signal starts at the last layer of each."""
  rng = np.random.default_rng(0)
  weights = [rng.normal(size=(3, 2)).astype(np.float32) for _ in range(3)]

  def fn(x):
    x = x.mean((1, 2))
    second = nn.relu(x @ np.abs(weights[1]).astype(np.float32))
    return jnp.concatenate([x @ weights[0], second @ weights[2][:2]], -1)

  x = images()
  run = jax.jit(lambda x, t: excitation_backprop(fn, x, t, contrast=True))
  for i in range(4):
    result = run(x, jnp.eye(4)[jnp.array([i, i])])
    for image, got in zip(np.float64(x), result, strict=True):
      mean = image.mean((0, 1))
      if i < 2:
        p = last(np.eye(2)[i], weights[0], mean, True)
      else:
        inner = mean @ np.abs(weights[1])
        p = last(np.eye(2)[i - 2], weights[2][:2], inner, True)
        p = shared(p, np.abs(weights[1]), mean)
      wanted = finished(image / image.sum((0, 1)) * p, True)
      np.testing.assert_allclose(got, wanted, atol=1e-6)


def test_contrast_below_a_factor_of_each_example():
  weights = np.random.default_rng(0).normal(size=(3, 2)).astype(np.float32)
  plain = lambda x: x.mean((1, 2)) @ weights
  scaled = lambda x: plain(x) * jnp.array([[1.0, 2.0], [3.0, 4.0]])
  results = [
    sent(fn, images(), jnp.eye(2), contrast=True) for fn in (plain, scaled)
  ]
  assert results[0].max() > 0
  np.testing.assert_allclose(*results, atol=1e-7)


class Named(nn.Module):
  """An operation in a module of its own."""

  operation: str

  @nn.compact
  def __call__(self, x):
    return getattr(self, self.operation)(x)

  def tanh(self, x):
    return jnp.tanh(x)

  def exp(self, x):
    return jnp.exp(x)

  def mul(self, x):
    return nn.silu(x)

  def dot_general(self, x):
    return jnp.einsum("bhwc,bhvc->bhwv", x, x)

  def div(self, x):
    return 1 / (x + 1)

  def scan(self, x):
    return jax.lax.scan(lambda a, b: (a + b, a + b), x[0], x)[1]


@pytest.mark.parametrize(
  "name", ["tanh", "exp", "mul", "dot_general", "div", "scan"]
)
def test_unknown_operations_are_named(name):
  fn = lambda x: everywhere(Named(name).apply({}, x))
  with pytest.raises(UnknownOperation, match=f"'{name}', at .*Named") as error:
    excitation_backprop(fn, images(), jnp.ones((2, 1)))
  both = "two values that both depend on the image"
  assert (both in str(error.value)) == (name in ("mul", "dot_general"))


def test_without_modules_the_line_is_named():
  fn = lambda x: everywhere(jnp.tanh(x))
  with pytest.raises(UnknownOperation, match="saliency_test.py, line"):
    excitation_backprop(fn, images(), jnp.ones((2, 1)))


def test_results_that_do_not_depend_on_the_image():
  fn = lambda x: jnp.ones((2, 1)) + everywhere(jax.lax.stop_gradient(x))
  result = excitation_backprop(fn, images(), jnp.ones((2, 1)))
  np.testing.assert_array_equal(result, np.zeros((2, SIDE, SIDE, 3)))


@pytest.mark.parametrize(
  "arguments, message",
  [
    (dict(top=np.ones((2, 2))), "top has shape"),
    (dict(x=np.zeros((2, 4, 4, 3), np.uint8)), "floating point"),
    (dict(norm="batch"), "norm must be"),
    (dict(read="last"), "read must be"),
    (dict(read="first"), "no layer"),
  ],
)
def test_arguments(arguments, message):
  arguments = dict(x=images(), top=np.ones((2, 1))) | arguments
  with pytest.raises(ValueError, match=message):
    excitation_backprop(everywhere, **arguments)


def test_normalised():
  x = images(batch=3)
  x[1] = 0
  x[2] *= 5
  result = saliency.normalised(jnp.asarray(x))
  assert result.shape == (3, SIDE, SIDE)
  for i in (0, 2):
    total = x[i].sum(-1)
    np.testing.assert_allclose(result[i], total / total.max(), rtol=1e-6)
  np.testing.assert_array_equal(result[1], 0)
