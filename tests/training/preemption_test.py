"""Requests to stop between phases; process_test sends real signals."""

import itertools
import signal
import threading

import pytest

from jaxpriv.training import preemption


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
  """Starts as a process that nobody has asked to stop."""
  monkeypatch.setattr(preemption, "_asked", threading.Event())
  monkeypatch.setattr(preemption, "_calls", itertools.count())


def test_a_request_outlives_the_phase_in_which_it_came():
  before = signal.getsignal(signal.SIGTERM)
  with preemption.watch():
    assert not preemption.requested()
    signal.raise_signal(signal.SIGTERM)
    # A second one is not to be held up by a save that hangs.
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
  assert signal.getsignal(signal.SIGTERM) == before
  with preemption.watch():
    assert preemption.requested()


def test_a_cluster_agrees_on_a_call_that_comes_whatever_the_phase(monkeypatch):
  calls = []
  monkeypatch.setattr(
    preemption.multihost_utils,
    "reached_preemption_sync_point",
    lambda call: calls.append(call) or call == 4,
  )
  found = []
  for steps in (3, 2):
    with preemption.watch():
      found += [preemption.requested() for _ in range(steps)]
  assert calls == [0, 1, 2, 3, 4]
  assert found == [False] * 4 + [True]


def test_other_threads_hear_of_a_request_without_touching_signals():
  found = []

  def work():
    with preemption.watch():
      found.append(preemption.requested())

  before = signal.getsignal(signal.SIGTERM)
  thread = threading.Thread(target=work)
  thread.start()
  thread.join()
  assert found == [False]
  assert signal.getsignal(signal.SIGTERM) == before
