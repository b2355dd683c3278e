"""Parameters taken over from another run, and phases copied from it."""

import importlib
import shutil

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ml_collections import ConfigDict

from jaxpriv.data.records import DataError
from jaxpriv.training import (
  builders,
  loop,
  mechanism,
  run,
  synthetic_game,
  transfer,
  workdir,
)
from jaxpriv.training.method import Phase
from tests import tiny
from tests.people import PEOPLE, named
from tests.training import toys
from tests.training.toys import config, trained


def test_only_a_finished_run_of_known_phases_is_taken_over(tmp_path, mesh):
  phases, data = [toys.phase()], named(PEOPLE)
  first, second = tmp_path / "first", tmp_path / "second"
  begin = lambda **fields: run.begin(
    second, phases, config(pretrained=str(first), **fields), data, mesh
  )
  with pytest.raises(DataError, match="first is no run directory: there is no"):
    begin()
  first.mkdir()
  with pytest.raises(DataError, match="first is no run.*has no config.json"):
    begin()
  run.begin(first, phases, config(), data, mesh)
  trained(first, step=2)
  with pytest.raises(DataError, match="its toy is at step 2 of 4"):
    begin()
  trained(first, step=4)
  begin()
  assert (second / "config.json").exists()
  shutil.rmtree(second)
  other = config(method="k_same")
  workdir.save_config(first, other)
  with pytest.raises(
    DataError, match="k_same, and this one of embed.*, of toy, in config.pretr"
  ):
    begin()
  with pytest.raises(DataError, match="name the phases that are taken over"):
    begin(pretrained_phases=("toy", "another"))
  begin(pretrained_phases=("toy",))
  shutil.rmtree(second)
  with other.unlocked():
    other.phases = dict(another=other.phases.toy)
  workdir.save_config(first, other)
  with pytest.raises(DataError, match="of embed.*: there is nothing to take"):
    begin(pretrained_phases=("toy",))


def test_parameters_are_taken_over_where_they_fit(tmp_path, mesh):
  def train(workdir, model, pretrained=""):
    method = builders.supervised(
      model, toys.regression_loss, optax.set_to_zero()
    )
    config = ConfigDict(dict(pretrained=pretrained, pretrained_phases=()))
    start = transfer.take_over(config, "toy", mesh)
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
    {"toy": transfer.pretrained_state(str(second), "toy", mesh)},
  ):
    chex.assert_trees_all_equal(
      jax.device_get(states["toy"]["params"]),
      jax.device_get(trained["toy"]["params"]),
    )
  # Nothing is trained there, so another run may take the directory over.
  made.pretrained = ""
  run.begin(second, [toys.phase()], made, data, mesh)
  assert run.load_phases([toys.phase()], made, second, mesh) == {"toy": {}}


def test_only_phases_that_are_named_are_taken_over():
  config = ConfigDict(dict(pretrained="run", pretrained_phases=("a,b",)))
  assert transfer._taken(config, "a") and transfer._taken(config, "b")
  assert not transfer._taken(config, "c")
  assert transfer.take_over(config, "c", None) is None
  assert transfer._untrained("c", config, None) == {}
  config.pretrained_phases = ()
  assert transfer._taken(config, "c")
  config.pretrained = ""
  assert not transfer._taken(config, "a")


def test_a_state_without_parameters_is_made_anew(mesh):
  """Such as faces of a folder: there is nothing that was learned."""
  mine = {"faces": jnp.zeros((4, 2))}
  for other in {"faces": jnp.ones((4, 2))}, {"params": {"w": jnp.ones(2)}}:
    state, fresh = transfer.adopt(mine, other)
    assert state is mine and not fresh


def test_the_average_of_another_state_is_adopted(mesh):
  """It is what that one predicts with; and a state's own average follows."""
  mine = {
    "params": {"a": jnp.zeros(2), "b": jnp.zeros(3)},
    "batch_stats": {},
    "ema": {"a": jnp.zeros(2), "b": jnp.zeros(3)},
  }
  theirs = {
    "params": {"a": np.ones(2), "b": np.ones(4)},
    "batch_stats": {},
    "ema": {"a": np.full(2, 5.0), "b": np.full(4, 5.0)},
  }
  state, fresh = transfer.adopt(mine, theirs)
  assert fresh == ["params/b"]
  for part in ("params", "ema"):
    np.testing.assert_array_equal(state[part]["a"], [5, 5])
    np.testing.assert_array_equal(state[part]["b"], [0, 0, 0])


def test_a_setting_that_is_off_is_none_that_is_missing(tmp_path):
  """Runs of earlier versions do without: what they made may be copied."""
  made = tiny.face_source(points=False, auxiliary=0.0)
  made.phases.source.steps = 0
  made.update(pretrained=str(tmp_path), pretrained_phases=())
  earlier = made.copy_and_resolve_references()
  del earlier.model["points"], earlier.model["auxiliary"]
  workdir.save_config(tmp_path, earlier)
  load = lambda name: {"params": {}}
  taken = transfer.check_copied(made, synthetic_game.MADE_WITH, load)
  assert taken == ["source"]
  made.model.points = True
  with pytest.raises(DataError, match="model.points: None, here True"):
    transfer.check_copied(made, synthetic_game.MADE_WITH, load)


# Module with MADE_WITH -> a config of its mechanism.
COPIED = {
  "dp_multitask": tiny.dp_multitask,
  "embedded_autoencoder": tiny.embedded_autoencoder,
  "face_detection": tiny.face_detection,
  "face_replacement": lambda: tiny.face_replacement("demo,given", folder="x"),
  "face_synthesis": lambda: tiny.face_synthesis("demo,references", folder="x"),
  "k_same_net": lambda: tiny.baseline("k_same_net"),
  "deep_poisoning.transfer": tiny.deep_poisoning,
  "mask_desensitization.settings": tiny.mask_desensitization,
}


@pytest.mark.parametrize("module", COPIED)
def test_what_was_trained_with_other_settings_is_not_copied(module, tmp_path):
  """Each setting that a mechanism names is one, and is compared."""
  names = importlib.import_module(f"jaxpriv.methods.{module}").MADE_WITH
  made = COPIED[module]()
  made.update(pretrained=str(tmp_path), pretrained_phases=())
  for name in names:
    made.phases[name].steps = 0
  load = lambda name: {"params": {}}
  workdir.save_config(tmp_path, made)
  assert transfer.check_copied(made, names, load) == list(names)
  for phase, settings in names.items():
    for setting in settings:
      other = made.copy_and_resolve_references()
      *folders, last = setting.split(".")
      holder = other
      for folder in folders:
        holder = holder[folder]
      assert last in holder, setting
      with other.ignore_type(), other.unlocked():
        holder[last] = "another"
      workdir.save_config(tmp_path, other)
      with pytest.raises(DataError, match=f"{phase}.*{setting}: another, here"):
        transfer.check_copied(made, {phase: settings}, load)
  # Without the option of a phase nothing is asked of it.
  fewer = made.copy_and_resolve_references()
  for name in names:
    del fewer.phases[name]
  assert transfer.check_copied(fewer, names, load) == []
  method = mechanism.load(module.split(".")[0])
  with pytest.raises(DataError, match="another, here"):
    method.check(made, named(PEOPLE), load)
