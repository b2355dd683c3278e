"""The words follow from the counts, and never from a weak recogniser."""

import hypothesis
import pytest
from hypothesis import strategies as st

from jaxpriv.reports import summary, verdicts
from tests.reports import examples

UNDISGUISED = examples.attack("undisguised", 871)


def judge(row, *others):
  return verdicts.identification(row, [row, *others])


@pytest.mark.parametrize(
  ("hits", "total", "word"),
  [
    (5, 1000, "protects"),  # 0.2 to 1.2%, limit 1.5%
    (0, 1000, "protects"),
    (10, 1000, "unclear"),  # 0.5 to 1.8%
    (0, 40, "unclear"),  # 0 to 8.8%: no hit, but few probes
    (40, 1000, "does not protect"),
  ],
)
def test_word_follows_the_interval(hits, total, word):
  row = examples.attack("naive", hits, total)
  assert judge(row, UNDISGUISED).word == word


def test_a_recogniser_that_fails_on_everyone_shows_nothing():
  weak = examples.attack("undisguised", 7)
  row = examples.attack("naive", 5)
  assert judge(row, weak).word == "unclear"
  assert "unprotected" in judge(row, weak).reason
  assert judge(weak, weak).word == "too weak"
  # But what identifies people, identifies them.
  assert judge(examples.attack("naive", 100), weak).level == "bad"


def test_another_recognisers_strength_does_not_count():
  row = examples.attack("naive", 5)
  other = examples.attack("undisguised", 990, recogniser=examples.PEN)
  assert judge(row, other).word == "unclear"
  assert judge(row).word == "unclear"
  named = examples.attack("naive", 5, reference=examples.PEN)
  assert judge(named, other).word == "protects"


def test_reference_prefers_the_same_gallery():
  same = examples.attack("undisguised", 1000, gallery="same photograph")
  row = examples.attack("naive", 5, gallery="same photograph")
  assert verdicts.reference(row, [UNDISGUISED, same]) is same
  assert verdicts.reference(row, [UNDISGUISED]) is UNDISGUISED
  # The easy gallery is never the reference of the hard one.
  row = examples.attack("naive", 5)
  assert verdicts.reference(row, [same]) is None


@hypothesis.given(st.integers(2, 10**5))
def test_limit_is_above_chance_and_never_far(people):
  chance = 1 / people
  assert chance < verdicts.limit(chance) <= chance + 0.05
  assert verdicts.limit(chance) <= 3 * chance


@hypothesis.given(st.integers(0, 500), st.integers(0, 500))
def test_more_hits_never_sound_better(first, second):
  few, many = sorted((first, second))
  levels = [
    verdicts.SEVERITY[
      judge(examples.attack("naive", k, 500), UNDISGUISED).level
    ]
    for k in (few, many)
  ]
  assert levels == sorted(levels)


@pytest.mark.parametrize(
  ("hits", "changes", "word"),
  [
    (881, {}, "kept"),
    (880, {}, "kept"),  # Two points exactly.
    (879, {}, "weakened"),
    (610, {}, "lost"),
    (950, {}, "kept"),  # Better than the original is kept.
    (590, {"original": 0.6}, "no signal"),
  ],
)
def test_attribute_words(hits, changes, word):
  assert verdicts.attribute(examples.attribute(hits, **changes)).word == word


def test_one_failed_attack_spoils_the_whole():
  results = examples.results()
  assert verdicts.overall(results["identification"], "blur").level == "bad"
  mine = verdicts.overall(results["identification"], examples.MECHANISM)
  assert mine.word == "protects"
  assert summary.headline(results) == summary.HEADLINES["good"]
  results["identification"].append(examples.attack("reverse", 90))
  assert summary.headline(results) == summary.HEADLINES["bad"]
  finding = summary.identity(results)
  assert "3 of 4 attacks" in finding.sentence
  assert "90 of 1,000" in finding.sentence
  assert "87.1%" in finding.sentence


def test_a_doubt_outweighs_a_higher_rate_that_is_settled():
  doubtful = examples.attack("parrot", 0, 40)
  settled = examples.attack("naive", 5)
  rows = [UNDISGUISED, settled, doubtful]
  assert verdicts.strongest(rows, examples.MECHANISM) is doubtful
  assert verdicts.overall(rows, examples.MECHANISM).word == "unclear"


def test_nothing_measured_is_not_protection():
  assert verdicts.overall([], "x").word == "not measured"
  assert "not measured" in summary.headline({"mechanism": "x"})
  assert summary.findings({"mechanism": "x"}) == []


def test_attributes_are_judged_by_independent_predictors():
  results = examples.results()
  results["attributes"] = [
    examples.attribute(900, predictor="FSN of the loss"),
    examples.attribute(700, predictor="fresh VGG"),
  ]
  finding = summary.attributes(results)
  assert finding.figure == "0 of 1"
  assert "−20.0" in finding.sentence
  results["attributes"] = [
    examples.attribute(700, predictor="FSN of the loss"),
    examples.attribute(900, predictor="fresh VGG"),
  ]
  assert summary.attributes(results).figure == "1 of 1"


def test_small_tests_and_known_recognisers_are_said():
  results = examples.results()
  said = " ".join(summary.not_claimed(results))
  assert "no independent witness" in said
  assert "people were in the test" not in said
  results["data"]["people"]["test"] = 40
  results["not_claimed"] = ["Voices are left as they are."]
  said = " ".join(summary.not_claimed(results))
  assert "Only 40 people" in said
  assert "Voices" in said
