"""Measures the programs of a config on the devices at hand.

  python -m launch.measure --config=deep_poisoning:gpu --json=poisoning.json
  python -m launch.measure --config=dp_multitask:gpu --config.dp.epsilon=8 \
    --json=private.json

The step of each phase, and what it releases, is compiled as `launch.train` and
`launch.release` do it, and run for some seconds on fresh parameters. Nothing is
learned or kept. Data are the config's; drawn people are a few, repeated.

Phases are measured in a process each: the most memory that a process held is
then of one phase, and one that fails, or does not end in time, takes no other
with it. The JSON file is written after each program; `tools.benchmark_tables`
makes tables of it.
"""

import functools
import json
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import jax
from absl import flags, logging
from ml_collections import ConfigDict

from jaxpriv import files
from jaxpriv.errors import SettingError
from jaxpriv.training import budget, measuring, topologies
from jaxpriv.training import mesh as mesh_lib
from launch import common
from launch import config as config_lib

_CONFIG = config_lib.define()
_JSON = common.path_flag("json", None, "The JSON file to write.")
_PHASE = flags.DEFINE_string("phase", "", "Name of a phase; all without.")
_SECONDS = flags.DEFINE_float("seconds", 10.0, "Length of each run.", 0.0)
_LIMIT = flags.DEFINE_float(
  "limit", 540.0, "Seconds after which nothing more is measured.", 0.0
)
_TOPOLOGY = flags.DEFINE_string(
  "topology",
  "",
  "Devices whose published limits count, as in h200:1; by default those at"
  " hand, where their kind is known.",
)

# Why a program was not measured.
_NO_TIME, _BEGUN = "there was no time left", "it did not end in time"
# Keys by which a process describes its devices.
_HEAD = ("device", "devices", "limits")

Content = dict[str, Any]


def main(argv: list[str]) -> None:
  common.no_arguments(argv)
  deadline = time.monotonic() + _LIMIT.value
  config = _CONFIG.value
  write = lambda content: files.atomic_write(
    _JSON.value, json.dumps({**header(config), **content}, indent=2) + "\n"
  )
  if _PHASE.value:
    if _PHASE.value not in config.phases:
      raise SettingError(
        f"--phase={_PHASE.value}: the phases are {', '.join(config.phases)}"
      )
    mesh_lib.initialize()
    # How long it takes to compile is measured, too.
    jax.config.update("jax_enable_compilation_cache", False)
    content = in_process(
      config, _PHASE.value, deadline, write, _SECONDS.value, _TOPOLOGY.value
    )
  else:
    content = in_processes(list(config.phases), deadline, write)
  for name, reason in {**content["failed"], **content["left_out"]}.items():
    logging.warning("%s: %s", name, reason)
  sys.exit(1 if content["failed"] else 0)


def header(config: ConfigDict) -> Content:
  """The head of a JSON file: config, settings, and version of JAX."""
  return {
    "config": config.mechanism,
    "private": budget.is_private(config.dp),
    "arguments": [a for a in sys.argv[1:] if a.startswith("--config")],
    "jax": jax.__version__,
  }


def empty() -> Content:
  """Nothing measured yet: programs, and why others are not among them."""
  return {"programs": [], "failed": {}, "left_out": {}}


def in_process(
  config: ConfigDict,
  phase: str,
  deadline: float,
  write: Callable[[Content], Any],
  seconds: float,
  topology: str = "",
) -> Content:
  """Measures the programs of one phase, in this process.

  Args:
    config: of a run.
    phase: a name of config.phases.
    deadline: by `time.monotonic`, after which no program is begun.
    write: called with all that is known, again after each program.
    seconds: of each run, about.
    topology: whose limits count, "" for those of the devices at hand.

  Returns:
    what was written last.
  """
  limits = topologies.parse(topology) if topology else None
  mesh = mesh_lib.make_mesh()
  bench = measuring.Bench(config, mesh, limits)
  content = {
    **empty(),
    "device": mesh.devices.flat[0].device_kind,
    "devices": mesh.size,
    "limits": bench.topology.name if bench.topology else None,
  }
  programs: dict[str, Callable[[], dict]] = {}
  if phase in bench.phases:
    if bench.trained(phase):
      programs[phase] = functools.partial(bench.step, phase, seconds)
    for output in bench.outputs(phase):
      programs[f"{phase}: {output}"] = functools.partial(
        bench.output, phase, output, seconds
      )
  content["left_out"] = dict.fromkeys(programs, _NO_TIME)
  write(content)
  for name, run in programs.items():
    if time.monotonic() > deadline:
      break
    # If this process is ended meanwhile, that is what is there.
    content["left_out"][name] = _BEGUN
    write(content)
    try:
      content["programs"].append(run())
    except jax.errors.JaxRuntimeError as error:  # out of memory, say
      content["failed"][name] = str(error).splitlines()[0]
    del content["left_out"][name]
    write(content)
  return content


def in_processes(
  phases: list[str], deadline: float, write: Callable[[Content], Any]
) -> Content:
  """Has a process measure each phase, one after the other.

  This process leaves the devices to them.

  Args:
    phases: names.
    deadline: see `in_process`; processes that go on for longer are ended.
    write: likewise.

  Returns:
    what was written last.
  """
  content = {**empty(), "left_out": dict.fromkeys(phases, _NO_TIME)}
  write(content)
  for phase in phases:
    left = deadline - time.monotonic()
    if left <= 0:
      break
    found, status = measured(phase, left)
    for name in _HEAD:
      content[name] = content.get(name) or found.get(name)
    del content["left_out"][phase]
    content["programs"] += found["programs"]
    content["failed"] |= found["failed"]
    content["left_out"] |= found["left_out"]
    if status is None and not found["left_out"]:
      content["left_out"][phase] = _BEGUN
    elif status and not found["failed"]:
      content["failed"][phase] = (
        f"its process ended with status {status}; see what it printed"
      )
    write(content)
  return content


def measured(phase: str, left: float) -> tuple[Content, int | None]:
  """Runs this program for one phase, with the flags that it was given.

  Args:
    phase: its name.
    left: seconds after which it is ended.

  Returns:
    what it wrote, and its status, None if it had to be ended.
  """
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / "phase.json"
    own = [f"--phase={phase}", f"--json={path}", f"--limit={left}"]
    command = [sys.executable, "-m", "launch.measure", *sys.argv[1:], *own]
    try:
      status = subprocess.run(command, timeout=left, check=False).returncode
    except subprocess.TimeoutExpired:
      status = None
    found = json.loads(path.read_text()) if path.exists() else empty()
  return found, status


if __name__ == "__main__":
  flags.mark_flags_as_required(["config", "json"])
  common.run(main)
