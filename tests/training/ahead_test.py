"""Programs compiled ahead are those that run, and their cost adds up."""

import jax
import numpy as np
import pytest

from jaxpriv.errors import SettingError
from jaxpriv.training import ahead, collectives, loop, topologies
from jaxpriv.training import mesh as mesh_lib
from jaxpriv.training.collectives import Collective
from jaxpriv.training.method import Outputs
from tests.training import toys

CPU = topologies.parse("cpu:8")
H200 = topologies.parse("h200:8")


def program(**changes):
  made = ahead.Program(
    name="p", batch=64, examples=32, devices=8, parameters=10, held=100,
    arguments=60, temporaries=30, moved=int(4.8e9), flops=8 * 989e12,
    collectives={"all-reduce": Collective(2, int(450e9))}, seconds=1.0,
  )  # fmt: skip
  return made._replace(**changes)


@pytest.fixture(scope="module")
def phase():
  """With an output, as if its images were released."""
  made = toys.phase()
  outputs = Outputs(image=made.method.outputs.losses)
  return made._replace(method=made.method._replace(outputs=outputs))


@pytest.fixture(scope="module")
def batch():
  return toys.batch(16)


@pytest.fixture(scope="module")
def compiler(phase, batch, mesh):
  record = {name: value[0] for name, value in batch.items()}
  return ahead.Compiler([phase], record, mesh, CPU)


@pytest.fixture(scope="module")
def step(compiler, phase):
  return compiler.step(phase.name, 16)


def test_a_step_is_the_one_that_the_loop_runs(step, phase, batch, mesh):
  with jax.set_mesh(mesh):
    rows = mesh_lib.put_batch(batch, mesh)
    state = phase.method.init(jax.random.key(0), rows, {})
    state = jax.device_put(state, mesh_lib.infer_shardings(state, mesh))
    run = loop.program(phase, state, mesh)
    args = state, {}, rows, jax.random.key(0), np.int32(0)
    compiled = run.lower(*args).compile()
  assert step.collectives == collectives.read(compiled.as_text())
  memory = compiled.memory_analysis()
  assert step.temporaries == memory.temp_size_in_bytes
  assert step.arguments == memory.argument_size_in_bytes
  weights = sum(x.size for x in jax.tree.leaves(state["params"]))
  assert step.parameters == 4 * weights
  # The state is given back in place: nothing is held twice.
  assert step.held < step.arguments + step.temporaries + step.parameters
  assert step.batch == step.examples == 16 and step.devices == 8
  # Three products for each weight of a Dense layer and example, at least.
  assert step.flops > 3 * 2 * 16 * 64 * 16


def test_outputs_are_compiled_without_an_optimizer(compiler, phase, step):
  assert compiler.outputs(phase.name) == ["image"]
  made = compiler.output(phase.name, "image", 32)
  assert made.name == f"{phase.name}: image" and made.batch == 32
  assert made.parameters == step.parameters
  assert 0 < made.flops < step.flops


def test_rows_that_devices_cannot_share_are_refused(compiler, phase):
  with pytest.raises(SettingError, match="8 devices cannot share .* 12 rows"):
    compiler.step(phase.name, 12)
  with pytest.raises(SettingError, match="8 devices cannot share .* 4 rows"):
    compiler.output(phase.name, "image", 4)
  compiler.check({phase.name: 16})
  with pytest.raises(SettingError, match=f"{phase.name}, of 12 rows"):
    compiler.check({phase.name: 12})


def test_bounds_are_those_of_the_device():
  bounds = program().bounds(H200, "bfloat16")
  assert bounds["compute"] == pytest.approx(1)
  assert bounds["memory"] == pytest.approx(1e-3)
  assert bounds["communication"] == pytest.approx(2 * 7 / 8)
  assert program().bounds(H200, "float32")["compute"] > 2
  assert program().bounds(CPU, "float32") == {}
  assert program(held=int(126e9)).fits(H200)
  assert not program(held=int(128e9)).fits(H200)
  assert program(held=10**15).fits(CPU)


@pytest.mark.parametrize("a_row", [1e6, 3e7, 1.1e9])
@pytest.mark.parametrize("jump", [1.0, 1.7])
def test_the_largest_batch_is_found(a_row, jump):
  """Memory is linear in the batch, or grows faster from somewhere on."""

  def held(batch):
    return int(2e9 + a_row * batch * (jump if batch > 300 else 1))

  def compiled(batch):
    assert batch % 8 == 0
    return program(batch=batch, held=held(batch))

  first = compiled(32)
  tried = list(ahead.largest(compiled, 32, first, H200))
  assert all(size == each.batch for size, each in tried)
  tried = [each for _, each in tried]
  fitting = [each for each in (first, *tried) if each.fits(H200)]
  best = max(each.batch for each in fitting)
  room = ahead.USABLE * 141e9
  assert held(best) <= room and len(tried) <= 6
  if best < 32 * 16:
    assert held(best * 1.2 + 8) > room


@pytest.mark.parametrize("compiles", [True, False])
def test_smaller_batches_are_tried_where_the_first_does_not_fit(compiles):
  """The compiler may tell of it by a program, or have none."""

  def held(batch):
    return int(1e9 + 1e9 * batch)

  def compiled(batch):
    made = program(batch=batch, held=held(batch))
    if not compiles and not made.fits(H200):
      raise ahead.TooLargeError("no room")
    return made

  first = program(batch=1024, held=held(1024)) if compiles else None
  tried = list(ahead.largest(compiled, 1024, first, H200))
  fitting = [size for size, each in tried if each and each.fits(H200)]
  assert [size for size, _ in tried][:4] == [512, 256, 128, 64][: len(tried)]
  assert 96 <= max(fitting) <= 125
  assert all((each is None) == (size > 125 and not compiles)
             for size, each in tried)  # fmt: skip


def test_nothing_is_tried_below_a_row_a_device():
  def never(batch):
    raise ahead.TooLargeError("no room")

  tried = list(ahead.largest(never, 32, None, H200))
  assert tried == [(16, None), (8, None)]


def test_a_compiler_without_room_is_an_error_of_its_own(
  compiler, phase, monkeypatch
):
  def refuse(self, *args, **options):
    raise jax.errors.JaxRuntimeError(
      "RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm.\nUsed 20G"
    )

  monkeypatch.setattr(jax.stages.Lowered, "compile", refuse)
  with pytest.raises(ahead.TooLargeError, match="16 rows does not fit: RESO"):
    compiler.step(phase.name, 16)
