"""Numbers read well, and none is lost in rounding."""

import hypothesis
import pytest
from hypothesis import strategies as st

from jaxpriv.metrics.finding import Metric
from jaxpriv.reports import wording

SHARE = Metric("share")


@pytest.mark.parametrize(
  ("written", "expected"),
  [
    (wording.percent(0.9124), "91.2%"),
    (wording.percent(0.0), "0.0%"),
    (wording.percent(1.0), "100.0%"),
    (wording.percent(1 / 10575), "0.0095%"),
    (wording.percent(0.0004), "0.04%"),
    (wording.percent(None), "–"),
    (wording.percent(float("nan")), "–"),
    (wording.interval(0.002, 0.0117), "0.2 – 1.2%"),
    (wording.interval(None, 0.1), "–"),
    (wording.points(-0.041), "−4.1"),
    (wording.points(0.004), "+0.4"),
    (wording.points(-0.0001), "±0.0"),
    (wording.of(12, 1000), "12 / 1,000"),
    (wording.of(None, 1000), "1,000"),
    (wording.fixed(0.2171, 2), "0.22"),
    (wording.fixed(-0.0049, 2), "0.00"),
    (wording.fixed(-0.31, 1), "−0.3"),
    (wording.plain(0.2171), "0.22"),
    (wording.plain(0.0), "0.00"),
    (wording.plain(-0.0049), "−0.005"),
    (wording.plain(0.00021), "0.0002"),
    (wording.plain(54321.0), "54,321"),
    (wording.plain(float("inf")), "∞"),
    (wording.figure(0.006, SHARE), "0.6%"),
    (wording.figure(3.14, Metric("degrees")), "3.1°"),
    (wording.figure(11.46, Metric("dB")), "11.5 dB"),
    (wording.figure(3.0, Metric("px")), "3.00 px"),
    (wording.figure(1234.0, Metric("count")), "1,234"),
    (wording.figure(1.5, Metric("count")), "1.500000"),
    (wording.figure(0.2171, Metric()), "0.22"),
    (wording.figure(2.5, Metric("bits")), "2.50 bits"),
    (wording.figure(None, SHARE), "–"),
    (wording.figure(float("nan"), Metric("bits")), "–"),
    (wording.span(0.002, 0.0117, SHARE), "0.2 – 1.2%"),
    (wording.span(-0.3, 0.254, Metric()), "−0.30 – 0.25"),
    (wording.span(3.0, 4.0, Metric("degrees")), "3.0 – 4.0°"),
    (wording.span(None, 0.25, Metric()), "–"),
    (wording.number(1024), "1,024"),
    (wording.number(0.25), "0.250"),
    (wording.tick(20_000), "20k"),
    (wording.tick(1500), "1500"),
    (wording.tick(0.75), "0.75"),
    (wording.tick(-1e-05), "−1e−5"),
    (wording.real(0.001), "0.00100"),
    (wording.real(1234.5), "1,234"),
    (wording.real(float("inf")), "∞"),
    (wording.at_most(8.004), "8.01"),
    (wording.at_most(8.0), "8.00"),
    (wording.at_most(2.9999995), "3.00"),
    (wording.at_most(0.12301), "0.124"),
    (wording.at_most(float("inf")), "∞"),
    (wording.at_most(0.0), "0.00"),
    (wording.at_most(None), "–"),
    (wording.date("2026-03-02T10:05:00+00:00"), "2 March 2026, 10:05"),
    (wording.date("yesterday"), "yesterday"),
    (wording.name("k_same"), "K same"),
    (wording.name("dp_multitask"), "Dp multitask"),
    (wording.name("mAP"), "mAP"),
    (wording.name("A7_probe", keep=True), "A7 probe"),
  ],
)
def test_as_people_write_them(written, expected):
  assert written == expected


@hypothesis.given(st.floats(1e-6, 1))
def test_a_rate_above_zero_never_reads_as_zero(rate):
  text = wording.percent(rate)
  assert float(text.rstrip("%")) == pytest.approx(rate * 100, rel=0.5)
  assert float(text.rstrip("%")) > 0


@hypothesis.given(st.floats(1e-9, 1e6))
def test_a_number_above_zero_never_reads_as_zero(value):
  text = wording.plain(value).replace(",", "").replace("−", "-")
  assert float(text) == pytest.approx(value, rel=0.5, abs=0.005)
  assert float(text) > 0
