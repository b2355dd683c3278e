"""The head in three dimensions, and its projection both ways.

Horizontal slices of the head are ellipses of half-width a(y) and half-depth
r a(y). Seen under yaw t, a slice has half-width k a with
k^2 = cos^2 t + r^2 sin^2 t, and the point at offset s k a from its middle lies
on the surface at

  X = a (s cos f - q sin f),  q = sqrt(1 - s^2),  tan f = r tan t,

so that features drawn at (X, Y), the face seen from the front, slide over the
head and fold away at its edge as it turns. Pitch moves a point of depth z by
z sin(pitch). The other way, from the surface to the image, is a fixed point.

Lengths are in head units (`factors`); y points down, z to the camera. Yaw > 0
turns the face to the right of the image, pitch > 0 up, roll > 0 clockwise.
"""

from types import SimpleNamespace
from typing import Any, NamedTuple

Array = Any

DEPTH = 1.12  # half-depth of a slice over its half-width
SKULL = 0.35  # squareness of the upper head
SWING = 0.30  # how far the chin lies before the axis of the neck


class View(NamedTuple):
  """Image points seen on the head; every array is [B, P].

  Attributes:
    x, y: the points in head units, upright, before projection.
    xs: x after the jaw is brought back under the skull.
    s: offset from the middle of the slice over its half-width, in [-1, 1].
    q: sqrt(1 - s^2), 0 at the edge, 1 where the surface faces the camera.
    X, Y: the surface point as seen from the front.
    inside: distance to the outline, positive inside, in head units.
    sharp: [B, 1], edge steepness: one pixel of blur in head units, inverted.
  """

  x: Array
  y: Array
  xs: Array
  s: Array
  q: Array
  X: Array
  Y: Array
  inside: Array
  sharp: Array

  def on_face(self, xp) -> "View":
    """The same view with points beyond the outline moved far away."""
    away = xp.clip(self.inside * -1e5 - 2e3, 0.0, 99.0)
    return self._replace(Y=self.Y + away)


def pixel_grid(p: SimpleNamespace, size: int, xp) -> tuple[Array, Array]:
  """The centre of every pixel in upright head units, each [B, size**2]."""
  centre = (xp.arange(size, dtype=xp.float32) + 0.5) / size - 0.5
  u = (centre - p.shift_x) / p.scale
  v = (centre - p.shift_y) / p.scale
  c, s = xp.cos(p.roll), xp.sin(p.roll)
  x = (u * c)[:, None, :] + (v * s)[:, :, None]
  y = (v * c)[:, :, None] - (u * s)[:, None, :]
  return x.reshape(-1, size * size), y.reshape(-1, size * size)


def to_pixels(p: SimpleNamespace, x: Array, y: Array, size: int, xp) -> Array:
  """Upright head units [B, P] to pixels [B, P, 2]."""
  c, s = xp.cos(p.roll), xp.sin(p.roll)
  u = (x * c - y * s) * p.scale + p.shift_x
  v = (x * s + y * c) * p.scale + p.shift_y
  return (xp.stack([u, v], -1) + 0.5) * size - 0.5


class _Turn(NamedTuple):
  """Constants of a pose, each [B, 1]."""

  k: Array
  cos_f: Array
  sin_f: Array
  z_q: Array
  z_s: Array
  cos_pitch: Array
  sin_pitch: Array
  chin: Array
  swing: Array


def _turn(p: SimpleNamespace, xp) -> _Turn:
  c, s = xp.cos(p.yaw), xp.sin(p.yaw)
  k = xp.sqrt(c * c + DEPTH**2 * s * s)
  cp, sp = xp.cos(p.pitch), xp.sin(p.pitch)
  return _Turn(
    k=k,
    cos_f=c / k,
    sin_f=DEPTH * s / k,
    z_q=DEPTH / k,
    z_s=(DEPTH**2 - 1.0) * s * c / k,
    cos_pitch=cp,
    sin_pitch=sp,
    chin=p.chin * cp - SWING * sp,
    swing=SWING * s,
  )


def _profile(p, turn: _Turn, y: Array, xp) -> tuple[Array, Array]:
  """Squared half-width of the slice at image height y, and jaw position^2."""
  low = xp.clip(y * (1.0 / turn.chin), 0.0, 99.0)
  up = xp.clip(y, -99.0, 0.0)
  low, up = low * low, up * up
  t = low + up
  square = p.head_width * p.head_width * (1.0 - t)
  return square * (1.0 + p.jaw * low + SKULL * up), low


def view(p: SimpleNamespace, x: Array, y: Array, size: int, xp) -> View:
  """Lifts image points (upright head units, [B, P]) to the head."""
  turn = _turn(p, xp)
  a2, low = _profile(p, turn, y, xp)
  xs = x - turn.swing * low
  inside = (a2 * (turn.k * turn.k) - xs * xs) * (0.68 / p.head_width)
  a = xp.sqrt(xp.clip(a2, 0.01, 9.0))
  s = xp.clip(xs / (a * turn.k), -1.0, 1.0)
  q = xp.sqrt(1.0 - s * s)
  z = a * (q * turn.z_q + s * turn.z_s)
  return View(
    x=x,
    y=y,
    xs=xs,
    s=s,
    q=q,
    X=a * (s * turn.cos_f - q * turn.sin_f),
    Y=(y + z * turn.sin_pitch) / turn.cos_pitch,
    inside=inside,
    sharp=size * p.scale / p.blur,
  )


def project(
  p: SimpleNamespace, X: Array, Y: Array, xp
) -> tuple[Array, Array, Array]:
  """Surface points [B, K] to image (x, y) in upright head units.

  Also returns how far they face the camera: q, negative when turned away.
  """
  turn = _turn(p, xp)
  y = Y
  for _ in range(8):
    a2, low = _profile(p, turn, y, xp)
    a = xp.sqrt(xp.clip(a2, 0.01, 9.0))
    sine = xp.clip(X / a, -1.0, 1.0)
    cosine = xp.sqrt(1.0 - sine * sine)
    s = sine * turn.cos_f + cosine * turn.sin_f
    q = cosine * turn.cos_f - sine * turn.sin_f
    z = a * (q * turn.z_q + s * turn.z_s)
    y = 0.5 * y + 0.5 * (Y * turn.cos_pitch - z * turn.sin_pitch)
  return s * turn.k * a + turn.swing * low, y, q


def chin(p: SimpleNamespace, xp) -> tuple[Array, Array]:
  """The tip of the chin in upright head units, each [B, 1]."""
  turn = _turn(p, xp)
  return turn.swing, turn.chin


def outline(p: SimpleNamespace, y: Array, xp) -> tuple[Array, Array]:
  """Left and right edge of the head at image heights y [B, K]."""
  turn = _turn(p, xp)
  a2, low = _profile(p, turn, y, xp)
  half = turn.k * xp.sqrt(xp.maximum(a2, 0.0))
  middle = turn.swing * low
  return middle - half, middle + half
