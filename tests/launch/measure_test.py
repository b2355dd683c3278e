"""launch.measure: what fails or is late is told, and takes no other with it."""

import json
import pathlib
import subprocess
import sys
import time

import jax
import pytest
from absl import flags

from configs import baseline
from jaxpriv.training import measuring
from tests.launch.programs import run


def load():
  """The program; others in this process have flags of the same names."""
  names = ("config", "json", "phase", "seconds", "limit", "topology")
  kept = {name: flags.FLAGS[name] for name in names if name in flags.FLAGS}
  for name in kept:
    delattr(flags.FLAGS, name)
  from launch import measure

  for name in names:
    delattr(flags.FLAGS, name)
  for name, flag in kept.items():
    flags.FLAGS[name] = flag
  return measure


program = load()


def later(seconds=60):
  return time.monotonic() + seconds


def test_a_config_is_measured(tmp_path):
  path = tmp_path / "blur.json"
  run(
    "launch.measure", "--config=baseline:demo,pixelation", f"--json={path}",
    "--seconds=0", "--config.data.num_identities=40",
    "--config.data.image_size=32",
  )  # fmt: skip
  content = json.loads(path.read_text())
  (row,) = content["programs"]
  assert row["program"] == "baseline: image" and row["ms"] > 0
  assert content["config"] == "pixelation" and not content["private"]
  assert content["failed"] == content["left_out"] == {}
  assert content["device"] == "cpu" and content["devices"] == row["devices"]
  assert [p.name for p in tmp_path.iterdir()] == ["blur.json"]


@pytest.fixture
def processes(monkeypatch):
  """Stands for processes: phase -> what one does with the file it is given."""
  acts = {}
  flags_given = []

  def start(command, timeout, check):
    own = dict(part.lstrip("-").split("=") for part in command[-3:])
    flags_given.append(command)
    assert float(own["limit"]) == timeout and timeout > 0
    act = acts[own["phase"]]
    result = act(pathlib.Path(own["json"]), timeout)
    return subprocess.CompletedProcess(command, result or 0)

  monkeypatch.setattr(subprocess, "run", start)
  monkeypatch.setattr(sys, "argv", ["program", "--config=x:gpu", "--json=y"])
  return acts, flags_given


def wrote(*programs, **other):
  content = {
    **program.empty(),
    "programs": [{"program": name} for name in programs],
    "device": "card", "devices": 1, "limits": None, **other,
  }  # fmt: skip
  return lambda path, timeout: path.write_text(json.dumps(content)) and 0


def test_phases_have_processes_of_their_own(processes):
  acts, given = processes
  acts["first"] = wrote("first", "first: image")
  acts["killed"] = acts["gone"] = lambda path, timeout: -9
  acts["memory"] = wrote(failed={"memory": "out of memory"})

  def late(path, timeout):
    wrote("late", left_out={"late: image": program._BEGUN})(path, timeout)
    raise subprocess.TimeoutExpired("", timeout)

  def stuck(path, timeout):
    raise subprocess.TimeoutExpired("", timeout)

  acts |= {"late": late, "stuck": stuck}
  written = []
  content = program.in_processes(
    ["killed", "first", "memory", "late", "stuck", "gone"],
    later(),
    lambda content: written.append(json.loads(json.dumps(content))),
  )
  assert [row["program"] for row in content["programs"]] == [
    "first", "first: image", "late",
  ]  # fmt: skip
  assert content["failed"] == {
    "killed": "its process ended with status -9; see what it printed",
    "gone": "its process ended with status -9; see what it printed",
    "memory": "out of memory",
  }
  assert content["left_out"] == {
    "late: image": "it did not end in time",
    "stuck": "it did not end in time",
  }
  assert content["device"] == "card" and content["devices"] == 1
  # Whenever it is ended, the file says what there is and what is not.
  assert len(written) == 7 and written[-1] == content
  phases = {"killed", "first", "memory", "late", "stuck", "gone"}
  assert set(written[0]["left_out"]) == phases
  assert set(written[2]["left_out"]) == {"memory", "late", "stuck", "gone"}
  assert len(written[2]["programs"]) == 2
  command = given[1]
  assert command[:3] == [sys.executable, "-m", "launch.measure"]
  assert command[3:5] == ["--config=x:gpu", "--json=y"]
  assert command[5] == "--phase=first"


def test_nothing_is_begun_after_the_deadline(processes):
  acts, given = processes
  acts["first"] = lambda path, timeout: time.sleep(0.05)
  content = program.in_processes(
    ["first", "second"], later(0.05), lambda content: None
  )
  assert len(given) == 1
  assert content["left_out"] == {"second": "there was no time left"}


def blur():
  config = baseline.get_config("demo,pixelation")
  config.data.update(image_size=32, num_identities=40, images_per_identity=2)
  return config


def test_programs_are_left_out_after_the_deadline():
  written = []
  content = program.in_process(blur(), "baseline", 0.0, written.append, 0.0)
  assert content["programs"] == [] and content["failed"] == {}
  assert content["left_out"] == {"baseline: image": "there was no time left"}
  assert written and written[0]["left_out"]


def test_what_fails_or_never_ends_is_in_the_file(monkeypatch):
  def write(content):
    written.append(json.loads(json.dumps(content)))

  def run(bench, phase, output, seconds):
    assert written[-1]["left_out"] == {
      "baseline: image": "it did not end in time"
    }
    raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: 7 GB\nat length")

  written = []
  monkeypatch.setattr(measuring.Bench, "output", run)
  content = program.in_process(blur(), "baseline", later(), write, 0.0)
  assert content["left_out"] == {} and content["programs"] == []
  assert content["failed"] == {"baseline: image": "RESOURCE_EXHAUSTED: 7 GB"}
  assert written[-1] == content


def test_limits_that_are_named_count():
  content = program.in_process(
    blur(), "baseline", later(), lambda content: None, 0.0, "h200:8"
  )
  assert content["limits"] == "h200:8"
  (row,) = content["programs"]
  assert row["limit"] in ("compute", "memory") and row["share_of_best"] > 0
