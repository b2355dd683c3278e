"""A program starts quickly: what few runs need, or need late, is not loaded."""

import subprocess
import sys

from tests.launch.programs import ROOT

LATE = (
  "array_record",
  "dp_accounting",
  "grain",
  "jinja2",
  "orbax",
  "rich.progress",
  "scipy",
  "tensorboardX",
  "tensorflow_datasets",
)


def test_the_import_of_a_program_loads_nothing_late():
  code = (
    f"import sys, launch.train; print(*(m for m in {LATE} if m in sys.modules))"
  )
  done = subprocess.run(
    [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
  )
  assert done.returncode == 0, done.stderr
  assert done.stdout.split() == []
