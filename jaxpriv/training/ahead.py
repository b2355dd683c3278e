"""Programs of a config compiled for machines that are not here, and their cost.

Steps are those of `loop.program`, and releases those of `inference.compiled`:
with the same shardings and the same buffers given back. Nothing is computed,
and no data are read.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding

from jaxpriv.errors import SettingError
from jaxpriv.training import arithmetic, collectives, inference, loop
from jaxpriv.training import mesh as mesh_lib
from jaxpriv.training.collectives import Collective
from jaxpriv.training.method import Phase, State
from jaxpriv.training.topologies import Topology

# Outputs that are released.
RELEASED = ("image", "cut_out", "features")
# A program that takes more of a device's memory does not fit: XLA's runtime,
# and fragments, take some.
USABLE = 0.9


class Program(NamedTuple):
  """A compiled step or output, and what one device has to do for it.

  Attributes:
    name: phase and, of outputs, the output, as in "poisoning: image".
    batch: rows on all devices.
    examples: that are new in it; fewer than rows in a private step.
    devices: how many there are.
    parameters: bytes of trained parameters, before they are sharded.
    held: bytes of a device's memory at most, of which
    arguments: are given to the program, and
    temporaries: come and go within it.
    moved: bytes of arguments and results, each read or written once.
    flops: of its products, on all devices.
    collectives: by kind.
    seconds: to lower and compile it.
    aliased: bytes of results that take the place of arguments: in a step, all
      of the state.
  """

  name: str
  batch: int
  examples: int
  devices: int
  parameters: int
  held: int
  arguments: int
  temporaries: int
  moved: int
  flops: float
  collectives: dict[str, Collective]
  seconds: float
  aliased: int = 0

  def fits(self, topology: Topology) -> bool:
    """Whether a device holds it; always, where its memory is unknown."""
    memory = topology.device.memory
    return not memory or self.held <= USABLE * memory

  def bounds(self, topology: Topology, dtype: str) -> dict[str, float]:
    """Seconds that each resource takes at least; none if limits are unknown.

    Args:
      topology: what it was compiled for.
      dtype: of products, "bfloat16" or "float32".
    """
    device = topology.device
    if not device.flops:
      return {}
    flops = device.flops if dtype == "bfloat16" else device.flops32
    return {
      "compute": self.flops / self.devices / flops,
      "memory": self.moved / device.bandwidth,
      "communication": collectives.seconds(
        self.collectives, self.devices, device.link
      ),
    }


class TooLargeError(SettingError):
  """The compiler found that a program does not fit into a device's memory."""


