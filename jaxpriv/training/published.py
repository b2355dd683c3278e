"""Casts outputs as they are published: attackers see no more than that."""

import numpy as np

from jaxpriv.errors import UserError
from jaxpriv.training import pictures


class NotFiniteError(UserError, ValueError):
  """Values to be released are not finite."""


def images(values: np.ndarray) -> np.ndarray:
  """uint8 [N, H, W, 3], as a PNG holds them, of floats in [0, 1].

  Raises:
    NotFiniteError: an image is not, so that there is nothing to release.
  """
  bad = ~np.isfinite(values).all(axis=(1, 2, 3))
  if bad.any():
    raise NotFiniteError(
      f"{int(bad.sum())} of {len(values)} protected images are not finite: the"
      " training of the mechanism failed. Look at its curves in the report, and"
      " train with a lower learning rate"
    )
  return pictures.to_uint8(values)


def features(values: np.ndarray) -> np.ndarray:
  """float16, as a pool holds them.

  Raises:
    NotFiniteError: some are not, or do not fit.
  """
  with np.errstate(over="ignore"):
    small = values.astype(np.float16)
  if not np.isfinite(small).all():
    raise NotFiniteError(
      "features are not finite, or too large for float16: the training of the"
      " mechanism failed. Train with a lower learning rate"
    )
  return small
