"""The one training loop: any phase of any method, on any mesh."""

import contextlib
import functools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import logging
from etils import epath
from jax.experimental import multihost_utils

from jaxpriv.errors import UserError
from jaxpriv.training import (
  checkpoints,
  inference,
  pictures,
  preemption,
  private,
  profiling,
  seeds,
  writers,
)
from jaxpriv.training import mesh as mesh_lib
from jaxpriv.training import progress as progress_lib
from jaxpriv.training.method import Phase

HostBatches = Iterator[dict[str, np.ndarray]]

# The share of the time spent waiting for data that a line of progress tells.
SLOW_INPUT = 0.25


class NonFiniteError(UserError, FloatingPointError):
  """A metric became nan or infinite; the last good checkpoint is kept."""


class Options(NamedTuple):
  """How often the loop does what, in steps; 0 is never.

  Attributes:
    log_every: metrics are written, and checked to be finite.
    evaluate_every: losses on validation batches and a sample grid are written;
      both are written at the end in any case.
    save_every: a checkpoint is saved; one is saved at the end in any case.
    keep: how many checkpoints are kept.
    profile: first step of a profiler trace in workdir/profile, and the first
      after it; (0, 0) is none.
  """

  log_every: int = 20
  evaluate_every: int = 0
  save_every: int = 500
  keep: int = 2
  profile: tuple[int, int] = (0, 0)


def train(
  phase: Phase,
  batches: Callable[[int], HostBatches],
  *,
  steps: int,
  seed: int,
  workdir: epath.PathLike,
  mesh: jax.sharding.Mesh,
  frozen: Mapping[str, Any] | None = None,
  validation: Callable[[], HostBatches] | None = None,
  start: Callable[[Any], Any] | None = None,
  secret: bytes | None = None,
  options: Options = Options(),
) -> Any:
  """Trains one phase to `steps`, from its newest checkpoint if it has one.

  The order within a step is: evaluate, save, next batch, step, log the step
  before; so a resumed run repeats an uninterrupted one bit for bit, and the
  device never waits for the host to read a metric.

  Args:
    phase: what to train.
    batches: first step -> endless iterator over this process's rows of the
      batch of each step from there on.
    steps: number of steps in all.
    seed: of initialisation and of every step's key.
    workdir: the run directory; `jaxpriv.training.workdir` tells what is in it.
    mesh: the mesh.
    frozen: finished states of the phases that `phase.needs`.
    validation: () -> held-out batches, for losses and samples.
    start: state -> state, applied to a fresh state (not to a resumed one), such
      as parameters taken over from another run.
    secret: bytes that the steps of a private phase draw from in place of seed;
      see `workdir.secret`. Only tests leave it out: the noise is then known.
    options: cadences.

  Returns:
    the finished state without its optimizer, as `checkpoints.load` gives it.

  Raises:
    NonFiniteError: a metric is nan or infinite.
    checkpoints.CheckpointError: none is intact, or one cannot be saved.
    preemption.Preempted: SIGTERM or SIGINT came; the state was saved.
  """
  directory = checkpoints.phase_directory(workdir, phase.name)
  first = checkpoints.latest_step(directory) or 0
  if jax.process_count() > 1:  # file systems may show them different files
    first = int(multihost_utils.broadcast_one_to_all(np.int32(first)))
  if phase.plan:
    phase.plan.spent(steps)  # refuses more steps than are paid for
  if first >= steps:
    try:
      state = checkpoints.load(directory, mesh)
    except checkpoints.CheckpointError as error:
      if phase.plan:  # whose noise may be forgotten: see `run.train_phases`
        raise
      first = _step_before(first, directory, error)
    else:
      logging.info("%s: finished before, at step %d", phase.name, first)
      return state
  frozen = dict(frozen or {})
  seed = seeds.phase_seed(seed, phase.name)
  stream = batches(first)
  host_batch = next(stream)
  with contextlib.ExitStack() as stack:
    stack.enter_context(jax.set_mesh(mesh))
    batch = mesh_lib.put_batch(host_batch, mesh)
    state, resumed = _initial_state(
      phase, directory, first, batch, frozen, seed, mesh, start
    )
    if resumed < first:
      first, stream = resumed, batches(resumed)
      host_batch = next(stream)
      batch = mesh_lib.put_batch(host_batch, mesh)
    checkpoints.set_aside(directory, first)
    checkpoints.check_room(workdir, {phase.name: state}, options.keep)
    manager = stack.enter_context(
      checkpoints.open_manager(directory, options.keep)
    )
    private.check(phase, state, frozen, host_batch, mesh)
    key = jax.random.key(seed)
    if phase.plan and secret:
      key = seeds.private_key(secret, phase.name)
    step_fn = _compiled_step(phase, state, frozen, batch, key, mesh)
    write, advance = _writers(stack, workdir, phase.name, first, steps)
    stack.enter_context(preemption.watch())
    evaluate = _evaluator(phase, frozen, validation, workdir, mesh)
    meter = profiling.Meter(step_fn.flops, _rows(phase, batch))
    profile = stack.enter_context(
      profiling.profiler(options.profile, epath.Path(workdir) / "profile")
    )
    settle = _settler(
      phase.name, first, manager, directory, write, advance, meter
    )
    metrics: dict[str, jax.Array] = {}
    for step in range(first, steps):
      # A resumed run evaluates again: its lines from here on were dropped.
      if step and _due(step, options.evaluate_every):
        scores = evaluate(state, step)
        if scores:
          write(step, scores)
      stop = preemption.requested()
      if stop:
        logging.info("Asked to stop: saving. Ask again to end without it.")
      if step > first and (stop or _due(step, options.save_every)):
        # A state is saved only when the step that made it is known to be good.
        settle(step - 1, metrics, _due(step - 1, options.log_every))
        manager.save(step, state)
      if stop:
        manager.wait()
        raise _stopped(phase.name, step, steps, directory)
      if step > first:
        with meter.waiting():
          host_batch = next(stream)
        batch = mesh_lib.put_batch(host_batch, mesh)
      profile(step)
      with jax.profiler.StepTraceAnnotation(phase.name, step_num=step):
        before = metrics
        state, metrics = step_fn(state, frozen, batch, np.int32(step))
      if step > first and _due(step - 1, options.log_every):
        settle(step - 1, before, logged=True)
    settle(steps - 1, metrics, logged=True)
    scores = evaluate(state, steps)
    if scores:
      write(steps, scores)
    # Saved last: once this checkpoint exists, the phase is never run again.
    manager.save(steps, state)
    manager.wait()
  # Asked once more after `watch` has ended, so that no signal is lost.
  if preemption.requested():
    raise _stopped(phase.name, steps, steps, directory)
  return {name: value for name, value in state.items() if name != "opt"}


