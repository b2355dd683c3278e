import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxpriv.metrics import identification


def embeddings(seed, people, per_person, dim=16, spread=1.0):
  rng = np.random.default_rng(seed)
  ids = np.repeat(rng.permutation(people) * 7 + 3, per_person)
  centres = np.repeat(rng.normal(size=(people, dim)), per_person, 0)
  x = centres + spread * rng.normal(size=centres.shape)
  # Cosine: lengths must not matter.
  x *= rng.uniform(0.01, 100, (len(x), 1))
  return x.astype(np.float32), ids


# People, and photographs of each. A program is compiled for every such pair.
SIZES = ((1, 1), (1, 4), (2, 1), (5, 3), (12, 1), (12, 4))


@settings(max_examples=40, deadline=None)
@given(
  st.integers(0, 10**6), st.sampled_from(SIZES), st.sampled_from([0.3, 3.0])
)
def test_equals_brute_force(seed, sizes, spread):
  people, per_person = sizes
  gallery, gallery_ids = embeddings(seed, people, per_person, spread=spread)
  rng = np.random.default_rng(seed + 1)
  pick = rng.integers(len(gallery), size=30)
  probes = gallery[pick] + 0.5 * spread * np.abs(gallery[pick]).mean(
    1, keepdims=True
  ) * rng.normal(size=(30, 16)).astype(np.float32)
  got = identification.rank1(gallery, gallery_ids, probes, gallery_ids[pick])
  nearest = []
  for p in probes.astype(np.float64):
    cosines = [
      p @ g / np.linalg.norm(p) / np.linalg.norm(g)
      for g in gallery.astype(np.float64)
    ]
    nearest.append(int(np.argmax(cosines)))
  assert got.nearest.tolist() == nearest
  assert got.hits == int((gallery_ids[nearest] == gallery_ids[pick]).sum())
  assert (got.total, got.rate) == (30, got.hits / 30)
  assert got.chance == 1 / people
  assert got.low <= got.rate <= got.high


def test_blocks_do_not_matter(monkeypatch):
  gallery, ids = embeddings(0, 20, 2)
  probes, probe_ids = embeddings(0, 20, 3)
  whole = identification.rank1(gallery, ids, probes, probe_ids)
  for block in (1, 40 * 7, 40 * 60):
    monkeypatch.setattr(identification, "BLOCK", block)
    parts = identification.rank1(gallery, ids, probes, probe_ids)
    np.testing.assert_array_equal(parts.nearest, whole.nearest)


@pytest.mark.parametrize("value", [1.0, 0.1, 1e-30, 1e30])
def test_a_constant_scores_chance(value):
  # The first person owns most of the probes, and most of the gallery: "first
  # of the ties" would score .75, "any row of the ties" about .5.
  gallery_ids = np.r_[np.zeros(60), np.arange(20)].astype(int)
  probe_ids = np.r_[np.zeros(3000), np.repeat(np.arange(20), 50)].astype(int)
  constant = np.full(32, value, np.float32)
  constant[::3] *= -0.7
  got = identification.rank1(
    np.tile(constant, (80, 1)),
    gallery_ids,
    np.tile(constant, (4000, 1)),
    probe_ids,
  )
  assert got.invalid == 0
  assert got.low <= got.chance <= got.high


def test_ties_differ_by_seed_alone():
  gallery, probes = np.ones((10, 4)), np.ones((50, 4))
  args = (gallery, np.arange(10), probes, np.arange(50) % 10)
  once, again = identification.rank1(*args), identification.rank1(*args)
  other = identification.rank1(*args, seed=1)
  np.testing.assert_array_equal(once.nearest, again.nearest)
  assert (once.nearest != other.nearest).any()


def test_identity_in_the_last_digits_is_found():
  # Embeddings within 1e-4 of each other: their cosines are all 1 in float32.
  rng = np.random.default_rng(0)
  common = rng.normal(size=64)
  own = rng.normal(size=(50, 64))
  gallery = common + 1e-4 * own
  probes = common + 1e-4 * (own + 0.1 * rng.normal(size=own.shape))
  unit = lambda x: (x / np.linalg.norm(x, axis=1)[:, None]).astype(np.float32)
  plain = unit(probes) @ unit(gallery).T
  assert (plain.argmax(1) == np.arange(50)).mean() < 0.9
  got = identification.rank1(gallery, np.arange(50), probes, np.arange(50))
  assert got.rate == 1


def test_failed_embeddings_never_hit():
  gallery, ids = embeddings(0, 5, 1)
  probes = gallery.copy()
  probes[0] = 0
  probes[1, 3] = np.nan
  probes[2, 0] = np.inf
  got = identification.rank1(gallery, ids, probes, ids)
  assert (got.hits, got.total, got.invalid) == (2, 5, 3)
  assert got.nearest[:3].tolist() == [-1, -1, -1]
  got = identification.rank1(probes, ids, gallery, ids)
  assert (got.hits, got.invalid) == (2, 3)
  assert not set(got.nearest.tolist()) & {0, 1, 2}
  zeros = np.zeros_like(gallery)
  # The last identity must not be credited through index -1.
  got = identification.rank1(zeros, ids, zeros, ids)
  assert (got.hits, got.invalid) == (0, 10)


def test_rejects():
  gallery, ids = embeddings(0, 5, 1)
  with pytest.raises(ValueError, match="closed-set"):
    identification.rank1(gallery, ids, gallery, ids + 1)
  with pytest.raises(ValueError, match="different recognisers"):
    identification.rank1(gallery, ids, gallery[:, :3], ids)
  with pytest.raises(ValueError, match="probe: there are no"):
    identification.rank1(gallery, ids, gallery[:0], ids[:0])
  with pytest.raises(ValueError, match=r"gallery: .*\[N, D\]"):
    identification.rank1(gallery[0], ids, gallery, ids)
