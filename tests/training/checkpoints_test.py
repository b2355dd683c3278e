"""Checkpoints that are damaged, or cannot be saved, and what is used then."""

import errno
import json
import math
import os
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxpriv.training import checkpoints, loop, run
from jaxpriv.training import mesh as mesh_lib
from tests.training import toys
from tests.training.toys import config

SHAPES = {
  "params": jax.ShapeDtypeStruct((40, 50), jnp.float32),
  "opt": jax.ShapeDtypeStruct((3,), jnp.float32),
}


def state(step):
  return jax.tree.map(lambda x: jnp.full(x.shape, step, x.dtype), SHAPES)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
  """Steps 2 and 4, to be copied."""
  path = tmp_path_factory.mktemp("saved") / "toy"
  with checkpoints.open_manager(path) as manager:
    for step in (2, 4):
      manager.save(step, state(step))
  return path


def test_a_state_of_other_shapes_is_not_called_damaged(saved, mesh):
  """Its advice would be to remove what can be read."""
  other = {**SHAPES, "opt": jax.ShapeDtypeStruct((5,), jnp.float32)}
  with pytest.raises(checkpoints.CheckpointError) as error:
    checkpoints.restore(saved, 4, other, mesh)
  assert "by another version of jaxpriv" in str(error.value)
  assert "remove it" not in str(error.value)


@pytest.fixture
def directory(saved, tmp_path):
  return pathlib.Path(shutil.copytree(saved, tmp_path / "toy"))


def files(step):
  """Those with checksums, the largest first."""
  found = [p for p in step.rglob("*") if p.is_file()]
  found = [p for p in found if p.name != checkpoints.CHECKSUMS]
  return sorted(found, key=lambda p: (-p.stat().st_size, p))


def cut(step):
  path = files(step)[0]
  path.write_bytes(path.read_bytes()[:-1])
  return path


def empty(step):
  path = files(step)[0]
  path.write_bytes(b"")
  return path


def missing(step):
  path = files(step)[0]
  path.unlink()
  return path


def flip(step):
  path = files(step)[0]
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 1
  path.write_bytes(data)
  os.utime(path, (0, 0))  # not in the second in which it was saved
  return path


def nothing_left(step):
  shutil.rmtree(step)
  step.mkdir()
  return step


def no_checksums(step):
  path = step / checkpoints.CHECKSUMS
  path.write_bytes(path.read_bytes()[:40])
  return path


DAMAGES = (cut, empty, missing, flip, nothing_left, no_checksums)


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_newest_intact_step_is_used_and_the_damage_named(
  damage, directory, mesh, caplog
):
  assert checkpoints.latest_step(directory) == 4
  named = damage(directory / "4")
  for _ in range(2):
    assert checkpoints.latest_step(directory) == 2
  assert caplog.text.count("is damaged and not used") == 1
  assert str(named) in caplog.text
  loaded = checkpoints.load(directory, mesh)
  np.testing.assert_array_equal(loaded["params"], state(2)["params"])
  damage(directory / "2")
  for use in (
    lambda: checkpoints.latest_step(directory),
    lambda: checkpoints.load(directory, mesh),
  ):
    with pytest.raises(checkpoints.CheckpointError) as error:
      use()
    assert str(named) in str(error.value) and "\n" not in str(error.value)


