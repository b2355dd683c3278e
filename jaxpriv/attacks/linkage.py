"""A8: linking two releases of a photograph, or a release and clean features."""

from collections.abc import Iterator

from jaxpriv.attacks import inversion
from jaxpriv.attacks.scene import Scene
from jaxpriv.attacks.threat import People
from jaxpriv.metrics import finding
from jaxpriv.metrics.finding import Finding, Interval
from jaxpriv.ranges import COUNT
from jaxpriv.training import published
from jaxpriv.training.mechanism import Target

PRODUCTS = ("features",)
RANGES = {"linked": COUNT}
LINKAGE = "linkage"


def attack(
  target: Target, people: People, linked: int = 1000
) -> Iterator[Finding]:
  """Looks `linked` released features up among as many of another release."""
  scene = Scene(target, people)
  few = scene.test().take(slice(0, linked))
  released = few.arrays["features"]
  galleries = [("A8 released twice", released)]
  if target.again is not None:
    fn, state, frozen = target.again.bound("features")
    again = scene.apply(
      fn,
      state,
      people.test.take(slice(0, linked)),
      frozen,
      finish=published.features,
    )
    galleries.append(("A8 released twice, with another secret", again))
  galleries.append(("A8 clean features in hand", few.arrays["clean"]))
  # Without protection a release is its own copy.
  best = inversion.linked(few.arrays["clean"], few.arrays["clean"])
  for by, gallery in galleries:
    yield finding.of(
      LINKAGE,
      finding.HIDDEN,
      "link rate",
      inversion.linked(gallery, released),
      subject=target.name,
      by=by,
      floor=1 / len(released),
      ceiling=Interval(best.rate, best.low, best.high),
    )
