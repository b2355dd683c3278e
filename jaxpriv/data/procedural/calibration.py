"""How hard the faces are for linear probes: ridge classifiers on raw pixels.

The generator promises that people and attributes cannot be read off pixels
linearly, while a network can learn both: a linear probe identifies other
photographs of at most 30% of 200 people and reads no attribute but Male above
90%. The probe is one-against-all ridge regression on centred pixels, solved in
its dual form, with the penalty that does best on the test photographs
themselves, which is the choice most favourable to the probe.
"""

from typing import NamedTuple

import numpy as np

from jaxpriv.data.procedural.source import ProceduralFaces

PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)


class Probe(NamedTuple):
  """Accuracy on unseen photographs, and that of a constant guess."""

  accuracy: float
  baseline: float


def pixels(source: ProceduralFaces, indices: np.ndarray) -> np.ndarray:
  """Raw images as float32 rows [N, H * W * 3] in [0, 1]."""
  images = source.batch(indices)["image"]
  return images.reshape(len(images), -1).astype(np.float32) / 255.0


def ridge_scores(
  train: np.ndarray, targets: np.ndarray, test: np.ndarray
) -> list[np.ndarray]:
  """Predictions [M, K] of ridge regression, one array per penalty.

  Args:
    train: rows [N, D]. targets: [N, K]. test: rows [M, D].
  """
  mean = train.mean(0)
  train, test = train - mean, test - mean
  gram = train @ train.T
  values, vectors = np.linalg.eigh(gram.astype(np.float64))
  offset = targets.mean(0)
  rotated = vectors.T @ (targets - offset)
  cross = (test @ train.T).astype(np.float64) @ vectors
  largest = values[-1]
  return [
    cross @ (rotated / (values + penalty * largest)[:, None]) + offset
    for penalty in PENALTIES
  ]


def identity_probe(
  people: int = 200, train: int = 8, test: int = 2, seed: int = 0
) -> Probe:
  """Rank-1 of a linear probe on other photographs of the people it learnt."""
  shots = train + test
  source = ProceduralFaces(people, shots, 64, seed)
  numbers = np.arange(len(source)) % shots
  train_rows = np.flatnonzero(numbers < train)
  test_rows = np.flatnonzero(numbers >= train)
  targets = np.eye(people)[source.identities[train_rows]]
  scores = ridge_scores(
    pixels(source, train_rows), targets, pixels(source, test_rows)
  )
  truth = source.identities[test_rows]
  best = max(np.mean(score.argmax(1) == truth) for score in scores)
  return Probe(float(best), 1.0 / people)


def attribute_probes(
  people: int = 1000, shots: int = 4, seed: int = 0
) -> dict[str, Probe]:
  """Linear readings of every attribute on people not seen in training."""
  source = ProceduralFaces(people, shots, 64, seed)
  train_rows = np.flatnonzero(source.identities < 0.75 * people)
  test_rows = np.flatnonzero(source.identities >= 0.75 * people)
  labels = source.batch(np.arange(len(source)))["attributes"]
  scores = ridge_scores(
    pixels(source, train_rows),
    2.0 * labels[train_rows] - 1.0,
    pixels(source, test_rows),
  )
  truth = labels[test_rows] > 0
  best = np.max([np.mean((s > 0) == truth, 0) for s in scores], 0)
  share = truth.mean(0)
  return {
    name: Probe(float(best[i]), float(max(share[i], 1.0 - share[i])))
    for i, name in enumerate(source.attribute_names)
  }
