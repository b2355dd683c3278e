"""Runs: what is refused, and parameters taken over."""

import json
import shutil

import chex
import jax
import numpy as np
import optax
import pytest
from ml_collections import ConfigDict

from configs import common
from jaxpriv.data import dataset
from jaxpriv.data.records import DataError
from jaxpriv.training import builders, checkpoints, loop, run, workdir
from jaxpriv.training.method import Phase
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


def test_only_a_finished_run_of_the_method_is_taken_over(tmp_path, mesh):
  phases, data = [toys.phase()], named(PEOPLE)
  first, second = tmp_path / "first", tmp_path / "second"
  begin = lambda: run.begin(
    second, phases, config(pretrained=str(first)), data, mesh
  )
  with pytest.raises(DataError, match="first is no run directory"):
    begin()
  run.begin(first, phases, config(), data, mesh)
  trained(first, step=2)
  with pytest.raises(DataError, match="its toy is at step 2 of 4"):
    begin()
  trained(first, step=4)
  begin()
  workdir.save_config(first, config(method="k_same"))
  with pytest.raises(DataError, match="a run of k_same, and this one of embed"):
    begin()
  assert (second / "config.json").exists()


@pytest.mark.parametrize(
  ("name", "values", "message"),
  [
    ("attack_in_full", ("k_same,blurr",), "names blurr: choose of black_box"),
    ("attacker_splits", ("train,test",), "names test: choose of train, attack"),
    ("attacker_splits", ("",), "is empty"),
  ],
)
def test_lists_of_names_are_read_and_checked(name, values, message):
  made, data = config(), named(PEOPLE)
  made.evaluation.attack_in_full = ("k_same,pixelation",)
  made.release.attributes = ("Male,Smiling",)
  resolved = run.resolve(made, data)
  assert resolved.evaluation.attack_in_full == ("k_same", "pixelation")
  assert resolved.release.attributes == ("Male", "Smiling")
  made.evaluation[name] = values
  with pytest.raises(DataError, match=message):
    run.resolve(made, data)


def test_evaluation_of_an_unfinished_phase_says_so(tmp_path, mesh):
  made = config()
  with pytest.raises(FileNotFoundError, match="toy is at step 0 of 4"):
    run.load_phases([toys.phase()], made, tmp_path, mesh)


def test_parameters_are_taken_over_where_they_fit(tmp_path, mesh):
  def train(workdir, model, pretrained=""):
    method = builders.supervised(
      model, toys.regression_loss, optax.set_to_zero()
    )
    config = ConfigDict(dict(pretrained=pretrained, pretrained_phases=()))
    start = run._take_over(config, "toy", mesh)
    return loop.train(
      Phase("toy", (), method),
      toys.batches,
      steps=1,
      seed=len(pretrained),
      workdir=workdir,
      mesh=mesh,
      start=start,
    )

  first = train(tmp_path / "first", toys.Net("group"))
  second = train(
    tmp_path / "second", toys.Net("group"), str(tmp_path / "first")
  )
  for a, b in zip(
    toys.leaves(first["params"]), toys.leaves(second["params"]), strict=True
  ):
    np.testing.assert_array_equal(a, b)

  class Other(toys.Net):
    """Its second dense layer has another shape."""

    @toys.nn.compact
    def __call__(self, x, train):
      x = toys.layers.ConvBlock(16, stride=2, norm=self.norm)(x, train)
      x = toys.nn.relu(toys.nn.Dense(64)(x.reshape(x.shape[0], -1)))
      return toys.nn.Dense(2)(x)[:, 0]

  third = train(tmp_path / "third", Other("group"), str(tmp_path / "first"))
  np.testing.assert_array_equal(
    first["params"]["Dense_0"]["kernel"], third["params"]["Dense_0"]["kernel"]
  )
  assert third["params"]["Dense_1"]["kernel"].shape == (64, 2)


def test_a_phase_of_no_steps_has_no_state(tmp_path, mesh):
  made = config()
  made.phases.toy.steps = 0
  data = dataset.split_data(
    Faces(np.repeat(np.arange(8, dtype=np.int32), 4)), SHARES, seed=0
  )
  states = run.train_phases([toys.phase()], made, data, tmp_path, mesh)
  assert states == {"toy": {}}
  assert run.load_phases([toys.phase()], made, tmp_path, mesh) == {"toy": {}}


def test_a_phase_of_no_steps_is_copied_once(tmp_path, mesh):
  data = named(PEOPLE)
  first, second = tmp_path / "first", tmp_path / "second"
  run.begin(first, [toys.phase()], config(), data, mesh)
  trained = run.train_phases([toys.phase()], config(), data, first, mesh)
  made = config(pretrained=str(first))
  made.phases.toy.steps = 0
  run.begin(second, [toys.phase()], made, data, mesh)
  run.train_phases([toys.phase()], made, data, second, mesh)
  shutil.rmtree(first)
  for states in (
    run.load_phases([toys.phase()], made, second, mesh),
    run.train_phases([toys.phase()], made, data, second, mesh),
    {"toy": run.pretrained_state(str(second), "toy", mesh)},
  ):
    chex.assert_trees_all_equal(
      jax.device_get(states["toy"]["params"]),
      jax.device_get(trained["toy"]["params"]),
    )
  # As nothing is trained there, another run may take the directory over.
  made.pretrained = ""
  run.begin(second, [toys.phase()], made, data, mesh)
  assert run.load_phases([toys.phase()], made, second, mesh) == {"toy": {}}


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


def test_labels_that_are_wholly_missing_are_named():
  data = named(PEOPLE)
  run.check_labels(("identity",), data)
  unknown = Faces(np.full(64, -1, np.int32))
  empty = data._replace(source=unknown)
  with pytest.raises(DataError, match="need the identity of faces"):
    run.check_labels(("identity",), empty)


def test_load_forgets_the_optimizer_and_keeps_the_rest(tmp_path, mesh):
  state = loop.train(
    toys.phase(), toys.batches, steps=2, seed=0, workdir=tmp_path, mesh=mesh
  )
  loaded = checkpoints.load(checkpoints.phase_directory(tmp_path, "toy"), mesh)
  assert loaded.keys() == state.keys() == {"params", "batch_stats"}
  assert jax.tree.structure(loaded) == jax.tree.structure(state)


def test_only_phases_that_are_named_are_taken_over():
  config = ConfigDict(dict(pretrained="run", pretrained_phases=("a,b",)))
  assert run._taken(config, "a") and run._taken(config, "b")
  assert not run._taken(config, "c")
  assert run._take_over(config, "c", None) is None
  assert run._untrained("c", config, None) == {}
  config.pretrained_phases = ()
  assert run._taken(config, "c")
  config.pretrained = ""
  assert not run._taken(config, "a")
