"""Progress of long work: a bar on a terminal, a line now and then in a log."""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator

from absl import logging

LOG_EVERY_SECONDS = 15.0
PATIENCE = 2.0  # seconds of silence
# Terminals on which nothing can be drawn over what is there.
DUMB = ("", "dumb", "unknown")

Advance = Callable[..., None]


def _clock(seconds: float) -> str:
  minutes, seconds = divmod(int(seconds + 0.5), 60)
  hours, minutes = divmod(minutes, 60)
  return (
    f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
  )


@contextlib.contextmanager
def slow(what: str) -> Iterator[None]:
  """Logs `what` if the work inside takes more than two seconds.

  Args:
    what: is being done, such as "Reckoning the noise".
  """
  timer = threading.Timer(PATIENCE, logging.info, (f"{what} ...",))
  timer.daemon = True
  timer.start()
  try:
    yield
  finally:
    timer.cancel()


def _draws() -> bool:
  """Whether standard error is a terminal that a bar can be drawn on."""
  stream = sys.stderr
  if stream is None or not stream.isatty():
    return False
  return os.environ.get("TERM", "") not in DUMB


@contextlib.contextmanager
def bar(
  name: str, total: int, start: int = 0, unit: str = "step"
) -> Iterator[Advance]:
  """Yields advance(done, note="", total=None) for work of `total` units.

  On a terminal it draws a bar with the rate and the time left; elsewhere it
  writes a line if the first part takes long, as where it is compiled, one every
  15 seconds, and one at the end.
  """
  if _draws():
    yield from _terminal_bar(name, total, start, unit)
  else:
    yield from _log_bar(name, total, start, unit)


def _terminal_bar(name, total, start, unit):
  from rich import progress as rich_progress
  from rich.console import Console

  columns = (
    rich_progress.TextColumn("{task.description:<22}"),
    rich_progress.BarColumn(bar_width=24),
    rich_progress.MofNCompleteColumn(),
    rich_progress.TextColumn("{task.fields[rate]}"),
    rich_progress.TimeElapsedColumn(),
    rich_progress.TextColumn("left"),
    rich_progress.TimeRemainingColumn(),
    rich_progress.TextColumn("{task.fields[note]}", style="dim"),
  )
  begun = time.monotonic()
  console = Console(stderr=True)
  with rich_progress.Progress(*columns, console=console) as display:
    task = display.add_task(
      name, total=total, completed=start, note="", rate=""
    )

    def advance(done, note="", total=None):
      rate = (done - start) / max(time.monotonic() - begun, 1e-9)
      display.update(
        task,
        completed=done,
        total=total,
        note=note,
        rate=f"{rate:,.1f} {unit}s/s",
      )

    yield advance


def _log_bar(name, total, start, unit):
  begun = last = time.monotonic()
  size = total
  first = contextlib.ExitStack()
  first.enter_context(slow(f"{name}: beginning"))

  def advance(done, note="", total=None):
    nonlocal last, size
    first.close()
    size = total or size
    now = time.monotonic()
    if now - last < LOG_EVERY_SECONDS and done < size:
      return
    last = now
    rate = (done - start) / max(now - begun, 1e-9)
    left = _clock((size - done) / rate) if rate else "?"
    logging.info(
        "%s: %d/%d %ss, %.1f %ss/s, left %s %s",
        name, done, size, unit, rate, unit, left, note,
    )  # fmt: skip

  with first:
    yield advance
