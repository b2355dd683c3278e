"""The layers of a human face, front to back, in coordinates of the head."""

from types import SimpleNamespace
from typing import Any

from jaxpriv.data.procedural.geometry import View
from jaxpriv.data.procedural.headwear import ear_place
from jaxpriv.data.procedural.shapes import (
  Layer,
  blob,
  edge,
  ellipse,
  positive,
  side_of,
)

Array = Any


def eyes(p: SimpleNamespace, c: SimpleNamespace, v: View, xp) -> list[Layer]:
  """Both eyes at once: the face is folded along its middle line."""
  side = side_of(v.X, xp)
  ex = v.X * side - p.eye_spacing
  ey = v.Y - p.eye_y + p.eye_tilt * ex
  wide = ex * (1.0 / p.eye_width)
  opening = 1.0 - wide * wide
  upper, lower = p.eye_upper * opening, p.eye_lower * opening
  below = lower - ey
  shape = edge(xp.minimum(ey + upper, below), v.sharp, xp)
  rim = opening + 0.12
  lid = xp.minimum(ey + (p.eye_upper + p.lash) * rim, below + 0.006)
  lash = edge(lid, v.sharp, xp)
  ix, iy = ex - p.gaze_x * side, ey + 0.012 - p.gaze_y
  r2 = ix * ix + iy * iy
  radius = p.iris_size
  steep = v.sharp * (0.5 / radius)
  limb = xp.clip((radius * radius - r2) * steep + 0.5, 0.0, 1.0)
  iris = xp.clip((0.55 * radius * radius - r2) * steep + 0.5, 0.0, 1.0)
  pupil = xp.clip((0.20 * radius * radius - r2) * steep + 0.5, 0.0, 1.0)
  gx = v.X - side * (p.eye_spacing + p.gaze_x * side) + 0.3 * radius
  glint = ellipse(gx, iy + 0.35 * radius, 0.3 * radius, 0.3 * radius)
  crease = edge(0.014 - xp.abs(ey + upper + 0.055), v.sharp, xp)
  return [
    Layer(shape * edge(glint, v.sharp, xp) * 0.9, c.white, False),
    Layer(shape * pupil, c.black),
    Layer(shape * iris * 0.85, c.iris),
    Layer(shape * limb, c.iris_dark),
    Layer(shape * 0.96, c.sclera),
    Layer(lash, c.black),
    Layer(crease * xp.clip(opening * 99.0, 0.0, 1.0) * 0.5, c.skin_dark),
  ]


def brows(p: SimpleNamespace, c: SimpleNamespace, v: View, xp) -> list[Layer]:
  bx = xp.abs(v.X) - p.eye_spacing - 0.02
  by = v.Y - p.eye_y + p.brow_gap + (p.brow_tilt - p.brow_arch * bx) * bx
  t = xp.clip(bx * (1.0 / p.brow_length), -1.3, 1.3)
  t2 = t * t
  thick = p.brow_thickness * (1.15 - 0.45 * t) * (1.0 - t2 * t2 * t2)
  brow = edge(thick - xp.abs(by), v.sharp, xp)
  return [Layer(brow * edge(v.inside, v.sharp, xp) * 0.92, c.brow)]


def nose(p: SimpleNamespace, c: SimpleNamespace, v: View, xp) -> list[Layer]:
  """The nose stands out from the face, so it moves further when it turns."""
  t = xp.clip((v.Y - p.eye_y) * (1.0 / p.nose_length), 0.0, 1.2)
  x = v.X - t * (0.20 * xp.sin(p.yaw) / xp.cos(p.yaw))
  y = v.Y - p.eye_y - p.nose_length + t * (0.14 * xp.sin(p.pitch))
  n = xp.abs(x)
  w = p.nose_width
  nostril = edge(
    ellipse(n - 0.52 * w, y, 0.30 * w, 0.022 + 0.09 * w), v.sharp, xp
  )
  tip = blob(x + 0.02 * p.light_x, y + 0.10, 0.62 * w, 0.045 + 0.38 * w, xp)
  width = p.nose_bridge + (w - p.nose_bridge) * t * t * t
  across = (n - width) * 16.0
  window = xp.clip(3.0 - 12.0 * xp.abs(y + 0.14), 0.0, 1.0)
  ridge = 1.0 / (1.0 + across * across)
  shaded = 0.5 + 0.5 * xp.clip(-p.light_x * x * 12.0, -1.0, 1.0)
  wing = ellipse(n - 0.62 * w, y + 0.035, 0.42 * w, 0.035 + 0.30 * w)
  wing = edge(0.016 - xp.abs(wing), v.sharp, xp)
  wing = wing * edge(n - 0.8 * w, v.sharp, xp)
  under = blob(x, y - 0.035, 1.15 * w, 0.045 + 0.45 * w, xp)
  bridge = blob(x, y + 0.26, 0.5 * p.nose_bridge + 0.01, 0.24, xp)
  side = ridge * window * (0.25 + 0.50 * shaded)
  return [
    Layer(nostril * 0.95, c.mole),
    Layer(tip * 0.9 + bridge * 0.5, c.skin_light),
    Layer(wing * 0.75, c.skin_dark),
    Layer(under * 0.70, c.skin_dark),
    Layer(side, c.skin_dark),
  ]


