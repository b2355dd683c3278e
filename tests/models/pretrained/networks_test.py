"""The pretrained networks against other implementations of them.

With random weights: plain convolutions of XLA, norms that are not folded. With
the real ones: numbers that the original JavaScript (face-api) and an
interpreter of the TensorFlow.js graphs gave for one drawn image.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpriv.data import pretrained
from jaxpriv.models.pretrained import (
  blazeface,
  dense_blocks,
  dlib_resnet,
  faceres,
  mobilenet,
  xception,
)
from jaxpriv.models.pretrained.catalogue import NETWORKS


def _conv(x, kernel, stride=1, padding="SAME", groups=1):
  return jax.lax.conv_general_dilated(
    x,
    kernel,
    (stride, stride),
    padding,
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
    feature_group_count=groups,
  )


class Drawn(dict):
  """Random parameters, drawn as they are asked for by name and shape."""

  def __init__(self):
    self.rng = np.random.default_rng(0)

  def draw(self, name, *shape):
    fan_in = np.prod(shape[:-1]) if len(shape) > 1 else 4
    if name.endswith(("depthwise_kernel", "depthwise_filter")):
      fan_in = 9
    if name not in self:
      value = self.rng.normal(size=shape) * np.sqrt(2 / fan_in)
      self[name] = value.astype(np.float32)
    return self[name]


def _images(size, count=1):
  return np.random.default_rng(1).random((count, size, size, 3), np.float32)


def _close(actual, expected):
  expected = np.asarray(expected)
  np.testing.assert_allclose(
    actual, expected, atol=2e-4 * np.abs(expected).max() + 1e-6
  )


def test_every_network_has_weights():
  assert set(NETWORKS) == set(pretrained.WEIGHTS)


def test_faceres():
  params = Drawn()
  images = _images(224)
  x = images[..., ::-1] * 255 - np.array([103.939, 116.779, 123.68], "f")
  widths = (64, 128, 128, 256, 256, *[512] * 6, 1024, 1024)
  strides = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
  x = x / 255
  x = _conv(x, params.draw("conv1/convolution/merged_input", 3, 3, 3, 32), 2)
  x = jnp.clip(x + params.draw("conv1_bn/batchnorm_1/sub", 32), 0, 6)
  for i, (width, stride) in enumerate(zip(widths, strides), 1):
    before = x.shape[-1]
    kernel = params.draw(f"conv_dw_{i}/depthwise_kernel", 3, 3, before, 1)
    x = _conv(x, kernel.reshape(3, 3, 1, -1), stride, groups=before)
    norm = f"conv_dw_{i}_bn/batchnorm_1"
    x = x * params.draw(f"{norm}/mul", before)
    x = jnp.clip(x + params.draw(f"{norm}/sub", before), 0, 6)
    kernel = params.draw(
      f"conv_pw_{i}/convolution/merged_input", 1, 1, before, width
    )
    x = _conv(x, kernel) + params.draw(f"conv_pw_{i}_bn/batchnorm_1/sub", width)
    x = jnp.clip(x, 0, 6)
  embedding = x.mean((1, 2))
  dense = lambda x, name, size: (
    x @ params.draw(f"{name}/kernel", x.shape[-1], size)
    + params.draw(f"{name}/bias", size)
  )
  features = jnp.maximum(dense(embedding, "feats", 256), 0)
  male = 1 / (1 + jnp.exp(-dense(features, "gender_pred", 1)))
  years = jnp.exp(dense(features, "age_pred", 100))
  years = years / years.sum(-1, keepdims=True)
  # The reference's input was divided by 255: so is the first kernel.
  scaled = dict(params)
  scaled["conv1/convolution/merged_input"] = (
    params["conv1/convolution/merged_input"] / 255
  )
  actual = jax.jit(faceres.apply)(scaled, images)
  assert np.abs(embedding).max() > 0.1
  _close(actual["embedding"], embedding)
  _close(actual["male"], male[:, 0])
  _close(actual["age"], (years * np.arange(100)).sum(-1))


def test_the_trunk_gives_every_layer():
  draw = Drawn().draw
  widths = (32, 64, 128, 128, 256, 256, *[512] * 6, 1024, 1024)
  blocks = [
    mobilenet.Block(
      draw(f"{i}depthwise_kernel", 3, 3, a, 1),
      draw(f"{i}a", a),
      draw(f"{i}pointwise", 1, 1, a, b),
      draw(f"{i}b", b),
    )
    for i, (a, b) in enumerate(zip(widths, widths[1:]))
  ]
  net = mobilenet.MobileNet(draw("k", 3, 3, 3, 32), draw("b", 32), blocks)
  shapes = [
    x.shape for x in jax.eval_shape(mobilenet.apply, net, _images(96, 2))
  ]
  assert shapes[0] == (2, 48, 48, 32)
  assert shapes[11] == (2, 6, 6, 512)
  assert shapes[13] == (2, 3, 3, 1024)


def test_dlib():
  params = Drawn()
  images = _images(150, 2)
  x = (images * 255 - np.array([122.782, 117.001, 104.298], "f")) / 256

  def conv(x, name, features, side=3, stride=1, padding="SAME"):
    kernel = params.draw(
      f"{name}/conv/filters", side, side, x.shape[-1], features
    )
    x = _conv(x, kernel, stride, padding)
    x = x + params.draw(f"{name}/conv/bias", features)
    x = x * params.draw(f"{name}/scale/weights", features)
    return x + params.draw(f"{name}/scale/biases", features)

  def residual(x, name):
    y = jax.nn.relu(conv(x, f"{name}/conv1", x.shape[-1]))
    return jax.nn.relu(conv(y, f"{name}/conv2", x.shape[-1]) + x)

  def down(x, name, features):
    y = jax.nn.relu(conv(x, f"{name}/conv1", features, 3, 2, "VALID"))
    y = conv(y, f"{name}/conv2", features)
    even = x[:, : x.shape[1] // 2 * 2, : x.shape[2] // 2 * 2]
    half = (
      even[:, ::2, ::2] + even[:, 1::2, ::2]
      + even[:, ::2, 1::2] + even[:, 1::2, 1::2]
    ) / 4  # fmt: skip
    result = np.zeros((len(x), *half.shape[1:3], features), np.float32)
    result[:, : y.shape[1], : y.shape[2]] += y
    result[..., : half.shape[-1]] += half
    return jax.nn.relu(result)

  x = jax.nn.relu(conv(x, "conv32_down", 32, 7, 2, "VALID"))
  x = np.stack([x[:, i : i + 69 : 2] for i in range(3)]).max(0)
  x = np.stack([x[:, :, i : i + 69 : 2] for i in range(3)]).max(0)
  for name in ("conv32_1", "conv32_2", "conv32_3"):
    x = residual(x, name)
  x = down(x, "conv64_down", 64)
  for name in ("conv64_1", "conv64_2", "conv64_3"):
    x = residual(x, name)
  x = down(x, "conv128_down", 128)
  x = residual(residual(x, "conv128_1"), "conv128_2")
  x = down(x, "conv256_down", 256)
  x = residual(residual(x, "conv256_1"), "conv256_2")
  x = down(x, "conv256_down_out", 256)
  expected = x.mean((1, 2)) @ params.draw("fc", 256, 128)
  actual = jax.jit(dlib_resnet.apply)(dict(params), images)
  _close(actual["embedding"], expected)


def test_dense_blocks():
  params = Drawn()
  images = _images(112)
  x = (images * 255 - np.array([122.782, 117.001, 104.298], "f")) / 255

  def separable(x, name, features, stride=1):
    channels = x.shape[-1]
    kernel = params.draw(f"{name}/depthwise_filter", 3, 3, channels, 1)
    x = _conv(x, kernel.reshape(3, 3, 1, -1), stride, groups=channels)
    x = _conv(
      x, params.draw(f"{name}/pointwise_filter", 1, 1, channels, features)
    )
    return x + params.draw(f"{name}/bias", features)

  for i, features in enumerate((32, 64, 128, 256)):
    layer = functools.partial(separable, features=features)
    if i:
      a = layer(x, f"dense{i}/conv0", stride=2)
    else:
      a = _conv(x, params.draw("dense0/conv0/filters", 3, 3, 3, features), 2)
      a = a + params.draw("dense0/conv0/bias", features)
    a = jax.nn.relu(a)
    b = layer(a, f"dense{i}/conv1")
    c = layer(jax.nn.relu(a + b), f"dense{i}/conv2")
    d = layer(jax.nn.relu(a + b + c), f"dense{i}/conv3")
    x = jax.nn.relu(a + b + c + d)
  logits = x.mean((1, 2)) @ params.draw("fc/weights", 256, 136)
  logits = logits + params.draw("fc/bias", 136)
  actual = jax.jit(dense_blocks.landmarks)(dict(params), images)
  _close(actual["landmarks"], logits.reshape(1, 68, 2))


def test_xception():
  params = Drawn()
  images = _images(112)
  x = (images * 255 - np.array([122.782, 117.001, 104.298], "f")) / 255

  def conv(x, name, features, side, stride):
    kernel = params.draw(f"{name}/filters", side, side, x.shape[-1], features)
    return _conv(x, kernel, stride) + params.draw(f"{name}/bias", features)

  def separable(x, name, features):
    channels = x.shape[-1]
    kernel = params.draw(f"{name}/depthwise_filter", 3, 3, channels, 1)
    x = _conv(x, kernel.reshape(3, 3, 1, -1), 1, groups=channels)
    x = _conv(
      x, params.draw(f"{name}/pointwise_filter", 1, 1, channels, features)
    )
    return x + params.draw(f"{name}/bias", features)

  def pooled(x):
    # TensorFlow pads an even side at its end only.
    half = x.shape[1] // 2
    x = np.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)), constant_values=-np.inf)
    x = np.stack([x[:, i : i + 2 * half : 2] for i in range(3)]).max(0)
    return np.stack([x[:, :, i : i + 2 * half : 2] for i in range(3)]).max(0)

  def reduction(x, name, features, first=False):
    y = x if first else jax.nn.relu(x)
    y = separable(y, f"{name}/separable_conv0", features)
    y = separable(jax.nn.relu(y), f"{name}/separable_conv1", features)
    return pooled(y) + conv(x, f"{name}/expansion_conv", features, 1, 2)

  x = jax.nn.relu(conv(x, "entry_flow/conv_in", 32, 3, 2))
  x = reduction(x, "entry_flow/reduction_block_0", 64, first=True)
  x = reduction(x, "entry_flow/reduction_block_1", 128)
  for i in range(2):
    y = x
    for j in range(3):
      name = f"middle_flow/main_block_{i}/separable_conv{j}"
      y = separable(jax.nn.relu(y), name, 128)
    x = x + y
  x = reduction(x, "exit_flow/reduction_block", 256)
  x = jax.nn.relu(separable(x, "exit_flow/separable_conv", 512)).mean((1, 2))
  dense = lambda name, size: (
    x @ params.draw(f"{name}/weights", 512, size)
    + params.draw(f"{name}/bias", size)
  )
  age, gender = dense("fc/age", 1)[:, 0], dense("fc/gender", 2)
  actual = jax.jit(xception.apply)(dict(params), images)
  _close(actual["age"], age)
  _close(actual["male"], 1 / (1 + jnp.exp(gender[:, 1] - gender[:, 0])))


def test_blazeface():
  params = Drawn()
  images = _images(256)
  conv = lambda x, number, side, features, stride=1: _conv(
    x,
    params.draw(number, side, side, x.shape[-1], features),
    stride,
  )
  name = lambda number: f"unknown_{number}"
  x = conv(images * 2 - 1, "unknown", 5, 24, 2) + params.draw("unknown_0", 24)
  x = jax.nn.relu(x)
  widths = [24] * 15 + [48] * 8 + [96] * 9
  for i, width in enumerate(widths):
    channels = x.shape[-1]
    stride = 2 if i in (7, 15, 23, 31) else 1
    kernel = params.draw(name(4 * i + 1), 3, 3, channels, 1) / 3
    params[name(4 * i + 1)] = kernel
    y = _conv(x, kernel.reshape(3, 3, 1, -1), stride, groups=channels)
    y = conv(y, name(4 * i + 3), 1, width) + params.draw(name(4 * i + 4), width)
    if i < 31:
      if stride == 2:
        size = x.shape[1] // 2
        x = x.reshape(1, size, 2, size, 2, channels).max((2, 4))
      y = y.at[..., :channels].add(x)
    else:
      fine = x
    x = jax.nn.relu(y)
  read = lambda x, number, features, each: (
    conv(x, name(number), 1, features) + params.draw(name(number + 1), features)
  ).reshape(-1, each)
  boxes = np.concatenate([read(fine, 131, 32, 16), read(x, 129, 96, 16)])
  logits = np.concatenate([read(fine, 135, 2, 1), read(x, 133, 6, 1)])[:, 0]
  actual = jax.jit(blazeface.apply)(dict(params), images)
  _close(actual["scores"][0], 1 / (1 + np.exp(-logits)))
  sides = actual["boxes"][0, :, 2:] - actual["boxes"][0, :, :2]
  _close(sides * 256, boxes[:, 2:4])
  # The second box of row 3, column 9, and the last of all, in cells of 32 px.
  for row, x, y in ((2 * (3 * 16 + 9) + 1, 9.5 * 16, 3.5 * 16),
                    (895, 7.5 * 32, 7.5 * 32)):  # fmt: skip
    centre = (actual["boxes"][0, row, :2] + actual["boxes"][0, row, 2:]) / 2
    _close(centre * 256, boxes[row, :2] + np.array([x, y]))
    nose = actual["points"][0, row, 2]
    _close(nose * 256, boxes[row, 8:10] + np.array([x, y]))


def test_the_best_face_is_that_with_the_highest_score():
  found = {
    "boxes": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "scores": np.array([[0.1, 0.9, 0.2], [0.5, 0.3, 0.4]], np.float32),
  }
  best = blazeface.best(found)
  np.testing.assert_array_equal(best["boxes"], [[4, 5, 6, 7], [12, 13, 14, 15]])
  np.testing.assert_allclose(best["scores"], [0.9, 0.5])


def test_a_box_is_redrawn_as_others_draw_it():
  box = np.array([[10.0, 20, 30, 60]])
  custom = blazeface.Custom(x=0.1, y=-0.25, width=2, height=0.5)
  np.testing.assert_allclose(blazeface.redrawn(box, custom), [[2, 20, 42, 40]])


def _waves(size):
  i, j, c = np.indices((size, size, 3))
  waves = 0.5 + 0.5 * np.sin(0.1 * i * (c + 1) + 0.07 * j)
  return waves[None].astype(np.float32)


def _outputs(name):
  network = NETWORKS[name]
  params = pretrained.load(name)
  return jax.jit(network.apply)(params, _waves(network.frame.size))


@pytest.mark.networks
def test_faceres_as_its_graph():
  outputs = _outputs("faceres")
  assert outputs["embedding"].shape == (1, 1024)
  assert outputs["embedding"].sum() == pytest.approx(46.690308, rel=1e-4)
  assert outputs["embedding"][0, 7] == pytest.approx(0.68399173, rel=1e-4)
  assert outputs["male"][0] == pytest.approx(0.68887144, abs=1e-4)
  assert outputs["age"][0] == pytest.approx(34.296866, abs=1e-3)


@pytest.mark.networks
def test_dlib_as_face_api():
  # Within what dividing by 256, as dlib does, and by 255, as face-api, differ.
  expected = [-0.0888196, 0.0972262, 0.0126071, -0.0574154, -0.0634359]
  np.testing.assert_allclose(
    _outputs("dlib")["embedding"][0, :5], expected, atol=3e-4
  )


@pytest.mark.networks
def test_landmarks_as_face_api():
  expected = [[0.276213, 0.462409], [0.414677, 0.529940], [0.462074, 0.552193],
              [0.503644, 0.596926]]  # fmt: skip
  np.testing.assert_allclose(
    _outputs("landmarks")["landmarks"][0, :4], expected, atol=1e-5
  )


@pytest.mark.networks
def test_expressions_as_face_api():
  expected = [0.906476, 0.0492273, 0.0081011, 0.0144134, 0, 0.0148524,
              0.0069289]  # fmt: skip
  np.testing.assert_allclose(
    _outputs("expressions")["expressions"][0], expected, atol=1e-5
  )


@pytest.mark.networks
def test_age_and_gender_as_face_api():
  outputs = _outputs("age_gender")
  assert outputs["age"][0] == pytest.approx(13.691929, abs=1e-3)
  assert outputs["male"][0] == pytest.approx(0.62932032, abs=1e-4)


@pytest.mark.networks
def test_blazeface_as_its_graph():
  params = pretrained.load("blazeface")
  found = jax.jit(blazeface.apply)(params, _waves(256))
  assert found["boxes"].shape == (1, 896, 4)
  index = int(found["scores"][0].argmax())
  assert index == 459
  assert found["scores"][0, index] == pytest.approx(0.10812519, abs=1e-5)
  # Two boxes a cell: row 14, column 5.
  centre = (np.array([5, 14]) + 0.5) * 16 + [0.0996568, 1.0948801]
  half = np.array([29.462563, 29.462671]) / 2
  np.testing.assert_allclose(
    found["boxes"][0, index] * 256, [*centre - half, *centre + half], atol=1e-3
  )
  eye = (np.array([5, 14]) + 0.5) * 16 + [-8.224885, 2.1951787]
  np.testing.assert_allclose(found["points"][0, index, 0] * 256, eye, atol=1e-3)
