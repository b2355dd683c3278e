"""Speed between log lines; traces are looked for in loop_test."""

import itertools

import pytest

from jaxpriv.training import profiling


def test_speed_is_counted_between_two_calls(monkeypatch):
  clock = itertools.count(10.0, 2.0)
  monkeypatch.setattr(profiling.time, "perf_counter", lambda: next(clock))
  speed = profiling.Meter(flops=3e12, rows=16)
  assert speed(0) == {}
  # Five steps in two seconds, then one.
  assert speed(5) == {
    "images_per_second": 5 / 2 * 16,
    "data_wait": 0.0,
    "teraflops_per_second": pytest.approx(5 / 2 * 3),
  }
  assert speed(6)["images_per_second"] == 8
  unknown = profiling.Meter(flops=0.0, rows=16)
  unknown(0)
  assert set(unknown(1)) == {"images_per_second", "data_wait"}


def test_waiting_for_data_is_a_share_of_the_time(monkeypatch):
  clock = iter([0.0, 1.0, 4.0, 5.0, 6.0, 10.0, 20.0])
  monkeypatch.setattr(profiling.time, "perf_counter", lambda: next(clock))
  speed = profiling.Meter(flops=0.0, rows=1)
  speed(0)
  for _ in range(2):  # three seconds, and one
    with speed.waiting():
      pass
  assert speed(2)["data_wait"] == pytest.approx(4 / 10)
  assert speed(3)["data_wait"] == 0
