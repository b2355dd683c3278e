"""Run directories: config, people, and parameters taken over."""

import dataclasses
import json

import jax
import numpy as np
import optax
import pytest

from configs import common
from jaxpriv.data.records import DataError
from jaxpriv.training import builders, checkpoints, loop, run
from jaxpriv.training.method import Phase
from tests.training import toys


@dataclasses.dataclass
class Faces:
  """Photographs of numbered people, in any order, as a source."""

  identities: np.ndarray
  attribute_names: tuple[str, ...] = ()

  def __len__(self):
    return len(self.identities)

  def __getitem__(self, index):
    image = np.full((8, 8, 3), index, np.uint8)
    return {"image": image, "identity": self.identities[index]}

  def describe(self, index):
    return f"face {index}"


SHARES = {"train": 0.5, "attack": 0.25, "test": 0.25}


def test_people_are_numbered_split_after_split():
  identities = np.repeat(np.array([7, 3, 100, 9, 12, 40, 5, 21], np.int32), 5)
  identities = np.random.default_rng(0).permutation(identities)
  data = run.split_data(Faces(identities), SHARES, seed=0)
  assert data.num_people == 4
  seen = {}
  for split in SHARES:
    batches = list(data.epoch(split, batch_size=8))
    ids = np.concatenate([b["identity"][~b["padding"]] for b in batches])
    seen[split] = set(ids.tolist())
    assert len(ids) == 5 * data.people(split)
  assert seen["train"] == {0, 1, 2, 3}
  assert seen["attack"] | seen["test"] == {4, 5, 6, 7}
  assert not seen["attack"] & seen["test"]


def test_unknown_people_train_without_a_class():
  identities = np.repeat(np.arange(-1, 8, dtype=np.int32), 4)
  data = run.split_data(Faces(identities), SHARES, seed=0)
  batches = list(data.epoch("train", batch_size=8))
  ids = np.concatenate([b["identity"][~b["padding"]] for b in batches])
  assert (ids == -1).sum() == 4
  assert set(ids.tolist()) == {-1, 0, 1, 2, 3}


def test_too_few_people_is_an_error_that_names_the_split():
  with pytest.raises(DataError, match="'test'.*only 2 people"):
    run.split_data(Faces(np.array([0, 1], np.int32)), SHARES, seed=0)


def config(**changes):
  made = common.base("embedded_autoencoder")
  made.phases.toy = common.phase(4, 16)
  made.update(changes)
  return made


def test_config_survives_json(tmp_path):
  made = config()
  made.data.sets = ("london", "orl")
  run.save_config(tmp_path, made)
  again = run.load_config(tmp_path)
  assert again.to_dict() == made.to_dict()
  assert isinstance(again.data.sets, tuple)


def test_another_config_in_a_used_directory_is_refused(tmp_path):
  run.save_config(tmp_path, config())
  run.save_config(tmp_path, config())
  changed = config(seed=3)
  changed.phases.toy.learning_rate = 0.5
  with pytest.raises(run.ConfigMismatchError) as error:
    run.save_config(tmp_path, changed)
  assert "config.seed: 0 there, 3 now" in str(error.value)
  assert "config.phases.toy.learning_rate: 0.001 there, 0.5 now" in str(
    error.value
  )
  free = config()
  free.train.log_every = 1
  free.evaluation.batch_size = 7
  run.save_config(tmp_path, free)
  assert json.loads((tmp_path / "config.json").read_text())["evaluation"][
    "batch_size"
  ] == 7  # fmt: skip


def test_no_config_says_what_to_run(tmp_path):
  with pytest.raises(FileNotFoundError, match=r"launch\.train --workdir="):
    run.load_config(tmp_path)


def test_evaluation_of_an_unfinished_phase_says_so(tmp_path, mesh):
  made = config()
  with pytest.raises(FileNotFoundError, match="toy is at step 0 of 4"):
    run.load_phases([toys.phase()], made, tmp_path, mesh)


def test_parameters_are_taken_over_where_they_fit(tmp_path, mesh):
  def train(workdir, model, pretrained=""):
    method = builders.supervised(
      model, toys.regression_loss, optax.set_to_zero()
    )
    start = run._take_over(pretrained, "toy", mesh)
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
  data = run.split_data(
    Faces(np.repeat(np.arange(8, dtype=np.int32), 4)), SHARES, seed=0
  )
  states = run.train_phases([toys.phase()], made, data, tmp_path, mesh)
  assert states == {"toy": {}}
  assert run.load_phases([toys.phase()], made, tmp_path, mesh) == {"toy": {}}


def test_a_batch_that_does_not_divide_is_refused(tmp_path, mesh):
  made = config()
  made.phases.toy.batch_size = 12
  data = run.split_data(
    Faces(np.repeat(np.arange(8, dtype=np.int32), 4)), SHARES, seed=0
  )
  with pytest.raises(ValueError, match="toy.batch_size = 12.*multiple of 8"):
    run.train_phases([toys.phase()], made, data, tmp_path, mesh)


def test_load_forgets_the_optimizer_and_keeps_the_rest(tmp_path, mesh):
  state = loop.train(
    toys.phase(), toys.batches, steps=2, seed=0, workdir=tmp_path, mesh=mesh
  )
  loaded = checkpoints.load(loop.phase_directory(tmp_path, "toy"), mesh)
  assert loaded.keys() == state.keys() == {"params", "batch_stats"}
  assert jax.tree.structure(loaded) == jax.tree.structure(state)
