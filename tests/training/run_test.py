"""Runs: what is refused, what is trained, and what is loaded."""

import json
import shutil
import types

import jax
import numpy as np
import pytest

from configs import common
from jaxpriv.data import dataset
from jaxpriv.data.records import DataError
from jaxpriv.training import checkpoints, loop, run, workdir
from tests.people import PEOPLE, SHARES, Faces, named
from tests.training import toys
from tests.training.toys import config, trained


def test_a_config_may_change_until_something_is_trained(tmp_path, mesh):
  changed = config(seed=3)
  phases, data = [toys.phase()], named(PEOPLE)
  run.begin(tmp_path, phases, config(), data, mesh)
  run.begin(tmp_path, phases, changed, named(PEOPLE[:12]), mesh)
  saved = json.loads((tmp_path / "config.json").read_text())
  assert saved["seed"] == 3
  trained(tmp_path)
  with pytest.raises(workdir.ConfigMismatchError, match="seed: 3 there, 0 now"):
    run.begin(tmp_path, phases, config(), data, mesh)


@pytest.mark.parametrize(
  ("name", "values", "message"),
  [
    ("controls", ("k_same,blurr",), "names blurr: choose of black_box"),
    ("attacker_splits", ("train,test",), "names test: choose of train, attack"),
    ("attacker_splits", ("",), "is empty"),
  ],
)
def test_lists_of_names_are_read_and_checked(name, values, message):
  made, data = config(), named(PEOPLE)
  made.evaluation.controls = ("k_same,pixelation",)
  made.release.attributes = ("Male,Smiling",)
  resolved = run.resolve(made, data)
  assert resolved.evaluation.controls == ("k_same", "pixelation")
  assert resolved.release.attributes == ("Male", "Smiling")
  made.evaluation[name] = values
  with pytest.raises(DataError, match=message):
    run.resolve(made, data)


def test_the_home_of_a_user_is_found_in_pretrained(monkeypatch):
  monkeypatch.setenv("HOME", "/home/anna")
  made = run.resolve(config(pretrained="~/runs/first"), named(PEOPLE))
  assert made.pretrained == "/home/anna/runs/first"
  assert run.resolve(config(), named(PEOPLE)).pretrained == ""


def test_evaluation_of_an_unfinished_phase_says_so(tmp_path, mesh):
  made = config()
  with pytest.raises(FileNotFoundError, match="toy is at step 0 of 4"):
    run.load_phases([toys.phase()], made, tmp_path, mesh)


def test_a_phase_of_no_steps_has_no_state(tmp_path, mesh):
  made = config()
  made.phases.toy.steps = 0
  data = dataset.split_data(
    Faces(np.repeat(np.arange(8, dtype=np.int32), 4)), SHARES, seed=0
  )
  states = run.train_phases([toys.phase()], made, data, tmp_path, mesh)
  assert states == {"toy": {}}
  assert run.load_phases([toys.phase()], made, tmp_path, mesh) == {"toy": {}}


def test_a_batch_that_does_not_divide_is_refused(tmp_path, mesh):
  made = config()
  made.phases.toy.batch_size = 12
  data = dataset.split_data(
    Faces(np.repeat(np.arange(8, dtype=np.int32), 4)), SHARES, seed=0
  )
  with pytest.raises(DataError, match="toy.batch_size = 12.*multiple of 8"):
    run.train_phases([toys.phase()], made, data, tmp_path, mesh)


def test_no_phase_is_trained_if_one_cannot_be(tmp_path, mesh):
  made = config()
  made.phases.later = common.phase(4, 40)
  phases = [toys.phase(), toys.phase()._replace(name="later")]
  message = "later.batch_size = 40, but there are only 32 images to train on"
  for call in (
    lambda: run.begin(tmp_path, phases, made, named(PEOPLE), mesh),
    lambda: run.train_phases(phases, made, named(PEOPLE), tmp_path, mesh),
  ):
    with pytest.raises(DataError, match=message):
      call()
  assert not list(tmp_path.iterdir())


def test_room_is_wanted_for_phases_that_are_still_to_train(
  tmp_path, monkeypatch
):
  made = toys.config()
  first = made.phases.toy
  made.phases.update(second=first.copy_and_resolve_references())
  states = {
    "toy": np.zeros(100, np.float32),
    "second": jax.eval_shape(lambda: np.zeros(1000, np.float32)),
  }
  disk = lambda free: lambda path: shutil._ntuple_diskusage(0, 0, free)
  keep = made.train.keep
  monkeypatch.setattr(shutil, "disk_usage", disk(keep * 4400 + 3999))
  with pytest.raises(checkpoints.CheckpointError, match="toy 0.0 MB, second"):
    run.check_room(tmp_path, states, made)
  monkeypatch.setattr(shutil, "disk_usage", disk(keep * 4400 + 4000))
  run.check_room(tmp_path, states, made)
  made.phases.second.steps = 0  # is taken over
  monkeypatch.setattr(shutil, "disk_usage", disk((keep + 1) * 400))
  run.check_room(tmp_path, states, made)


def test_a_test_split_of_one_person_is_refused_before_work_starts(
  tmp_path, mesh
):
  made = config()
  made.data.splits.update(train=0.8, attack=0.1, test=0.1)
  data = named(PEOPLE)._replace(
    splits={**named(PEOPLE).splits, "test": np.array([0])}
  )
  with pytest.raises(DataError, match="1 people.*--config.data.splits.test"):
    run.begin(tmp_path, [toys.phase()], made, data, mesh)
  assert not list(tmp_path.iterdir())
  data.source.max_faces = 4  # nobody is told apart by whom scenes show
  run.begin(tmp_path, [toys.phase()], made, data, mesh)


def test_labels_that_are_wholly_missing_are_named():
  data = named(PEOPLE)
  fields = {"identity": "config.model.tasks"}
  run.check_labels(fields, data)
  unknown = Faces(np.full(64, -1, np.int32))
  empty = data._replace(source=unknown)
  with pytest.raises(DataError, match="model.tasks need the identity of faces"):
    run.check_labels(fields, empty)


def test_a_method_is_asked_what_its_settings_must_be():
  data, made = named(PEOPLE), config()
  run.check_method(types.SimpleNamespace(), made, data, None)

  def check(config, data, load):
    raise DataError(f"seed {config.seed} is odd")

  method = types.SimpleNamespace(check=check)
  with pytest.raises(DataError, match="seed 0 is odd"):
    run.check_method(method, made, data, None)


def test_everybody_is_in_all_splits_only_where_a_method_allows_it():
  data, made = named(PEOPLE), config()
  made.data.split_by = "image"
  with pytest.raises(DataError, match="not for embedded_autoencoder"):
    run.check_method(types.SimpleNamespace(), made, data, None)
  run.check_method(types.SimpleNamespace(CLOSED_SET=True), made, data, None)


def test_load_forgets_the_optimizer_and_keeps_the_rest(tmp_path, mesh):
  state = loop.train(
    toys.phase(), toys.batches, steps=2, seed=0, workdir=tmp_path, mesh=mesh
  )
  loaded = checkpoints.load(checkpoints.phase_directory(tmp_path, "toy"), mesh)
  assert loaded.keys() == state.keys() == {"params", "batch_stats"}
  assert jax.tree.structure(loaded) == jax.tree.structure(state)
