"""Whether two photographs show one person: what a release is still good for.

The protocol is view 2 of LFW: ten folds without shared people, each decided by
the threshold that is best on the other nine. One of the two photographs is the
query, the other one is enrolled (Li et al., arXiv 2312.08975, table 5):

| situation | query | enrolled |
|---|---|---|
| 1 | protected | protected |
| 2 | original | protected |
| 3 | original | original |

It is read by the mechanism's own recognisers, by an independent one that has
learned from originals, and by its counterpart that learns from what is
released.

With `levels`, the recognisers also read photographs under irregular masks, both
of a pair, in the six levels of hidden area by which such masks are sorted
(table 1 of the same paper). Photograph i has mask i of its level; where masks
are fewer they come again.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from absl import logging

from jaxpriv.attacks.threat import People, Reader
from jaxpriv.data import masks, strokes
from jaxpriv.data import pairs as pairs_lib
from jaxpriv.data.dataset import Data
from jaxpriv.data.pairs import Pairs
from jaxpriv.data.records import DataError
from jaxpriv.metrics import finding, statistics, verification
from jaxpriv.metrics.finding import METRICS, Finding, Interval, Metric
from jaxpriv.ranges import whole
from jaxpriv.training.mechanism import Target

PRODUCTS = ("image",)
RANGES = {"folds": whole(2), "most": whole(2)}
METRIC = "verification accuracy"
METRICS[METRIC] = Metric(
  "share",
  slack=None,
  strict=True,
  kept=0.03,
  about="pairs that are told right, one person or two",
)
FOLDS, MOST = 10, 600
DRAWN = "drawn"  # levels, by masks of here
MASKS = 1000  # that are drawn for a level
SITUATIONS = {  # whether the query and the enrolled one are protected
  "1: both protected": (True, True),
  "2: query original": (False, True),
  "3: both original": (False, False),
}


def ready(
  target: Target,
  data: Data,
  mesh: jax.sharding.Mesh,
  pairs: str = "",
  levels: str = "",
  **options: Any,
) -> None:
  """Reads the file of pairs and the folder of masks, if there are any.

  Raises:
    DataError: one of them will not do.
  """
  del mesh, options
  if target.control:
    return
  if pairs:
    describe = data.source.describe
    pairs_lib.read(pairs, [describe(int(i)) for i in data.splits["test"]])
  side = target.config.data.image_size
  if levels == DRAWN:  # too few pixels cannot hide so little
    for bounds in masks.BUCKETS:
      strokes.irregular(jax.random.key(0), bounds, side, 1)
  elif levels:
    _folder(levels, side)


def attack(
  target: Target,
  people: People,
  pairs: str = "",
  folds: int = FOLDS,
  most: int = MOST,
  counterpart: bool = True,
  levels: str = "",
) -> Iterator[Finding]:
  """The accuracy of each reader in each situation.

  Args:
    target: whose images are read.
    people: whose photographs these are.
    pairs: file of the pairs, see `jaxpriv.data.pairs`; "": they are drawn.
    folds: of drawn pairs.
    most: pairs in a fold that is drawn.
    counterpart: whether a recogniser learns from what is released.
    levels: "drawn", or a folder of pictures of masks in which holes are white;
      "" is none. Controls have no part in it.
  """
  chosen = _pairs(people, pairs, folds, most)
  floor = _floor(chosen)
  released = people.image(target, people.test)
  own = [
    people.reader(
      phase.name,
      phase.method.outputs.embed,
      target.trained.state(phase),
      target.trained.frozen(phase),
    )
    for phase in target.trained.phases
    if phase.method.outputs.embed and not target.control
  ]
  independent = people.recogniser()
  read = [(reader, people.read(reader)) for reader in [*own, independent]]
  # No reader is better without protection than the best of them.
  ceilings = [
    accuracy(originals, originals, chosen)
    for reader, originals in (read[:-1] or read)
  ]
  best = max(ceilings, key=lambda figures: figures.rate)
  ceiling = Interval(best.rate, best.low, best.high)
  if levels and not target.control:
    yield from _by_level(target, people, levels, chosen, [*own, independent])
  if counterpart:
    learned = _counterpart(target, people)
    # Not by people.read, which knows it by a name that all targets share.
    read.append((learned, learned.read(people.test)))
  for reader, originals in read:
    protected = reader.read(released)
    for situation, figures in _situations(originals, protected, chosen):
      yield finding.of(
        "verification",
        finding.KEPT if any(SITUATIONS[situation]) else finding.TOLD,
        METRIC,
        figures,
        subject=target.name,
        by=reader.name,
        floor=floor,
        ceiling=ceiling,
        where={"situation": situation},
      )


def _by_level(
  target: Target,
  people: People,
  levels: str,
  chosen: Pairs,
  readers: Sequence[Reader],
) -> Iterator[Finding]:
  """The accuracy of each reader under irregular masks, level by level."""
  images = people.test.arrays["image"]
  fill = np.uint8(round(255 * people.config.model.get("fill", 0.0)))
  for name, keep in _masks(levels, images.shape[1], people.config.seed):
    shown = keep[np.arange(len(images)) % len(keep)]
    hidden = np.where(shown[..., None], images, fill)
    masked = people.test.replace(image=hidden, keep=shown)
    for reader in readers:
      embeddings = reader.read(masked)
      yield finding.of(
        "verification",
        finding.TOLD,
        METRIC,
        accuracy(embeddings, embeddings, chosen),
        subject=finding.NOBODY,
        by=reader.name,
        floor=_floor(chosen),
        where={"situation": f"irregular masks, {name} hidden"},
      )


def _masks(
  levels: str, side: int, seed: int
) -> Iterator[tuple[str, np.ndarray]]:
  """(name of a level, bool [N, S, S], 1 is visible) of each that has masks."""
  if levels != DRAWN:
    folder = _folder(levels, side)
  for number, (low, high) in enumerate(masks.BUCKETS):
    name = f"{low:.0%} to {high:.0%}"
    if levels == DRAWN:
      key = jax.random.fold_in(jax.random.key(seed), number)
      yield (
        name,
        np.asarray(strokes.irregular(key, (low, high), side, MASKS)),
      )
    elif (folder.bucket == number).any():
      yield name, folder.keep[folder.bucket == number]
    else:
      logging.warning("%s: no mask hides %s", levels, name)


def _folder(path: str, side: int) -> masks.Folder:
  """Raises `DataError` where no mask is in any level."""
  folder = masks.read_folder(path, side, white=masks.HOLES)
  if (folder.bucket < 0).all():
    low, high = masks.BUCKETS[0][0], masks.BUCKETS[-1][1]
    raise DataError(
      f"{path}: none of its {len(folder.names)} masks hides {low:.0%} to"
      f" {high:.0%}: holes are to be white, all else black"
    )
  return folder


def _situations(
  originals: np.ndarray, protected: np.ndarray, chosen: Pairs
) -> Iterator[tuple[str, statistics.Proportion]]:
  """The accuracy in each situation, of embeddings of the test photographs."""
  for situation, sides in SITUATIONS.items():
    query, enrolled = (protected if side else originals for side in sides)
    yield situation, accuracy(query, enrolled, chosen)


def drawn(people: People) -> Pairs | None:
  """Pairs of the test split, in fewer folds where its people are few.

  None where there are fewer than four people with two photographs each.
  """
  identities = people.test.identities
  counts = np.unique(identities[identities >= 0], return_counts=True)[1]
  folds = min(FOLDS, int((counts > 1).sum()) // 2)
  return _pairs(people, "", folds, MOST) if folds > 1 else None


def recovered(
  target: Target,
  reader: Reader,
  by: str,
  images: np.ndarray,
  originals: np.ndarray,
  chosen: Pairs,
) -> Finding:
  """How well pairs of a recovered image and a photograph are told.

  Args:
    target: whose images were recovered.
    reader: who reads them.
    by: the attack that recovered them.
    images: the reader's embeddings [N, D] of what was recovered: the queries.
    originals: of the photographs, which are enrolled.
    chosen: the pairs.
  """
  undisguised = accuracy(originals, originals, chosen)
  ceiling = Interval(undisguised.rate, undisguised.low, undisguised.high)
  return finding.of(
    "identity",
    finding.HIDDEN,
    METRIC,
    accuracy(images, originals, chosen),
    subject=target.name,
    by=by,
    floor=_floor(chosen),
    ceiling=ceiling,
    where={"recogniser": reader.name, **reader.where},
  )


def _floor(chosen: Pairs) -> float:
  """Who says the same of all pairs is right about the commoner kind."""
  share = float(chosen.same.mean())
  return max(share, 1 - share)


def accuracy(
  query: np.ndarray, enrolled: np.ndarray, chosen: Pairs
) -> statistics.Proportion:
  """Pairs told right; the interval is drawn over folds.

  An embedding that is zero or not finite is like nobody's.
  """
  left, right = (
    rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    for rows in (query[chosen.left], enrolled[chosen.right])
  )
  similarity = np.nan_to_num(
    (left * right).sum(1), nan=-1, neginf=-1, posinf=-1
  )
  right_ones = np.zeros(len(similarity), bool)
  for fold in np.unique(chosen.fold):
    mine = chosen.fold == fold
    threshold = verification.best_threshold(
      similarity[~mine], chosen.same[~mine]
    )
    accepted = similarity[mine] > threshold
    right_ones[mine] = accepted == chosen.same[mine]
  return statistics.grouped_proportion(right_ones, chosen.fold)


def _pairs(people: People, path: str, folds: int, most: int) -> Pairs:
  def make():
    if not path:
      seed = people.config.seed
      return pairs_lib.draw(people.test.identities, folds, most, seed)
    assert people.data is not None
    describe = people.data.source.describe
    names = [describe(int(row)) for row in people.test.arrays["row"]]
    read, absent = pairs_lib.read(path, names)
    if absent:
      logging.warning(
        "%s: %d of %d pairs name photographs that are not of the test split:"
        " they are left out", path, absent, absent + len(read.same),
      )  # fmt: skip
    folds_of = lambda kind: len(np.unique(read.fold[kind]))
    if min(folds_of(read.same), folds_of(~read.same)) < 2:
      raise DataError(
        f"{path}: {len(read.same)} of its {absent + len(read.same)} pairs are"
        " of the test split, and neither kind may be in fewer than two folds:"
        " thresholds are chosen on the other ones. Enlarge the test split, or"
        " have pairs drawn (config.attacks.verification.pairs='')"
      )
    return read

  return people.once(("pairs", path, folds, most), make)


def _counterpart(target: Target, people: People) -> Reader:
  """A recogniser that has learned from released images alone."""
  options = people.options.phases.recogniser
  name = f"counterpart_{target.name}"
  phase = people.recogniser_phase(name, options)
  state = people.train(
    phase,
    people.image(target, people.known),
    options,
    people.recogniser_settings(),
  )
  architecture = people.options.recogniser.architecture
  return people.reader(
    f"{architecture} trained on released images",
    phase.method.outputs.embed,
    state,
  )
