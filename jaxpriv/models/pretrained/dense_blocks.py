"""Landmarks and expressions of a face: two small networks of one build.

Mühler's face-api.js, 2018: separable convolutions in blocks in which every
layer sees the sum of those before it. Weights: npm @vladmandic/face-api (eight
bits each), MIT. The landmark network was trained on some 35,000 faces with 68
points, the expression network on "a variety of images from publicly available
datasets as well as images scraped from the web", as its author writes: whose
is not known, and wearing glasses might decrease its accuracy.

| layer | what | output |
|---|---|---|
| input | (RGB - mean) / 255 | 112, 112, 3 |
| dense0 | four convolutions, the first of stride 2 | 56, 56, 32 |
| dense1 | | 28, 28, 64 |
| dense2 | | 14, 14, 128 |
| dense3 | | 7, 7, 256 |
| fc | mean over positions, dense | 136 or 7 |
"""

import jax

from jaxpriv.models.pretrained import frames, layers
from jaxpriv.models.pretrained.layers import Params

EXPRESSIONS = ("neutral", "happy", "sad", "angry", "fearful", "disgusted",
               "surprised")  # fmt: skip

# The square about a box in which landmarks are found best.
LANDMARKS_FRAME = frames.Frame(
  size=112,
  box=(0.0, 0.1, 1.3),
  mean=(122.782, 117.001, 104.298),
  scale=1 / 255,
)
# That in which expression, age and gender are read best; with the median places
# of landmarks in it, for faces whose landmarks are known.
FRAME = LANDMARKS_FRAME._replace(
  box=(0.0, 0.0, 1.2),
  points=(
    (0.320, 0.270),
    (0.680, 0.270),
    (0.500, 0.461),
    (0.357, 0.667),
    (0.643, 0.667),
  ),
)


def _block(params, name, x):
  if f"{name}/conv0/filters" in params:
    first = layers.conv(x, params[f"{name}/conv0/filters"], 2)
    first = first + params[f"{name}/conv0/bias"]
  else:
    first = layers.separable(params, f"{name}/conv0", x, 2)
  total = jax.nn.relu(first)
  for i in range(1, 4):
    # The sum is of what comes out before ReLU, but for the first.
    total = total + layers.separable(
      params, f"{name}/conv{i}", jax.nn.relu(total)
    )
  return jax.nn.relu(total)


def _features(params, images):
  x = frames.normalise(FRAME, images)
  for i in range(4):
    x = _block(params, f"dense{i}", x)
  return x.mean((1, 2))


def landmarks(params: Params, images: jax.Array) -> dict[str, jax.Array]:
  """Finds the 68 points of a face.

  Args:
    params: by name.
    images: [B, 112, 112, 3], RGB in [0, 1], in `LANDMARKS_FRAME`.

  Returns:
    landmarks [B, 68, 2], (x, y) in shares of the side, in the order of iBUG.
  """
  points = layers.dense(params, "fc", _features(params, images))
  return {"landmarks": points.reshape(len(images), 68, 2)}


def expressions(params: Params, images: jax.Array) -> dict[str, jax.Array]:
  """[B, 112, 112, 3] in [0, 1] -> expressions [B, 7], which sum to 1."""
  logits = layers.dense(params, "fc", _features(params, images))
  return {"expressions": jax.nn.softmax(logits)}
