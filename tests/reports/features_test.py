"""Rebuilt photographs are judged between the bounds, and only between them."""

import hypothesis
import pytest
from hypothesis import strategies as st

from jaxpriv.reports import feature_summary, features, summary, verdicts
from tests.reports import examples

RECOGNISED = dict(chance=0.005, undisguised=0.871)


def judge(row, *others):
  rows = [*(others or examples.bounds()), row]
  return features.reconstruction(row, rows)


def only(*rows, **sections):
  """Results of deep poisoning in which the bounds and `rows` were measured."""
  return {
    "mechanism": examples.POISONING,
    "reconstruction": [*examples.bounds(), *rows],
    **sections,
  }


@pytest.mark.parametrize(
  ("ssim", "hits", "word", "level"),
  [
    (0.19, None, "held off", "good"),
    (0.19, 5, "held off", "good"),
    (-0.2, 5, "held off", "good"),
    (0.207, None, "held off", "good"),  # 0.195 to 0.219, limit 0.22
    (0.22, None, "unclear", "unclear"),
    (0.233, None, "rebuilt", "bad"),  # 0.221 to 0.245
    (0.19, 10, "unclear", "unclear"),  # 0.5 to 1.8%, limit 1.5%
    (0.19, 40, "identified", "bad"),
    (0.5, 40, "rebuilt", "bad"),
    (0.5, 5, "rebuilt", "bad"),
  ],
)
def test_word_follows_the_intervals(ssim, hits, word, level):
  verdict = judge(examples.rebuilt("A1 known pairs", ssim, 64, hits))
  assert (verdict.word, verdict.level) == (word, level)
  results = only(examples.rebuilt("A1 known pairs", ssim, 64, hits))
  assert summary.level(results) == level


def test_a_negative_is_not_held_off():
  row = examples.rebuilt("A0", -0.8, aligned_ssim=0.8)
  assert judge(row).level == "unclear"
  assert "brightness or sign" in judge(row).reason


def test_without_bounds_a_low_ssim_shows_nothing():
  clean, mean, _ = examples.bounds()
  low, high = examples.rebuilt("A1", 0.1), examples.rebuilt("A1", 0.6)
  assert "mean image" in judge(low, clean).reason
  assert judge(high, clean).level == "unclear"
  assert "inverter" in judge(low, mean).reason
  weak = examples.rebuilt("clean features", 0.21)
  assert "fails on unprotected" in judge(low, mean, weak).reason
  assert judge(high, mean, weak).word == "rebuilt"  # What rebuilds, rebuilds.
  assert features.share(low, [low]) is None


def test_bounds_are_not_attacks():
  rows = examples.bounds()
  assert features.attacks(rows, examples.POISONING) == []
  assert [judge(row).level for row in rows] == ["plain"] * 3
  assert features.overall(rows, examples.POISONING).word == "not measured"
  assert "not measured" in summary.headline(only())
  assert summary.level(only()) == "unclear"


def test_bounds_of_a_mechanism_come_before_those_of_another():
  other = examples.rebuilt("mean image", 0.6, mechanism="noise")
  row = examples.rebuilt("A1", 0.5)
  assert judge(row, *examples.bounds(), other).word == "rebuilt"
  assert judge(row, other, examples.bounds()[0]).level == "good"


@pytest.mark.parametrize(
  ("undisguised", "reason"),
  [(None, "no undisguised"), (0.01, "fails on unprotected people")],
)
def test_a_recogniser_that_fails_says_nothing_of_identity(undisguised, reason):
  for hits in (5, 100):
    row = examples.rebuilt("A1", 0.1, 64, hits, undisguised=undisguised)
    assert judge(row).level == "unclear"
    assert reason in judge(row).reason
    assert reason in summary.findings(only(row))[0].sentence


def test_no_recogniser_no_verdict_on_identity():
  row = examples.rebuilt("A1 known pairs", 0.1, 64)
  assert features.identity(row) is None
  finding, *_ = summary.findings(only(row))
  assert finding.level == "good"
  assert "recognised in it was not measured" in finding.sentence
  said = " ".join(summary.not_claimed(only(row)))
  assert "Whether people are recognised in rebuilt" in said
  assert "Whether attributes are seen in rebuilt" in said


