"""Random squares of scenes, with the faces in them, for training a detector."""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp

from jaxpriv.data import regions


def random_crops(
  key: jax.Array,
  batch: Mapping[str, jax.Array],
  scales: Sequence[float],
  side: int,
  tries: int = 250,
) -> dict[str, jax.Array]:
  """Cuts a random square out of each scene that shows all of a face.

  As Pytorch_Retinaface crops: squares of a random scale and place are drawn
  until one shows all of a face, at most `tries` times, and otherwise the whole
  picture is taken. Faces whose centre is not in the square are no faces of it;
  boxes and points of the others are clipped to it.

  A row depends on the key and on its number in the batch alone.

  Args:
    key: of the step.
    batch: fields of scenes [B, ...], whose images are square: `image` float32
      [B, S, S, 3], `boxes` [B, N, 4], `valid` [B, N], `landmarks`
      [B, N, K, 2]. Other fields stay as they are.
    scales: sides of squares as shares of S, all as likely.
    side: of the result, to which squares are scaled.
    tries: squares drawn of a scene.

  Returns:
    the fields of the batch, with `image` float32 [B, side, side, 3].
  """
  size = batch["image"].shape[1]

  def one(row, image, boxes, valid, points):
    keys = jax.random.split(jax.random.fold_in(key, row))
    drawn = jax.random.choice(keys[0], jnp.array(scales), (tries,)) * size
    place = jax.random.uniform(keys[1], (tries, 2)) * (size - drawn)[:, None]
    corner, length = _first(drawn, place, boxes, valid, size)
    # Regions are placed as points are: 0 is the centre of a pixel.
    region = jnp.append(corner + length / 2 - 0.5, length)
    factor = side / length
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2 - corner
    valid &= ((centre >= 0) & (centre < length)).all(1)
    boxes = jnp.clip((boxes - jnp.tile(corner, 2)) * factor, 0, side)
    points = (points + 0.5 - corner) * factor
    return {
      "image": regions.cut(image, region[None], side)[0],
      "boxes": jnp.where(valid[:, None], boxes, 0),
      "valid": valid,
      "landmarks": jnp.clip(points, 0, side) - 0.5,
    }

  fields = ("image", "boxes", "valid", "landmarks")
  rows = jnp.arange(len(batch["image"]))
  return {**batch, **jax.vmap(one)(rows, *(batch[name] for name in fields))}


def _first(lengths, places, boxes, valid, size):
  """(corner [2], side) of the first square that shows all of a face."""
  low = (boxes[None, :, :2] >= places[:, None]).all(-1)
  high = (boxes[None, :, 2:] <= (places + lengths[:, None])[:, None]).all(-1)
  shows = (low & high & valid).any(1)
  first = shows.argmax()
  corner = jnp.where(shows.any(), places[first], 0)
  return corner, jnp.where(shows.any(), lengths[first], size)
