"""Attacks on embeddings whose outcome is known."""

import numpy as np
import pytest

from jaxpriv.attacks import reidentification


def people(count=30, images=4, dimension=64, seed=0):
  """(embeddings near their person's centre, identities), shuffled."""
  rng = np.random.default_rng(seed)
  centres = rng.normal(size=(count, dimension))
  identities = np.repeat(np.arange(count), images)
  embeddings = centres[identities] + 0.1 * rng.normal(
    size=(len(identities), dimension)
  )
  order = rng.permutation(len(identities))
  return embeddings[order], identities[order]


def by_name(ranks):
  return {
    (rank.attack, rank.gallery): rank
    for rank in ranks
    if rank.metric == reidentification.RANK
  }


def measure(rank):
  return rank.metric, rank.gallery


def test_enrolment_takes_one_photograph_a_person_and_all_others_as_probes():
  identities = np.array([3, 1, 3, 7, 1, 3, -1])
  gallery, probes = reidentification.enrol(identities)
  # 7 has no second photograph, -1 is nobody.
  assert gallery.tolist() == [0, 1]
  assert probes.tolist() == [2, 4, 5]


def test_enrolment_refuses_people_with_single_photographs():
  with pytest.raises(ValueError, match="two people with two photographs"):
    reidentification.enrol(np.arange(5))


def test_no_protection_is_identified_by_everyone():
  original, identities = people()
  plain = reidentification.undisguised(original, identities)
  total = {measure(rank): rank.figures.total for rank in plain}
  assert total == {
    ("rank-1", reidentification.OTHER): 90,
    ("rank-1", reidentification.EVERY): 120,
    ("TAR at FAR 1%", reidentification.OTHER): 90,
    ("TAR at FAR 0.1%", reidentification.OTHER): 90,
  }
  assert [rank.chance for rank in plain] == pytest.approx(
    [1 / 30, 3 / 119, 0.01, 0.001]
  )
  rows = [*plain, *reidentification.attacks(original, original, identities)]
  assert len(rows) == 4 + 4 + 1 + 4 + 1 + 4
  for rank in rows:
    assert rank.figures.rate == 1


def test_all_other_photographs_are_a_gallery_without_ones_own():
  """Only the first two of three photographs of a person are alike."""
  rng = np.random.default_rng(0)
  identities = np.repeat(np.arange(20), 3)
  one = rng.normal(size=(20, 32))
  embeddings = np.stack([one, one, -one], 1).reshape(60, 32)
  other, every, *_ = reidentification.undisguised(embeddings, identities)
  # Enrolled are the first; seconds are found, and thirds are not.
  assert (other.figures.hits, other.figures.total) == (20, 40)
  assert (every.figures.hits, every.figures.total) == (40, 60)
  assert every.chance == pytest.approx(2 / 59)
  # Intervals are drawn over people, who are all alike here.
  assert every.figures.low < 0.6 and every.figures.high > 0.7


def test_chance_is_by_the_counts_of_the_gallery():
  """Embeddings of noise hit as often as the person's share of the gallery."""
  rng = np.random.default_rng(0)
  identities = np.repeat(np.arange(40), rng.integers(2, 30, 40))
  noise = rng.normal(size=(len(identities), 128))
  _, every, *_ = reidentification.undisguised(noise, identities)
  assert every.chance > 1.2 / 40
  assert every.figures.low <= every.chance <= every.figures.high


def test_ceilings_are_of_the_same_measure():
  original, identities = people()
  plain = [
    rank._replace(figures=rank.figures._replace(rate=i / 10))
    for i, rank in enumerate(reidentification.undisguised(original, identities))
  ]
  values = {
    measure(rank): reidentification.ceiling(plain, rank).value
    for rank in reidentification.attacks(original, original, identities)
  }
  assert values == {
    ("rank-1", reidentification.OTHER): 0,
    ("rank-1", reidentification.SAME): 0,
    ("rank-1", reidentification.EVERY): 0.1,
    ("TAR at FAR 1%", reidentification.OTHER): 0.2,
    ("TAR at FAR 0.1%", reidentification.OTHER): 0.3,
  }


def test_a_secret_rotation_stops_naive_and_reverse_but_not_parrot():
  original, identities = people()
  rng = np.random.default_rng(1)
  rotation = np.linalg.qr(rng.normal(size=(64, 64)))[0]
  rows = by_name(
    reidentification.attacks(original, original @ rotation, identities)
  )
  for attack in ("naive", "reverse"):
    for gallery in (reidentification.SAME, reidentification.OTHER):
      assert rows[attack, gallery].figures.rate < 0.2
  assert rows["parrot", reidentification.OTHER].figures.rate == 1


@pytest.mark.parametrize("enrolled_protected", [True, False])
def test_which_side_of_each_attack_is_protected(enrolled_protected):
  """Only the photographs on one side are destroyed, the others are as they are.

  A naive attacker looks protected probes up among originals, a reverse one
  originals among what is protected, and a parrot meets both.
  """
  original, identities = people()
  gallery = reidentification.enrol(identities).gallery
  destroyed = np.isin(np.arange(len(identities)), gallery)
  if not enrolled_protected:
    destroyed = ~destroyed
  protected = np.where(destroyed[:, None], 0, original)
  rows = by_name(reidentification.attacks(original, protected, identities))
  found = {
    attack: rows[attack, reidentification.OTHER].figures.rate
    for attack in ("naive", "reverse", "parrot")
  }
  assert found == {
    "naive": float(enrolled_protected),
    "reverse": float(not enrolled_protected),
    "parrot": 0,
  }


def test_same_photograph_is_easier_than_another():
  """A copy of the pixels, and nothing of the person, is protected."""
  rng = np.random.default_rng(2)
  identities = np.repeat(np.arange(30), 4)
  photographs = rng.normal(size=(120, 64))
  rows = by_name(reidentification.attacks(photographs, photographs, identities))
  assert rows["naive", reidentification.SAME].figures.rate == 1
  assert rows["naive", reidentification.OTHER].figures.rate < 0.2
  assert rows["naive", reidentification.SAME].figures.total == 120


def test_same_photograph_enrols_every_photograph_in_turn():
  """Person 0 has one more photograph than the others, and it alone is known."""
  identities = np.array([0, 0, 0, 1, 1, 2, 2])
  known = np.arange(7) == 2
  original = np.eye(7)
  protected = np.where(known[:, None], original, -np.ones(7))
  row = by_name(reidentification.attacks(original, protected, identities))[
    "naive", reidentification.SAME
  ]
  assert row.figures.total == 7
  assert row.figures.hits >= 1
  zero = by_name(
    reidentification.attacks(original, np.zeros((7, 7)), identities)
  )["naive", reidentification.SAME]
  assert (zero.figures.hits, zero.figures.total) == (0, 7)
  assert zero.invalid == zero.where["invalid"] == 7


def test_one_output_for_all_is_chance():
  original, identities = people(count=50)
  constant = np.ones_like(original)
  for rank in reidentification.attacks(original, constant, identities):
    assert rank.figures.low <= rank.chance <= rank.figures.high


def test_nearest_gallery_is_whom_the_naive_attacker_names():
  original, identities = people()
  probes, match = reidentification.nearest_gallery(
    original, original, identities
  )
  np.testing.assert_array_equal(identities[probes], identities[match])
