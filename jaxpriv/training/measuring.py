"""Programs of a config run on the devices at hand, and how fast they are.

They are those of `ahead`, with real buffers: the same functions, shardings and
donated states, so that what is measured can be held against what was foretold.
Parameters are fresh ones, of phases that others need, too: speed does not
depend on what was learned.
"""

import collections
import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from jaxpriv.data.records import Batch
from jaxpriv.data.repeated import Repeated
from jaxpriv.errors import SettingError
from jaxpriv.privacy import sampling
from jaxpriv.training import (
  ahead,
  budget,
  inference,
  loop,
  mechanism,
  settings,
  topologies,
)
from jaxpriv.training import mesh as mesh_lib
from jaxpriv.training import run as run_lib
from jaxpriv.training.ahead import Program
from jaxpriv.training.method import Phase, State
from jaxpriv.training.topologies import Topology

# A median, and how far windows are apart, take a few of them.
WINDOWS = 5
# Steps that wait for the device while the host prepares the next batch.
AHEAD = 2
# Devices as JAX calls them, of which limits are published.
_KINDS = {
  "NVIDIA A100-SXM4-80GB": "a100",
  "NVIDIA H100 80GB HBM3": "h100",
  "NVIDIA H200": "h200",
  "TPU v5 lite": "v5e",
  "TPU v5": "v5p",
  "TPU v6 lite": "v6e",
}


