"""How fast a phase trains: speed between log lines, and profiler traces."""

import contextlib
import time
from collections.abc import Callable, Iterator

import jax
from etils import epath


class Meter:
  """Speed, and how long steps waited for data, between two calls."""

  def __init__(self, flops: float, rows: int):
    """Begins to measure at the first call.

    Args:
      flops: of a step, on all devices; 0 if they are not known.
      rows: examples of an average batch.
    """
    self._flops, self._rows = flops, rows
    self._waited = 0.0
    self._last: tuple[int, float] | None = None

  @contextlib.contextmanager
  def waiting(self) -> Iterator[None]:
    """Counts the time of its body as spent waiting for data.

    Steps are dispatched ahead of the devices: where these are the slower ones,
    batches are ready and nothing is waited for.
    """
    then = time.perf_counter()
    yield
    self._waited += time.perf_counter() - then

  def __call__(self, step: int) -> dict[str, float]:
    """Scalars of the steps since the call before; of the first call none.

    Args:
      step: the number of the last one.

    Returns:
      images_per_second, data_wait, a share of the time, and
      teraflops_per_second where the arithmetic of a step is known.
    """
    now, last = time.perf_counter(), self._last
    waited, self._waited = self._waited, 0.0
    self._last = step, now
    if last is None:
      return {}
    elapsed = max(now - last[1], 1e-9)
    rate = (step - last[0]) / elapsed
    scalars = {
      "images_per_second": rate * self._rows,
      "data_wait": min(waited / elapsed, 1.0),
    }
    if self._flops:
      scalars["teraflops_per_second"] = rate * self._flops / 1e12
    return scalars


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
