"""dlib's face recogniser: a residual network of 29 layers, 128 numbers a face.

King, "High Quality Face Recognition with Deep Metric Learning", dlib blog,
2017: trained on about three million faces of 7,485 people (the FaceScrub set,
VGG and pictures from the web), so that faces of one person lie within a
Euclidean distance of .6. Weights: npm @vladmandic/face-api (eight bits each),
MIT; dlib's own model is given as public domain.

| layer | what | output |
|---|---|---|
| input | (RGB - mean) / 256 | 150, 150, 3 |
| conv32_down | 7x7, 32, stride 2, no padding | 72, 72, 32 |
| | max pooling 3x3, stride 2 | 35, 35, 32 |
| conv32_1 to 3 | residual blocks | 35, 35, 32 |
| conv64_down, conv64_1 to 3 | residual blocks | 17, 17, 64 |
| conv128_down, conv128_1, 2 | residual blocks | 8, 8, 128 |
| conv256_down, conv256_1, 2 | residual blocks | 4, 4, 256 |
| conv256_down_out | residual block | 2, 2, 256 |
| fc | mean over positions, no bias | 128 |

A block that halves the image pools its input and gives it empty channels.
"""

import jax
import jax.numpy as jnp

from jaxpriv.models.pretrained import frames, layers
from jaxpriv.models.pretrained.layers import Params

# Where dlib's chip of a face has the eyes, and the other points of ArcFace's
# template with them. The eyes alone (72 per cent of 280 people) do worse than
# the five points (76 per cent): they come closer as a head turns.
FRAME = frames.Frame(
  size=150,
  points=(
    (0.317, 0.311),
    (0.670, 0.311),
    (0.494, 0.513),
    (0.347, 0.719),
    (0.640, 0.719),
  ),
  mean=(122.782, 117.001, 104.298),
  scale=1 / 256,
)

# Blocks after the one that halves the image, by name.
_STAGES = (("32", 3), ("64", 3), ("128", 2), ("256", 2))


def _conv(params, name, x, stride=1, padding="SAME"):
  x = layers.conv(x, params[f"{name}/conv/filters"], stride, padding)
  x = x + params[f"{name}/conv/bias"]
  return x * params[f"{name}/scale/weights"] + params[f"{name}/scale/biases"]


def _residual(params, name, x, halve=False):
  stride, padding = (2, "VALID") if halve else (1, "SAME")
  y = jax.nn.relu(_conv(params, f"{name}/conv1", x, stride, padding))
  y = _conv(params, f"{name}/conv2", y)
  if halve:
    x = _mean_pool(x)
    # Zeros fill the smaller of the two: right, bottom and further channels.
    shape = tuple(max(a, b) for a, b in zip(x.shape, y.shape))
    x, y = (
      jnp.pad(a, [(0, most - size) for most, size in zip(shape, a.shape)])
      for a in (x, y)
    )
  return jax.nn.relu(x + y)


def _mean_pool(x):
  window = (1, 2, 2, 1)
  total = jax.lax.reduce_window(x, 0.0, jax.lax.add, window, window, "VALID")
  return total / 4


def apply(params: Params, images: jax.Array) -> dict[str, jax.Array]:
  """Reads faces.

  Args:
    params: by name.
    images: [B, 150, 150, 3], RGB in [0, 1], in `FRAME`.

  Returns:
    embedding [B, 128], not of unit length.
  """
  x = frames.normalise(FRAME, images)
  x = jax.nn.relu(_conv(params, "conv32_down", x, 2, "VALID"))
  x = layers.max_pool(x, 3, 2, "VALID")
  for width, count in _STAGES:
    if width != "32":
      x = _residual(params, f"conv{width}_down", x, halve=True)
    for i in range(1, count + 1):
      x = _residual(params, f"conv{width}_{i}", x)
  x = _residual(params, "conv256_down_out", x, halve=True)
  return {"embedding": x.mean((1, 2)) @ params["fc"]}
