"""How fast a phase trains: speed between log lines, and profiler traces."""

import contextlib
import time
from collections.abc import Callable, Iterator

import jax
from etils import epath


def meter(flops: float, rows: int) -> Callable[[int], dict[str, float]]:
  """Speed between two calls, counted in steps; nothing on the first call.

  Args:
    flops: of a step, on all devices; 0 if they are not known.
    rows: examples of an average batch.

  Returns:
    step -> scalars.
  """
  last: list[tuple[int, float]] = []

  def speed(step: int) -> dict[str, float]:
    now = time.perf_counter()
    last.append((step, now))
    if len(last) < 2:
      return {}
    (step_before, then), _ = last[-2:]
    del last[:-1]
    rate = (step - step_before) / max(now - then, 1e-9)
    scalars = {"images_per_second": rate * rows}
    if flops:
      scalars["teraflops_per_second"] = rate * flops / 1e12
    return scalars

  return speed


@contextlib.contextmanager
def profiler(
  window: tuple[int, int], directory: epath.PathLike
) -> Iterator[Callable[[int], None]]:
  """Yields profile(step), to be called before each step.

  Args:
    window: first step of the trace, and the first after it; (0, 0) is none.
    directory: where the trace is written.
  """
  first, last = window
  tracing = False

  def profile(step: int) -> None:
    nonlocal tracing
    if tracing != (first <= step < last):
      if tracing:
        jax.profiler.stop_trace()
      else:
        jax.profiler.start_trace(str(directory))
      tracing = not tracing

  try:
    yield profile
  finally:
    profile(last)