class Compiler:
  """Compiles the programs of a config's phases, one after the other.

  Attributes:
    mesh: of devices that need not be here.
    topology: theirs.
  """

  def __init__(
    self,
    phases: Sequence[Phase],
    record: Mapping[str, Any],
    mesh: Mesh,
    topology: Topology,
  ):
    """Takes the phases of a run.

    Args:
      phases: in order.
      record: name -> array or shape of one record, of its data.
      mesh: of the topology.
      topology: for whose compiler there may be options.
    """
    self._phases = {phase.name: phase for phase in phases}
    self._record = dict(record)
    self.mesh, self.topology = mesh, topology
    self._states: dict[str, State] = {}

  def step(self, name: str, batch: int) -> Program:
    """Compiles one step of a phase.

    Args:
      name: of the phase.
      batch: rows of a batch on all devices; a private phase, and one that
        clients train, has its own.

    Raises:
      SettingError: devices do not divide them evenly.
      TooLargeError: the compiler found no room for it.
    """
    phase = self._phases[name]
    batch, examples = _drawn(phase, batch, self.mesh.size)
    self._share({name: batch})
    then = time.perf_counter()
    rows, frozen = self._rows(batch), self._frozen(phase)
    key = jax.eval_shape(lambda: jax.random.key(0))
    with jax.set_mesh(self.mesh):
      state = self._sharded(self._state(phase, batch))
      run = loop.program(phase, state, self.mesh)
      traced = run.trace(
        state, frozen, rows, self._replicated(key), self._replicated(_INT)
      )
    return self._compiled(name, state, traced, batch, examples, then)

  def output(self, name: str, output: str, batch: int) -> Program:
    """Compiles an output of a phase, as releases run it.

    Args:
      name: of the phase.
      output: of `method.Outputs`.
      batch: rows on all devices.

    Raises:
      SettingError: devices do not divide them evenly.
      TooLargeError: the compiler found no room for it.
    """
    self._share({name: batch})
    phase = self._phases[name]
    then = time.perf_counter()
    rows, frozen = self._rows(batch), self._frozen(phase)
    run: Any = inference.compiled(
      getattr(phase.method.outputs, output), self.mesh
    )
    with jax.set_mesh(self.mesh):
      state = self._sharded(_public(self._state(phase, batch)))
      traced = run.trace(state, frozen, rows)
    return self._compiled(
      f"{name}: {output}", state, traced, batch, batch, then
    )

  def outputs(self, name: str) -> list[str]:
    """Those of a phase that are released."""
    return released(self._phases[name])

  def _compiled(self, name, state, traced, batch, examples, then) -> Program:
    options = self.topology.options
    with jax.set_mesh(self.mesh):
      try:
        compiled = traced.lower().compile(compiler_options=options or None)
      except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
          raise
        raise TooLargeError(
          f"{name}: a batch of {batch:,} rows does not fit:"
          f" {str(error).splitlines()[0]}"
        ) from error
    memory = compiled.memory_analysis()
    results = memory.output_size_in_bytes - memory.alias_size_in_bytes
    return Program(
      name=name,
      batch=batch,
      examples=examples,
      devices=self.mesh.size,
      parameters=_bytes(state.get("params", {})),
      held=memory.argument_size_in_bytes + memory.temp_size_in_bytes + results,
      arguments=memory.argument_size_in_bytes,
      temporaries=memory.temp_size_in_bytes,
      moved=memory.argument_size_in_bytes + memory.output_size_in_bytes,
      flops=float(arithmetic.flops(traced.jaxpr, self.mesh.size)),
      collectives=collectives.read(compiled.as_text()),
      seconds=time.perf_counter() - then,
      aliased=memory.alias_size_in_bytes,
    )

  def state(self, name: str, batch: int) -> State:
    """The shapes of a phase's state.

    Args:
      name: of the phase.
      batch: rows on all devices.
    """
    return self._state(self._phases[name], batch)

  def _state(self, phase: Phase, batch: int) -> State:

    def init(key, rows, frozen):
      return phase.method.init(key, inference.as_float(rows), frozen)

    key = jax.eval_shape(lambda: jax.random.key(0))
    state = jax.eval_shape(init, key, self._rows(batch), self._frozen(phase))
    self._states.setdefault(phase.name, _public(state))
    return state

  def _frozen(self, phase: Phase) -> dict[str, State]:
    """The shapes of the states that a phase needs, sharded."""
    for need in phase.needs:
      if need not in self._states:
        self._state(self._phases[need], self.mesh.size)
    with jax.set_mesh(self.mesh):
      return {need: self._sharded(self._states[need]) for need in phase.needs}

  def check(self, batches: Mapping[str, int]) -> None:
    """Refuses batches that devices cannot share, before any is compiled.

    Args:
      batches: name of a phase -> rows, as in `step`.

    Raises:
      SettingError: it names all of them.
    """
    devices = self.mesh.size
    rows = {
      name: _drawn(self._phases[name], batch, devices)[0]
      for name, batch in batches.items()
    }
    self._share(rows)

  def _share(self, rows: Mapping[str, int]) -> None:
    uneven = {name: n for name, n in rows.items() if n % self.mesh.size}
    if uneven:
      listed = ", ".join(f"{name}, of {n} rows" for name, n in uneven.items())
      raise SettingError(
        f"{self.mesh.size} devices cannot share these batches evenly:"
        f" {listed}. Set config.phases.NAME.batch_size, or"
        " config.release.batch_size for what is released, to a multiple, or"
        " ask for fewer devices"
      )

  def _rows(self, batch: int) -> dict[str, jax.ShapeDtypeStruct]:
    sharding = mesh_lib.batch_sharding(self.mesh)
    rows = {
      name: _shape(
        (batch, *value.shape),
        jax.dtypes.canonicalize_dtype(value.dtype),
        sharding,
      )
      for name, value in self._record.items()
    }
    return {**rows, "padding": _shape((batch,), bool, sharding)}

  def _sharded(self, tree: Any) -> Any:
    where = mesh_lib.infer_shardings(tree, self.mesh)
    return jax.tree.map(
      lambda leaf, place: _shape(leaf.shape, leaf.dtype, place), tree, where
    )

  def _replicated(self, leaf: Any) -> jax.ShapeDtypeStruct:
    return _shape(leaf.shape, leaf.dtype, mesh_lib.replicated(self.mesh))


