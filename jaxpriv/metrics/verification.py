"""Same person or not: the LFW protocol, and TAR at a fixed FAR.

View 2 of LFW (Huang et al., technical report 07-49, 2007): each of ten folds is
decided by the threshold that is best on the other nine.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxpriv.metrics.identification import directions

BLOCK = 2**24  # similarities at once


class Verification(NamedTuple):
  """Accuracy over folds.

  Attributes:
    accuracy: mean over folds.
    std: standard deviation over folds, ddof 0.
    thresholds: the threshold of each fold; a pair is accepted when its
      similarity is greater.
    accuracies: of each fold.
  """

  accuracy: float
  std: float
  thresholds: tuple[float, ...]
  accuracies: tuple[float, ...]


def evaluate_pairs(
  similarity: np.ndarray,
  same: np.ndarray,
  num_folds: int = 10,
  thresholds: np.ndarray | None = None,
) -> Verification:
  """Verification accuracy by cross-validated threshold.

  Args:
    similarity: [N], greater is more alike.
    same: [N] booleans, the pair shows one person. Folds are contiguous, in the
      order given; where N does not divide, the first folds have one pair more.
    num_folds: at least 2.
    thresholds: candidates; by default all that can matter: midpoints between
      neighbouring distinct similarities of the training folds, and one beyond
      each end. Among equally good ones the first wins: the lowest, or the first
      passed.

  Returns:
    a `Verification`.

  Raises:
    ValueError: if there are fewer pairs than folds, shapes differ, or some
      similarity is not finite.
  """
  similarity, same = _pairs(similarity, same)
  if not 2 <= num_folds <= len(same):
    raise ValueError(f"{len(same)} pairs cannot make {num_folds} folds")
  if thresholds is not None:
    thresholds = np.asarray(thresholds, np.float64)
  chosen, accuracies = [], []
  for fold in np.array_split(np.arange(len(same)), num_folds):
    rest = np.delete(np.arange(len(same)), fold)
    best = best_threshold(similarity[rest], same[rest], thresholds)
    chosen.append(best)
    hits = _right(best, similarity[fold], same[fold])
    accuracies.append(float(hits / len(fold)))
  return Verification(
    float(np.mean(accuracies)),
    float(np.std(accuracies)),
    tuple(chosen),
    tuple(accuracies),
  )


def best_threshold(
  similarity: np.ndarray,
  same: np.ndarray,
  thresholds: np.ndarray | None = None,
) -> float:
  """The threshold that tells most pairs right; see `evaluate_pairs`."""
  similarity, same = _pairs(similarity, same)
  if thresholds is None:
    thresholds = _between(similarity)
  return float(thresholds[np.argmax(_right(thresholds, similarity, same))])


def threshold_at_far(
  similarity: np.ndarray, same: np.ndarray, far: float
) -> float:
  """The lowest threshold that accepts at most far of the negatives.

  It is the (floor(far * negatives) + 1)-th largest similarity of a pair of two
  people; pairs are accepted when greater. -inf when far is 1.
  """
  similarity, same = _pairs(similarity, same)
  if not 0 <= far <= 1:
    raise ValueError(f"the false accept rate must lie in [0, 1], not {far}")
  negatives = np.sort(similarity[~same])[::-1]
  if not len(negatives):
    raise ValueError("no pair shows two people: there is no false accept rate")
  # 0.29 * 100 is 28.999999999999996: the slack makes it the intended 29.
  allowed = math.floor(far * len(negatives) + 1e-9)
  return float(negatives[allowed]) if allowed < len(negatives) else -math.inf


def tar_at_far(similarity: np.ndarray, same: np.ndarray, far: float) -> float:
  """Share of same-person pairs accepted at a false accept rate.

  Args:
    similarity: [N], greater is more alike.
    same: [N] booleans.
    far: share of the two-person pairs that may be accepted, in [0, 1]. Below
      1 / number of negatives the figure rests on the largest of them alone.

  Returns:
    the true accept rate at `threshold_at_far`, over all pairs (no folds).
  """
  threshold = threshold_at_far(similarity, same, far)
  similarity, same = _pairs(similarity, same)
  if not same.any():
    raise ValueError("no pair shows one person: there is no true accept rate")
  return float(np.mean(similarity[same] > threshold))


def true_accepts(
  gallery: np.ndarray,
  gallery_ids: np.ndarray,
  probes: np.ndarray,
  probe_ids: np.ndarray,
  fars: Sequence[float],
) -> list[np.ndarray | None]:
  """Tells which probes are taken for their own person in the gallery.

  Every probe is compared with every row of the gallery by the cosine, and each
  threshold is that of `threshold_at_far` over all pairs of two people. Nearly
  equal embeddings stay distinguishable, as in `identification`; those that are
  zero or not finite are like nobody.

  Args:
    gallery: [G, D], one row a person.
    gallery_ids: [G] integers, all different.
    probes: [P, D].
    probe_ids: [P]; all must be in the gallery.
    fars: false accept rates.

  Returns:
    for each rate bool [P]; None if it allows less than one of the pairs, as the
    largest similarity alone would decide.
  """
  if np.setdiff1d(probe_ids, gallery_ids).size:
    raise ValueError("a probe shows somebody who is not in the gallery")
  order = np.argsort(gallery_ids)
  right = order[np.searchsorted(gallery_ids, probe_ids, sorter=order)]
  sides = [directions(np.asarray(x)) for x in (gallery, probes)]
  (gallery, gallery_valid), (probes, probes_valid) = sides
  centre = gallery[gallery_valid].mean(0) if gallery_valid.any() else 0
  # u.v - 1 = -|u - v|^2 / 2 = a.b - |a|^2 / 2 - |b|^2 / 2: a = u - c, b = v - c
  gallery, probes = gallery - centre, probes - centre
  add = [
    np.where(valid, -(rows**2).sum(1) / 2, -np.inf)
    for rows, valid in ((gallery, gallery_valid), (probes, probes_valid))
  ]
  gallery = gallery.astype(np.float32)
  negatives = len(probes) * (len(gallery) - 1)
  allowed = [math.floor(far * negatives + 1e-9) for far in fars]
  most = min(max(allowed) + 1, negatives)
  largest = np.empty(0, np.float32)
  positive = np.empty(len(probes), np.float32)
  step = max(BLOCK // len(gallery), 1)
  for start in range(0, len(probes), step):
    rows = slice(start, start + step)
    similarity = probes[rows].astype(np.float32) @ gallery.T
    similarity += (add[1][rows, None] + add[0]).astype(np.float32)
    mine = np.arange(len(similarity)), right[rows]
    positive[rows] = similarity[mine]
    others = np.ones(similarity.shape, bool)
    others[mine] = False
    largest = np.concatenate([largest, similarity[others]])
    if len(largest) > most:
      largest = np.partition(largest, len(largest) - most)[-most:]
  largest = np.sort(largest)[::-1]
  return [
    positive > largest[count] if 1 <= count < len(largest) else None
    for count in allowed
  ]


def _pairs(similarity, same):
  similarity = np.asarray(similarity, np.float64)
  same = np.asarray(same, bool)
  if similarity.ndim != 1 or similarity.shape != same.shape:
    raise ValueError(
      f"similarity {similarity.shape} and same {same.shape} must be [N] both"
    )
  bad = int((~np.isfinite(similarity)).sum())
  if bad:
    raise ValueError(
      f"{bad} of {len(same)} similarities are not finite: an embedding failed"
    )
  return similarity, same


def _between(similarity):
  """Thresholds that split `similarity` in every possible way, ascending."""
  values = np.unique(similarity)
  low, high = values[:-1], values[1:]
  middle = low / 2 + high / 2
  # Neighbouring floats have no midpoint; then the lower one splits them.
  middle = np.where(middle < high, middle, low)
  return np.concatenate([[values[0] - 1], middle, [values[-1] + 1]])


def _right(thresholds, similarity, same):
  """The number of pairs that each threshold decides correctly."""
  positives = np.sort(similarity[same])
  negatives = np.sort(similarity[~same])
  accepted = len(positives) - np.searchsorted(positives, thresholds, "right")
  return accepted + np.searchsorted(negatives, thresholds, "right")
