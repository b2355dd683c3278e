"""How like the photographs released images are, and how varied.

No attack, and no verdict: two images may be alike and hide who it is, or be
unlike and give it away.
"""

from collections.abc import Iterator

from jaxpriv.attacks.threat import People
from jaxpriv.metrics import finding
from jaxpriv.metrics import image as image_metrics
from jaxpriv.metrics.finding import Finding
from jaxpriv.training.mechanism import Target

PRODUCTS = ("image",)
MEASURED = ("SSIM", "PSNR")


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
  values = image_metrics.likeness(photographs, released, people.test.identities)
  for name in MEASURED:
    if name in values:  # identical images have no finite PSNR
      yield finding.of(
        "likeness",
        finding.TOLD,
        name,
        values[name],
        subject=target.name,
        by="pixels",
      )
