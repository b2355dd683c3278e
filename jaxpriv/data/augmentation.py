"""Random flips, crops and colours on the device, most of them by dm-pix.

An example's augmentation is a function of the key and of its row in the global
batch, whatever devices the batch lies on. `augment` changes only pixels: a
method that learns landmarks or boxes sets flip and shift to zero, and may use
`mirror`, which moves them with the pixels.
"""

from collections.abc import Mapping
from typing import NamedTuple

import dm_pix as pix
import jax
import jax.numpy as jnp

from jaxpriv.data import landmarks
from jaxpriv.data.records import LANDMARKS


class Augmentation(NamedTuple):
  """How strongly images are varied; zero and False leave them as they are.

  Attributes:
    flip: mirror half of the images.
    shift: largest shift as a share of the side, and largest relative change of
      scale; pixels from outside the image repeat its border.
    brightness: largest change of pixels, which are in [0, 1].
    contrast: largest relative change.
    saturation: largest relative change.
  """

  flip: bool = True
  shift: float = 0.04
  brightness: float = 0.1
  contrast: float = 0.1
  saturation: float = 0.1


def varies(options: Augmentation) -> bool:
  """Tells whether options, or anything with their fields, change an image."""
  return any(getattr(options, name) for name in Augmentation._fields)


_SWAPPED = landmarks.mirrored(LANDMARKS)


def mirror(
  batch: Mapping[str, jax.Array], flipped: jax.Array
) -> dict[str, jax.Array]:
  """Mirrors some pictures, of faces or of scenes, with their geometry.

  Landmarks are at centres of pixels, 0 to W - 1, boxes at edges, 0 to W. The
  left eye of the image is the right eye of its mirror image, so points change
  their numbers too.

  Args:
    batch: fields of records [B, ...] with `image` [B, H, W, 3].
    flipped: bool [B], which are to be mirrored.
  """
  width = batch["image"].shape[2]
  turn = jnp.array([-1.0, 1.0, -1.0])  # yaw, pitch, roll

  def points(x):
    x = x[..., _SWAPPED, :]
    return jnp.stack([width - 1 - x[..., 0], x[..., 1]], -1)

  def boxes(x):
    x0, y0, x1, y1 = jnp.moveaxis(x, -1, 0)
    moved = jnp.stack([width - x1, y0, width - x0, y1], -1)
    valid = batch.get("valid")
    return moved if valid is None else jnp.where(valid[..., None], moved, 0)

  mirrors = {
    "image": lambda x: x[:, :, ::-1],
    "landmarks": points,
    "visibility": lambda x: x[..., _SWAPPED],
    "pose": lambda x: x * turn,
    "box": boxes,
    "boxes": boxes,
  }
  mirrored = dict(batch)
  for name in mirrors.keys() & batch.keys():
    value = jnp.asarray(batch[name])
    which = flipped.reshape(-1, *[1] * (value.ndim - 1))
    mirrored[name] = jnp.where(which, mirrors[name](value), value)
  return mirrored


def random_mirror(
  key: jax.Array, batch: Mapping[str, jax.Array]
) -> dict[str, jax.Array]:
  """Mirrors half of a batch; see `mirror`."""
  rows = jnp.arange(len(batch["image"]))
  keys = jax.vmap(jax.random.fold_in, (None, 0))(key, rows)
  return mirror(batch, jax.vmap(jax.random.bernoulli)(keys))


def augment(
  key: jax.Array, images: jax.Array, options: Augmentation
) -> jax.Array:
  """Varies each image of a batch on its own.

  Args:
    key: the key of the step.
    images: float32 [B, H, W, 3] in [0, 1].
    options: an `Augmentation`, or anything with its fields.

  Returns:
    float32 [B, H, W, 3] in [0, 1].
  """
  keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(len(images)))
  return jax.vmap(lambda k, x: _augment_one(k, x, options))(keys, images)


def _augment_one(key, image, options):
  keys = jax.random.split(key, 5)
  if options.flip:
    image = pix.random_flip_left_right(keys[0], image)
  if options.shift:
    image = _random_crop(keys[1], image, options.shift)
  if options.brightness:
    image = pix.random_brightness(keys[2], image, options.brightness)
  if options.contrast:
    low, high = 1 - options.contrast, 1 + options.contrast
    image = pix.random_contrast(keys[3], image, low, high)
  if options.saturation:
    low, high = 1 - options.saturation, 1 + options.saturation
    factor = jax.random.uniform(keys[4], (), minval=low, maxval=high)
    image = _saturate(image, factor)
  return jnp.clip(image, 0, 1)


def _saturate(image, factor):
  """Multiplies the saturation of HSV, to 1 at most; hue and value stay.

  The result is that of `dm_pix.adjust_saturation`, up to rounding. Value is the
  largest channel; saturation is how far the least is below it, divided by it.
  So scaling the distances of channels from the value scales saturation, and the
  hue, on which dm-pix spends most of its time on a CPU, is not needed.
  """
  # Not `max` and `min` over channels: XLA on CPUs fuses nothing with these.
  red, green, blue = (image[..., i : i + 1] for i in range(3))
  value = jnp.maximum(jnp.maximum(red, green), blue)
  chroma = value - jnp.minimum(jnp.minimum(red, green), blue)
  # Grey has no saturation to limit. The division is safe for the gradient, too.
  grey = chroma <= 0
  most = jnp.maximum(value, 0) / jnp.where(grey, 1, chroma)
  factor = jnp.minimum(factor, jnp.where(grey, jnp.inf, most))
  return value - (value - image) * factor


def _random_crop(key, image, shift):
  """A shift and scale by bilinear weights: two matrix products per image."""
  height, width, _ = image.shape
  x, y, scale = jax.random.uniform(key, (3,), minval=-shift, maxval=shift)
  rows = _weights(height, y, 1 + scale)
  columns = _weights(width, x, 1 + scale)
  return jnp.einsum("yh,hwc,xw->yxc", rows, image, columns, precision="highest")


def _weights(size, shift, scale):
  """Bilinear weights [size, size] of input pixels for each output pixel."""
  pixel = jnp.arange(size, dtype=jnp.float32)
  middle = (size - 1) / 2
  position = middle + (pixel - middle - shift * size) / scale
  position = jnp.clip(position, 0, size - 1)
  return jnp.maximum(0, 1 - jnp.abs(position[:, None] - pixel))
