"""Factors are functions of seed, person and photograph, and independent."""

import itertools

import numpy as np
import pytest

from jaxpriv.data.procedural import factors, sampling
from jaxpriv.data.records import DOMAINS

MANY = np.arange(20_000)


def _draw(seed, ids, numbers, **options):
  return sampling.sample_people(
    seed, ids, **options
  ) | sampling.sample_photographs(seed, ids, numbers, **options)


def test_a_row_does_not_depend_on_its_batch():
  ids, numbers = np.array([5, 17, 5, 90_000]), np.array([0, 3, 1, 7])
  whole = _draw(3, ids, numbers)
  for i in range(len(ids)):
    alone = _draw(3, ids[i : i + 1], numbers[i : i + 1])
    for name, value in whole.items():
      assert value[i] == alone[name][0], name
      assert value.dtype == np.float32, name


def test_seed_person_and_photograph_all_matter():
  one = np.array([4])
  base = sampling.sample_photographs(0, one, one)["yaw"]
  assert base != sampling.sample_photographs(1, one, one)["yaw"]
  assert base != sampling.sample_photographs(2**40, one, one)["yaw"]
  assert base != sampling.sample_photographs(0, one + 1, one)["yaw"]
  assert base != sampling.sample_photographs(0, one, one + 1)["yaw"]


def test_people_keep_their_factors_in_every_photograph():
  ids = np.array([8, 8, 8])
  people = sampling.sample_people(0, ids)
  photographs = sampling.sample_photographs(0, ids, np.arange(3))
  assert all(len(set(value)) == 1 for value in people.values())
  assert all(len(set(photographs[n])) == 3 for n in ("yaw", "light_x"))


@pytest.mark.parametrize("domain", DOMAINS)
def test_factors_fill_their_ranges_evenly(domain):
  drawn = _draw(0, MANY, MANY % 7, domain=domain)
  table = sampling.person_table(domain) | factors.PHOTOGRAPH
  for name, (low, high) in table.items():
    if name in ("skin_tone", "cover", "bar"):
      continue
    share, _ = np.histogram(drawn[name], 10, (low, high))
    assert share.sum() == len(MANY), name
    # Chi-square with 9 degrees of freedom exceeds 45 once in a million draws.
    expected = len(MANY) / 10
    assert np.sum((share - expected) ** 2) / expected < 45.0, name


def test_skin_tones_are_the_ten_levels_equally_often():
  tone = sampling.sample_people(0, MANY)["skin_tone"]
  levels, counts = np.unique(tone, return_counts=True)
  assert levels.tolist() == list(range(1, 11))
  assert np.abs(counts / len(MANY) - 0.1).max() < 0.01
  assert len(factors.SKIN_TONE_NAMES) == len(factors.MONK_SKIN_TONES) == 10


def test_all_factors_are_independent_by_default():
  drawn = _draw(0, MANY, MANY % 5)
  correlation = np.corrcoef(np.stack(list(drawn.values())))
  off = np.abs(correlation - np.eye(len(correlation)))
  # 5 sigma of the correlation of independent samples, over some 5,000 pairs.
  assert off.max() < 5.0 / np.sqrt(len(MANY))


def test_attributes_are_pairwise_independent():
  labels = sampling.attributes(_draw(0, MANY, MANY % 5))
  for a, b in itertools.combinations(range(labels.shape[1]), 2):
    x, y = labels[:, a], labels[:, b]
    joint = np.histogram2d(x, y, 2)[0]
    expected = np.outer(joint.sum(1), joint.sum(0)) / len(MANY)
    statistic = np.sum((joint - expected) ** 2 / expected)
    assert statistic < 20.0, (a, b)  # one degree of freedom: p = 8e-6


@pytest.mark.parametrize(
  ("pair", "r"),
  [
    (("Male", "Smiling"), 0.8),
    (("Smiling", "Male"), 0.8),  # the order of a pair does not matter
    (("Male", "Big_Nose"), -0.5),
    (("Smiling", "Mouth_Slightly_Open"), 0.4),
    (("light_x", "yaw"), 0.6),
    (("skin_tone", "ambient"), -0.7),
  ],
)
def test_a_correlation_asked_for_is_the_one_obtained(pair, r):
  drawn = _draw(0, MANY, MANY % 5, correlate={pair: r})
  a, b = (drawn[name] for name in pair)
  assert np.corrcoef(a, b)[0, 1] == pytest.approx(r, abs=0.03)
  free = _draw(0, MANY, MANY % 5)
  changed = {n for n in drawn if not np.array_equal(drawn[n], free[n])}
  assert len(changed & set(pair)) == 1
  assert changed <= set(pair)
  # Followers keep their own distribution.
  (follower,) = changed
  assert drawn[follower].mean() == pytest.approx(
    free[follower].mean(), abs=float(0.03 * np.ptp(free[follower]))
  )


@pytest.mark.parametrize(
  ("correlate", "message"),
  [
    ({("Male", "Beautiful"): 0.5}, "Beautiful"),
    ({("Male", "Smiling"): 1.5}, "1.5"),
    ({("Male", "Young"): 0.5, ("Bangs", "Young"): 0.5}, "Young"),
    ({("Male", "Male"): 0.5}, "Male"),
  ],
)
def test_impossible_correlations_are_named(correlate, message):
  with pytest.raises(ValueError, match=message):
    sampling.sample_people(0, MANY[:2], correlate=correlate)


def test_unknown_domain_is_named():
  with pytest.raises(ValueError, match="fish"):
    sampling.sample_people(0, MANY[:2], domain="fish")


def test_attributes_alone_do_not_tell_people_apart():
  people = sampling.sample_people(0, MANY[:2000])
  bits = [people[name] for name in factors.PERSON_ATTRIBUTES]
  kinds = {tuple(row) for row in np.stack(bits, 1)}
  assert len(kinds) <= 2 ** len(factors.PERSON_ATTRIBUTES) < 2000 / 10
