"""Age and gender of a face: a tiny Xception.

Mühler's face-api.js, 2018, after Chollet, "Xception: Deep Learning with
Depthwise Separable Convolutions", CVPR 2017. Trained, as its author writes, on
UTK, FGNET, Chalearn, Wiki, IMDB, CACD, MegaAge and MegaAge-Asian, whose terms
hold for what was learned from them. Weights: npm @vladmandic/face-api (eight
bits each), MIT.

| layer | what | output |
|---|---|---|
| input | (RGB - mean) / 255 | 112, 112, 3 |
| entry_flow/conv_in | 3x3, 32, stride 2 | 56, 56, 32 |
| entry_flow/reduction_block_0, 1 | separable, pooled, residual | 14, 14, 128 |
| middle_flow/main_block_0, 1 | separable, residual | 14, 14, 128 |
| exit_flow/reduction_block | separable, pooled, residual | 7, 7, 256 |
| exit_flow/separable_conv | | 7, 7, 512 |
| fc/age, fc/gender | mean over positions, dense | 1; 2 |
"""

import jax

from jaxpriv.models.pretrained import dense_blocks, frames, layers
from jaxpriv.models.pretrained.layers import Params

FRAME = dense_blocks.FRAME


def _reduce(params, name, x, activate=True):
  y = jax.nn.relu(x) if activate else x
  y = layers.separable(params, f"{name}/separable_conv0", y)
  y = layers.separable(params, f"{name}/separable_conv1", jax.nn.relu(y))
  y = layers.max_pool(y, 3, 2)
  shortcut = layers.conv(x, params[f"{name}/expansion_conv/filters"], 2)
  return y + shortcut + params[f"{name}/expansion_conv/bias"]


def _main(params, name, x):
  y = x
  for i in range(3):
    y = layers.separable(params, f"{name}/separable_conv{i}", jax.nn.relu(y))
  return x + y


def apply(params: Params, images: jax.Array) -> dict[str, jax.Array]:
  """Reads faces.

  Args:
    params: by name.
    images: [B, 112, 112, 3], RGB in [0, 1], in `FRAME`.

  Returns:
    age [B] in years; male [B], a probability.
  """
  x = frames.normalise(FRAME, images)
  x = layers.conv(x, params["entry_flow/conv_in/filters"], 2)
  x = jax.nn.relu(x + params["entry_flow/conv_in/bias"])
  x = _reduce(params, "entry_flow/reduction_block_0", x, activate=False)
  x = _reduce(params, "entry_flow/reduction_block_1", x)
  for i in range(2):
    x = _main(params, f"middle_flow/main_block_{i}", x)
  x = _reduce(params, "exit_flow/reduction_block", x)
  x = layers.separable(params, "exit_flow/separable_conv", x)
  x = jax.nn.relu(x).mean((1, 2))
  return {
    "age": layers.dense(params, "fc/age", x)[:, 0],
    "male": jax.nn.softmax(layers.dense(params, "fc/gender", x))[:, 0],
  }
