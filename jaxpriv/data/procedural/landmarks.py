"""The landmarks of a drawn face, their visibility, and the face box.

Points on the surface are projected by the geometry that draws the features.
The masks that draw coverings, evaluated at a single point, decide whether it is
covered.
"""

from types import SimpleNamespace
from typing import Any

import numpy as np

from jaxpriv.data.procedural import expression, geometry, headwear
from jaxpriv.data.procedural.animal import NOSE_Y
from jaxpriv.data.procedural.shapes import blob
from jaxpriv.data.records import ARCFACE_LANDMARKS, LANDMARKS

Array = Any
Points = dict[str, tuple[Array, Array]]

_FACING = 0.15  # a point is hidden when it turns further away than this
_COVERED = 0.5
_EARS = (LANDMARKS.index("left_ear"), LANDMARKS.index("right_ear"))
# The five ArcFace points are AFLW points too.
_SAME = {
  "left_eye": "left_eye_center",
  "right_eye": "right_eye_center",
  "nose": "nose_center",
  "left_mouth": "mouth_left",
  "right_mouth": "mouth_right",
}


def _sides(name: str, x: Array, y: Array) -> Points:
  """A point and its mirror image; left is left in the image."""
  return {f"left_{name}": (-x, y), f"right_{name}": (x, y)}


def _eye_points(p, spacing: Array) -> Points:
  points = _sides("eye_center", spacing, p.eye_y)
  w, rise = p.eye_width, p.eye_tilt * p.eye_width
  inner, outer = (spacing - w, p.eye_y + rise), (spacing + w, p.eye_y - rise)
  points["left_eye_left"] = (-outer[0], outer[1])
  points["left_eye_right"] = (-inner[0], inner[1])
  points["right_eye_left"], points["right_eye_right"] = inner, outer
  return points


def _brow_points(p) -> Points:
  points = {}
  for at, left, right in ((-0.85, "right", "left"), (0.85, "left", "right")):
    x = at * p.brow_length
    y = p.eye_y - p.brow_gap - (p.brow_tilt - p.brow_arch * x) * x
    x = x + p.eye_spacing + 0.02
    points[f"left_brow_{left}"] = (-x, y)
    points[f"right_brow_{right}"] = (x, y)
  x, y = p.eye_spacing + 0.02, p.eye_y - p.brow_gap
  return points | _sides("brow_center", x, y)


def _human_points(p, xp) -> Points:
  points = _eye_points(p, p.eye_spacing) | _brow_points(p)
  across = 0.20 * xp.tan(p.yaw)
  base = p.eye_y + p.nose_length - 0.14 * xp.sin(p.pitch)
  points["nose_center"] = (across, base - 0.05)
  points["nose_left"] = (across - 0.9 * p.nose_width, base - 0.02)
  points["nose_right"] = (across + 0.9 * p.nose_width, base - 0.02)
  corner = p.mouth_y - 0.65 * p.curve
  points["mouth_left"] = (-p.mouth_width, corner)
  points["mouth_right"] = (p.mouth_width, corner)
  middle = p.mouth_y + 0.35 * p.curve + 0.25 * p.gap
  points["mouth_center"] = (0.0 * p.yaw, middle)
  return points


def _animal_points(p) -> Points:
  """Animals have no brows: those stay unknown."""
  points = _eye_points(p, p.eye_spacing + 0.03)
  w = p.muzzle_width
  nostril = 0.3 * w
  on_muzzle = {
    "nose_center": (0.0 * w, -0.03),
    "nose_left": (-nostril, -0.03),
    "nose_right": (nostril, -0.03),
    "mouth_left": (-0.62 * w, 0.19),
    "mouth_center": (0.0 * w, 0.14),
    "mouth_right": (0.62 * w, 0.19),
  }
  for name, (x, y) in on_muzzle.items():
    X, Y = x, y + NOSE_Y
    for _ in range(4):
      near = p.muzzle_length * blob(X, Y - NOSE_Y, 0.9, 0.7, np)
      X = x + near * np.tan(p.yaw)
      Y = y + NOSE_Y - near * np.sin(p.pitch)
    points[name] = (X, Y)
  return points


