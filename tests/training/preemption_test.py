"""Requests to stop between phases; process_test sends real signals."""

import itertools
import os
import signal
import threading

import pytest

from jaxpriv.training import preemption


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
  """Starts as a process that nobody has asked to stop."""
  monkeypatch.setattr(preemption, "_asked", threading.Event())
  monkeypatch.setattr(preemption, "_calls", itertools.count())
  monkeypatch.setattr(preemption, "_received", signal.SIGTERM)


@pytest.mark.parametrize("number", preemption.SIGNALS)
def test_a_request_outlives_the_phase_in_which_it_came(number):
  before = [signal.getsignal(each) for each in preemption.SIGNALS]
  with preemption.watch():
    assert not preemption.requested()
    signal.raise_signal(number)
    # A second one is not to be held up by a save that hangs.
    for each in preemption.SIGNALS:
      assert signal.getsignal(each) == signal.SIG_DFL
  assert [signal.getsignal(each) for each in preemption.SIGNALS] == before
  with preemption.watch():
    assert preemption.requested()
  assert preemption.Preempted("").code == 128 + number


def test_on_a_cluster_jax_is_told_of_ctrl_c(monkeypatch):
  monkeypatch.setattr(preemption.jax.distributed, "is_initialized", lambda: 1)
  sent = []
  monkeypatch.setattr(os, "kill", lambda *sending: sent.append(sending))
  terminate = signal.getsignal(signal.SIGTERM)
  with preemption.watch():
    assert signal.getsignal(signal.SIGTERM) == terminate  # that of JAX
    signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL
  assert sent == [(os.getpid(), signal.SIGTERM)]
  assert not preemption.requested()  # until all have agreed
  assert preemption.Preempted("").code == 130


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
