"""A program starts quickly: what few runs need, or need late, is not loaded."""

import signal
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


def test_ctrl_c_while_modules_are_imported():
  process = subprocess.Popen(
    [sys.executable, "-X", "importtime", "-m", "launch.train", "--help"],
    cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
  )  # fmt: skip
  for line in process.stderr:
    if line.endswith("| launch\n"):  # all others follow
      break
  process.send_signal(signal.SIGINT)
  rest = process.stderr.read()
  assert process.wait(60) == 130 and "Traceback" not in rest
