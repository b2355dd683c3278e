"""Speed between log lines; traces are looked for in loop_test."""

import itertools

import pytest

from jaxpriv.training import profiling


def test_speed_is_counted_between_two_calls(monkeypatch):
  clock = itertools.count(10.0, 2.0)
  monkeypatch.setattr(profiling.time, "perf_counter", lambda: next(clock))
  speed = profiling.meter(flops=3e12, rows=16)
  assert speed(0) == {}
  # Five steps in two seconds, then one.
  assert speed(5) == {
    "images_per_second": 5 / 2 * 16,
    "teraflops_per_second": pytest.approx(5 / 2 * 3),
  }
  assert speed(6)["images_per_second"] == 8
  unknown = profiling.meter(flops=0.0, rows=16)
  unknown(0)
  assert set(unknown(1)) == {"images_per_second"}