def mouth(p: SimpleNamespace, c: SimpleNamespace, v: View, xp) -> list[Layer]:
  x = v.X * (1.0 / p.mouth_width)
  e = x * x
  opening = 1.0 - e
  y = v.Y - p.mouth_y + p.curve * (e - 0.35)
  gap = p.gap * opening
  lower = p.lip_lower * opening
  bow = opening * (1.0 - 0.55 * positive(1.0 - 14.0 * e, xp))
  upper = p.lip_upper * bow
  gap_up = 0.45 * gap
  lips = xp.minimum(y + gap_up + upper, lower + gap - y)
  hole = xp.minimum(y + gap_up, gap - y)
  line = edge(0.011 - xp.abs(hole), v.sharp, xp) * xp.clip(
    99.0 * opening + 9.9, 0.0, 1.0
  )
  lips = edge(lips, v.sharp, xp) * xp.clip(opening * 99.0, 0.0, 1.0)
  hole = edge(hole - 0.005, v.sharp, xp) * lips
  teeth = edge(0.028 + 0.020 * p.smile - y, v.sharp, xp)
  top = edge(-y, v.sharp, xp)
  shine = blob(v.X, y - gap - 0.5 * p.lip_lower, 0.09, 0.035, xp)
  chin = blob(v.X, v.Y - p.mouth_y - 0.15, 0.16, 0.06, xp)
  return [
    Layer(hole * teeth * 0.95, c.teeth),
    Layer(hole, c.inside),
    Layer(line * 0.8, c.inside),
    Layer(shine * lips * 0.7, c.lips_light),
    Layer(lips * top, c.lips_dark),
    Layer(lips, c.lips),
    Layer(chin * 0.35, c.skin_dark),
  ]


def facial_hair(p, c, v: View, xp) -> list[Layer]:
  """Moustache and beard, of men only."""
  x2 = v.X * v.X
  on_mouth = v.Y - p.mouth_y
  amount = p.facial_hair * xp.clip(p.moustache * 3.0, 0.0, 1.0)
  arch = on_mouth + 0.10 - 1.2 * x2
  lip = xp.minimum(0.045 - xp.abs(arch), 0.24 - xp.abs(v.X))
  moustache = edge(lip, v.sharp, xp) * (amount * 0.85)
  amount = p.facial_hair * xp.clip(p.beard * 3.0, 0.0, 1.0)
  beard = on_mouth - 0.17 + 1.5 * x2 + 0.12 * xp.clip(-p.beard, -1.0, 0.0)
  beard = xp.minimum(beard, v.Y - 0.12) * 7.0
  beard = xp.clip(beard, 0.0, 1.0) * edge(v.inside, v.sharp, xp)
  return [
    Layer(moustache, c.brow),
    Layer(beard * (amount * 0.8), c.hair_dark),
  ]


