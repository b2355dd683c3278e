"""Clean stops: SIGTERM and Ctrl-C are answered with a checkpoint."""

import contextlib
import itertools
import os
import signal
import threading
from collections.abc import Iterator

import jax
from jax.experimental import multihost_utils

# Of a launcher, and of somebody at a terminal.
SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Preempted(SystemExit):
  """Training was asked to stop and has saved; run the same command again.

  The status is the one that shells report for a process ended by that signal:
  it tells a launcher that the work is not finished and may be started again.
  """

  def __init__(self, message: str):
    super().__init__(128 + _received)
    self.message = message

  def __str__(self) -> str:
    return self.message


# State of the process, not of a phase: a request at the end of one phase still
# stands at the start of the next.
_asked = threading.Event()
_calls = itertools.count()
_received = signal.SIGTERM


def requested() -> bool:
  """Tells whether to save and stop now.

  On a cluster JAX carries the signal from any process to all, and they agree on
  the next call as the one to stop at; so all must call this equally often.
  """
  return _asked.is_set() or multihost_utils.reached_preemption_sync_point(
    next(_calls)
  )


@contextlib.contextmanager
def watch() -> Iterator[None]:
  """Within it SIGTERM and SIGINT make `requested` true, and end nothing.

  A second one ends the process at once. On a cluster JAX listens for SIGTERM
  already, and is told of SIGINT by one.
  """
  # Python delivers signals to the main thread alone.
  if threading.current_thread() is not threading.main_thread():
    yield
    return
  cluster = jax.distributed.is_initialized()
  signals = SIGNALS[1:] if cluster else SIGNALS

  def note(signum, frame):
    global _received
    _received = signal.Signals(signum)
    for each in signals:
      signal.signal(each, signal.SIG_DFL)
    if cluster:
      os.kill(os.getpid(), signal.SIGTERM)
    else:
      _asked.set()

  previous = {each: signal.signal(each, note) for each in signals}
  try:
    yield
  finally:
    for each, handler in previous.items():
      signal.signal(each, handler)
