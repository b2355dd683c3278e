"""The loop in this process; kill, preemption and clusters in process_test."""

import contextlib
import itertools
import json
import logging
import signal
import threading

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from PIL import Image
from tensorboard.backend.event_processing import event_accumulator

from jaxpriv.training import (
  builders,
  checkpoints,
  loop,
  preemption,
  profiling,
  writers,
)
from jaxpriv.training import mesh as mesh_lib
from jaxpriv.training.method import Outputs, Phase
from tests.training import toys


def train(workdir, steps, mesh, phase=None, **options):
  options = {"log_every": 1, "save_every": 4, **options}
  return loop.train(
    phase or toys.phase(norm="group", dropout=0.5),
    toys.batches,
    steps=steps,
    seed=0,
    workdir=workdir,
    mesh=mesh,
    options=loop.Options(**options),
  )


def losses(workdir):
  return [line["loss"] for line in writers.read_metrics(workdir, "toy")]


def test_training_learns_and_writes_what_it_did(tmp_path, mesh):
  train(tmp_path, 40, mesh)
  found = losses(tmp_path)
  assert len(found) == 40
  assert np.mean(found[-5:]) < 0.5 * np.mean(found[:5])
  line = writers.read_metrics(tmp_path, "toy")[-1]
  assert line["images_per_second"] > 0
  assert line["teraflops_per_second"] > 0
  events = event_accumulator.EventAccumulator(str(tmp_path / "metrics/toy"))
  events.Reload()
  written = [e.value for e in events.Scalars("loss")]
  np.testing.assert_allclose(written, found, rtol=1e-6)


def test_only_waiting_for_data_counts_as_such(tmp_path, mesh, monkeypatch):
  waiting = []

  class Meter(profiling.Meter):
    @contextlib.contextmanager
    def waiting(self):
      waiting.append(True)
      with super().waiting():
        yield
      waiting.pop()

  def batches(first):
    for number, batch in enumerate(toys.batches(first)):
      assert bool(waiting) == (number > 0)  # the first one before all else
      yield batch

  monkeypatch.setattr(profiling, "Meter", Meter)
  loop.train(
    toys.phase(), batches, steps=4, seed=0, workdir=tmp_path, mesh=mesh,
    options=loop.Options(log_every=1),
  )  # fmt: skip
  lines = writers.read_metrics(tmp_path, "toy")
  assert ["data_wait" in line for line in lines] == [False, True, True, True]
  assert loop._note({"loss": 1.0}, 0.1) == "loss 1"
  told = loop._note({"loss": 1.0}, 0.5)
  assert told == "loss 1, waits for data 50% of the time"


def test_a_resumed_run_repeats_an_uninterrupted_one_bit_for_bit(tmp_path, mesh):
  whole = train(tmp_path / "whole", 10, mesh)
  train(tmp_path / "parts", 6, mesh)
  parts = train(tmp_path / "parts", 10, mesh)
  for a, b in zip(toys.leaves(whole), toys.leaves(parts), strict=True):
    np.testing.assert_array_equal(a, b)
  assert losses(tmp_path / "whole") == losses(tmp_path / "parts")


def test_a_state_is_born_of_the_batch_of_the_first_step(tmp_path, mesh):
  """And a resumed run has what was read then."""
  phase = toys.phase(norm="group")
  method = phase.method

  def init(key, batch, frozen):
    first = batch["image"].mean((1, 2, 3))
    return {**method.init(key, batch, frozen), "first": first}

  def step(state, frozen, batch, key):
    new, metrics = method.step(state, frozen, batch, key)
    return {**new, "first": state["first"]}, metrics

  phase = phase._replace(method=method._replace(init=init, step=step))
  expected, later = (
    toys.float_batch(seed=step)["image"].mean((1, 2, 3)) for step in (0, 4)
  )
  assert np.abs(expected - later).max() > 1e-3
  for steps in (4, 6):
    state = train(tmp_path, steps, mesh, phase)
    np.testing.assert_allclose(state["first"], expected, rtol=1e-5)


def test_the_key_is_a_function_of_seed_and_step(tmp_path, mesh):
  phase = toys.phase()

  def step(state, frozen, batch, key):
    return state, {"loss": jax.random.uniform(key)}

  phase = phase._replace(method=phase.method._replace(step=step))
  train(tmp_path / "whole", 6, mesh, phase)
  drawn = losses(tmp_path / "whole")
  assert len(set(drawn)) == 6
  train(tmp_path / "parts", 4, mesh_lib.make_mesh(2), phase)
  train(tmp_path / "parts", 6, mesh, phase)
  assert losses(tmp_path / "parts") == drawn


def test_a_finished_phase_is_loaded_and_not_trained_again(tmp_path, mesh):
  first = train(tmp_path, 6, mesh)

  def no_batches(step):
    raise AssertionError("a finished phase asked for data")

  again = loop.train(
    toys.phase(norm="group", dropout=0.5),
    no_batches,
    steps=6,
    seed=0,
    workdir=tmp_path,
    mesh=mesh,
  )
  assert "opt" not in again
  for a, b in zip(toys.leaves(first), toys.leaves(again), strict=True):
    np.testing.assert_array_equal(a, b)


