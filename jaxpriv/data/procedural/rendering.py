"""The renderer: a pure function from factors to images, over numpy or JAX.

`render(params, size, xp=jax.numpy)` may be jitted (size and xp are static) and
vmapped; its image equals that of numpy to a grey level or two.
"""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np

from jaxpriv.data.procedural import (
  animal,
  expression,
  geometry,
  headwear,
  human,
)
from jaxpriv.data.procedural.shapes import Layer, composite, edge

Array = Any

MIN_SIZE, MAX_SIZE = 32, 256
# Pixels that numpy draws at once: a dozen arrays of these fit in a cache.
_CHUNK_PIXELS = 8 * 64 * 64
_KEEP_BYTES = 2**23
_REACH = 1.75  # from the middle of a head to the end of the shoulders


def _human_layers(p, c, v, xp) -> Iterator[list[Layer]]:
  """Front to back, in groups."""
  face = v.on_face(xp)
  hair_front, hair_back = headwear.hair(p, c, v, xp)
  yield headwear.objects(p, c, v, xp)
  yield headwear.hat(p, c, v, xp)
  yield headwear.glasses(p, c, v, xp)
  yield hair_front
  yield human.eyes(p, c, face, xp)
  yield human.brows(p, c, face, xp) + human.nose(p, c, face, xp)
  yield human.mouth(p, c, face, xp) + human.facial_hair(p, c, face, xp)
  yield human.complexion(p, c, face, xp)
  yield human.head(p, c, v, xp) + human.ears(p, c, v, xp)
  yield human.body(p, c, v, xp) + hair_back
  yield human.background(p, c, v, xp)


def shading(p: SimpleNamespace, v: geometry.View, xp) -> Array:
  """Light on the head as on an egg: ambient, plus one soft lamp. [B, P]."""
  x = xp.clip(v.x * (0.85 / p.head_width), -1.0, 1.0)
  y = xp.clip(v.y * 0.8, -0.9, 0.9)
  norm = xp.sqrt(0.8 + p.light_x * p.light_x + p.light_y * p.light_y)
  power = p.light_strength / norm
  facing = x * (p.light_x * power) + y * (p.light_y * power)
  facing = facing + (1.0 - 0.55 * x * x) * (0.9 * power)
  return p.ambient + xp.clip(facing, -0.10, 9.0)


def _noise(p: SimpleNamespace, shape: tuple[int, int, int], xp) -> Array:
  """Grain of the film, [B, 3, P], a hash of pixel and photograph."""
  _, channels, points = shape
  pixel = xp.arange(points, dtype=xp.uint32) * xp.uint32(0x9E3779B1)
  h = pixel[None, :] ^ (p.noise_seed.astype(xp.uint32) * xp.uint32(0x85EBCA6B))
  h = (h ^ (h >> xp.uint32(15))) * xp.uint32(0x2C1B3C6D)
  h = (h ^ (h >> xp.uint32(12))) * xp.uint32(0x297A2D39)
  parts = [
    (h >> xp.uint32(10 * i + 2)) & xp.uint32(1023) for i in range(channels)
  ]
  grain = xp.stack(parts, 1).astype(xp.float32) * (1.0 / 1023.0) - 0.5
  return grain * (2.0 * p.noise[:, :, None])


def _draw(params: dict[str, Array], size: int, domain: str, xp) -> Array:
  """[B, size, size, 3] in [0, 1]."""
  p = expression.express(params, xp)
  c = expression.palette(p, xp)
  x, y = geometry.pixel_grid(p, size, xp)
  v = geometry.view(p, x, y, size, xp)
  draw = _human_layers if domain == "human" else animal.layers
  tint = lambda colours: expression.cast(p, colours, xp)
  image, _ = composite(draw(p, c, v, xp), shading(p, v, xp), tint, xp)
  image = xp.clip(image + _noise(p, image.shape, xp), 0.0, 1.0)
  return xp.moveaxis(image, 1, -1).reshape(-1, size, size, 3)


def cut_out(
  params: dict[str, Array], size: int, domain: str, xp=np
) -> tuple[Array, Array]:
  """Draws people without background or film grain.

  Returns:
    their colours [B, size, size, 3], 0 outside of them, and the remaining
    transparency `rest` [B, size, size, 1]: a picture becomes
    rest * picture + colours.
  """
  p = expression.express(params, xp)
  c = expression.palette(p, xp)
  x, y = geometry.pixel_grid(p, size, xp)
  v = geometry.view(p, x, y, size, xp)
  draw = _human_layers if domain == "human" else animal.layers
  tint = lambda colours: expression.cast(p, colours, xp)
  *groups, _ = draw(p, c, v, xp)  # the last is the background
  colours, rest = composite(groups, shading(p, v, xp), tint, xp)
  body = edge(_REACH - xp.abs(v.x), v.sharp, xp)
  pixels = xp.moveaxis(colours * body[:, None], 1, -1)
  rest = 1.0 - (1.0 - rest) * body
  return (
    xp.clip(pixels, 0.0, 1.0).reshape(-1, size, size, 3),
    rest.reshape(-1, size, size, 1),
  )


def backdrop(params: dict[str, Array], size: int) -> np.ndarray:
  """Draws the background behind people, [B, size, size, 3]."""
  p = expression.express(params, np)
  c = expression.palette(p, np)
  x, y = geometry.pixel_grid(p, size, np)
  v = geometry.view(p, x, y, size, np)
  tint = lambda colours: expression.cast(p, colours, np)
  layers = [human.background(p, c, v, np)]
  image, _ = composite(layers, np.ones_like(v.x), tint, np)
  return np.moveaxis(image, 1, -1).reshape(-1, size, size, 3)


def grain(params: dict[str, Array], size: int) -> np.ndarray:
  """Grain of the film [B, size, size, 3], to be added."""
  p = expression.express(params, np)
  noise = _noise(p, (len(p.noise), 3, size * size), np)
  return np.moveaxis(noise, 1, -1).reshape(-1, size, size, 3)


def render(
  params: dict[str, Array], size: int, xp=np, domain: str = "human"
) -> Array:
  """Draws faces.

  Args:
    params: person and photograph factors, each [B], or scalars for one face.
    size: side of the image in pixels, 32 to 256; static under jit.
    xp: numpy or jax.numpy.
    domain: "human", "cat", "dog" or "wild"; the factors must be of it.

  Returns:
    float32 [B, size, size, 3], RGB in [0, 1]; without B for scalar factors.
  """
  if not MIN_SIZE <= size <= MAX_SIZE:
    raise ValueError(
      f"image size {size} is not in [{MIN_SIZE}, {MAX_SIZE}] pixels."
    )
  params = {k: xp.asarray(v, xp.float32) for k, v in params.items()}
  single = params["yaw"].ndim == 0
  if single:
    params = {k: v[None] for k, v in params.items()}
  if xp is np:
    images = _draw_in_chunks(params, size, domain)
  else:
    images = _draw(params, size, domain, xp)
  return images[0] if single else images


def _draw_in_chunks(params, size: int, domain: str) -> np.ndarray:
  total = len(params["yaw"])
  chunk = max(1, _CHUNK_PIXELS // size**2)
  images = np.empty((total, size, size, 3), np.float32)
  # Freeing one large block makes the C library keep the small ones that
  # follow, instead of returning them to the system and faulting them in again.
  large = np.empty(_KEEP_BYTES, np.uint8)
  del large
  for start in range(0, total, chunk):
    part = slice(start, start + chunk)
    some = {k: v[part] for k, v in params.items()}
    images[part] = _draw(some, size, domain, np)
  return images
