"""The one rule by which all figures are judged."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxpriv.metrics import finding, statistics
from jaxpriv.metrics.finding import (
  BAD,
  GOOD,
  HIDDEN,
  KEPT,
  METRICS,
  TOLD,
  UNCLEAR,
  Finding,
  Interval,
  Metric,
)

SURE = Interval(0.9, 0.88, 0.92)


def row(value, low, high, metric="rank-1", wanted=HIDDEN, **fields):
  return Finding(
    "mechanism", "claim", wanted, "attack", metric, value, low, high, 100,
    **{"floor": 0.01, "ceiling": SURE, **fields},
  )  # fmt: skip


def level(*args, **kwargs):
  return finding.judge(row(*args, **kwargs)).level


@pytest.mark.parametrize(
  ("low", "high", "fields", "expected"),
  [
    (0.0, 0.03, {}, GOOD),  # three times chance, and no more
    (0.0, 0.031, {}, UNCLEAR),
    (0.031, 0.2, {}, BAD),
    (0.0, 0.02, {"ceiling": None}, UNCLEAR),
    (0.0, 0.02, {"ceiling": Interval(0.05, 0.03, 0.07)}, UNCLEAR),
    (0.0, 0.02, {"ceiling": Interval(0.05, 0.031, 0.07)}, GOOD),
    (0.0, 0.02, {"floor": None}, UNCLEAR),
    (0.031, 0.2, {"ceiling": None}, BAD),  # identified is identified
    # Three times a chance of a fifth would be too much: the slack is five
    # points.
    (0.1, 0.24, {"floor": 0.2}, GOOD),
    (0.1, 0.26, {"floor": 0.2}, UNCLEAR),
    (0.26, 0.3, {"floor": 0.2}, BAD),
  ],
)
def test_identity_is_hidden_within_three_times_chance(
  low, high, fields, expected
):
  assert level((low + high) / 2, low, high, **fields) == expected


@pytest.mark.parametrize(
  ("low", "high", "expected"),
  [(0.49, 0.54, GOOD), (0.49, 0.56, UNCLEAR), (0.501, 0.53, BAD)],
)
def test_a_hidden_attribute_may_not_lie_above_guessing_at_all(
  low, high, expected
):
  got = level(0.5 * (low + high), low, high, "balanced accuracy", floor=0.5)
  assert got == expected


@pytest.mark.parametrize(
  ("value", "low", "high", "expected"),
  [(0.2, 0.19, 0.22, GOOD), (0.2, 0.19, 0.23, UNCLEAR), (0.3, 0.23, 0.4, BAD)],
)
def test_appearance_is_hidden_near_the_mean_image(value, low, high, expected):
  assert level(value, low, high, "SSIM", floor=0.2) == expected


@pytest.mark.parametrize(
  ("value", "low", "high", "fields", "expected"),
  [
    (0.88, 0.86, 0.9, {}, GOOD),  # within two points
    (0.87, 0.85, 0.89, {}, UNCLEAR),
    (0.88, 0.59, 0.95, {}, UNCLEAR),  # of few trials, it may be guessing
    (0.65, 0.59, 0.7, {}, BAD),  # the interval reaches down to the majority
    (0.65, 0.59, 0.7, {"ceiling": Interval(0.6, 0.5, 0.7)}, UNCLEAR),
    (0.65, 0.61, 0.7, {"ceiling": None}, GOOD),
    (0.65, 0.60, 0.7, {"ceiling": None}, BAD),
    (0.65, 0.61, 0.7, {"ceiling": None, "floor": None}, UNCLEAR),
    (0.65, 0.61, 0.7, {"floor": None}, UNCLEAR),
  ],
)
def test_an_attribute_is_kept_within_two_points(
  value, low, high, fields, expected
):
  fields = {"floor": 0.6, **fields}
  assert level(value, low, high, "accuracy", KEPT, **fields) == expected


def test_of_errors_less_is_nearer_to_the_truth():
  error = lambda low, high, **fields: level(
    (low + high) / 2, low, high, "mean error", KEPT, ceiling=None, **fields
  )
  assert error(3, 4, floor=10.0) == GOOD
  assert error(9, 11, floor=10.0) == BAD


@given(
  st.floats(0, 1), st.floats(0, 0.2), st.floats(0, 1), st.floats(0, 1),
  st.sampled_from([HIDDEN, KEPT]),
)  # fmt: skip
def test_a_metric_and_its_negative_are_judged_alike(
  value, half, floor, ceiling, wanted
):
  ends = value, value - half, value + half
  best = Interval(ceiling, ceiling - 0.05, ceiling + 0.05)
  metric = Metric(slack=0.03)
  more = finding.judge(
    row(*ends, "m", wanted, floor=floor, ceiling=best), metric
  )
  less = finding.judge(
    row(
      -value, -value - half, -value + half, "m", wanted, floor=-floor,
      ceiling=Interval(-ceiling, -ceiling - 0.05, -ceiling + 0.05),
    ),
    metric._replace(less=True),
  )  # fmt: skip
  assert more.level == less.level


def test_what_is_told_has_no_verdict():
  assert finding.judge(row(0.9, 0.8, 1.0, wanted=TOLD)).level == TOLD


def test_what_nobody_explains_is_refused():
  with pytest.raises(ValueError, match="add it to jaxpriv.metrics.finding"):
    finding.judge(row(0.9, 0.8, 1.0, "depth"))
  with pytest.raises(ValueError, match="hidden, kept or told, not 'secret'"):
    finding.judge(row(0.9, 0.8, 1.0, wanted="secret"))


def test_reasons_name_the_limit_in_the_unit_of_the_metric():
  spans = finding.judge(row(0.02, 0.0, 0.2))
  assert spans.reason == "the interval spans the limit of 3.0%"
  bad = finding.judge(row(0.5, 0.4, 0.6, "SSIM", floor=0.2))
  assert bad.reason == "the whole interval is better than 0.22"


def test_the_worst_is_what_is_read_best_of_what_should_be_hidden():
  held, spans = row(0.01, 0.0, 0.02), row(0.02, 0.0, 0.2)
  some, most = row(0.3, 0.2, 0.4), row(0.5, 0.4, 0.6)
  told = row(1.0, 1.0, 1.0, wanted=TOLD)
  assert finding.worst([held, told, most, some, spans]) is most
  assert finding.worst([held, spans, told]) is spans
  assert finding.worst([told]) is None
  # Findings of different metrics are compared by their share of the way from
  # floor to ceiling.
  seen = row(0.86, 0.85, 0.87, "SSIM", floor=0.2)
  assert finding.worst([some, seen]) is seen
  lost = row(0.6, 0.5, 0.7, "accuracy", KEPT, floor=0.55)
  kept = row(0.89, 0.8, 0.9, "accuracy", KEPT, floor=0.55)
  assert finding.worst([kept, lost]) is lost


def test_a_finding_survives_json():
  whole = row(0.02, 0.0, 0.2, hits=2, where={"pairs": 16, "knows": "little"})
  for one in (whole, whole._replace(ceiling=None, floor=None)):
    text = json.dumps(finding.to_dict(one))
    assert finding.from_dict(json.loads(text)) == one


def test_figures_of_counts_and_means_become_findings():
  count = finding.of(
    "identity", HIDDEN, "rank-1", statistics.proportion(3, 100),
    subject="m", by="naive", floor=0.01,
  )  # fmt: skip
  assert (count.value, count.hits, count.total) == (0.03, 3, 100)
  mean = finding.of(
    "pose", KEPT, "mean error", statistics.Mean(2.0, 1.0, 3.0, 7),
    subject="m", by="model",
  )  # fmt: skip
  assert (mean.value, mean.hits, mean.total) == (2.0, None, 7)


RATE = row(0.02, 0.0, 0.2, hits=2, where={"pairs": 16, "used": True, "a": "b"})


@pytest.mark.parametrize(
  "fine",
  [
    RATE,
    RATE._replace(hits=None, floor=None, ceiling=None, where={}),
    RATE._replace(value=np.float32(0.02), hits=np.int64(2)),
    row(math.nan, math.nan, math.inf, wanted=TOLD),
    row(0.9 + 1e-9, 0.5, 0.9, "accuracy"),  # rounding
  ],
)
def test_a_finding_without_problems(fine):
  assert finding.problems(fine) is None


@pytest.mark.parametrize(
  ("change", "problem"),
  [
    ({"by": 3}, "by must be text, not 3"),
    ({"wanted": "gone"}, "wanted must be hidden, kept or told, not 'gone'"),
    ({"metric": "luck"}, "metric 'luck' is unknown: add it to"),
    ({"value": math.nan}, "value must be a number, not nan"),
    ({"high": math.inf}, "high must be a number, not inf"),
    ({"low": None}, "low must be a number, not None"),
    ({"floor": math.nan}, "floor must be a number, not nan"),
    ({"ceiling": 0.9}, "ceiling must be an object of value, low and high"),
    ({"ceiling": Interval(1, math.nan, 1)}, "ceiling low must be a number"),
    ({"ceiling": Interval(0.9, 0.95, 1)}, "ceiling: value 0.9 lies outside"),
    ({"low": 0.03}, "value 0.02 lies outside its interval, 0.03 to 0.2"),
    ({"high": 0.01}, "value 0.02 lies outside its interval, 0.0 to 0.01"),
    ({"total": 0}, "total must be 1 or more, not 0"),
    ({"total": 1.5}, "total must be a whole number, not 1.5"),
    ({"hits": True}, "hits must be a whole number, not True"),
    ({"hits": -1}, "hits -1 of a total of 100"),
    ({"hits": 101}, "hits 101 of a total of 100"),
    ({"hits": 3}, "value 0.02 is not hits / total, 3 / 100"),
    ({"where": 3}, "where must be an object, not 3"),
    ({"where": {"a": None}}, "a in where must be text or a number, not None"),
    ({"where": {"a": [1]}}, "a in where must be text or a number"),
    ({"where": {"a": math.nan}}, "a in where must be text or a number"),
  ],
)
def test_a_problem_is_said(change, problem):
  said = finding.problems(RATE._replace(**change))
  assert said is not None and said.startswith(problem)


def test_a_metric_of_somebody_elses_is_no_problem():
  odd = RATE._replace(metric="luck")
  assert finding.problems(odd, Metric("share")) is None


def test_every_metric_is_explained():
  for name, metric in METRICS.items():
    assert metric.about, name


def test_what_has_no_interval_is_told_and_never_good():
  nothing = statistics.Mean(0.5, -math.inf, math.inf, 1)
  row = finding.of(
    "c", finding.HIDDEN, "rank-1", nothing, subject="s", by="b", floor=0.5
  )
  assert row.wanted == finding.TOLD
  for wanted in (finding.HIDDEN, finding.KEPT):
    blind = row._replace(
      wanted=wanted,
      value=math.nan,
      low=math.nan,
      high=math.nan,
      ceiling=finding.Interval(0.9, 0.8, 1.0),
    )
    assert finding.judge(blind).level == finding.UNCLEAR