class Bench:
  """Runs the programs of a config's phases, one after the other.

  Attributes:
    phases: names of those that there are.
    mesh: of the devices at hand.
    topology: whose limits speed is held against; None where they are unknown.
  """

  def __init__(
    self, config: ConfigDict, mesh: Mesh, topology: Topology | None = None
  ):
    """Opens the data of a config; drawn people are `Repeated`.

    Args:
      config: of a run.
      mesh: of the devices at hand.
      topology: of them; None: by their kind, if it is known.

    Raises:
      SettingError: a setting is out of its range, or config.federated is set.
      DataError: the data do not exist or do not match the config.
    """
    settings.check(config)
    config = settings.expand(config)
    if config.federated.clients:
      raise SettingError(
        "config.federated: rounds of clients are not measured; leave it out"
      )
    drawn = config.data.source == "procedural"
    opened = config.copy_and_resolve_references()
    if drawn:
      opened.data.update(cache=False, copies="keep")
    data = run_lib.open_data(opened)
    if drawn:
      data = data._replace(source=Repeated(data.source))
    config = run_lib.resolve(config, data)
    phases, self._config = budget.privatise(
      mechanism.phases(config), config, data
    )
    self._phases = {phase.name: phase for phase in phases}
    self._data, self.mesh = data, mesh
    self.phases = tuple(self._phases)
    self.topology = topology or known(mesh)
    first = next(data.epoch("train", batch_size=1, limit=1, everywhere=True))
    record = {name: value[0] for name, value in first.items()}
    # No options of compilers that lack a device: those are for what is absent.
    here = Topology(f"cpu:{mesh.size}", "cpu", (mesh.size,))
    self._compiler = ahead.Compiler(phases, record, mesh, here)
    self._frozen: dict[str, State] = {}

  def trained(self, name: str) -> bool:
    """Whether a phase has steps."""
    return bool(self._config.phases[name].steps)

  def outputs(self, name: str) -> list[str]:
    """Outputs of a phase that are released."""
    return self._compiler.outputs(name)

  def step(self, name: str, seconds: float) -> dict[str, Any]:
    """Compiles the step of a phase and runs it, alone and fed.

    It is run on one batch that lies on the device, again and again; then on
    batches of the pipeline, put on the device as the loop does, `AHEAD` of it.

    Args:
      name: of a phase with steps.
      seconds: of either run, about.

    Returns:
      see `described`; besides, fed_ms, the time of a fed step; input_wait, the
      share of it that a step alone does not take; and finite, whether all its
      metrics were in the end.
    """
    phase = self._phases[name]
    mesh, where = self.mesh, mesh_lib.replicated(self.mesh)
    stream = self._stream(phase)
    batch = mesh_lib.put_batch(next(stream), mesh)
    program = self._compiler.step(name, self._config.phases[name].batch_size)
    with jax.set_mesh(mesh):
      frozen = self._needed(phase, batch)
      state = self._state(phase, batch, frozen)
      run = loop.program(phase, state, mesh)
      key = jax.device_put(jax.random.key(0), where)
      zero = jax.device_put(np.int32(0), where)
      metrics: dict[str, jax.Array] = {}

      def advance(batch):
        nonlocal state, metrics
        state, metrics = run(state, frozen, batch, key, zero)
        return state, metrics

      before = peak(mesh)
      alone = timed(lambda: advance(batch), seconds)
      after = peak(mesh)
      waiting: collections.deque = collections.deque()

      def fed():
        result = advance(mesh_lib.put_batch(next(stream), mesh))
        waiting.append(metrics)
        if len(waiting) > AHEAD:
          jax.block_until_ready(waiting.popleft())
        return result

      fed_steps = timed(fed, seconds)
      values = [float(v) for v in mesh_lib.fetch(metrics).values()]
    row = described(
      program, alone, self.topology, self._config.dtype, (before, after)
    )
    own, with_input = row["ms"], 1e3 * statistics.median(fed_steps)
    return {
      **row,
      "fed_ms": with_input,
      "input_wait": max(0.0, 1 - own / with_input),
      "finite": all(map(math.isfinite, values)),
    }

  def output(self, name: str, output: str, seconds: float) -> dict[str, Any]:
    """Compiles an output of a phase as releases run it, and runs it.

    Args:
      name: of the phase.
      output: one of `outputs`.
      seconds: of the run, about.

    Returns:
      see `described`.
    """
    phase = self._phases[name]
    rows = self._config.release.batch_size
    rows = rows or self._config.phases[name].batch_size
    rows = -(-rows // self.mesh.size) * self.mesh.size
    host = next(self._data.epoch("train", batch_size=rows, limit=rows))
    batch = mesh_lib.put_batch(host, self.mesh)
    program = self._compiler.output(name, output, rows)
    fn: Any = getattr(phase.method.outputs, output)
    with jax.set_mesh(self.mesh):
      frozen = self._needed(phase, batch)
      state = _public(self._state(phase, batch, frozen))
      run = inference.compiled(fn, self.mesh)
      before = peak(self.mesh)
      alone = timed(lambda: run(state, frozen, batch), seconds)
    memory = (before, peak(self.mesh))
    return described(program, alone, self.topology, self._config.dtype, memory)

  def _stream(self, phase: Phase) -> Iterator[Batch]:
    if not phase.plan:
      rows = self._config.phases[phase.name].batch_size
      return self._data.batches(
        "train", batch_size=rows, seed=0, first_step=0,
        num_workers=self._config.data.num_workers,
      )  # fmt: skip
    sampler = dataclasses.replace(phase.plan, seed=0).sampler(self.mesh.size)
    units = self._data.units("train", phase.plan.unit)
    rows = phase.plan.rows_per_unit
    draw = sampling.RecordDraw(sampler, units, rows, self.mesh.size)
    return self._data.drawn_batches(
      draw, first_step=0, num_workers=self._config.data.num_workers
    )

  def _needed(self, phase: Phase, batch) -> dict[str, State]:
    for need in phase.needs:
      if need not in self._frozen:
        other = self._phases[need]
        state = self._state(other, batch, self._needed(other, batch))
        self._frozen[need] = _public(state)
    return {need: self._frozen[need] for need in phase.needs}

  def _state(self, phase: Phase, batch, frozen) -> State:
    def init(key, batch, frozen):
      return phase.method.init(key, inference.as_float(batch), frozen)

    key = jax.random.key(0)
    shapes = jax.eval_shape(init, key, batch, frozen)
    where = mesh_lib.infer_shardings(shapes, self.mesh)
    born = mesh_lib.jit(init, self.mesh, out_shardings=where)
    return jax.block_until_ready(born(key, batch, frozen))


def _public(state: State) -> State:
  return {name: value for name, value in state.items() if name != "opt"}


def timed(
  call: Callable[[], Any], seconds: float, windows: int = WINDOWS
) -> list[float]:
  """Seconds of a call, as means over windows in which nothing is waited for.

  Args:
    call: that starts work on the devices and returns arrays of it.
    seconds: of all windows, about; each has a call at least.
    windows: how many; where calls are slow, at least three.
  """
  jax.block_until_ready(call())  # it may compile
  then = time.perf_counter()
  jax.block_until_ready(call())
  one = time.perf_counter() - then
  count = max(1, int(seconds / windows / max(one, 1e-9)))
  taken = []
  for _ in range(windows):
    then, last = time.perf_counter(), None
    for _ in range(count):
      last = call()
    jax.block_until_ready(last)
    taken.append((time.perf_counter() - then) / count)
    if len(taken) >= 3 and count * sum(taken) > 2 * seconds:
      break
  return taken


def described(
  program: Program,
  taken: Sequence[float],
  topology: Topology | None,
  dtype: str,
  memory: tuple[int | None, int | None] = (None, None),
) -> dict[str, Any]:
  """Describes a measured program, beside what was foretold, as JSON.

  Args:
    program: as it was compiled.
    taken: seconds of a run, in each window.
    topology: whose limits are known, or None.
    dtype: of products.
    memory: the most that a device held before the program ran, and until it
      had: what it took is known only where the second is larger.

  Returns:
    those fields of the program that say how large it is; ms, low_ms and
    high_ms, the median of windows and the least and most; images_per_second;
    teraflops, a second, of all devices; peak and peak_before, bytes or None;
    limit, the resource that bounds it, and share_of_best, None where limits
    are unknown.
  """
  median = statistics.median(taken)
  bounds = program.bounds(topology, dtype) if topology else {}
  limit = max(bounds, key=bounds.__getitem__) if bounds else None
  return {
    "program": program.name,
    "batch": program.batch,
    "examples": program.examples,
    "devices": program.devices,
    "dtype": dtype,
    "parameters": program.parameters,
    "held": program.held,
    "compile_seconds": program.seconds,
    "flops": program.flops,
    "ms": 1e3 * median,
    "low_ms": 1e3 * min(taken),
    "high_ms": 1e3 * max(taken),
    "images_per_second": program.examples / median,
    "teraflops": program.flops / median / 1e12,
    "peak_before": memory[0],
    "peak": memory[1],
    "limit": limit,
    "share_of_best": bounds[limit] / median if limit else None,
  }


def known(mesh: Mesh) -> Topology | None:
  """The devices of a mesh, if limits of their kind are published."""
  kind = _KINDS.get(mesh.devices.flat[0].device_kind)
  return topologies.parse(f"{kind}:{mesh.size}") if kind else None


def peak(mesh: Mesh) -> int | None:
  """Bytes that a device of this process has held at most, since it started.

  None where the platform does not count them, as CPUs do not.
  """
  stats = [device.memory_stats() for device in mesh.local_devices]
  held = [each.get("peak_bytes_in_use") for each in stats if each]
  return max((bytes_ for bytes_ in held if bytes_ is not None), default=None)