def _stopped(name, step, steps, directory) -> preemption.Preempted:
  saved = f"step {step} of {steps} in {directory}" if step else "nothing"
  done, rest = "", ""
  if step == steps:
    done, rest = "finished, and ", " with the next phase"
  return preemption.Preempted(
    f"{name}: {done}asked to stop; saved {saved}. Run the same command to go"
    f" on{rest}."
  )


def _note(values: Mapping[str, float], waited: float) -> str:
  """The loss, and the share of the time spent waiting for data, if large."""
  notes = [
    f"{mark}loss {values[name]:.4g}"
    for name, mark in (
      ("loss", ""),
      (f"{private.NOT_PRIVATE}loss", "not private "),
    )
    if name in values
  ][:1]
  if waited > SLOW_INPUT:
    notes.append(f"waits for data {waited:.0%} of the time")
  return ", ".join(notes)


def _due(step: int, every: int) -> bool:
  return bool(every) and step % every == 0


def _rows(phase: Phase, batch: Mapping[str, jax.Array]) -> int:
  """Examples of an average batch."""
  if phase.plan:
    return phase.plan.rows
  return len(batch["padding"])


def _step_before(step, directory, error) -> int:
  """The step to go on from where a newer one cannot be read after all."""
  older = checkpoints.latest_step(directory, below=step)
  if older is None:
    raise error
  logging.warning("%s. Step %d is used", error, older)
  return older


def _initial_state(phase, directory, first, batch, frozen, seed, mesh, start):
  """A state born sharded on the mesh: restored, or fresh and then `start`ed.

  Returns:
    it, and its step: `first`, or an earlier one where that cannot be read.
  """
  key = jax.random.key(seed)

  def init(key, batch, frozen):
    return phase.method.init(key, inference.as_float(batch), frozen)

  shapes = jax.eval_shape(init, key, batch, frozen)
  while first:
    try:
      state = checkpoints.restore(directory, first, shapes, mesh)
    except checkpoints.CheckpointError as error:
      first = _step_before(first, directory, error)
    else:
      logging.info("%s: resuming at step %d", phase.name, first)
      return state, first
  shardings = mesh_lib.infer_shardings(shapes, mesh)
  born = mesh_lib.jit(init, mesh, out_shardings=shardings)
  state = born(key, batch, frozen)
  return (start(state) if start else state), 0