def test_a_run_goes_on_on_another_number_of_devices(tmp_path, mesh):
  whole = train(tmp_path / "whole", 9, mesh)
  train(tmp_path / "parts", 3, mesh)
  train(tmp_path / "parts", 6, mesh_lib.make_mesh(2))
  parts = train(tmp_path / "parts", 9, mesh_lib.make_mesh(1))
  for a, b in zip(toys.leaves(whole), toys.leaves(parts), strict=True):
    np.testing.assert_allclose(a, b, atol=2e-5)


def bomb(step_of_nan):
  """A phase whose loss is nan from a step on."""
  base = toys.regression(norm="group")

  def init(key, batch, frozen):
    state = base.init(key, batch, frozen)
    return {**state, "count": jnp.zeros((), jnp.int32)}

  def step(state, frozen, batch, key):
    inner = {k: v for k, v in state.items() if k != "count"}
    new, metrics = base.step(inner, frozen, batch, key)
    bad = state["count"] >= step_of_nan
    poison = jnp.where(bad, jnp.nan, 0.0)
    new["params"] = jax.tree.map(lambda p: p + poison, new["params"])
    metrics = {k: v + poison for k, v in metrics.items()}
    return {**new, "count": state["count"] + 1}, metrics

  return Phase("toy", (), base._replace(init=init, step=step))


@pytest.mark.parametrize("log_every", [1, 5, 1000])
def test_nan_stops_and_keeps_the_last_good_checkpoint(
  tmp_path, mesh, log_every
):
  with pytest.raises(loop.NonFiniteError) as error:
    train(tmp_path, 20, mesh, bomb(7), save_every=2, log_every=log_every)
  assert "toy: gradient_norm, loss" in str(error.value) or "loss" in str(
    error.value
  )
  assert "learning_rate of this phase" in str(error.value)
  # An attacker's options are elsewhere than a mechanism's.
  assert "config.phases" not in str(error.value)
  directory = checkpoints.phase_directory(tmp_path, "toy")
  step = checkpoints.latest_step(directory)
  assert step is not None and step <= 7
  state = checkpoints.load(directory, mesh)
  assert all(np.isfinite(leaf).all() for leaf in toys.leaves(state))


def test_evaluation_writes_losses_of_held_out_batches_and_a_grid(
  tmp_path, mesh
):
  method = builders.supervised(
    toys.Net("group"),
    toys.regression_loss,
    optax.adam(1e-2),
    outputs=Outputs(
      sample=lambda apply, batch, frozen: {
        "original": batch["image"],
        "negative": 1 - batch["image"],
      }
    ),
  )
  held_out = toys.batch(rows=12, seed=99)
  held_out["padding"][10:] = True
  state = loop.train(
    Phase("toy", (), method),
    toys.batches,
    steps=4,
    seed=0,
    workdir=tmp_path,
    mesh=mesh,
    validation=lambda: iter([held_out]),
    options=loop.Options(log_every=1, evaluate_every=2),
  )
  lines = writers.read_metrics(tmp_path, "toy")
  found = {m["step"]: m for m in lines if "validation/loss" in m}
  assert sorted(found) == [2, 4]
  batch = toys.float_batch(rows=12, seed=99)
  expected = method.outputs.losses(state, {}, batch)["loss"][:10].mean()
  np.testing.assert_allclose(found[4]["validation/loss"], expected, rtol=1e-5)
  grid = np.asarray(Image.open(tmp_path / "samples/toy/00000004.png"))
  assert grid.shape == (2 * (toys.SIDE + 2), 10 * (toys.SIDE + 2), 3)
  # Rows in the order of their names: negative, original.
  top = grid[: toys.SIDE, : toys.SIDE]
  below = grid[toys.SIDE + 2 :][: toys.SIDE, : toys.SIDE]
  np.testing.assert_array_equal(below, held_out["image"][0])
  np.testing.assert_array_equal(top, 255 - below)


def test_a_line_cut_short_by_a_crash_is_dropped(tmp_path):
  path = writers.metrics_path(tmp_path, "toy")
  path.parent.mkdir()
  path.write_bytes(
    b'{"step": 0, "loss": 1.0}\n{"step": 5, "loss": 2.0}\n{"st\xc3\0\0'
  )
  with writers.metric_writer(tmp_path, "toy", first_step=5) as write:
    write(5, {"loss": 3.0, "other": float("nan")})
  lines = [json.loads(line) for line in path.read_text().splitlines()]
  assert lines == [
    {"step": 0, "loss": 1.0},
    {"step": 5, "loss": 3.0, "other": None},
  ]


@pytest.mark.parametrize("window", [(1, 3), (2, 9)])
def test_the_profiler_leaves_a_trace(window, tmp_path, mesh):
  train(tmp_path, 4, mesh, profile=window)
  assert list((tmp_path / "profile").rglob("*.xplane.pb"))
  # Nothing is left running for the next phase, which resumes in the window.
  train(tmp_path, 6, mesh, profile=(1, 5))


