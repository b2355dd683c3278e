"""The table of tools.frontier_chart."""

import pytest

from jaxpriv.metrics.finding import Finding, Interval
from jaxpriv.privacy import leakage
from tools.frontier_chart import Code, table


def test_codes_are_read_as_they_are_written():
  assert Code.parse("4x4x8@0") == ("4x4x8@0", False, 8, 0.0)
  assert Code.parse("2@0.5") == ("2@0.5", True, 2, 0.5)


def row(by, value, high, metric="rank-1", **changes):
  known = dict(
    subject="x", claim="identity", wanted="hidden", by=by, metric=metric,
    value=value, low=0.0, high=high, total=100, floor=0.01,
  )  # fmt: skip
  return Finding(**{**known, **changes})


def test_the_strongest_attacker_is_the_one_whose_interval_reaches_highest():
  rows = [
    row("naive", 0.01, 0.02),
    row("naive", 0.012, 0.015),
    row("naive", 0.5, 0.6, "TAR at FAR 1%"),
    row("reverse", 0.01, 0.02),
    row("parrot", 0.02, 0.04),
    row("embedding map, ridge, parrot", 0.05, 0.07),
  ]
  for value in (0.8, 0.9):
    rows.append(
      row(
        "fresh VGG", value, 0.95, "accuracy",
        claim="attribute Male", wanted="kept",
        ceiling=Interval(0.93, 0.9, 0.96),
      )
    )  # fmt: skip
  line = table({"1@0.5": rows}).splitlines()[-1]
  cells = [cell.strip() for cell in line.strip("|").split("|")]
  assert cells == [
    "1@0.5", f"{leakage.gain(0.5, 1):.2f}", "1.0 (0.0 to 2.0)",
    "1.0 (0.0 to 2.0)", "2.0 (0.0 to 4.0)", "5.0 (0.0 to 7.0)", "90.0%", "3.0",
  ]  # fmt: skip
  assert leakage.gain(0.5, 1) == pytest.approx(2.6, abs=0.01)