@pytest.mark.parametrize(
  ("balanced", "changes", "word", "reason"),
  [
    (0.49, {}, "held off", "mean image"),
    (0.505, {}, "held off", "mean image"),  # 49.3 to 51.7%
    (0.515, {}, "leaks", "hidden attributes"),  # 50.3 to 52.7%
    (0.9, {"what": "kept"}, "held off", "mean image"),  # which is their task
    (0.55, {"low": 0.0, "high": 1.0}, "unclear", "the limit of 55.0%"),
    (0.5, {"undisguised": 0.54}, "unclear", "fails on undisguised"),
    (0.6, {"undisguised": 0.54}, "leaks", "hidden attributes"),
  ],
)
def test_hidden_attributes_are_not_to_be_read(balanced, changes, word, reason):
  read = examples.read(balanced, **changes)
  row = examples.rebuilt("A2", 0.1, hits=5, attributes=read)
  verdict = judge(row)
  assert (verdict.word, reason in verdict.reason) == (word, True), verdict
  worse = examples.rebuilt("A2", 0.5, hits=5, attributes=read)
  assert judge(worse).word == "rebuilt"
  people = examples.rebuilt("A2", 0.1, hits=100, attributes=read)
  assert judge(people).word == "identified"
  sentence = summary.findings(only(row))[0].sentence
  assert f"reads {read['what']} attributes with a balanced" in sentence
  assert f"accuracy of {balanced:.1%} at most (A2;" in sentence


def test_a_predictor_that_fails_on_clean_features_too_says_nothing():
  row = examples.rebuilt("A2", 0.1, hits=5, attributes=examples.read(0.5))
  clean, *others = examples.bounds()
  assert judge(row, clean, *others).word == "held off"
  clean["attributes"] = examples.read(0.505)
  verdict = judge(row, clean, *others)
  assert verdict.level == "unclear"
  assert "what unprotected features give" in verdict.reason


def test_who_is_identified_comes_before_what_leaks():
  leak = examples.rebuilt("A2", 0.15, 16, 5, attributes=examples.read(0.8))
  people = examples.rebuilt("A3", 0.05, hits=400)
  near = examples.rebuilt("A1", 0.3, 16)
  rows = [*examples.bounds(), leak, people, near]
  found = features.attacks(rows, examples.POISONING)
  assert [row["attack"] for row in found] == ["A1", "A3", "A2"]
  said = " ".join(summary.not_claimed(only(leak)))
  assert "Whether attributes are seen" not in said
  assert "holds 16 released" in said
  assert "reads hidden attributes in what it makes of the others (A2" in said


@hypothesis.given(
  st.floats(-0.9, 0.9), st.floats(-0.9, 0.9), st.integers(0, 1000)
)
def test_a_nearer_photograph_never_sounds_better(first, second, hits):
  levels = [
    verdicts.SEVERITY[judge(examples.rebuilt("A1", ssim, 1, hits)).level]
    for ssim in sorted((first, second))
  ]
  assert levels == sorted(levels)


def test_headlines():
  results = examples.feature_results()
  assert summary.headline(results) == (
    "Photographs can be rebuilt from the released features: A1 known pairs with"
    " 1,024 pairs reaches SSIM 0.71, unprotected features 0.85"
  )
  assert summary.level(results) == "bad"
  part = only(examples.rebuilt("A1", 0.3, 1))
  assert "rebuilt in part from" in summary.headline(part)
  assert "A1 with 1 pair reaches" in summary.headline(part)
  people = only(examples.rebuilt("A3 transfer", 0.1, hits=100))
  assert summary.headline(people) == (
    "People are recognised in what is rebuilt from the released features: A3"
    " transfer gives away 10.0% of them, 20× chance"
  )
  leak = examples.rebuilt("A2", 0.1, hits=5, attributes=examples.read(0.822))
  assert summary.headline(only(leak)) == (
    "Hidden attributes are read in what is rebuilt from the released features:"
    " after A2 with a balanced accuracy of 82.2%, where guessing has 50%"
  )
  assert summary.level(only(leak)) == "bad"
  good = only(examples.rebuilt("A0", 0.1, hits=5))
  assert summary.headline(good).startswith("No attack that was run rebuilds")
  doubt = only(examples.rebuilt("A0", 0.22))
  assert "do not settle" in summary.headline(doubt)
  doubt["mechanism"] = "other"
  assert "was not measured" in summary.headline(doubt)


