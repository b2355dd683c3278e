"""Hair, hats, glasses, and other things in front of a face or behind it."""

from types import SimpleNamespace
from typing import Any

from jaxpriv.data.procedural.geometry import View
from jaxpriv.data.procedural.shapes import Layer, blob, edge, ellipse, mix

Array = Any


def _crown(p, v: View, side: Array, top: Array, xp) -> Array:
  """Distance to the head's outline grown by `side` and `top`."""
  up = xp.clip(v.y, -9.0, 0.0) * (1.0 / (1.0 + top))
  up = up * up
  # Short hair lies closer to the head the further down it comes.
  close = xp.clip(v.y + 0.45, 0.0, 0.7) * p.taper
  width = p.head_width + side + 0.03
  x = v.x / (width - close)
  return ((1.0 - up) * (1.0 + 0.35 * up) - x * x) * (0.5 * width)


def _locks(p, v: View, xp) -> tuple[Array, Array]:
  """Ripples of the outline, and strands that flow from the parting.

  Their size and number belong to the person.
  """
  ripple = xp.sin(v.X * p.hair_frequency + 5.0 * v.y)
  ripple = ripple * xp.sin(v.y * (0.8 * p.hair_frequency) + 7.0 * p.hair_part)
  fall = xp.clip(v.y + (1.25 + p.hair_top), 0.15, 9.0)
  flow = (v.xs - p.hair_part) / fall
  bend = xp.sin(flow * 6.0) * 1.5 + ripple * (0.4 + p.curl)
  strand = xp.sin(flow * (2.2 * p.hair_frequency) + bend)
  return ripple, strand


def hair(p, c, v: View, xp) -> tuple[list[Layer], list[Layer]]:
  """Hair before the face and hair behind the head and neck."""
  ripple, strand = _locks(p, v, xp)
  rough = ripple * (0.012 + 0.05 * p.curl)
  crown = _crown(p, v, p.hair_side, p.hair_top, xp) + rough
  hem = p.hair_length - v.y - 0.25 * v.x * v.x + rough
  behind = xp.minimum(crown, 0.7 * hem)
  # The face shows through an opening under the hairline.
  ox = (v.X + p.hair_part * xp.clip(0.5 * v.Y, -0.4, 0.0)) * (1.0 / p.frame)
  rise = xp.clip(v.Y + 0.10, -9.0, 0.0) * (1.0 / (p.hairline + 0.10))
  opening = (1.0 - ox * ox - rise * rise) * 0.3
  fringe = v.Y - p.eye_y + p.brow_gap + 0.08 + 0.25 * p.hair_part * v.X
  fringe = fringe + 0.025 * strand + 0.03 * ripple
  opening = xp.minimum(opening, fringe + 9.0 * (1.0 - p.Bangs))
  # Short hair ends before the ears.
  hem = xp.maximum(p.hair_length, -0.08) - v.y - 0.25 * v.x * v.x + rough
  front = edge(xp.minimum(xp.minimum(crown, -opening), hem), v.sharp, xp)
  back = edge(behind, v.sharp, xp)
  bun = xp.maximum(p.hair_bun, 0.02)
  knot = ellipse(v.x - 0.4 * p.hair_part, v.y + 1.0 + p.hair_top, bun, bun)
  back = xp.maximum(back, edge(knot, v.sharp, xp) * p.has_bun)
  gloss = 0.16 * strand + 0.08
  gloss = gloss + 0.5 * blob(v.x - 0.3 * p.light_x, v.y + 0.68, 0.62, 0.32, xp)
  gloss = xp.clip(gloss, 0.0, 0.7)
  shade = xp.clip(-0.22 * strand, 0.0, 1.0)
  return (
    [
      Layer(front * gloss, c.hair_light),
      Layer(front * shade, c.hair_dark),
      Layer(front, c.hair),
    ],
    [Layer(back * gloss * 0.5, c.hair), Layer(back, c.hair_dark)],
  )


