"""Frames photographs for recognisers by moving the camera, not the image.

The five points of a face are brought to the ArcFace template by the similarity
that fits them best (least squares; Umeyama, TPAMI 1991, in the plane as one
complex factor). Real photographs are warped there; a drawn face is drawn there,
so that no pixel is interpolated.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxpriv.data import alignment
from jaxpriv.data.procedural.landmarks import five_points, locate

_SIZE = 112  # an arbitrary size: the fit is in shares of the side


def aligned(
  params: dict[str, np.ndarray],
  domain: str = "human",
  align: str = "landmarks",
) -> dict[str, np.ndarray]:
  """Replaces roll, scale, shift_x and shift_y so that the face is aligned.

  Args:
    params: factors of people and photographs, each [B].
    domain: of the faces.
    align: one of `alignment.BY_POINTS`.

  Returns:
    the factors of the same faces in the template's frame.
  """
  points = locate(params, _SIZE, domain).landmarks[:, :5].astype(np.float64)
  moved = _moved(params, points, align, np)
  return params | {k: v.astype(np.float32) for k, v in moved.items()}


def aligned_people(
  params: dict[str, Any], align: str = "landmarks"
) -> dict[str, Any]:
  """As `aligned`, of people, in JAX."""
  return params | _moved(params, five_points(params, _SIZE, jnp), align, jnp)


def _moved(params, points, align, xp):
  """The four factors by which five points [B, 5, 2] lie on the template."""
  source = _plane(points)
  target = _plane(alignment.template(_SIZE, align)[None])
  source_mean = source.mean(1, keepdims=True)
  target_mean = target.mean(1, keepdims=True)
  from_mean, to_mean = source - source_mean, target - target_mean
  factor = (from_mean.conj() * to_mean).sum(1) / (xp.abs(from_mean) ** 2).sum(1)
  shift = params["shift_x"] + 1j * params["shift_y"]
  shift = factor * (shift - source_mean[:, 0]) + target_mean[:, 0]
  return dict(
    roll=params["roll"] + xp.angle(factor),
    scale=params["scale"] * xp.abs(factor),
    shift_x=shift.real,
    shift_y=shift.imag,
  )


def _plane(points):
  """Pixels [B, K, 2] to x + iy, shares of the side from the centre, [B, K]."""
  shares = (points + 0.5) / _SIZE - 0.5
  return shares[..., 0] + 1j * shares[..., 1]
