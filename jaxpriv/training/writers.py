"""Metric files of a run: one JSON line a step, and TensorBoard events."""

import contextlib
import json
import math
import time
from collections.abc import Callable, Iterator

from etils import epath

from jaxpriv import files

Write = Callable[[int, dict[str, float]], None]

# Files in buckets cannot be added to: they are written anew, this often.
REWRITTEN = 30.0  # seconds


def metrics_path(workdir: epath.PathLike, phase: str) -> epath.Path:
  return epath.Path(workdir) / "metrics" / f"{phase}.jsonl"


@contextlib.contextmanager
def metric_writer(
  workdir: epath.PathLike, phase: str, first_step: int = 0
) -> Iterator[Write]:
  """Yields write(step, scalars) for one phase.

  Lines of an earlier, interrupted run at or after `first_step` are dropped, so
  that no step stands twice.

  Args:
    workdir: the run directory.
    phase: its name; the files are metrics/<phase>.jsonl and
      metrics/<phase>/events...
    first_step: where this run starts or resumes.
  """
  from tensorboardX import SummaryWriter

  path = metrics_path(workdir, phase)
  kept = [
    line for line in read_metrics(workdir, phase) if line["step"] < first_step
  ]
  text = "".join(json.dumps(line) + "\n" for line in kept)
  files.atomic_write(path, text)
  events = SummaryWriter(
    str(path.with_suffix("")), purge_step=first_step, write_to_disk=True
  )
  try:
    with _appender(path, text) as append:

      def write(step, scalars):
        scalars = {name: float(value) for name, value in scalars.items()}
        # JSON has no nan; null is read back as None.
        row = {
          name: value if math.isfinite(value) else None
          for name, value in scalars.items()
        }
        append(json.dumps({"step": step, **row}) + "\n")
        for name, value in scalars.items():
          events.add_scalar(name, value, step)

      yield write
  finally:
    events.close()


@contextlib.contextmanager
def _appender(path: epath.Path, text: str) -> Iterator[Callable[[str], None]]:
  """Yields append(line), for a file that holds `text`."""
  if not files.in_bucket(path):
    with path.open("a") as lines:

      def append(line):
        with files.named(path):
          lines.write(line)
          lines.flush()

      yield append
    return
  parts, written = [text], time.monotonic()

  def rewrite(line):
    nonlocal written
    parts.append(line)
    if time.monotonic() - written >= REWRITTEN:
      files.atomic_write(path, "".join(parts))
      written = time.monotonic()

  try:
    yield rewrite
  finally:
    files.atomic_write(path, "".join(parts))


def read_metrics(workdir: epath.PathLike, phase: str) -> list[dict]:
  """The lines of a phase's metrics; one cut short by a crash is dropped."""
  path = metrics_path(workdir, phase)
  if not path.exists():
    return []
  lines = []
  for line in path.read_bytes().splitlines():
    with contextlib.suppress(ValueError, RecursionError):
      values = json.loads(line)
      if isinstance(values, dict) and isinstance(values.get("step"), int):
        lines.append(values)
  return lines
