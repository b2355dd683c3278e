"""Filters of images that mechanisms and baselines share."""

import math

import dm_pix
import jax
import jax.numpy as jnp


def gaussian_blur(
  images: jax.Array, sigma: float, radius: int | None = None
) -> jax.Array:
  """Blurs [B, H, W, C] by a Gaussian of `sigma` pixels; borders are repeated.

  Args:
    images: to blur.
    sigma: of the Gaussian.
    radius: where it is cut; by default at 3 sigma.
  """
  radius = math.ceil(3 * sigma) if radius is None else radius
  # Zeros would darken the border.
  edges = ((0, 0), (radius, radius), (radius, radius), (0, 0))
  padded = jnp.pad(images, edges, "edge")
  return dm_pix.gaussian_blur(padded, sigma, 2 * radius + 1, padding="VALID")