def complexion(p, c, v: View, xp) -> list[Layer]:
  """Moles, freckles, blush, wrinkles, and the soft relief of the face."""
  fold = xp.abs(v.X)
  mole = edge(
    ellipse(v.X - p.mole_x, v.Y - p.mole_y, 0.03, 0.03)
    + xp.minimum(p.mole_size - 0.01, 0.012),
    v.sharp,
    xp,
  )
  spot = edge(
    ellipse(v.X - p.spot_x, v.Y - p.spot_y, 0.03, 0.03)
    + xp.minimum(p.spot_size - 0.01, 0.012),
    v.sharp,
    xp,
  )
  cheek = blob(fold - 0.36, v.Y - 0.34, 0.24, 0.19, xp)
  dots = xp.sin(41.0 * v.X + 9.0 * v.Y) * xp.sin(37.0 * v.Y - 11.0 * v.X)
  band = blob(v.X, v.Y - 0.27, 0.62, 0.22, xp)
  dots = xp.clip(dots * 3.0 - 1.0, 0.0, 1.0) * band
  lines = xp.abs(v.Y - p.mouth_y + 0.17 - 0.9 * (fold - 0.28)) * 30.0
  crease = blob(fold - 0.30, v.Y - p.mouth_y + 0.13, 0.11, 0.17, xp)
  crease = crease * positive(1.0 - lines, xp)
  bags = blob(fold - p.eye_spacing, v.Y - p.eye_y - 0.15, 0.17, 0.065, xp)
  brow = v.Y - p.eye_y + 0.42
  furrow = positive(0.4 - xp.abs(xp.abs(brow) * 22.0 - 1.0), xp) * 2.0
  furrow = furrow * blob(v.X, brow, 0.42, 0.30, xp)
  socket = blob(fold - p.eye_spacing, v.Y - p.eye_y + 0.05, 0.26, 0.17, xp)
  age = p.age * (bags * 0.55 + crease * 1.3 + furrow * 0.5)
  age = age + crease * (0.35 * p.Smiling)
  forehead = blob(v.X, v.Y + 0.38, 0.40, 0.30, xp)
  blush = cheek * (0.10 + 0.70 * p.Rosy_Cheeks)
  return [
    Layer(mole * (0.9 * p.has_mole), c.mole),
    Layer(spot * (0.9 * p.has_spot), c.mole),
    Layer(dots * xp.maximum(p.freckles, 0.0) * 0.8, c.mole),
    Layer(xp.clip(age, 0.0, 0.8), c.skin_dark),
    Layer(blush, c.blush),
    Layer(forehead * 0.25, c.skin_light),
    Layer(socket * 0.30, c.skin_dark),
  ]


def head(p, c, v: View, xp) -> list[Layer]:
  return [Layer(edge(v.inside, v.sharp, xp), c.skin)]


def ears(p, c, v: View, xp) -> list[Layer]:
  (middle, reach), height = ear_place(p, True, xp)
  x = xp.abs(v.x - middle) - reach
  y = v.y - height
  wide = 0.55 * p.ear_size
  outer = edge(ellipse(x, y, wide, p.ear_size), v.sharp, xp)
  inner = blob(x, y, 0.7 * wide, 0.75 * p.ear_size, xp)
  return [Layer(inner * 0.6, c.skin_dark), Layer(outer, c.skin)]


def body(p, c, v: View, xp) -> list[Layer]:
  """Neck with the shadow of the chin, shoulders and collar."""
  fold = xp.abs(v.x)
  slope = positive(v.y - 0.95, xp)
  neck = edge(p.neck_width + 0.9 * slope * slope - fold, v.sharp, xp)
  neck = neck * xp.clip(v.y * 9.0 - 1.0, 0.0, 1.0)
  shadow = xp.clip(2.3 - 1.6 * v.y, 0.0, 0.7)
  shoulder = v.y - 1.02 - 0.30 * fold * fold - 0.08 * fold
  opening = ellipse(v.x, v.y - 1.02, 0.75 * p.neck_width + 0.15, p.collar_depth)
  cloth = edge(xp.minimum(shoulder, -opening), v.sharp, xp)
  seam = xp.clip(1.0 + opening * 12.0, 0.0, 1.0)
  chest = edge(xp.minimum(shoulder, opening), v.sharp, xp)
  return [
    Layer(cloth * seam * 0.5, c.cloth_dark),
    Layer(cloth, c.cloth),
    Layer(xp.maximum(neck, chest) * shadow, c.skin_dark),
    Layer(xp.maximum(neck, chest), c.skin),
  ]


def background(p, c, v: View, xp) -> list[Layer]:
  """Two colours in a gradient, a hard edge and a wavy texture."""
  across = v.x * xp.cos(p.back_angle) + v.y * xp.sin(p.back_angle)
  along = v.y * xp.cos(p.back_angle) - v.x * xp.sin(p.back_angle)
  wave = xp.sin(across * p.back_frequency + p.back_phase)
  wave = wave * xp.sin(along * (0.6 * p.back_frequency) - p.back_phase)
  t = 0.5 + 0.35 * across + wave * (0.5 * p.back_texture * p.back_texture)
  step = edge(across - 2.2 * p.back_edge, v.sharp * 0.5, xp)
  mask = xp.clip(t + 0.6 * (step - 0.5), 0.0, 1.0)
  return [Layer(mask, c.back2, False), Layer(v.x * 0.0 + 1.0, c.back, False)]
