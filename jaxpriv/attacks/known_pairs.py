"""A1: pairs of released features and photographs are known."""

from collections.abc import Iterator, Sequence

import numpy as np

from jaxpriv.attacks import linear
from jaxpriv.attacks.scene import Scene
from jaxpriv.attacks.threat import People
from jaxpriv.metrics.finding import Finding
from jaxpriv.ranges import COUNT, NATURAL
from jaxpriv.training.mechanism import Target

PRODUCTS = ("features",)
RANGES = {"pairs": COUNT, "fewest_pairs": NATURAL}
KNOWS = "pairs of released features and photographs"


def attack(
  target: Target,
  people: People,
  pairs: Sequence[int] = (1, 4, 16, 64, 256, 1024, 4096, 16384),
  fewest_pairs: int = 16,
) -> Iterator[Finding]:
  """Least squares, and an inverter, for each number of pairs.

  Args:
    target: under attack; a control faces the largest number.
    people: whose photographs these are.
    pairs: how many are known.
    fewest_pairs: an inverter is trained on; least squares do with less.
  """
  scene = Scene(target, people)
  known, released = scene.known(), scene.test().arrays["features"]
  order = np.random.default_rng(people.config.seed).permutation(len(known))
  phase, state = scene.clean_inverter()
  numbers = sorted({min(n, len(order)) for n in pairs})
  best: dict[int, np.ndarray] = {}
  for count in numbers[-1:] if target.control else numbers:
    some = scene.some(known, np.sort(order[:count]))
    to_clean = linear.least_squares(
      some.arrays["features"], some.arrays["clean"]
    )
    clean = scene.gather(to_clean.blocks(released), len(released))
    mapped = scene.reconstruct(phase, state, clean)
    fitted = scene.rebuilt("A1 least squares", mapped, KNOWS, pairs=count)
    yield from fitted
    best[count] = mapped
    if count < fewest_pairs:
      continue
    schedule = scene.longer_schedule(count)
    own = scene.inverter(f"known_{count}", options=schedule)
    images = scene.reconstruct(own, scene.train(own, some, schedule), released)
    learned = scene.rebuilt("A1 inverter", images, KNOWS, pairs=count)
    yield from learned
    if learned[0].value > fitted[0].value:
      best[count] = images
  numbers = list(best)
  for count in sorted({numbers[0], numbers[len(numbers) // 2], numbers[-1]}):
    caption = "by 1 pair" if count == 1 else f"by {count:,} pairs"
    scene.show(caption, best[count])
