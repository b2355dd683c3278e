import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxpriv.metrics import verification


def brute_force(similarity, same, num_folds, thresholds=None):
  """The protocol, pair by pair."""
  n = len(same)
  sizes = [n // num_folds + (i < n % num_folds) for i in range(num_folds)]
  starts = np.cumsum([0, *sizes])
  accuracies, chosen = [], []
  for i in range(num_folds):
    test = range(starts[i], starts[i + 1])
    train = [j for j in range(n) if j not in test]
    candidates = thresholds
    if candidates is None:
      values = sorted({float(similarity[j]) for j in train})
      candidates = [values[0] - 1]
      candidates += [(a + b) / 2 for a, b in zip(values, values[1:])]
      candidates += [values[-1] + 1]
    best, best_hits = None, -1
    for t in candidates:
      hits = sum((similarity[j] > t) == same[j] for j in train)
      if hits > best_hits:
        best, best_hits = t, hits
    chosen.append(best)
    hits = [(similarity[j] > best) == same[j] for j in test]
    accuracies.append(np.mean(hits))
  return np.mean(accuracies), np.std(accuracies), chosen


def pairs(seed, n, levels):
  rng = np.random.default_rng(seed)
  same = rng.random(n) < 0.5
  similarity = rng.normal(size=n) + same
  # Few levels make ties, in training and between folds.
  return np.round(similarity * levels) / levels if levels else similarity, same


@settings(max_examples=60, deadline=None)
@given(
  st.integers(0, 10**6),
  st.integers(12, 60),
  st.sampled_from([0, 1, 4]),
  st.sampled_from([2, 3, 10]),
)
def test_equals_brute_force(seed, n, levels, folds):
  similarity, same = pairs(seed, n, levels)
  got = verification.evaluate_pairs(similarity, same, folds)
  accuracy, std, thresholds = brute_force(similarity, same, folds)
  assert got.accuracy == pytest.approx(accuracy, abs=1e-12)
  assert got.std == pytest.approx(std, abs=1e-12)
  np.testing.assert_allclose(got.thresholds, thresholds, atol=1e-12)
  assert len(got.accuracies) == folds


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0, 2]))
def test_grid_equals_brute_force(seed, levels):
  similarity, same = pairs(seed, 40, levels)
  grid = np.arange(-2, 3, 0.25)[::-1]
  got = verification.evaluate_pairs(similarity, same, 4, thresholds=grid)
  accuracy, _, thresholds = brute_force(similarity, same, 4, list(grid))
  assert got.accuracy == pytest.approx(accuracy, abs=1e-12)
  assert list(got.thresholds) == thresholds


def test_threshold_is_learnt_on_the_other_folds():
  # Each half has a perfect threshold, which is wrong for the other half.
  similarity = np.array([0.1, 0.2, 0.3, 0.4, 5.1, 5.2, 5.3, 5.4])
  same = np.array([0, 0, 1, 1, 0, 0, 1, 1], bool)
  got = verification.evaluate_pairs(similarity, same, 2)
  assert got.accuracies == (0.5, 0.5)
  np.testing.assert_allclose(got.thresholds, (5.25, 0.25))


@pytest.mark.parametrize("low", [1.0, np.nextafter(1.0, 2)])
def test_neighbouring_floats_are_parted(low):
  # Halfway rounds to even: down for the first pair, up for the second.
  high = np.nextafter(low, 2)
  similarity = np.array([low, high] * 4)
  same = similarity == high
  assert verification.evaluate_pairs(similarity, same, 2).accuracy == 1


def test_plain_python():
  similarity, same = pairs(0, 40, 0)
  json.dumps(verification.evaluate_pairs(similarity, same, 4)._asdict())
  assert type(verification.tar_at_far(similarity, same, 0.1)) is float


@given(
  st.integers(0, 10**6),
  st.integers(5, 80),
  st.sampled_from([0, 1, 3]),
  st.integers(0, 20),
)
def test_tar_equals_brute_force(seed, n, levels, percent):
  similarity, same = pairs(seed, n, levels)
  same[0], same[1] = True, False
  negatives = sorted(similarity[~same], reverse=True)
  allowed = percent * 5 * len(negatives) // 100
  threshold = negatives[allowed] if allowed < len(negatives) else -np.inf
  far = percent * 5 / 100
  expected = np.mean([s > threshold for s in similarity[same]])
  assert verification.tar_at_far(similarity, same, far) == expected
  assert verification.threshold_at_far(similarity, same, far) == threshold
  accepted = np.mean([s > threshold for s in negatives])
  assert accepted <= far + 1e-12


