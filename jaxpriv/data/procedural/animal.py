"""The layers of an animal's head: cats, dogs, and wild animals.

The same head as a person's, wider, with a muzzle that stands out, ears from
round to pointed to hanging, and fur with stripes, a patch and a blaze.
"""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

from jaxpriv.data.procedural import headwear
from jaxpriv.data.procedural.expression import Palette
from jaxpriv.data.procedural.geometry import View
from jaxpriv.data.procedural.human import background
from jaxpriv.data.procedural.shapes import (
  Layer,
  blob,
  edge,
  ellipse,
  mix,
  positive,
  side_of,
)

Array = Any

NOSE_Y = 0.42  # below the eyes' line


def fur(p: SimpleNamespace, c: Palette, xp) -> SimpleNamespace:
  """Colours [B, 3] of coat, markings, belly side and nose."""

  def rgb(*values):
    return xp.asarray(values, xp.float32)

  dark = mix(rgb(0.16, 0.14, 0.14), rgb(0.36, 0.20, 0.11), p.fur_hue)
  pale = mix(rgb(0.80, 0.79, 0.78), rgb(0.95, 0.66, 0.34), p.fur_hue)
  coat = mix(dark, pale, p.fur_light)
  return SimpleNamespace(
    coat=coat,
    dark=coat * 0.45,
    pale=mix(coat, rgb(0.98, 0.96, 0.92), 0.45 + 0.5 * p.muzzle_light),
    pink=mix(coat, rgb(0.86, 0.55, 0.52), 0.7),
    nose=mix(rgb(0.72, 0.42, 0.40), rgb(0.10, 0.09, 0.09), p.nose_dark),
    eye=mix(c.iris, rgb(0.85, 0.72, 0.25), 0.6),
  )


def eyes(p, c: Palette, f, v: View, xp) -> list[Layer]:
  side = side_of(v.X, xp)
  x = v.X * side - p.eye_spacing - 0.03
  y = v.Y - p.eye_y + p.eye_tilt * x
  shape = ellipse(x, y, p.eye_width, 1.15 * p.eye_upper + 0.02)
  rim = edge(shape + 0.022, v.sharp, xp)
  shape = edge(shape, v.sharp, xp)
  px = x - p.gaze_x * side
  wide = mix(0.085, 0.030, p.pupil_slit)
  pupil = edge(ellipse(px, y, wide, 0.085), v.sharp, xp)
  glint = ellipse(v.X - side * p.eye_spacing + 0.02, y + 0.045, 0.03, 0.03)
  return [
    Layer(edge(glint, v.sharp, xp), c.white, False),
    Layer(shape * pupil, c.black),
    Layer(shape, f.eye),
    Layer(rim, c.black),
  ]


def muzzle(p, c: Palette, f, v: View, xp) -> list[Layer]:
  """Nose, mouth and whisker pads, drawn ahead of the face by its length."""
  out = p.muzzle_length
  near = blob(v.X, v.Y - NOSE_Y, 0.9, 0.7, xp)
  x = v.X - out * near * (xp.sin(p.yaw) / xp.cos(p.yaw))
  y = v.Y - NOSE_Y + out * near * xp.sin(p.pitch)
  n = xp.abs(x)
  w = p.muzzle_width
  tip = 0.5 * w + 0.02 - n - 0.8 * xp.abs(y + 0.03)
  tip = xp.minimum(tip, 0.11 - n - 0.35 * y)
  nose = edge(xp.minimum(tip, y + 0.09), v.sharp, xp)
  shine = blob(x, y + 0.05, 0.07, 0.03, xp)
  pads = ellipse(n - 0.42 * w, y - 0.17, 0.62 * w, 0.17 + 0.15 * out)
  chin = ellipse(x, y - 0.32, 0.5 * w, 0.12)
  smile = n - 0.42 * w
  curve = y - 0.25 + 1.6 * smile * smile
  lips = xp.minimum(0.016 - xp.abs(curve), 0.62 * w - n)
  cleft = xp.minimum(0.014 - n, 0.12 - xp.abs(y - 0.12))
  lips = edge(xp.maximum(lips, cleft), v.sharp, xp)
  gap = ellipse(x, y - 0.30, 0.34 * w, 1.1 * p.gap + 0.005)
  gap = edge(gap, v.sharp, xp) * xp.clip(99.0 * p.gap, 0.0, 1.0)
  tongue = edge(
    ellipse(x, y - 0.35, 0.22 * w, 0.8 * p.gap + 0.005), v.sharp, xp
  )
  dots = xp.sin(x * 34.0) * xp.sin(y * 34.0)
  dots = xp.clip(dots * 4.0 - 2.4, 0.0, 1.0)
  soft = edge(xp.maximum(pads, chin), 0.35 * v.sharp, xp)
  below = blob(x, y - 0.20, 1.25 * w, 0.42, xp)
  return [
    Layer(nose * shine * 0.6, c.white, False),
    Layer(nose, f.nose),
    Layer(lips * 0.9, c.black),
    Layer(gap * tongue, f.pink),
    Layer(gap, c.inside),
    Layer(soft * dots * 0.4, f.dark),
    Layer(soft * 0.9, f.pale),
    Layer(below * 0.35, f.dark),
  ]