def _placed(p, surface: Points, domain: str) -> tuple[Array, Array, Array]:
  """All landmarks upright [B, 26] x and y (NaN unknown) and facing."""
  unknown = np.full_like(p.yaw, np.nan)
  order = [_SAME.get(name, name) for name in LANDMARKS]
  pairs = [surface.get(name, (unknown, unknown)) for name in order]
  X = np.concatenate([pair[0] for pair in pairs], 1)
  Y = np.concatenate([pair[1] for pair in pairs], 1)
  x, y, facing = geometry.project(p, X, Y, np)
  ear_x, ear_y = headwear.ear_place(p, domain == "human", np)
  for side, index in zip((-1, 1), _EARS, strict=True):
    x[:, index] = (ear_x[0] + side * ear_x[1])[:, 0]
    y[:, index] = ear_y[:, 0]
    facing[:, index] = 1.0
  chin = LANDMARKS.index("chin_center")
  chin_x, chin_y = geometry.chin(p, np)
  x[:, chin], y[:, chin] = chin_x[:, 0], 0.97 * chin_y[:, 0]
  facing[:, chin] = 1.0
  return x, y, facing


def _covered(p, x: Array, y: Array, size: int, domain: str) -> Array:
  """The degree to which things in front hide each point, [B, K]."""
  v = geometry.view(p, x, y, size, np)
  c = expression.palette(p, np)
  before = headwear.objects(p, c, v, np)
  if domain == "human":
    before += headwear.hat(p, c, v, np) + headwear.hair(p, c, v, np)[0]
    before += headwear.glasses(p, c, v, np)[-1:]
  hidden = np.max([layer.mask for layer in before], 0)
  head = v.inside > 0.03
  for index in _EARS:
    if domain == "human":
      hidden[:, index] = np.maximum(hidden[:, index], head[:, index])
  return hidden


def _box(p, size: int, domain: str) -> Array:
  """Tight box around the face, hairline to chin, [B, 4] in pixels."""
  top = p.hairline if domain == "human" else np.full_like(p.yaw, -0.95)
  t = np.linspace(0.0, 1.0, 12, dtype=np.float32)[None]
  chin_x, chin_y = geometry.chin(p, np)
  del chin_x
  y = top + (chin_y - top) * t
  left, right = geometry.outline(p, y, np)
  x = np.concatenate([left, right], 1)
  corners = geometry.to_pixels(p, x, np.concatenate([y, y], 1), size, np)
  low = np.clip(corners.min(1), 0, size)
  high = np.clip(corners.max(1) + 1.0, 0, size)
  return np.concatenate([low, high], 1).astype(np.float32)


def five_points(params: dict[str, Array], size: int, xp=np) -> Array:
  """The points of `ARCFACE_LANDMARKS` of people, [B, 5, 2] in pixels.

  As those of `locate`, over numpy or JAX.
  """
  p = expression.express(params, xp)
  surface = _human_points(p, xp)
  pairs = [surface[_SAME[name]] for name in ARCFACE_LANDMARKS]
  X = xp.concatenate([pair[0] for pair in pairs], 1)
  Y = xp.concatenate([pair[1] for pair in pairs], 1)
  x, y, _ = geometry.project(p, X, Y, xp)
  return geometry.to_pixels(p, x, y, size, xp)


def locate(
  params: dict[str, np.ndarray], size: int, domain: str = "human"
) -> SimpleNamespace:
  """Landmarks [B, 26, 2] in pixels, visibility int8 [B, 26], box [B, 4]."""
  p = expression.express(params, np)
  human = domain == "human"
  surface = _human_points(p, np) if human else _animal_points(p)
  x, y, facing = _placed(p, surface, domain)
  finite = np.isfinite(x)
  x0, y0 = np.where(finite, x, 0.0), np.where(finite, y, 0.0)
  hidden = _covered(p, x0, y0, size, domain)
  points = geometry.to_pixels(p, x, y, size, np).astype(np.float32)
  inside = np.all((points >= -0.5) & (points <= size - 0.5), -1)
  seen = inside & (facing > _FACING) & (hidden < _COVERED)
  visibility = np.where(finite, seen, -1).astype(np.int8)
  return SimpleNamespace(
    landmarks=points, visibility=visibility, box=_box(p, size, domain)
  )