def test_the_strongest_is_the_worst_said_and_then_the_nearest():
  rows = examples.feature_results()["reconstruction"]
  found = features.attacks(rows, examples.POISONING)
  assert [row["ssim"] for row in found] == [0.71, 0.31, 0.205, 0.0071]
  identified = examples.rebuilt("A2", 0.1, 9, 300)
  found = features.attacks([*rows, identified], examples.POISONING)
  assert found.index(identified) == 2  # After what is rebuilt, before the rest.


def test_the_findings_of_features():
  found = {f.title: f for f in summary.findings(examples.feature_results())}
  assert list(found) == [
    "Reconstruction, strongest attack",
    "Pairs needed",
    "Leakage",
    "Utility, attributes kept",
  ]
  rebuilt, pairs, leakage, utility = found.values()
  assert rebuilt.figure == "SSIM 0.71"
  assert "2 of 4 attacks are held off" in rebuilt.sentence
  assert "mean image has 0.20 and the inverter" in rebuilt.sentence
  assert "31.2% at most" in rebuilt.sentence
  assert "brightness" not in rebuilt.sentence
  assert (pairs.figure, pairs.level) == ("1,024", "bad")
  assert "knows 1,024 pairs of released features" in pairs.sentence
  assert (leakage.figure, leakage.level) == ("2 of 3", "bad")
  assert "same photograph twice, link: right for 100.0%" in leakage.sentence
  assert (utility.figure, utility.level) == ("2 of 2", "good")
  assert "of the unprotected features, by the decider." in utility.sentence
  assert "images" not in utility.sentence


def test_utility_is_what_the_decider_reads():
  rows = [
    examples.attribute(700, predictor="fresh VGG"),
    examples.attribute(893, predictor="decider"),
  ]
  results = {"mechanism": examples.MECHANISM, "attributes": rows}
  assert summary.attributes(results).figure == "1 of 1"
  low = verdicts.attribute(examples.attribute(500, predictor="decider"))
  assert low.word == "lost"
  none = examples.attribute(500, predictor="decider", original=0.5)
  assert "from unprotected features" in verdicts.attribute(none).reason


@pytest.mark.parametrize(
  ("changes", "level", "sentence"),
  [
    ({}, "good", "up to 16,384 reaches SSIM 0.40; the best is 0.19. More"),
    ({"clean": 0.3}, "unclear", "not reached with unprotected features"),
    ({"clean": None}, "unclear", "not reached with unprotected features"),
    ({"mean": 0.4}, "unclear", "the mean image is as near"),
  ],
)
def test_pairs_that_were_not_enough(changes, level, sentence):
  row = examples.curve([[16, 0.18], [16384, 0.19]], None, **changes)
  finding = feature_summary.pairs(only(curves=[row]))
  assert (finding.figure, finding.level) == ("> 16,384", level)
  assert sentence in finding.sentence


def test_pairs_without_points():
  row = examples.curve([], None)
  sentence = feature_summary.pairs(only(curves=[row])).sentence
  assert "reaches SSIM 0.40. More pairs may." in sentence


def test_the_curve_of_fewest_pairs_is_told():
  points = [[16, 0.3], [1024, 0.7]]
  curves = [
    examples.curve(points, None, threshold_ssim=0.8),
    examples.curve(points, 1024),
    examples.curve(points, 16, threshold_ssim=0.25),
    examples.curve(points, 2, mechanism="noise"),
  ]
  assert feature_summary.pairs(only(curves=curves)).figure == "16"


