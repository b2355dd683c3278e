"""Soft masks, and the composition of layers of flat colour.

A picture is a list of layers, front to back. A layer adds to a point its colour
times its mask times the transparency left by the layers before it.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

Array = Any


class Layer(NamedTuple):
  """One flat colour.

  Attributes:
    mask: [B, P] in [0, 1], how far the layer covers each point.
    colour: [B, 3] in [0, 1].
    lit: whether the shading of the head falls on it.
  """

  mask: Array
  colour: Array
  lit: bool = True


def positive(x: Array, xp) -> Array:
  """max(x, 0); numpy clips several times faster than it compares."""
  return xp.clip(x, 0.0, 1e9)


def side_of(x: Array, xp) -> Array:
  """-1 left of the middle line, 1 right of it."""
  return xp.clip(x * 1e6, -1.0, 1.0)


def edge(distance: Array, sharp: Array, xp) -> Array:
  """1 where distance > 0, with an anti-aliased edge of width 1 / sharp."""
  return xp.clip(distance * sharp + 0.5, 0.0, 1.0)


def ellipse(x: Array, y: Array, rx: Array, ry: Array) -> Array:
  """Roughly the distance to an ellipse, positive inside; right at its top."""
  x, y = x * (1.0 / rx), y * (1.0 / ry)
  return (1.0 - x * x - y * y) * (0.5 * ry)


def blob(x: Array, y: Array, rx: Array, ry: Array, xp) -> Array:
  """A soft spot: 1 at the origin, 0 outside the ellipse (rx, ry)."""
  x, y = x * (1.0 / rx), y * (1.0 / ry)
  r = positive(1.0 - x * x - y * y, xp)
  return r * r


def mix(a: Array, b: Array, t: Array) -> Array:
  return a + (b - a) * t


def hue_colour(hue: Array, colourful: Array, light: Array, xp) -> Array:
  """Colours [B, 3] on a hue circle; hue, colourful, light are [B, 1]."""
  phase = xp.asarray([0.0, 1.0 / 3.0, 2.0 / 3.0], xp.float32)
  wave = 0.5 + 0.5 * xp.cos(6.2831853 * (hue - phase))
  return light * (1.0 - colourful + colourful * wave)


def composite(
  groups: Iterable[list[Layer]], shade: Array, tint: Callable, xp
) -> tuple[Array, Array]:
  """Composites layers, front to back in groups, to an image [B, 3, P].

  Also returns the remaining transparency [B, P], 0 where a layer is opaque.
  `shade` [B, P] multiplies lit layers, `tint` maps the colours [B, 3, K]. A
  group is painted before the next is drawn, so a generator of groups keeps few
  pixels in memory at a time.
  """
  batch, points = shade.shape
  rest = xp.ones((batch, points), xp.float32)
  # The image of unlit layers, and that of lit ones.
  images = [xp.zeros((batch, 3, points), xp.float32) for _ in range(2)]
  for layers in groups:
    colours = tint(xp.stack([layer.colour for layer in layers], -1))
    for k, layer in enumerate(layers):
      weight = layer.mask * rest
      rest = rest - weight
      # This updates numpy arrays in place and replaces JAX arrays.
      images[layer.lit] += colours[:, :, k, None] * weight[:, None, :]
  return images[True] * shade[:, None, :] + images[False], rest
