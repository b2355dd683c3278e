"""Differential privacy: per-example gradients, clipped and summed."""

from jaxpriv.privacy.clipping import ClippedGrad, clipped_grad

__all__ = ["ClippedGrad", "clipped_grad"]
