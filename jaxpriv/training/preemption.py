"""Clean stops: a termination signal is answered with a checkpoint."""

import contextlib
import itertools
import signal
import threading
from collections.abc import Iterator

import jax
from jax.experimental import multihost_utils

# The status that shells report for a process ended by SIGTERM: it tells a
# launcher that the work is not finished and may be started again.
EXIT_STATUS = 128 + signal.SIGTERM


class Preempted(SystemExit):
  """Training was asked to stop and has saved; run the same command again."""

  def __init__(self, message: str):
    super().__init__(EXIT_STATUS)
    self.message = message

  def __str__(self) -> str:
    return self.message


# State of the process, not of a phase: a request at the end of one phase still
# stands at the start of the next.
_asked = threading.Event()
_calls = itertools.count()


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
  """Within it SIGTERM makes `requested` true instead of ending the process.

  A second SIGTERM ends the process at once. On a cluster JAX listens already.
  """
  if (
    jax.distributed.is_initialized()
    # Python delivers signals to the main thread alone.
    or threading.current_thread() is not threading.main_thread()
  ):
    yield
    return

  def note(signum, frame):
    _asked.set()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)

  previous = signal.signal(signal.SIGTERM, note)
  try:
    yield
  finally:
    signal.signal(signal.SIGTERM, previous)
