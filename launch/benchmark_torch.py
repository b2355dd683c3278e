"""`launch.benchmark torch`: a recogniser's training step, beside torch's.

The recogniser is of the size of the demo's of embedded autoencoders: an IResNet
for 64 px with ArcFace and Adam, as the engine trains it but for augmentation.
The same network is trained in torch by a process of its own
(`tools/torch_recogniser.py`), whose Python --torch_python names, with as many
threads as there are devices here. Both take turns of a few steps, and ratios
are medians over turns, so that a busy machine disturbs all alike.
"""

import contextlib
import json
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from configs import common
from jaxpriv.models.iresnet import IResNet
from jaxpriv.training import inference, loop, recipes
from jaxpriv.training import mesh as mesh_lib

SIDE, ROWS, PEOPLE = 64, 64, 1000
NETWORK: dict[str, Any] = dict(
  depths=(1, 1, 1, 1), width=24, features=128, stem_stride=2
)
HEAD = dict(scale=32.0, margin=0.3)
STEPS = 5  # of a turn


def run(rounds: int, torch_python: str) -> list[dict]:
  """Rows of the table: what ran, ms, and the ratio to the best of torch.

  Args:
    rounds: turns of each.
    torch_python: Python of an environment with torch; "" leaves torch out.
  """
  options = common.phase(900, ROWS, learning_rate=4e-3, augment=False)
  head = ConfigDict(dict(kind="arcface", **HEAD))
  phase = recipes.recognition(
    "recogniser", IResNet(**NETWORK), PEOPLE, options, head=head
  )
  batch = _batch()
  turns: dict[str, Callable[[], float]] = {}
  sizes = {1, jax.device_count()}
  for size in sorted(sizes):
    name = f"jaxpriv, {size} device{'s' if size > 1 else ''}"
    turns[name], parameters = _ours(phase, batch, size)
  if not torch_python:
    print("torch is left out: --torch_python names no Python with it")
  with contextlib.ExitStack() as stack:
    for name, last in ("torch", False), ("torch, channels last", True):
      if not torch_python:
        continue
      child = stack.enter_context(
        _torch(torch_python, _sizes(last, max(sizes)))
      )
      try:
        theirs = json.loads(child.readline())["parameters"]
      except ChildProcessError as error:
        print(f"{name} is left out: {error}")
        continue
      if theirs != parameters:
        raise AssertionError(f"{theirs} parameters in torch, here {parameters}")
      turns[name] = child.turn
    seconds: dict[str, list[float]] = {name: [] for name in turns}
    for _ in range(rounds):
      for name, turn in turns.items():
        seconds[name].append(turn())
  return _rows(seconds)


def _rows(seconds: dict[str, list[float]]) -> list[dict]:
  medians = {name: statistics.median(taken) for name, taken in seconds.items()}
  peers = [name for name in medians if name.startswith("torch")]
  best = min(peers, key=medians.__getitem__, default=None)

  def ratio(name: str) -> float | str:
    if best is None:
      return ""
    pairs = zip(seconds[name], seconds[best], strict=True)
    return round(statistics.median(mine / other for mine, other in pairs), 2)

  return [
    dict(
      step=name,
      ms=round(1e3 * medians[name], 1),
      least_ms=round(1e3 * min(taken), 1),
      vs_torch=ratio(name),
    )
    for name, taken in seconds.items()
  ]


def _batch() -> dict[str, np.ndarray]:
  random = np.random.default_rng(0)
  return {
    "image": random.integers(0, 256, (ROWS, SIDE, SIDE, 3), np.uint8),
    "identity": np.arange(ROWS, dtype=np.int32) % PEOPLE,
    "padding": np.zeros(ROWS, bool),
  }


def _ours(phase, batch, size: int) -> tuple[Callable[[], float], int]:
  """A turn of steps on a mesh of so many devices, and how many parameters."""
  mesh = mesh_lib.make_mesh(size)
  key = jax.random.key(0)
  with jax.set_mesh(mesh):
    here = mesh_lib.put_batch(batch, mesh)

    def init(key, batch):
      return phase.method.init(key, inference.as_float(batch), {})

    shapes = jax.eval_shape(init, key, here)
    where = mesh_lib.infer_shardings(shapes, mesh)
    held = {"state": jax.jit(init, out_shardings=where)(key, here)}
    step = loop.program(phase, shapes, mesh)
    sizes = [x.size for x in jax.tree.leaves(held["state"]["params"])]

  def turn() -> float:
    with jax.set_mesh(mesh):
      then = time.perf_counter()
      for _ in range(STEPS):
        held["state"], _ = step(held["state"], {}, here, key, np.int32(0))
      jax.block_until_ready(held["state"])
      return (time.perf_counter() - then) / STEPS

  turn()  # it compiles
  return turn, sum(sizes)


def _sizes(channels_last: bool, threads: int) -> dict[str, Any]:
  sizes = dict(side=SIDE, batch=ROWS, classes=PEOPLE)
  options = dict(channels_last=channels_last, threads=threads)
  return sizes | NETWORK | HEAD | options


class _Child:
  """A process that takes steps when it is asked to."""

  def __init__(self, process: subprocess.Popen):
    assert process.stdin and process.stdout and process.stderr
    self._asked, self._told = process.stdin, process.stdout
    self._errors = process.stderr

  def readline(self) -> str:
    line = self._told.readline()
    if not line:
      said = self._errors.read().strip().splitlines()
      raise ChildProcessError(said[-1] if said else "it ended without a word")
    return line

  def turn(self) -> float:
    self._asked.write(f"{STEPS}\n")
    self._asked.flush()
    return float(self.readline())


@contextlib.contextmanager
def _torch(python: str, sizes: dict[str, Any]) -> Iterator[_Child]:
  pipe = subprocess.PIPE
  command = [python, "tools/torch_recogniser.py", json.dumps(sizes)]
  with subprocess.Popen(
    command, stdin=pipe, stdout=pipe, stderr=pipe, text=True
  ) as process:
    try:
      yield _Child(process)
    finally:
      process.kill()
