"""Clean stops: a termination signal is answered with a checkpoint."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator

import jax
from jax.experimental import multihost_utils

# What a shell reports for a process ended by SIGTERM; a launcher that gets it
# knows that the work is not finished and may be started again.
EXIT_STATUS = 128 + signal.SIGTERM


class Preempted(SystemExit):
  """Training was asked to stop and has saved; run the same command again."""

  def __init__(self, message: str):
    super().__init__(EXIT_STATUS)
    self.message = message

  def __str__(self) -> str:
    return self.message


@contextlib.contextmanager
def watch() -> Iterator[Callable[[int], bool]]:
  """Yields requested(step): whether to stop before `step`.

  On a cluster JAX carries the signal from any process to all and agrees on the
  step, so that all stop at the same one. Alone, the first SIGTERM is noted and
  a second one ends the process at once.
  """
  if jax.distributed.is_initialized():
    yield multihost_utils.reached_preemption_sync_point
    return
  if threading.current_thread() is not threading.main_thread():
    # Python delivers signals to the main thread alone.
    yield lambda step: False
    return
  seen = threading.Event()

  def note(signum, frame):
    seen.set()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)

  previous = signal.signal(signal.SIGTERM, note)
  try:
    yield lambda step: seen.is_set()
  finally:
    signal.signal(signal.SIGTERM, previous)
