"""Versions are timed by turns, and told which is how much faster."""

import pathlib
import subprocess
import sys

import pytest

from tools import compare_versions

ROOT = pathlib.Path(__file__).parents[1]


class Clock:
  """A version whose steps take what is given, the machine's pace apart."""

  def __init__(self, seconds, pace):
    self.seconds, self.pace, self.asked = seconds, pace, []

  def steps(self, count):
    self.asked.append(count)
    wall = self.seconds * next(self.pace)
    return wall, 2 * wall


def test_a_machine_that_slows_down_is_slow_for_both():
  pace = iter([1, 1, *(k for i in range(6) for k in (1 + i, 1 + i))])
  versions = [Clock(0.1, pace), Clock(0.15, pace)]
  found = compare_versions.compare(versions, seconds=1.5, rounds=6)
  text = compare_versions.told(found)
  assert "this is 1.50 times as fast (quartiles 1.50 to 1.50)" in text
  assert versions[0].asked == [2] + 6 * [15]
  assert versions[1].asked == [2] + 6 * [10]
  assert "this: 350.0 ms a step, 700.0 ms of cores" in text


def test_who_begins_changes():
  began = []

  class Named(Clock):
    def steps(self, count):
      began.append(self.seconds)
      return super().steps(count)

  versions = [Named(1.0, iter(5 * [1])), Named(2.0, iter(5 * [1]))]
  compare_versions.compare(versions, seconds=1, rounds=2)
  assert began == [1, 2, 1, 2, 2, 1]


def test_another_folder_is_no_version(tmp_path):
  with pytest.raises(SystemExit, match="not a checkout of jaxpriv"):
    compare_versions.Version(tmp_path, None, str(tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("phase, rc", [("multi_task", 0), ("reconstructor", 1)])
def test_a_version_beside_itself(phase, rc):
  told = subprocess.run(
    [
      sys.executable, "-m", "tools.compare_versions", f"--other={ROOT}",
      "--config=dp_multitask:demo", f"--phase={phase}", "--rounds=2",
      "--seconds=0.5", "--devices=2", "--", "--config.data.num_identities=100",
      "--config.phases.multi_task.steps=2",
      "--config.phases.multi_task.batch_size=16",
    ],
    cwd=ROOT, capture_output=True, text=True,
  )  # fmt: skip
  assert told.returncode == rc, told.stderr
  if rc:
    assert "ended without a step of the phase" in told.stderr
  else:
    assert "times as fast" in told.stdout