@pytest.mark.parametrize(
  ("row", "word", "level"),
  [
    (examples.leak("A7", "identity", 5), "hidden", "good"),
    (examples.leak("A7", "identity", 10), "unclear", "unclear"),
    (examples.leak("A7", "identity", 40), "leaks", "bad"),
    (examples.leak("A7", "identity", 5, original=0.01), "unclear", "unclear"),
    (examples.leak("A7", "identity", 5, original=None), "unclear", "unclear"),
    (examples.leak("A8", "link", 40, original=None), "leaks", "bad"),
    (examples.leak("A7", "Male", 645, 0.65), "hidden", "good"),
    (examples.leak("A7", "Male", 675, 0.65), "unclear", "unclear"),
    (examples.leak("A7", "Male", 682, 0.65), "leaks", "bad"),
    (examples.leak("A7", "Big_Nose", 900, 0.6), "readable", "plain"),
    (examples.leak("A7", "Big_Nose", 600, 0.6), "not read", "plain"),
  ],
)
def test_leaks_are_what_nobody_was_meant_to_read(row, word, level):
  decided = examples.attribute(
    893, mechanism=examples.POISONING, predictor="decider"
  )
  verdict = features.leakage(row, {"attributes": [decided]})
  assert (verdict.word, verdict.level) == (word, level)


def test_only_what_is_meant_to_be_read_is_no_finding():
  results = examples.feature_results()
  results["leakage"] = results["leakage"][2:3]
  assert feature_summary.leakage(results) is None


def secrecy(results):
  return next(s for s in summary.not_claimed(results) if "secrecy" in s)


def test_what_features_do_not_promise():
  results = examples.feature_results()
  said = " ".join(summary.not_claimed(results))
  assert "secrecy of a deterministic map: whoever holds 1,024" in said
  assert "with SSIM 0.40 (A1, measured)" in said
  assert "two releases of it can be linked" in said
  assert "not a proof" in said
  assert "makes such pairs at will" in said
  del results["curves"]
  assert "holds 1,024" in secrecy(results)
  assert "SSIM 0.71 (A1 known pairs, measured)" in secrecy(results)


@pytest.mark.parametrize(
  ("rows", "curves", "sentence"),
  [
    ([], [], "How many are enough was not measured."),
    ([examples.rebuilt("A1", 0.1, 64)], [], "64 released features"),
    ([examples.rebuilt("A1", 0.1, 64)], [], "did not invert it (A1); more may"),
    ([examples.rebuilt("A1", 0.22, 64)], [], "Up to 64 were tried, and do not"),
    ([], [examples.curve([[16, 0.1]], None)], "16,384 released features"),
    ([examples.rebuilt("A3", 0.9)], [], "no such pair succeed, too: A3."),
    ([examples.rebuilt("A1", 0.1, 64, 99)], [], "64 released features"),
    ([examples.rebuilt("A1", 0.1, 64, 99)], [], "recognises people in what"),
  ],
)
def test_secrecy_unless_measured_otherwise(rows, curves, sentence):
  assert sentence in secrecy(only(*rows, curves=curves))


def test_links_unless_measured_otherwise():
  hidden = only(leakage=[examples.leak("A8", "link", 5)])
  assert not any("linked" in line for line in summary.not_claimed(hidden))
  assert "deterministic" not in secrecy(hidden)
  doubt = only(leakage=[examples.leak("A8", "link", 10)])
  said = " ".join(summary.not_claimed(doubt))
  assert "is not settled" in said and "each time" not in said
  assert "each time" in " ".join(summary.not_claimed(only()))


def test_images_are_not_spoken_of_as_features():
  said = " ".join(summary.not_claimed(examples.results()))
  assert "features" not in said and "secrecy" not in said
  assert not features.released(examples.results())


def test_mechanisms_are_those_attacked():
  results = examples.feature_results()
  for row in results["reconstruction"][:3]:
    row["mechanism"] = "none"
  del results["attributes"]
  names = [examples.POISONING, "noise", "keyed"]
  assert verdicts.mechanisms(results) == names
  compared = {r["mechanism"]: r for r in summary.comparison(results)}
  assert compared["noise"]["rebuilt"]["ssim"] == 0.7
  assert compared["noise"]["curve"] is None
  assert compared["keyed"]["rebuilding"].level == "good"