@given(data=st.data())
@settings(
  max_examples=30,
  deadline=None,
  suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_every_change_of_every_file_is_found(data, saved, tmp_path):
  step = pathlib.Path(
    shutil.copytree(saved / "4", tmp_path / "4", dirs_exist_ok=True)
  )
  checkpoints._compared.cache_clear()  # mtimes may be the same
  assert not checkpoints._fault(checkpoints.epath.Path(step))
  path = data.draw(st.sampled_from(files(step)))
  before = path.read_bytes()
  place = data.draw(st.integers(0, max(len(before) - 1, 0)))
  after = data.draw(
    st.sampled_from(
      (
        before[:place],
        before + b"\0",
        before[:place] + bytes([before[place] ^ 255]) + before[place + 1 :]
        if before
        else b"x",
      )
    )
  )
  if after != before:
    path.write_bytes(after)
    checkpoints._compared.cache_clear()
    assert str(path) in checkpoints._fault(checkpoints.epath.Path(step))


def test_checksums_are_of_all_files_and_go_with_their_step(directory):
  for step in ("2", "4"):
    written = json.loads((directory / step / "checksums.json").read_text())
    there = {
      path.relative_to(directory / step).as_posix(): path.stat().st_size
      for path in files(directory / step)
    }
    assert {name: size for name, (size, _) in written.items()} == there
  with checkpoints.open_manager(directory) as manager:
    manager.save(6, state(6))
  assert {p.name for p in directory.iterdir()} == {"4", "6"}
  assert checkpoints.latest_step(directory) == 6


def test_steps_of_earlier_versions_are_taken_as_they_are(directory, mesh):
  for step in ("2", "4"):
    (directory / step / checkpoints.CHECKSUMS).unlink()
  assert checkpoints.latest_step(directory) == 4
  loaded = checkpoints.load(directory, mesh)
  np.testing.assert_array_equal(loaded["params"], state(4)["params"])
  for path in files(directory / "4"):
    path.write_bytes(b"")
  assert checkpoints.latest_step(directory) == 4
  for use in (
    lambda: checkpoints.load(directory, mesh),
    lambda: checkpoints.restore(directory, 4, SHAPES, mesh),
  ):
    with pytest.raises(checkpoints.CheckpointError) as error:
      use()
    assert str(directory / "4") in str(error.value)
    assert "\n" not in str(error.value)


def train(workdir, steps, mesh, **options):
  return loop.train(
    toys.phase(norm="group", dropout=0.5),
    toys.batches,
    steps=steps,
    seed=0,
    workdir=workdir,
    mesh=mesh,
    options=loop.Options(log_every=1, save_every=2, **options),
  )


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
  """A run of 4 steps, of which 2 and 4 are saved, and its last state."""
  from jaxpriv.training import mesh as mesh_lib

  path = tmp_path_factory.mktemp("whole")
  return path, toys.leaves(train(path, 4, mesh_lib.make_mesh()))


@pytest.mark.parametrize("sealed", [True, False])
def test_a_run_goes_on_before_a_damaged_step_and_repeats_it(
  sealed, whole, tmp_path, mesh, caplog
):
  workdir = pathlib.Path(shutil.copytree(whole[0], tmp_path / "run"))
  phase = workdir / "phases/toy"
  if not sealed:
    for path in phase.glob(f"*/{checkpoints.CHECKSUMS}"):
      path.unlink()
  for path in files(phase / "4"):
    path.write_bytes(path.read_bytes()[:3])
  made = train(workdir, 4, mesh)
  for a, b in zip(whole[1], toys.leaves(made), strict=True):
    np.testing.assert_array_equal(a, b)
  assert str(phase / "4") in caplog.text
  assert {p.name for p in phase.iterdir()} == {"2", "4", "4.damaged"}
  assert checkpoints.latest_step(phase) == 4
  loaded = checkpoints.load(phase, mesh)
  for a, b in zip(whole[1], toys.leaves(loaded), strict=True):
    np.testing.assert_array_equal(a, b)


def test_a_step_that_cannot_be_restored_is_resumed_before(
  whole, tmp_path, mesh, caplog
):
  """In an unfinished phase of an earlier version."""
  workdir = pathlib.Path(shutil.copytree(whole[0], tmp_path / "run"))
  phase = workdir / "phases/toy"
  (phase / "4" / checkpoints.CHECKSUMS).unlink()
  for path in files(phase / "4"):
    path.write_bytes(path.read_bytes()[:3])
  resumed = train(workdir, 5, mesh)
  assert "Step 2 is used" in caplog.text
  undisturbed = pathlib.Path(shutil.copytree(whole[0], tmp_path / "other"))
  expected = train(undisturbed, 5, mesh)
  for a, b in zip(toys.leaves(expected), toys.leaves(resumed), strict=True):
    np.testing.assert_array_equal(a, b)


def test_a_damaged_end_is_an_unfinished_phase(whole, tmp_path, mesh):
  workdir = pathlib.Path(shutil.copytree(whole[0], tmp_path / "run"))
  cut(workdir / "phases/toy/4")
  with pytest.raises(FileNotFoundError, match="toy is at step 2 of 4"):
    run.load_phases([toys.phase()], config(), workdir, mesh)


@pytest.mark.parametrize("before", [0, 2])
def test_a_failed_save_hides_no_earlier_step(
  before, whole, tmp_path, mesh, monkeypatch
):
  """The disk fills while a step is written in the background."""
  finalize = ocp.StandardCheckpointHandler.finalize
  done = []

  def full(self, directory):
    done.append(directory)
    if len(done) > before // 2:
      raise OSError(errno.ENOSPC, "No space left on device")
    return finalize(self, directory)

  with monkeypatch.context() as patch:
    patch.setattr(ocp.StandardCheckpointHandler, "finalize", full)
    with pytest.raises(checkpoints.CheckpointError) as error:
      train(tmp_path, 4, mesh, keep=1)
  phase = tmp_path / "phases/toy"
  message = str(error.value)
  assert str(phase) in message and "No space left on device" in message
  assert "\n" not in message
  assert ("step 2 is kept" if before else "nothing was saved") in message
  assert checkpoints.latest_step(phase) == (before or None)
  resumed = train(tmp_path, 4, mesh, keep=1)
  # What was half written is gone, too.
  assert {p.name for p in phase.iterdir()} == {"4"}
  for a, b in zip(whole[1], toys.leaves(resumed), strict=True):
    np.testing.assert_array_equal(a, b)


def test_too_small_a_disk_is_refused_with_numbers(
  directory, tmp_path, monkeypatch
):
  usage = lambda free: lambda path: shutil._ntuple_diskusage(0, 0, free)
  size = sum(x.nbytes for x in jax.tree.leaves(state(0)))  # 8,012 bytes
  shapes = jax.eval_shape(lambda: state(0))
  two = {"toy": shapes, "other": state(0)}
  place = tmp_path / "new"
  monkeypatch.setattr(shutil, "disk_usage", usage(3 * size))
  checkpoints.check_room(place, {"toy": shapes}, keep=2)
  # One more than are kept, of whichever phase is saving.
  with pytest.raises(checkpoints.CheckpointError, match="need 0.0 MB, and"):
    checkpoints.check_room(place, two, keep=2)
  monkeypatch.setattr(shutil, "disk_usage", usage(5 * size))
  checkpoints.check_room(place, two, keep=2)
  monkeypatch.setattr(shutil, "disk_usage", usage(5 * size - 1))
  with pytest.raises(checkpoints.CheckpointError) as error:
    checkpoints.check_room(place, two, keep=2)
  assert "takes toy 0.0 MB, other 0.0 MB" in str(error.value)
  assert str(place) in str(error.value)
  # Two of toy are there already.
  workdir = tmp_path / "run"
  shutil.copytree(directory, workdir / "phases/toy")
  monkeypatch.setattr(shutil, "disk_usage", usage(size))
  checkpoints.check_room(workdir, {"toy": shapes}, keep=2)
  monkeypatch.setattr(shutil, "disk_usage", usage(size - 1))
  with pytest.raises(checkpoints.CheckpointError, match="make room"):
    checkpoints.check_room(workdir, {"toy": shapes}, keep=2)


def test_a_phase_for_which_there_is_no_room_takes_no_step(
  tmp_path, mesh, monkeypatch
):
  full = shutil._ntuple_diskusage(0, 0, 1000)
  monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
  with pytest.raises(checkpoints.CheckpointError, match="make room"):
    train(tmp_path, 4, mesh)
  assert not (tmp_path / "metrics").exists()


@pytest.mark.parametrize("first, then", [(0, math.inf), (math.inf, 0)])
def test_states_are_restored_where_they_are_sharded_otherwise(
  first, then, tmp_path, mesh, monkeypatch
):
  """Earlier versions sharded what is replicated now."""
  values = {"kernel": np.arange(2**15, dtype=np.float32).reshape(128, 256)}
  rule = mesh_lib.infer_shardings

  def shardings(room):
    choose = lambda tree, mesh: rule(tree, mesh, room, min_bytes=1)
    monkeypatch.setattr(mesh_lib, "infer_shardings", choose)
    return mesh_lib.infer_shardings(values, mesh)

  state = jax.device_put(values, shardings(first))
  with checkpoints.open_manager(tmp_path) as manager:
    manager.save(3, state)
    manager.wait()
  expected = shardings(then)["kernel"]
  shapes = jax.eval_shape(lambda: state)
  for restored in (
    checkpoints.restore(tmp_path, 3, shapes, mesh),
    checkpoints.load(tmp_path, mesh),
  ):
    np.testing.assert_array_equal(restored["kernel"], values["kernel"])
    assert restored["kernel"].sharding.is_equivalent_to(expected, 2)
  assert not state["kernel"].sharding.is_equivalent_to(expected, 2)
