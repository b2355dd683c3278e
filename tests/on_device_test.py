"""tools/on_device.sh has a call for each mechanism, and refuses others."""

import json
import os
import pathlib
import subprocess
import sys

from launch import config as config_lib

ROOT = pathlib.Path(__file__).parents[1]


def run(*arguments, **variables):
  return subprocess.run(
    ["bash", str(ROOT / "tools/on_device.sh"), *map(str, arguments)],
    env={**os.environ, "PYTHON": sys.executable, "JAX_PLATFORMS": "cpu",
         "PYTHONPATH": str(ROOT), **variables},
    capture_output=True, text=True, timeout=300, check=False,
  )  # fmt: skip


def test_calls_are_listed():
  listed = run("list")
  mechanisms = [name for name in config_lib.names() if name != "baseline"]
  assert listed.returncode == 0 and not listed.stderr
  assert listed.stdout.split() == [
    *mechanisms, "dp", "sharded", "layers", "precision",
  ]  # fmt: skip


def test_other_calls_are_refused(tmp_path):
  refused = run("nobody", tmp_path / "out")
  assert refused.returncode == 1 and not refused.stdout
  assert "there is no call nobody" in refused.stderr
  assert "dp_multitask" in refused.stderr
  assert not (tmp_path / "out").exists()


def test_what_there_is_no_time_for_is_said(tmp_path):
  done = run("--scale=demo", "deep_poisoning", tmp_path, "--limit=0")
  assert done.returncode == 0, done.stderr
  content = json.loads((tmp_path / "deep_poisoning.json").read_text())
  assert content["programs"] == []
  assert set(content["left_out"]) == {
    "classifier",
    "reconstructor",
    "poisoning",
  }


def test_all_devices_are_compared_with_one_of_a_cpu(tmp_path):
  done = run(
    "sharded", tmp_path, "-k", "test_eight_devices_equal_one[black_box"
  )
  content = json.loads((tmp_path / "sharded.json").read_text())
  (row,) = content["suites"]["sharded"]
  assert row["outcome"] == "passed", done.stdout
  assert row["test"] == "test_eight_devices_equal_one[black_box]"
  assert content["devices"] == 8