def glasses(p, c, v: View, xp) -> list[Layer]:
  """Frames stand a little before the eyes; lenses are clear or dark."""
  x = v.X - 0.10 * xp.sin(p.yaw)
  y = v.Y - p.eye_y - 0.03 + 0.08 * xp.sin(p.pitch)
  fold = xp.abs(x)
  lx = (fold - p.eye_spacing - 0.01) * (1.0 / p.frame_width)
  ly = y * (1.0 / p.frame_height)
  x2, y2 = lx * lx, ly * ly
  round_ = 1.0 - x2 - y2
  square = 1.0 - x2 * x2 - y2 * y2
  lens = mix(round_, 0.6 * square, p.frame_square) * (0.5 * p.frame_height)
  ring = edge(p.frame_thick - xp.abs(lens), v.sharp, xp)
  gap = p.eye_spacing + 0.01 - p.frame_width
  bridge = xp.minimum(0.022 - xp.abs(y + 0.04), gap - fold)
  arm = xp.minimum(0.022 - xp.abs(y + 0.05), fold - gap - 2.0 * p.frame_width)
  metal = xp.maximum(ring, edge(xp.maximum(bridge, arm), v.sharp, xp))
  worn = p.Eyeglasses
  dark = xp.clip(p.lens_dark * 4.0, 0.06, 0.88)
  glass = edge(lens, v.sharp, xp)
  glare = xp.clip(1.0 - 9.0 * xp.abs(lx + 0.8 * ly + 0.35), 0.0, 1.0)
  return [
    Layer(metal * edge(v.inside + 0.03, v.sharp, xp) * worn, c.frame, False),
    Layer(glass * glare * worn * 0.30, c.white, False),
    Layer(glass * dark * worn, c.black, False),
  ]


def hat(p, c, v: View, xp) -> list[Layer]:
  side = 0.05 + 0.5 * p.hair_side
  crown = _crown(p, v, side, p.hat_height, xp)
  line = p.hat_y + 0.16 * v.X * v.X - v.Y
  worn = p.Wearing_Hat
  top = edge(xp.minimum(crown, line), v.sharp, xp)
  reach = xp.maximum(p.hat_brim, 0.0)
  width = p.head_width + side + 0.08 + 1.6 * reach
  brim = ellipse(v.xs, line, width, 0.09)
  brim = edge(brim, v.sharp, xp)
  return [Layer(brim * worn, c.hat * 0.72), Layer(top * worn, c.hat)]


def objects(p, c, v: View, xp) -> list[Layer]:
  """A scarf or mask over the lower face, or a bar held before it."""
  cover = xp.minimum(v.Y - p.cover_y - 0.15 * v.X * v.X, v.inside + 0.05)
  cover = edge(cover, v.sharp, xp) * p.cover
  cos, sin = xp.cos(p.bar_angle), xp.sin(p.bar_angle)
  x, y = v.x - p.bar_x, v.y - p.bar_y
  along = x * cos + y * sin
  across = y * cos - x * sin
  along = along - xp.clip(along, -p.bar_length, p.bar_length)
  bar = ellipse(along, across, p.bar_width, p.bar_width)
  bar = edge(bar, v.sharp, xp) * p.bar
  return [Layer(bar, c.bar), Layer(cover, c.cover)]


def ear_place(
  p: SimpleNamespace, human: bool, xp
) -> tuple[tuple[Array, Array], Array]:
  """(middle, reach) of the two ears, and their height, upright, [B, 1].

  Ears sit behind the widest part, so they slide against a turning head.
  """
  back = -0.25 * p.head_width
  if human:
    reach = (p.head_width + p.ear_out) * xp.cos(p.yaw)
    return (back * xp.sin(p.yaw), reach), p.ear_y + back * -xp.sin(p.pitch)
  hanging = p.ear_drop > 0.5
  reach = xp.where(hanging, p.head_width + 0.10, p.ear_spread + 0.06)
  height = xp.where(hanging, 0.20 * p.ear_length, -0.70)
  return (back * xp.sin(p.yaw), reach), height
