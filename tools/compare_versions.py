"""Times steps of two versions of the program in turns, on this machine.

Check the other version out beside this one, and name what to run:

  git worktree add ../before REVISION
  python -m tools.compare_versions --other=../before \
    --config=dp_multitask:demo --phase=multi_task --devices=8 -- \
    --config.data.num_identities=400

What follows `--` goes to `launch.train` of both; phases before the one that is
timed are trained, and want few steps. Each version trains in a process of its
own up to the phase that is asked for, and stops at its first step. Then they
make steps on that batch by turns, a second or so each, while the other one
waits: so a machine whose pace changes is as slow for one as for the other. What
is printed are medians of all turns, and how many times as fast this version is.

Both hold the devices at once, which CPUs and GPUs allow, and TPUs do not.
"""

import argparse
import os
import pathlib
import runpy
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

HERE = pathlib.Path(__file__).resolve().parents[1]
# The other process begins its answers with this; the rest is what a run prints.
MARK = "compare_versions:"


def serve(phase: str, arguments: list[str]) -> None:
  """Runs `launch.train`, and at the first step of a phase steps when told to.

  Every line of standard input is a number of steps; the answer is seconds of
  one, and seconds of all cores.
  """
  import jax
  import numpy as np

  from jaxpriv.training import loop

  compiled = loop._compiled_step

  def stopped(at, state, frozen, batch, *rest):
    step = compiled(at, state, frozen, batch, *rest)
    if at.name != phase:
      return step
    state, _ = step(state, frozen, batch, np.int32(0))
    jax.block_until_ready(state)
    print(MARK, "ready", flush=True)
    for line in sys.stdin:
      count = int(line)
      wall, cores = time.monotonic(), time.process_time()
      for i in range(count):
        state, _ = step(state, frozen, batch, np.int32(i))
      jax.block_until_ready(state)
      wall, cores = time.monotonic() - wall, time.process_time() - cores
      print(MARK, wall / count, cores / count, flush=True)
    os._exit(0)  # without the end of a run, which would be saved

  loop._compiled_step = stopped
  sys.argv = ["launch.train", *arguments]
  runpy.run_module("launch.train", run_name="__main__")


class Version:
  """A checkout at work in a process of its own."""

  def __init__(self, root: pathlib.Path, options: Any, workdir: str):
    """Starts it; `ready` waits until it is at the step.

    Raises:
      SystemExit: there is no checkout.
    """
    if not (root / "jaxpriv/training/loop.py").exists():
      raise SystemExit(f"{root} is not a checkout of jaxpriv.")
    self._root, self._log = root, pathlib.Path(workdir) / "log.txt"
    others = os.environ.get("PYTHONPATH")
    path = os.pathsep.join(filter(None, (str(root), others)))
    environment = {**os.environ, "PYTHONPATH": path}
    # JAX takes most of the memory of a GPU at the start otherwise.
    environment["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    if options.devices:
      environment["JAX_NUM_CPU_DEVICES"] = str(options.devices)
    name, _, scale = options.config.partition(":")
    with self._log.open("w") as log:
      self._process = subprocess.Popen(
        [
          sys.executable, str(HERE / "tools/compare_versions.py"), "--serve",
          options.phase, f"--config=configs/{name}.py:{scale}",
          f"--workdir={workdir}/run", *options.arguments,
        ],
        cwd=root, env=environment, text=True, stderr=log,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
      )  # fmt: skip

  def ready(self) -> None:
    """Waits for the step.

    Raises:
      SystemExit: the process ended before.
    """
    self._answer()

  def steps(self, count: int) -> tuple[float, float]:
    """Makes steps; returns seconds of one, and seconds of all cores."""
    assert self._process.stdin
    self._process.stdin.write(f"{count}\n")
    self._process.stdin.flush()
    wall, cores = map(float, self._answer())
    return wall, cores

  def close(self) -> None:
    self._process.kill()
    self._process.wait()

  def _answer(self) -> list[str]:
    assert self._process.stdout
    for line in self._process.stdout:
      if line.startswith(MARK):
        return line.split()[1:]
    log = self._log.read_text()[-2000:]
    raise SystemExit(f"{self._root} ended without a step of the phase:\n{log}")


def compare(versions: list[Version], seconds: float, rounds: int):
  """Measures by turns: for each version (seconds, seconds of cores) a round."""
  found: list[list[tuple[float, float]]] = [[] for _ in versions]
  counts = [max(round(seconds / v.steps(2)[0]), 1) for v in versions]
  for i in range(rounds):
    order = range(len(versions))
    for k in reversed(order) if i % 2 else order:
      found[k].append(versions[k].steps(counts[k]))
  return found


def told(found) -> str:
  """Medians of two versions, and quartiles of the ratio of their speeds."""
  lines = []
  for name, rounds in zip(("this", "other"), found, strict=True):
    wall, cores = (1e3 * statistics.median(x) for x in zip(*rounds))
    lines.append(f"{name}: {wall:.1f} ms a step, {cores:.1f} ms of cores")
  ratios = [b[0] / a[0] for a, b in zip(*found, strict=True)]
  low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
  lines.append(
    f"this is {middle:.2f} times as fast (quartiles {low:.2f} to {high:.2f})"
  )
  return "\n".join(lines)


def parsed(argv: list[str]) -> Any:
  parser = argparse.ArgumentParser(
    "compare_versions", description=__doc__.partition("\n")[0]
  )
  parser.add_argument("--other", type=pathlib.Path, required=True)
  parser.add_argument("--config", required=True, help="NAME:SCALE")
  parser.add_argument("--phase", required=True)
  parser.add_argument(
    "--devices",
    type=int,
    help="of a CPU; without, what launch.train makes of its cores",
  )
  parser.add_argument("--rounds", type=int, default=12)
  parser.add_argument("--seconds", type=float, default=1.5, help="of a turn")
  parser.add_argument("arguments", nargs="*", help="of launch.train")
  options = parser.parse_args(argv)
  if options.rounds < 2:
    parser.error("--rounds must be at least 2: quartiles are of several")
  return options


def main(argv: list[str]) -> None:
  options = parsed(argv)
  with tempfile.TemporaryDirectory() as folder:
    versions: list[Version] = []
    try:
      for name, root in (("this", HERE), ("other", options.other.resolve())):
        workdir = pathlib.Path(folder) / name
        workdir.mkdir()
        print(f"{name}: compiling {options.phase} of {root}", flush=True)
        versions.append(Version(root, options, str(workdir)))
        versions[-1].ready()
      print(told(compare(versions, options.seconds, options.rounds)))
    finally:
      for version in versions:
        version.close()


if __name__ == "__main__":
  if sys.argv[1:2] == ["--serve"]:
    # Without the folder of this file: the other version imports its own tools.
    here = str(HERE / "tools")
    sys.path[:] = [path for path in sys.path if path != here]
    serve(sys.argv[2], sys.argv[3:])
  else:
    main(sys.argv[1:])
