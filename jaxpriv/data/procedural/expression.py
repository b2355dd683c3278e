"""From factors to shapes and colours, and how attributes change them."""

from types import SimpleNamespace
from typing import Any

import numpy as np

from jaxpriv.data.procedural.factors import MONK_SKIN_TONES
from jaxpriv.data.procedural.shapes import hue_colour, mix

Array = Any
Palette = SimpleNamespace


def _when(condition: Array) -> Array:
  return condition.astype(np.float32)


def express(params: dict[str, Array], xp) -> SimpleNamespace:
  """Factors [B] of people and photographs to shapes [B, 1], for drawing.

  An attribute changes a shape by more than people differ from each other, yet
  by less than the shape's whole range, so that no single pixel reveals it.
  """
  p = SimpleNamespace(**{k: v.reshape(-1, 1) for k, v in params.items()})
  male, old = p.Male, 1.0 - p.Young
  p.jaw = p.jaw + 0.25 * male
  p.chin = p.chin + 0.02 * male
  p.neck_width = p.neck_width + 0.05 * male
  p.brow_thickness = p.brow_thickness * (
    (0.85 + 0.25 * male) * (1.0 + 1.3 * p.Bushy_Eyebrows)
  )
  p.brow_gap = p.brow_gap - 0.015 * male
  p.lash = 0.028 - 0.012 * male
  p.nose_width = p.nose_width * (1.0 + p.Big_Nose)
  p.nose_bridge = p.nose_bridge * (1.0 + 0.50 * p.Big_Nose)
  p.nose_length = p.nose_length * (1.0 + 0.14 * p.Big_Nose)
  base = p.eye_y + p.nose_length
  p.mouth_y = base + p.philtrum * (p.chin - base)
  fuller = (1.0 + 0.90 * p.Big_Lips) * (1.0 - 0.12 * male)
  p.lip_upper = p.lip_upper * fuller
  p.lip_lower = p.lip_lower * fuller
  p.lip_red = p.lip_red * (1.0 - 0.5 * male)
  p.hair_length = mix(p.hair_length, 0.25 * p.hair_length - 0.05, male)
  p.curl = xp.maximum(p.hair_curl, 0.0)
  long = xp.clip(2.0 * p.hair_length, 0.0, 1.0)
  p.hair_side = p.hair_side * (0.40 + 0.60 * long)
  p.taper = (1.0 - long) * (1.5 * p.hair_side - 0.01)
  p.frame = mix(0.62, p.hair_frame, long)
  p.facial_hair = male
  p.collar_depth = 0.10 + 0.40 * p.collar
  p.age = old
  p.has_mole = _when(p.mole_size > 0.0)
  p.has_spot = _when(p.spot_size > 0.0)
  p.has_bun = _when(p.hair_bun > 0.12)
  p.smile = mix(0.30 * p.smile - 0.30, 0.75 + 0.40 * p.smile, p.Smiling)
  p.gap = p.Mouth_Slightly_Open * (0.065 + 0.055 * p.mouth_open)
  p.mouth_width = p.mouth_width * (1.0 + 0.20 * p.smile)
  p.curve = p.smile * (0.05 + 0.45 * p.mouth_width)
  p.eye_lower = p.eye_lower * (1.0 - 0.25 * p.Smiling)
  if "ear_drop" in params:
    p.has_drop = _when(p.ear_drop > 0.5)
  return p


def palette(p: SimpleNamespace, xp) -> Palette:
  """Colours [B, 3] of skin, hair, eyes and things, before light and cast."""

  def rgb(*values):
    return xp.asarray(values, xp.float32)

  def flat(*values):
    return xp.broadcast_to(rgb(*values), p.yaw.shape[:1] + (3,))

  tones = rgb(*MONK_SKIN_TONES) / 255.0
  index = xp.clip(p.skin_tone[:, 0], 1, 10).astype(xp.int32) - 1
  warm = rgb(0.05, -0.01, -0.08)
  skin = (0.025 + 0.97 * tones[index]) * (
    rgb(1.0, 0.94, 0.88) + p.undertone * warm
  )
  hair = mix(rgb(0.09, 0.07, 0.07), rgb(0.42, 0.27, 0.17), p.hair_dark)
  hair = mix(hair, rgb(0.62, 0.26, 0.10), p.hair_red**3)
  blond = mix(rgb(0.90, 0.76, 0.48), rgb(0.74, 0.52, 0.26), p.hair_dark)
  hair = mix(hair, blond, p.Blond_Hair)
  grey = p.age * p.hair_grey * p.hair_grey * 0.85
  hair = mix(hair, rgb(0.72, 0.72, 0.73), grey)
  lips = mix(
    skin * rgb(0.80, 0.56, 0.54), rgb(0.72, 0.16, 0.22), 0.65 * p.lip_red
  )
  iris = mix(rgb(0.30, 0.17, 0.08), rgb(0.25, 0.50, 0.30), p.iris_hue)
  blue = mix(rgb(0.25, 0.48, 0.70), rgb(0.60, 0.66, 0.70), p.iris_light)
  iris = mix(iris, blue, xp.clip(4.0 * p.iris_hue - 2.4, 0.0, 1.0))
  return SimpleNamespace(
    skin=skin,
    skin_dark=skin * rgb(0.60, 0.44, 0.40),
    skin_light=mix(skin, rgb(1.0, 0.98, 0.94), 0.45),
    blush=mix(skin, rgb(0.85, 0.25, 0.28), 0.55) * (0.4 + 0.6 * skin),
    hair=hair,
    hair_dark=hair * 0.55,
    hair_light=mix(hair, rgb(1.0, 0.92, 0.78), 0.28),
    brow=hair * 0.52,
    lips=lips,
    lips_dark=lips * rgb(0.72, 0.62, 0.62),
    lips_light=mix(lips, rgb(1.0, 0.9, 0.88), 0.3),
    inside=flat(0.30, 0.07, 0.08),
    teeth=flat(0.95, 0.93, 0.88),
    iris=iris,
    iris_dark=iris * 0.42,
    sclera=mix(skin, rgb(0.96, 0.95, 0.94), 0.88),
    black=flat(0.04, 0.04, 0.04),
    white=flat(1.0, 1.0, 1.0),
    mole=skin * rgb(0.42, 0.30, 0.28),
    cloth=hue_colour(p.cloth_hue, p.cloth_colour, p.cloth_light, xp),
    cloth_dark=0.55
    * hue_colour(p.cloth_hue, p.cloth_colour, p.cloth_light, xp),
    frame=hue_colour(p.frame_hue, 0.8, p.frame_light, xp),
    hat=hue_colour(p.hat_hue, 0.5, p.hat_light, xp),
    cover=hue_colour(p.cover_hue, 0.4, p.cover_light, xp),
    bar=hue_colour(p.bar_hue, 0.6, p.bar_light, xp),
    back=hue_colour(p.back_hue, p.back_colour, p.back_light, xp),
    back2=hue_colour(p.back_hue2, p.back_colour, p.back_light2, xp),
  )


def cast(p: SimpleNamespace, colours: Array, xp) -> Array:
  """Applies the colour cast and contrast of the photograph to [B, 3, K]."""
  gains = xp.stack([p.cast_red, p.cast_green, p.cast_blue], 1)
  return (0.45 + (colours - 0.45) * p.contrast[:, :, None]) * gains