_INT = jax.ShapeDtypeStruct((), jnp.int32)


def released(phase: Phase) -> list[str]:
  """Names of outputs of a phase that are released."""
  given = phase.method.outputs.given()
  return [output for output in RELEASED if output in given]


def _drawn(phase: Phase, batch: int, devices: int) -> tuple[int, int]:
  """Rows of a step on all devices, and how many examples they are."""
  clients, plan = phase.clients, phase.plan
  count, slots = 1, 1
  if clients:  # slots without one follow, so that all divide among devices
    count = slots = len(clients.parts) * clients.local_steps
    slots += -len(clients.parts) % devices * clients.local_steps
    batch = clients.rows
  examples = plan.rows if plan else count * batch
  if plan:
    drawn = plan.sampler(1 if clients else devices).rows
    batch = drawn * plan.rows_per_unit
  return slots * batch, examples


def largest(
  step: Callable[[int], Program],
  batch: int,
  first: Program | None,
  topology: Topology,
  tries: int = 6,
) -> Iterator[tuple[int, Program | None]]:
  """Steps of other batches, towards the largest that a device holds.

  Larger ones where the first fits, and smaller ones else. By what two programs
  hold, the memory is extrapolated; what does not fit is followed by a size
  half way to one that does. The largest that fits is the answer, to within an
  eighth.

  Args:
    step: batch size of a config -> the step, compiled; it raises
      `TooLargeError` where the compiler finds no room.
    batch: size that has been compiled.
    first: its step; None where the compiler found no room.
    topology: the devices, whose memory is known.
    tries: programs compiled at most.

  Yields:
    each size, and its program, or None where the compiler found no room.
  """
  memory = USABLE * topology.device.memory
  before: tuple[int, Program] | None = None
  low = (batch, first) if first and first.fits(topology) else None
  high = None if low else batch
  guess = 0  # by the memory of two programs
  for _ in range(tries):
    if low is None:
      assert high is not None
      size = high // 2
    elif guess:
      size = guess
    else:
      size = (low[0] + high) // 2 if high else 2 * low[0]
    if low:
      size = min(size, high - 1 if high else 16 * low[0])
    size = _even(size, topology.size)
    if size < (1.125 * low[0] if low else topology.size):
      return
    try:
      tried = step(size)
    except TooLargeError:
      tried = None
    yield size, tried
    if tried is None or not tried.fits(topology):
      high, guess = size, 0
      continue
    before, low, guess = low, (size, tried), 0
    if before:
      a_row = (tried.held - before[1].held) / (size - before[0])
      guess = int((memory - tried.held) / max(a_row, 1)) + size


def _even(batch: int, devices: int) -> int:
  """The next smaller number of so many digits that devices divide."""
  step = max(devices, 2 ** max(batch.bit_length() - 4, 0))
  return batch // step * step // devices * devices


def _public(state: State) -> State:
  return {name: value for name, value in state.items() if name != "opt"}


def _bytes(tree: Any) -> int:
  return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))


def _shape(shape, dtype, sharding: NamedSharding) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)