class _Step(NamedTuple):
  run: Callable
  flops: float

  def __call__(self, *args):
    return self.run(*args)


def program(phase: Phase, state: Any, mesh: jax.sharding.Mesh) -> Any:
  """The jitted step of a phase.

  It is (state, frozen, batch, key, step) -> state, metrics. The state is
  donated, and sharded as `mesh.infer_shardings` says.

  Args:
    phase: a phase.
    state: of it, or the shapes of it.
    mesh: the mesh of `jax.set_mesh` when it is traced.
  """
  shardings, structure = jax.tree.flatten(mesh_lib.infer_shardings(state, mesh))
  step: Any = phase.method.step
  return _jitted(step, mesh, tuple(shardings), structure)


def _compiled_step(phase, state, frozen, batch, key, mesh) -> _Step:
  jitted = program(phase, state, mesh)
  step = np.int32(0)
  compiled = jitted.lower(state, frozen, batch, key, step).compile()
  cost = compiled.cost_analysis() or {}

  def run(state, frozen, batch, step):
    return jitted(state, frozen, batch, key, step)

  # The analysis counts one device.
  return _Step(run, cost.get("flops", 0.0) * mesh.size)


@functools.lru_cache(maxsize=8)
def _jitted(step_fn, mesh, shardings, structure):
  """Compiled once for all phases that share a method."""

  def run(state, frozen, batch, key, step):
    return step_fn(
      state, frozen, inference.as_float(batch), jax.random.fold_in(key, step)
    )

  # Kept: of a state that a step does not read, as the fit of one batch, the
  # buffers would not be given back otherwise.
  return mesh_lib.jit(
    run,
    mesh,
    donate_argnums=0,
    keep_unused=True,
    out_shardings=(
      jax.tree.unflatten(structure, shardings),
      mesh_lib.replicated(mesh),
    ),
  )


def _writers(stack, workdir, name, first, steps):
  """Writers of metrics and of progress; only the first process writes."""
  if jax.process_index():
    return (lambda step, scalars: None), (lambda done, note: None)
  return (
    stack.enter_context(writers.metric_writer(workdir, name, first)),
    stack.enter_context(progress_lib.bar(name, steps, first)),
  )


def _settler(
  name, first, manager, directory, write, advance, meter
) -> Callable[..., None]:
  """settle(step, metrics, logged): checks metrics once, logs if asked to."""
  settled = first - 1  # the last step whose metrics were looked at

  def settle(step, metrics, logged):
    nonlocal settled
    if step == settled:
      return
    settled = step
    values = {k: float(v) for k, v in mesh_lib.fetch(metrics).items()}
    _check_finite(name, step, values, manager, directory)
    if logged:
      speed = meter(step)
      write(step, {**values, **speed})
      advance(step + 1, _note(values, speed.get("data_wait", 0.0)))

  return settle


def _check_finite(name, step, values, manager, directory):
  bad = sorted(k for k, v in values.items() if not math.isfinite(v))
  if bad:
    last = manager.latest_step()
    saved = (
      "no checkpoint was saved yet"
      if last is None
      else (f"the last good checkpoint is step {last} in {directory}")
    )
    raise NonFiniteError(
      f"{name}: {', '.join(bad)} not finite at step {step}; {saved}."
      " Lower the learning_rate of this phase in the config, or set its"
      " clip_norm, and run again."
    )


def _evaluator(phase, frozen, validation, workdir, mesh):
  """(state, step) -> validation scalars; writes a sample grid on the side."""
  outputs = phase.method.outputs
  if validation is None:
    return lambda state, step: {}

  def evaluate(state, step):
    scalars = {}
    if outputs.losses:
      rows = inference.predict(
        outputs.losses, state, frozen, validation(), mesh
      )
      scalars = {
        f"validation/{name}": float(np.mean(value, dtype=np.float64))
        for name, value in rows.items()
      }
    if outputs.sample:
      first = [next(iter(validation()))]
      columns = inference.predict(outputs.sample, state, frozen, first, mesh)
      if jax.process_index() == 0:
        path = epath.Path(workdir) / "samples" / phase.name
        pictures.save_grid(path / f"{step:08d}.png", columns)
    return scalars

  return evaluate