def test_tar_counts_in_decimals():
  # .29 * 100 is a little under 29 in binary.
  similarity = np.r_[np.arange(100.0), 71.5]
  same = np.arange(101) == 100
  assert verification.threshold_at_far(similarity, same, 0.29) == 70
  assert verification.tar_at_far(similarity, same, 0.29) == 1


def test_rejects():
  similarity, same = pairs(0, 20, 0)
  with pytest.raises(ValueError, match="3 folds"):
    verification.evaluate_pairs(similarity[:2], same[:2], 3)
  with pytest.raises(ValueError, match=r"\[N\]"):
    verification.evaluate_pairs(similarity, same[:3])
  similarity[3] = np.nan
  with pytest.raises(ValueError, match="1 of 20"):
    verification.evaluate_pairs(similarity, same)
  with pytest.raises(ValueError, match="two people"):
    verification.tar_at_far(np.ones(3), np.ones(3, bool), 0.1)
  with pytest.raises(ValueError, match="one person"):
    verification.tar_at_far(np.ones(3), np.zeros(3, bool), 0.1)


def test_true_accepts_are_those_of_all_pairs():
  rng = np.random.default_rng(0)
  ids = np.repeat(np.arange(50), 4)
  centres = rng.normal(size=(50, 16))
  embeddings = centres[ids] + rng.normal(size=(200, 16))
  gallery, probes = np.arange(200) % 4 == 0, np.arange(200) % 4 != 0
  unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
  similarity = unit[probes] @ unit[gallery].T
  same = ids[probes][:, None] == ids[gallery]
  fars = (0.1, 0.01, 0.001, 1e-6)
  *got, none = verification.true_accepts(
    embeddings[gallery], ids[gallery], embeddings[probes], ids[probes], fars
  )
  assert none is None  # of 7,350 pairs none may be accepted
  for far, accepted in zip(fars, got, strict=False):
    expected = verification.tar_at_far(similarity.ravel(), same.ravel(), far)
    assert accepted.mean() == pytest.approx(expected)
  assert 0.1 < got[2].mean() < got[0].mean() < 1


def test_true_accepts_in_blocks_and_of_a_tight_cluster(monkeypatch):
  """Embeddings that all but coincide are told apart by their last digits."""
  rng = np.random.default_rng(1)
  ids = np.repeat(np.arange(30), 3)
  leak = rng.normal(size=(30, 8))[ids] + 0.01 * rng.normal(size=(90, 8))
  close = np.ones(8) + 1e-9 * leak
  sides = [
    (x[rows], ids[rows])
    for x in (close,)
    for rows in (np.arange(90) % 3 == 0, np.arange(90) % 3 != 0)
  ]
  (gallery, gallery_ids), (probes, probe_ids) = sides
  args = gallery, gallery_ids, probes, probe_ids, (0.01,)
  (whole,) = verification.true_accepts(*args)
  assert whole.mean() > 0.9
  monkeypatch.setattr(verification, "BLOCK", 7 * 30)
  (parts,) = verification.true_accepts(*args)
  np.testing.assert_array_equal(whole, parts)


def test_nobody_is_accepted_by_embeddings_that_failed_or_are_equal():
  ids = np.arange(40)
  right = np.random.default_rng(0).normal(size=(40, 8))
  for probes in (np.zeros((40, 8)), np.full((40, 8), np.nan), np.ones((40, 8))):
    (got,) = verification.true_accepts(right, ids, probes, ids, (0.05,))
    assert got.mean() < 0.3
  (got,) = verification.true_accepts(
    np.ones((40, 8)), ids, np.ones((40, 8)), ids, (0.05,)
  )
  assert not got.any()
  with pytest.raises(ValueError, match="not in the gallery"):
    verification.true_accepts(right[:2], ids[:2], right[2:4], ids[2:4], (0.5,))
