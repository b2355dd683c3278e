"""Casts outputs as they are published: attackers see no more than that."""

import numpy as np

from jaxpriv.training import pictures


def images(values: np.ndarray) -> np.ndarray:
  """uint8 [N, H, W, 3], as a PNG holds them, of floats in [0, 1].

  Raises:
    ValueError: an image is not finite, so that there is nothing to release.
  """
  bad = ~np.isfinite(values).all(axis=(1, 2, 3))
  if bad.any():
    raise ValueError(
      f"{int(bad.sum())} of {len(values)} protected images are not finite."
      " k-Same does so where the set has fewer than k people or people are"
      " unknown; a trained mechanism, where its training failed"
    )
  return pictures.to_uint8(values)


def features(values: np.ndarray) -> np.ndarray:
  """float16, as a pool holds them.

  Raises:
    ValueError: some are not finite, or do not fit.
  """
  with np.errstate(over="ignore"):
    small = values.astype(np.float16)
  if not np.isfinite(small).all():
    raise ValueError(
      "features are not finite, or too large for float16: training failed"
    )
  return small
