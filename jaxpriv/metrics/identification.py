"""Closed-set identification by the gallery photograph nearest to a probe.

Cosine similarity of embeddings, as in the rank-1 rate of Phillips et al., "The
FERET evaluation methodology", TPAMI 22(10), 2000. Three things keep a privacy
figure honest:

* Nearly equal outputs stay distinguishable. With unit u and v and the gallery
  mean c, the v that maximises (u - c).(v - c) - |v - c|^2 / 2 is the one that
  maximises u.v; but in float32 u.v is 1 for every v of a tight cluster, and an
  identity that leaks in its last digits would be missed.
* Equal outputs score chance. Among exact ties the winner is a person drawn per
  probe from `seed`, not the first row, who may own more than a fair share of
  the probes.
* A failed embedding (zero, or not finite) is never a hit, and is counted: a
  recogniser that fails on all of them proves nothing.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxpriv.metrics import statistics

# Similarities on the device at once, in addition to the gallery itself.
BLOCK = 2**25
LAST = np.iinfo(np.int32).max


class Rank1(NamedTuple):
  """How many probes are nearest to a photograph of their own person.

  Attributes:
    hits: the number of these probes.
    total: probes.
    rate: hits / total.
    low: lower end of the 95% Wilson interval.
    high: upper end.
    chance: 1 / number of people in the gallery.
    invalid: embeddings of either side that are zero or not finite.
    nearest: int64 [total], the nearest gallery row of every probe, -1 if there
      is none.
  """

  hits: int
  total: int
  rate: float
  low: float
  high: float
  chance: float
  invalid: int
  nearest: np.ndarray


def rank1(
  gallery: np.ndarray,
  gallery_ids: np.ndarray,
  probes: np.ndarray,
  probe_ids: np.ndarray,
  seed: int = 0,
  own: np.ndarray | None = None,
) -> Rank1:
  """Identifies every probe among the people of the gallery.

  Args:
    gallery: [G, D] embeddings, any number of rows per person.
    gallery_ids: [G] integers.
    probes: [P, D].
    probe_ids: [P]; all must be in the gallery.
    seed: decides exact ties.
    own: int [P], the gallery row of the probe's own photograph, which is left
      out when this probe is identified.

  Returns:
    a `Rank1`.

  Raises:
    ValueError: if a side is empty, shapes do not match, or a probe shows
      somebody who is not in the gallery.
  """
  gallery, gallery_ids = _rows(gallery, gallery_ids, "gallery")
  probes, probe_ids = _rows(probes, probe_ids, "probe")
  if gallery.shape[1] != probes.shape[1]:
    raise ValueError(
      f"gallery embeddings have {gallery.shape[1]} features, probes"
      f" {probes.shape[1]}: they come from different recognisers"
    )
  people, person = np.unique(gallery_ids, return_inverse=True)
  strangers = np.setdiff1d(probe_ids, people)
  if len(strangers):
    raise ValueError(
      f"{len(strangers)} people among the probes are not in the gallery"
      f" (identity {strangers[0]} first): identification is closed-set"
    )
  if own is None:
    own = np.full(len(probes), -1)
  index, invalid = _nearest(gallery, person, len(people), probes, seed, own)
  hits = int(np.sum((index >= 0) & (gallery_ids[index] == probe_ids)))
  return Rank1(
    *statistics.proportion(hits, len(probes)),
    chance=1 / len(people),
    invalid=invalid,
    nearest=index,
  )


def _rows(embeddings, ids, side):
  embeddings, ids = np.asarray(embeddings), np.asarray(ids)
  if embeddings.ndim != 2 or ids.shape != embeddings.shape[:1]:
    raise ValueError(
      f"{side}: embeddings {embeddings.shape} must be [N, D] and identities"
      f" {ids.shape} [N]"
    )
  if not len(ids):
    raise ValueError(f"{side}: there are no embeddings")
  return embeddings, ids


def _nearest(gallery, person, num_people, probes, seed, own):
  """The nearest gallery row of each probe, -1 for none; and invalid rows."""
  gallery, gallery_valid = directions(gallery)
  probes, probes_valid = directions(probes)
  invalid = int((~gallery_valid).sum() + (~probes_valid).sum())
  if not gallery_valid.any():
    return np.full(len(probes), -1), invalid
  centre = gallery[gallery_valid].mean(0)
  gallery, probes = ((x - centre).astype(np.float32) for x in (gallery, probes))
  norms = np.einsum("gd,gd->g", gallery, gallery, dtype=np.float64) / 2
  norms = np.where(gallery_valid, norms, np.inf).astype(np.float32)

  rng = np.random.default_rng(seed)
  turns = rng.integers(num_people, size=len(probes))
  # Ties go to the next person in an order that is independent of the data.
  person = rng.permutation(num_people)[person]
  fixed = [jnp.asarray(x) for x in (gallery, norms, person)]

  block = min(max(BLOCK // len(gallery), 1), len(probes))
  index = np.empty(len(probes), np.int64)
  for start in range(0, len(probes), block):
    # The last block overlaps the one before, so that one shape is compiled.
    rows = slice(max(min(start, len(probes) - block), 0), start + block)
    index[rows] = _block(
      probes[rows], turns[rows], own[rows], *fixed, num_people
    )
  return np.where(probes_valid & (index != own), index, -1), invalid


@jax.jit
def _block(probes, turns, own, gallery, norms, person, num_people):
  score = jnp.matmul(probes, gallery.T, precision="highest") - norms
  score = jnp.where(jnp.arange(len(gallery)) == own[:, None], -jnp.inf, score)
  tied = score == score.max(1, keepdims=True)
  turn = person - turns[:, None]
  # No % or argmin: on a CPU both take longer than the product above.
  turn = jnp.where(tied, jnp.where(turn < 0, turn + num_people, turn), LAST)
  chosen = turn == turn.min(1, keepdims=True)
  return jnp.where(chosen, jnp.arange(len(gallery)), LAST).min(1)


def directions(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Rows of unit norm in float64, and a mask of those that have a direction."""
  x = x.astype(np.float64)
  # Scaled first, so that squares of huge and tiny rows stay finite and above 0.
  largest = np.abs(x).max(1, keepdims=True)
  valid = np.isfinite(largest[:, 0]) & (largest[:, 0] > 0)
  x = np.where(valid[:, None], x, 1) / np.where(valid[:, None], largest, 1)
  return x / np.linalg.norm(x, axis=1, keepdims=True), valid
