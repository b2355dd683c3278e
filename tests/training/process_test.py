"""Real processes: killed, asked to stop, and two working as one."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from jaxpriv.training import lock
from tests.launch.programs import UNCACHED

ROOT = pathlib.Path(__file__).resolve().parents[2]

started: list[subprocess.Popen] = []


@pytest.fixture(autouse=True)
def none_left_behind():
  """Half a cluster waits for ever for the other half, if a test fails."""
  yield
  while started:
    process = started.pop()
    process.kill()
    process.wait()


def start(workdir, steps, *options):
  environment = {**os.environ, "PYTHONPATH": str(ROOT)}
  if "--processes" in options:
    environment |= UNCACHED
  process = subprocess.Popen(
    [sys.executable, "-m", "tests.training.worker", str(workdir), str(steps)]
    + [str(option) for option in options],
    cwd=ROOT,
    env=environment,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )
  started.append(process)
  return process


def result(process):
  out, err = process.communicate(timeout=180)
  assert process.returncode == 0, err
  return json.loads(out.strip().splitlines()[-1])


def wait_for_lines(workdir, count, process):
  path = pathlib.Path(workdir) / "metrics" / "toy.jsonl"
  deadline = time.time() + 120
  while time.time() < deadline:
    assert process.poll() is None, process.stderr.read()
    if path.exists() and len(path.read_text().splitlines()) >= count:
      return
    time.sleep(0.02)
  raise AssertionError("the worker wrote no metrics in time")


def test_kill_and_resume_is_bit_equal(tmp_path):
  whole = start(tmp_path / "whole", 16)
  killed = start(tmp_path / "killed", 16, "--slow", 0.2)
  wait_for_lines(tmp_path / "killed", 10, killed)
  killed.send_signal(signal.SIGKILL)
  killed.communicate()
  assert killed.returncode == -signal.SIGKILL
  saved = [
      int(p.name) for p in (tmp_path / "killed/phases/toy").glob("[0-9]*")
      if p.name.isdigit()
  ]  # fmt: skip
  assert saved and max(saved) < 16
  resumed = result(start(tmp_path / "killed", 16))
  assert resumed == result(whole)
  assert len(resumed["losses"]) == 16


def test_sigterm_saves_and_exits_cleanly(tmp_path):
  asked = start(tmp_path, 200, "--slow", 0.05, "--save-every", 0)
  wait_for_lines(tmp_path, 5, asked)
  asked.send_signal(signal.SIGTERM)
  out, err = asked.communicate(timeout=60)
  assert asked.returncode == 128 + signal.SIGTERM, err
  assert "saved step" in out and "Run the same command" in out
  step = int(out.split("saved step ")[1].split()[0])
  assert (tmp_path / "phases/toy" / str(step)).is_dir()
  steps = step + 3
  resumed = result(start(tmp_path, steps))
  assert resumed == result(start(tmp_path / "whole", steps))


def free_port():
  with socket.socket() as s:
    s.bind(("localhost", 0))
    return s.getsockname()[1]


def start_two(workdir, steps, *options):
  """Two processes of one cluster."""
  cluster = ("--processes", 2, "--port", free_port(), "--process")
  return [start(workdir, steps, *options, *cluster, i) for i in range(2)]


def test_two_processes_train_as_one(tmp_path):
  cluster = start_two(tmp_path / "two", 8, "--devices", 2)
  first, second = [result(process) for process in cluster]
  one = result(start(tmp_path / "one", 8, "--devices", 4))
  # Both processes end with the same parameters; one of them writes metrics.
  assert first["hash"] == second["hash"]
  assert len(one["losses"]) == 8
  np.testing.assert_allclose(first["losses"], one["losses"], rtol=1e-5)


def test_both_processes_are_kept_out_of_a_directory_of_others(tmp_path):
  """The first one sees the lock, and tells the other."""
  with lock.hold(tmp_path):
    cluster = start_two(tmp_path, 3)
    ends = [process.communicate(timeout=90) for process in cluster]
  assert all(process.returncode for process in cluster)
  assert f"process {os.getpid()}" in ends[0][1]
  assert "the first process was refused" in ends[1][1]
  assert not (tmp_path / "phases").exists()
  assert not (tmp_path / lock.NAME).exists()


def test_sigterm_to_one_process_stops_both_at_the_same_step(tmp_path):
  cluster = start_two(tmp_path, 400, "--slow", 0.05, "--save-every", 0)
  wait_for_lines(tmp_path, 5, cluster[0])
  cluster[1].send_signal(signal.SIGTERM)
  ends = [process.communicate(timeout=90) for process in cluster]
  codes = [process.returncode for process in cluster]
  assert codes == [143, 143], ends
  steps = {out.split("saved step ")[1].split()[0] for out, _ in ends}
  assert len(steps) == 1


def test_sigterm_in_the_final_evaluation_stops_both_at_the_end(tmp_path):
  cluster = start_two(tmp_path, 3, "--slow-end", 5)
  wait_for_lines(tmp_path, 3, cluster[0])
  cluster[1].send_signal(signal.SIGTERM)
  ends = [process.communicate(timeout=90) for process in cluster]
  codes = [process.returncode for process in cluster]
  assert codes == [143, 143], ends
  assert all("toy: finished" in out for out, _ in ends)
  assert all("saved step 3 of 3" in out for out, _ in ends)
  assert (tmp_path / "phases/toy/3").is_dir()


def test_two_processes_train_privately_as_one(tmp_path):
  """Both read one secret, draw one batch of people, and add one noise."""
  secret = "00112233445566778899aabbccddeeff"
  found = {}
  for name, processes in (("one", 1), ("two", 2)):
    workdir = tmp_path / name
    workdir.mkdir()
    (workdir / "noise_secret").write_text(secret)
    options = ["--private", "--devices", 2 // processes, "--port", free_port()]
    both = [
      start(workdir, 5, *options, "--processes", processes, "--process", i)
      for i in range(processes)
    ]
    found[name] = [result(process) for process in both]
    assert not (workdir / "noise_secret").exists()
  (one,) = found["one"]
  assert len(one["losses"]) == 5
  first, second = found["two"]
  assert first["hash"] == second["hash"]
  np.testing.assert_allclose(first["losses"], one["losses"], rtol=1e-4)
