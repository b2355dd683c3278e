"""How like the photographs released images are, and how varied.

No attack, and no verdict: two images may be alike and hide who it is, or be
unlike and give it away.
"""

from collections.abc import Iterator

import jax
import numpy as np

from jaxpriv.attacks.threat import People
from jaxpriv.metrics import finding, statistics
from jaxpriv.metrics import image as image_metrics
from jaxpriv.metrics.finding import Finding
from jaxpriv.training.mechanism import Target

PRODUCTS = ("image",)
BLOCK = 256


def attack(target: Target, people: People) -> Iterator[Finding]:
  """SSIM and PSNR of pairs, and how many outputs differ from all others."""
  released = people.image(target, people.test).arrays["image"]
  photographs = people.test.arrays["image"]
  distinct = image_metrics.distinct_outputs(released)
  share = distinct / len(released)
  yield Finding(
    subject=target.name,
    claim="outputs",
    wanted=finding.TOLD,
    by="count",
    metric="distinct",
    value=share,
    low=share,
    high=share,
    hits=distinct,
    total=len(released),
  )
  for name, metric in (
    ("SSIM", image_metrics.ssim),
    ("PSNR", image_metrics.psnr),
  ):
    values = _each(jax.jit(metric), photographs, released)
    if np.isfinite(values).any():  # identical images have no finite PSNR
      yield finding.of(
        "likeness",
        finding.TOLD,
        name,
        statistics.mean_interval(values, people.test.identities),
        subject=target.name,
        by="pixels",
      )


def _each(metric, a: np.ndarray, b: np.ndarray) -> np.ndarray:
  unit = lambda x: x.astype(np.float32) / 255
  return np.concatenate(
    [
      np.asarray(metric(unit(a[i : i + BLOCK]), unit(b[i : i + BLOCK])))
      for i in range(0, len(a), BLOCK)
    ]
  )