def coat(p, f, v: View, xp) -> list[Layer]:
  """Fur of the head: stripes, a patch over one eye, a blaze."""
  n = xp.abs(v.X)
  ripple = n + 0.12 * xp.sin(7.0 * v.Y + p.stripe_phase)
  lines = xp.sin(p.stripe_frequency * (0.9 * v.Y + 0.55 * ripple))
  forehead = xp.sin(1.4 * p.stripe_frequency * n + 1.2)
  top = blob(v.X, v.Y + 0.62, 0.45, 0.55, xp)
  away = xp.clip(1.6 * n + 0.6 * v.Y - 0.35, 0.0, 1.0)
  stripe = xp.clip(2.5 * lines - 1.0, 0.0, 1.0) * away
  stripe = stripe + xp.clip(2.5 * forehead - 1.0, 0.0, 1.0) * top
  side = side_of(p.patch, xp)
  patch = ellipse(v.X - side * 0.36, v.Y + 0.05, 0.30, 0.34)
  patch = edge(patch, 0.5 * v.sharp, xp) * xp.clip(
    99.0 * xp.abs(p.patch) - 54.0, 0.0, 1.0
  )
  blaze = ellipse(v.X, v.Y + 0.25, 0.10 + 0.08 * p.blaze, 0.75)
  blaze = edge(blaze, 0.4 * v.sharp, xp) * xp.clip(
    99.0 * p.blaze - 9.0, 0.0, 1.0
  )
  strong = xp.clip(2.0 * p.stripes, 0.0, 0.9)
  head = edge(v.inside, v.sharp, xp)
  return [
    Layer(blaze * 0.9, f.pale),
    Layer(patch * head * 0.85, f.dark),
    Layer(xp.minimum(stripe, 1.0) * strong * head, f.dark),
    Layer(head, f.coat),
  ]


def ears(p, f, v: View, xp) -> list[Layer]:
  """One ear, folded over: round, pointed or hanging."""
  (middle, _), _ = headwear.ear_place(p, False, xp)
  n = xp.abs(v.x - middle)
  x = n - p.ear_spread
  y = v.y + 0.62
  length = p.ear_length
  lean = x - 0.30 * (-y)
  half = 0.62 * length * positive(1.0 + y / length, xp)
  point = xp.minimum(half * 0.62 - xp.abs(lean), 0.45 - y) * 0.8
  round_ = ellipse(x - 0.06, y + 0.20, 0.55 * length, 0.55 * length)
  upright = mix(round_, point, p.ear_point)
  lx = n - p.head_width - 0.02
  hang = ellipse(lx - 0.12 * v.y, v.y + 0.05, 0.42 * length, length)
  ear = mix(upright, hang, p.has_drop)
  flap = edge(ear, v.sharp, xp)
  inner = edge(ear - 0.09, 0.5 * v.sharp, xp) * (0.85 - 0.85 * p.has_drop)
  colour = mix(f.coat, f.dark, 0.55 * p.ear_drop + 0.15)
  return [Layer(inner, f.pink), Layer(flap, colour)]


def body(p, f, v: View, xp) -> list[Layer]:
  """A ruff or mane around the head, and the chest."""
  angle = xp.sin(9.0 * v.x + 4.0 * v.y) * xp.sin(8.0 * v.y - 5.0 * v.x)
  reach = p.head_width + p.mane + 0.06
  mane = ellipse(v.xs, v.y - 0.05, reach + 0.05, 1.05 + p.mane) + 0.03 * angle
  mane = edge(mane, v.sharp, xp) * xp.clip(99.0 * p.mane - 11.0, 0.0, 1.0)
  fold = xp.abs(v.x)
  chest = xp.minimum(v.y - 0.55, 0.62 + 0.25 * v.y - fold) + 0.02 * angle
  shadow = xp.clip(1.6 - v.y, 0.0, 0.6)
  chest = edge(chest, v.sharp, xp)
  return [
    Layer(mane * xp.clip(0.4 + 0.5 * angle, 0.0, 0.8), f.dark),
    Layer(mane, f.coat * 0.75),
    Layer(chest * shadow, f.dark),
    Layer(chest, f.coat),
  ]


def layers(p, c: Palette, v: View, xp) -> Iterator[list[Layer]]:
  """Front to back; the ears stand before the head only when they hang."""
  f = fur(p, c, xp)
  on_face = v.on_face(xp)
  ear = ears(p, f, v, xp)
  hanging = [m._replace(mask=m.mask * p.has_drop) for m in ear]
  yield headwear.objects(p, c, v, xp)
  yield eyes(p, c, f, on_face, xp)
  yield muzzle(p, c, f, on_face, xp)
  yield hanging + coat(p, f, v, xp) + ear
  yield body(p, f, v, xp)
  yield background(p, c, v, xp)
