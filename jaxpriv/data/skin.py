"""Skin tone by the individual typology angle, from pixels.

Chardon, Cretois, Hourseau, "Skin colour typology and suntanning pathways",
International Journal of Cosmetic Science 13(4), 1991: the angle of lightness L*
and yellowness b* of CIELAB under D65,

  ITA = arctan((L* - 50) / b*) 180 / pi   in degrees,

is high for light skin and low for dark skin. It tells how a photograph shows
skin, light and camera included, and nothing of who a person is.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jaxpriv.data import alignment

# From light to dark, and the angle above which each begins.
CLASSES = ("very light", "light", "intermediate", "tan", "brown", "dark")
EDGES = (55.0, 41.0, 28.0, 10.0, -30.0)

# sRGB primaries to CIE XYZ, over the white of D65 (IEC 61966-2-1).
_TO_XYZ = np.array(
  [
    [0.4124, 0.3576, 0.1805],
    [0.2126, 0.7152, 0.0722],
    [0.0193, 0.1192, 0.9505],
  ]
)
_WHITE = _TO_XYZ.sum(1)
_KNEE = 6 / 29
# Cheeks lie half way from an eye to the corner of the mouth, and so much
# further out, in shares of the distance of the eyes; likewise their radius.
_OUT, _RADIUS = 0.12, 0.11


def lab(rgb: jax.Array) -> jax.Array:
  """CIELAB [..., 3] of sRGB colours [..., 3] in [0, 1], under D65."""
  rgb = jnp.clip(rgb, 0, 1)
  linear = jnp.where(
    rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4
  )
  xyz = jnp.matmul(linear, _TO_XYZ.T / _WHITE, precision="highest")
  root = jnp.where(
    xyz > _KNEE**3,
    jnp.cbrt(jnp.maximum(xyz, 1e-9)),
    xyz / (3 * _KNEE**2) + 4 / 29,
  )
  x, y, z = root[..., 0], root[..., 1], root[..., 2]
  return jnp.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)


def typology_angle(rgb: jax.Array) -> jax.Array:
  """Individual typology angle [...] in degrees of sRGB [..., 3] in [0, 1].

  Bluish colours, which skin has under coloured light alone, count as if they
  had no yellow: 90 above L* = 50, -90 below.
  """
  colour = lab(rgb)
  lightness, yellow = colour[..., 0] - 50, jnp.maximum(colour[..., 2], 0)
  return jnp.rad2deg(jnp.arctan2(lightness, yellow))


def cheeks(
  images: jax.Array,
  landmarks: jax.Array | None = None,
  align: str = "landmarks",
) -> jax.Array:
  """Mean colour [B, 3] of both cheeks.

  Args:
    images: [B, S, S, 3] in [0, 1].
    landmarks: [B, K, 2] in pixels, whose centres are whole numbers, K at least
      5, in the order of `records.ARCFACE_LANDMARKS`; faces whose eyes or mouth
      are not known, or all if None, are taken to lie on the template.
    align: how faces were framed, which says where the template has its points.
  """
  side = images.shape[1]
  five = jnp.broadcast_to(
    jnp.asarray(alignment.template(side, align), jnp.float32),
    (len(images), 5, 2),
  )
  if landmarks is not None:
    given = landmarks[:, :5]
    needed = given[:, jnp.array([0, 1, 3, 4])]
    known = jnp.isfinite(needed).all((1, 2))[:, None, None]
    five = jnp.where(known, given, five)
  eyes, mouth = five[:, :2], five[:, 3:5]
  across = eyes[:, 1] - eyes[:, 0]
  apart = jnp.linalg.norm(across, axis=-1)[:, None]
  out = across[:, None] * jnp.array([-_OUT, _OUT])[:, None]
  middles = (eyes + mouth) / 2 + out  # [B, 2, 2]
  place = jnp.arange(side, dtype=jnp.float32)
  away = jnp.square(place - middles[..., None])  # [B, cheek, (x, y), S]
  squares = away[:, :, 0, None, :] + away[:, :, 1, :, None]
  # A pixel at the least, however small the face.
  radius = jnp.maximum(_RADIUS * apart, 0.75)[..., None, None]
  weight = (squares <= jnp.square(radius)).astype(images.dtype).sum(1)
  total = jnp.maximum(weight.sum((1, 2)), 1)
  return jnp.einsum("bhw,bhwc->bc", weight, images) / total[:, None]


def level(angle: jax.Array, edges: tuple[float, ...] = EDGES) -> jax.Array:
  """The class int32 [...] of angles: 0 above the first edge, and so on.

  Args:
    angle: in degrees.
    edges: falling; those of `CLASSES` by default.
  """
  below = angle[..., None] < jnp.asarray(edges, jnp.float32)
  return below.sum(-1, dtype=jnp.int32)