def test_validation_is_not_lost_at_the_step_a_run_resumes_from(tmp_path, mesh):
  def run(workdir, steps):
    loop.train(
      toys.phase(),
      toys.batches,
      steps=steps,
      seed=0,
      workdir=workdir,
      mesh=mesh,
      validation=lambda: iter([toys.batch(seed=99)]),
      options=loop.Options(evaluate_every=4, save_every=4),
    )
    lines = writers.read_metrics(workdir, "toy")
    return [
      (line["step"], line["validation/loss"])
      for line in lines
      if "validation/loss" in line
    ]

  whole = run(tmp_path / "whole", 10)
  assert [step for step, _ in whole] == [4, 8, 10]
  run(tmp_path / "parts", 8)
  assert run(tmp_path / "parts", 10) == whole


def test_nothing_in_the_loop_waits_for_the_host(tmp_path, mesh):
  """Between log steps no value is fetched: transfers are guarded against."""
  phase = toys.phase(norm="group")
  fetched = []
  original = mesh_lib.fetch

  def spy(tree):
    fetched.append(tree)
    return original(tree)

  logging.disable(logging.CRITICAL)
  try:
    mesh_lib.fetch = spy
    train(tmp_path, 20, mesh, phase, log_every=10, save_every=0)
  finally:
    mesh_lib.fetch = original
    logging.disable(logging.NOTSET)
  assert len(fetched) == 3  # steps 0, 10 and 19


@pytest.mark.parametrize(
  ("moment", "number"),
  [("last step", signal.SIGINT), ("final evaluation", signal.SIGTERM)],
)
def test_a_signal_at_the_end_of_a_phase_stops_before_the_next(
  tmp_path, mesh, monkeypatch, moment, number
):
  monkeypatch.setattr(preemption, "_asked", threading.Event())
  monkeypatch.setattr(preemption, "_received", None)
  handler = signal.getsignal(number)

  def batches(first):
    for step, batch in enumerate(toys.batches(first), first):
      if step == 2 and moment == "last step":
        signal.raise_signal(number)
      yield batch

  def validation():
    if moment == "final evaluation":
      signal.raise_signal(number)
    return iter([toys.batch(seed=99)])

  def run():
    return loop.train(
      toys.phase(norm="group"),
      batches,
      steps=3,
      seed=0,
      workdir=tmp_path,
      mesh=mesh,
      validation=validation,
    )

  with pytest.raises(preemption.Preempted) as stop:
    run()
  assert stop.value.code == 128 + number
  directory = checkpoints.phase_directory(tmp_path, "toy")
  assert (
    f"toy: finished, and asked to stop; saved step 3 of 3 in {directory}. Run"
    " the same command to go on with the next phase."
  ) == str(stop.value)
  assert signal.getsignal(number) == handler
  last = writers.read_metrics(tmp_path, "toy")[-1]
  assert last["step"] == 3 and "validation/loss" in last
  monkeypatch.setattr(preemption, "_asked", threading.Event())
  assert toys.leaves(run())  # loaded, with no step left to take


def test_processes_are_asked_once_a_step_and_once_at_the_end(
  tmp_path, mesh, monkeypatch
):
  """Over phases the calls are numbered on, and saving adds none of its own."""
  calls = []
  monkeypatch.setattr(
    preemption.multihost_utils,
    "reached_preemption_sync_point",
    lambda call: calls.append(call),
  )
  monkeypatch.setattr(preemption, "_calls", itertools.count())
  phase = toys.phase(norm="group")
  train(tmp_path, 3, mesh, phase, save_every=1)
  train(tmp_path, 2, mesh, phase._replace(name="next"), save_every=1)
  assert calls == list(range(3 + 1 + 2 + 1))


def test_phases_of_one_method_compile_once_and_keep_apart(tmp_path, mesh):
  base = toys.regression(norm="group", dropout=0.5)
  traced = []

  def step(state, frozen, batch, key):
    traced.append(len(traced))
    return base.step(state, frozen, batch, key)

  method = base._replace(step=step)

  def run(workdir, name, method=method, mesh=mesh):
    phase = Phase(name, (), method)
    return toys.leaves(train(tmp_path / workdir, 3, mesh, phase))

  first = run("a", "one")
  kept = [leaf.copy() for leaf in first]
  other = run("a", "two")
  again = run("b", "one")
  assert len(traced) == 1
  alone = run("c", "one", base)
  for a, b, c, d in zip(first, kept, again, alone, strict=True):
    np.testing.assert_array_equal(a, b)  # no memory given to the next phase
    np.testing.assert_array_equal(a, c)
    np.testing.assert_array_equal(a, d)
  # Their own seeds: of initialisation, and of dropout.
  assert any((a != b).any() for a, b in zip(first, other, strict=True))
  # Another mesh is another program.
  few = run("d", "one", mesh=mesh_lib.make_mesh(2))
  assert len(traced) == 2
  for a, b in zip(first, few, strict=True):
    np.testing.assert_allclose(a, b, atol=2e-5)
