"""Finds faces in images of any size, in few compiled programs.

Images are padded to one of few sizes, and those of a size are read together. A
network that looks beyond the edge of an image sees black there, as it does
where scenes are framed whole.
"""

from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

# Sides in pixels, each at most half as long again as the one before.
SIDES = (128, 192, 256, 384, 512, 768, 1024, 1536, 2048)
_STEP = 32  # the largest stride of a detector


def padded_side(side: int, sides: Sequence[int] = SIDES) -> int:
  """The side that an image is padded to: the first of `sides` that holds it.

  A side longer than all of them is padded to the next multiple of 32.
  """
  return next((s for s in sides if s >= side), -(-side // _STEP) * _STEP)


def detect_any(
  detect: Callable[[jax.Array], Mapping[str, jax.Array]],
  images: Sequence[np.ndarray],
  sides: Sequence[int] = SIDES,
  batch_size: int = 8,
  advance: Callable[[int], None] = lambda done: None,
) -> list[dict[str, np.ndarray]]:
  """The faces of images of any size.

  Args:
    detect: float32 [B, H, W, 3] in [0, 1] -> boxes [B, K, 4], x0 y0 x1 y1,
      scores [B, K], 0 where there is no face, and perhaps landmarks
      [B, K, P, 2], in pixels; such as `Outputs.detect` with its state. It is
      compiled here, once for each padded size: do not jit it.
    images: uint8 [H, W, 3] each. Those that are decoded when they are asked
      for are asked for twice.
    sides: multiples of 32, ascending: rows and columns that images are padded
      to, at the bottom and at the right.
    batch_size: images read together.
    advance: is told how many images are done.

  Returns:
    for each image the same fields, of its faces alone, best first. Boxes are
    clipped to the image, and those that lie in the padding are left out.

  Raises:
    ValueError: an image is not uint8 [H, W, 3] with pixels, or `sides` are no
      multiples of 32 or do not ascend, or `batch_size` is less than 1.
  """
  if batch_size < 1:
    raise ValueError(f"batch_size must be at least 1, not {batch_size}")
  if any(s % _STEP or s < _STEP for s in sides) or list(sides) != sorted(sides):
    raise ValueError(
      f"sides must be multiples of {_STEP} and ascend, not {tuple(sides)}"
    )
  alike: dict[tuple[int, int], list[int]] = {}
  for i, image in enumerate(images):
    good = image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
    if not good or not image.size:
      raise ValueError(
        f"image {i} must be uint8 [H, W, 3] with pixels, not {image.dtype}"
        f" {list(image.shape)}"
      )
    height, width = (padded_side(side, sides) for side in image.shape[:2])
    alike.setdefault((height, width), []).append(i)
  read = jax.jit(lambda x: detect(x.astype(jnp.float32) / 255))
  answers: dict[int, dict[str, np.ndarray]] = {}
  for (height, width), members in alike.items():
    for start in range(0, len(members), batch_size):
      now = members[start : start + batch_size]
      some = [images[i] for i in now]
      batch = np.zeros((batch_size, height, width, 3), np.uint8)
      for row, image in enumerate(some):
        batch[row, : image.shape[0], : image.shape[1]] = image
      found = jax.device_get(read(batch))
      for row, (i, image) in enumerate(zip(now, some, strict=True)):
        one = {name: np.asarray(x[row]) for name, x in found.items()}
        answers[i] = _within(one, *image.shape[:2])
      advance(len(answers))
  return [answers[i] for i in range(len(images))]


def _within(found, height, width) -> dict[str, np.ndarray]:
  """The faces of one image that show in it, their boxes clipped."""
  boxes = np.clip(found["boxes"], 0, [width, height, width, height])
  shows = (boxes[:, 2:] > boxes[:, :2]).all(1) & (found["scores"] > 0)
  return {name: x[shows] for name, x in dict(found, boxes=boxes).items()}
