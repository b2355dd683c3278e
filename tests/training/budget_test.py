"""The budget of a run: made of its config, kept to, and stated."""

import math

import numpy as np
import pytest

from configs import common
from jaxpriv.data.records import DataError
from jaxpriv.privacy.plan import BudgetError
from jaxpriv.training import budget, checkpoints, recipes, run, workdir
from jaxpriv.training.optimizers import make_optimizer
from jaxpriv.training.private import NotPerExampleError
from tests.people import PEOPLE, named
from tests.training import toys
from tests.training.toys import config, trained


def private(**changes):
  made = config()
  made.dp.update(epsilon=3.0, delta=1e-3, accountant="rdp")
  made.phases.toy.update(steps=4, batch_size=8)
  made.dp.update(changes)
  return made


def test_phases_are_made_private_by_the_config(tmp_path, mesh):
  data, made = named(PEOPLE), private()
  phases = [private_toy("toy")]
  (phase,), _ = budget.privatise(phases, made, data)
  assert phase.plan.units == 32 and phase.plan.unit == "image"
  assert phase.plan.steps == 4 and phase.plan.batch_size == 8
  assert budget.privatise(phases, config(), data)[0] == phases
  said = budget.statement(phases, {}, config(), data)
  assert said == {"privacy": None}
  person = private(unit="person", images_per_person=2)
  person.phases.toy.batch_size = 4
  (phase,), _ = budget.privatise(phases, person, data)
  assert (phase.plan.units, phase.plan.rows_per_unit) == (8, 2)


def private_toy(name):
  options = common.phase(4, 8, augment=False)
  return recipes.supervised_phase(
    name, toys.Net("group"), toys.regression_loss, options
  )


@pytest.mark.parametrize(
  "changes,error,message",
  [
    (dict(phases=("other",)), DataError, "names other.* are toy, game"),
    (dict(phases=()), DataError, "phase game is not supervised"),
    (dict(epsilon=0.0), BudgetError, "a budget is above 0"),
    (dict(delta=0.1), BudgetError, "below 1 / n = 0.031"),
  ],
)
def test_privacy_that_cannot_be_had_is_refused(changes, error, message):
  made = private(**{"phases": ("toy",), **changes})
  made.phases.game = common.phase(4, 8)
  phases = [private_toy("toy"), toys.phase()._replace(name="game")]
  with pytest.raises(error, match=message):
    budget.privatise(phases, made, named(PEOPLE))


def test_batch_norm_of_a_later_phase_is_refused_before_the_first_is_trained():
  made = private()
  made.phases.later = common.phase(4, 8)
  options = common.phase(4, 8, augment=False)
  later = recipes.supervised_phase(
    "later", toys.Net("batch"), toys.regression_loss, options
  )
  with pytest.raises(NotPerExampleError, match="BatchNorm_0"):
    budget.privatise([private_toy("toy"), later], made, named(PEOPLE))


def test_a_budget_that_ends_early_ends_the_phase_early(monkeypatch):
  schedules = []

  def note(options):
    schedules.append(options.steps)
    return make_optimizer(options)

  monkeypatch.setattr(recipes, "make_optimizer", note)
  made = private(noise_multiplier=1.0, epsilon=5.0)
  made.phases.toy.steps = 500
  (phase,), planned = budget.privatise(
    [private_toy("toy")], made, named(PEOPLE)
  )
  assert 0 < phase.plan.steps < 500
  assert planned.phases.toy.steps == phase.plan.steps == schedules[-1]
  assert made.phases.toy.steps == 500  # it was asked for, and stays so


def test_a_plan_is_written_into_a_config_and_found_there_again():
  made, data = private(), named(PEOPLE)
  before = made.to_dict()
  (phase,), planned = budget.privatise([private_toy("toy")], made, data)
  assert planned.dp.noise_multiplier == phase.plan.noise_multiplier > 0
  assert made.to_dict() == before
  (again,), same = budget.privatise([private_toy("toy")], planned, data)
  assert again.plan == phase.plan
  assert same.to_dict() == planned.to_dict()


def test_groups_of_no_parameter_are_named():
  made = private(group_clip_norms={"Dense_7": 1.0})
  with pytest.raises(BudgetError, match="'Dense_7', and no parameter of the"):
    budget.privatise([private_toy("toy")], made, named(PEOPLE))
  made = private(group_clip_norms={"Dense_1": 1.0})
  budget.privatise([private_toy("toy")], made, named(PEOPLE))
  # Nor does one own anything whose parameters longer ones own.
  shadowed = {"Dense_1": 1.0, "Dense_1/bias": 1.0, "Dense_1/kernel": 1.0}
  made = private(group_clip_norms=shadowed)
  with pytest.raises(
    BudgetError, match="'Dense_1/kernel'. Leave 'Dense_1' out"
  ):
    budget.privatise([private_toy("toy")], made, named(PEOPLE))


def noise_of(workdir, mesh, steps=4):
  """The parameters after noise that drowns everything else."""
  made = private(noise_multiplier=30.0, epsilon=math.inf)
  made.phases.toy.steps = steps
  data = named(PEOPLE)
  phases, made = budget.privatise([private_toy("toy")], made, data)
  state = run.train_phases(phases, made, data, workdir, mesh)["toy"]
  return np.concatenate([np.ravel(x) for x in toys.leaves(state["params"])])


def test_noise_is_a_secret_of_the_run(tmp_path, mesh, monkeypatch):
  """Two runs of one config differ in noise; a resumed one repeats its own."""
  kept = []
  forget = workdir.forget_secret

  def note(path):
    file = path / workdir.SECRET
    kept.append((file.read_text(), file.stat().st_mode & 0o777))
    forget(path)

  monkeypatch.setattr(workdir, "forget_secret", note)
  first = noise_of(tmp_path / "a", mesh)
  second = noise_of(tmp_path / "b", mesh)
  assert np.abs(first - second).max() > 1e-3
  (one, mode), (other, _) = kept
  assert one != other and len(one) == 32 and mode == 0o600
  assert not (tmp_path / "a" / workdir.SECRET).exists()
  # Planted beforehand, as where a run was interrupted: the same once more.
  third = tmp_path / "c"
  third.mkdir()
  (third / workdir.SECRET).write_text(one)
  np.testing.assert_array_equal(noise_of(third, mesh), first)


def test_a_private_run_does_not_start_from_its_own_people(tmp_path, mesh):
  data, made = named(PEOPLE), private()
  first, second = tmp_path / "first", tmp_path / "second"
  run.begin(first, [private_toy("toy")], config(), data, mesh)
  trained(first, step=4)
  made.pretrained = str(first)
  phases, made = budget.privatise([private_toy("toy")], made, data)
  with pytest.raises(BudgetError, match="8 of the people .* has learned from"):
    run.begin(second, phases, made, data, mesh)
  others = named([f"other {i}" for i in range(16)])
  run.begin(second, phases, made, others, mesh)


def test_a_private_run_from_data_to_statement(tmp_path, mesh):
  data, made = named(PEOPLE), private()
  phases, made = budget.privatise([private_toy("toy")], made, data)
  states = run.train_phases(phases, made, data, tmp_path, mesh)
  loaded = run.load_phases(phases, made, tmp_path, mesh)
  for found in (states, loaded):
    said = budget.statement(phases, found, made, data)["privacy"]
    assert 2.9 < said["epsilon"] <= 3 and said["units"] == 32
    assert said["not_private_phases"] == []
  other = private(clip_norm=2.0)
  with pytest.raises(BudgetError, match="clip_norms"):
    budget.statement([private_toy("toy")], states, other, data)
  # Some steps more, on the same directory, are refused, as is more noise.
  made.phases.toy.steps = 6
  with pytest.raises(BudgetError, match="is one too many"):
    run.train_phases(phases, made, data, tmp_path, mesh)


def test_a_private_phase_may_read_one_that_is_not_trained():
  """Public parts are taken over; only the last phase is trained, privately."""
  made = private()
  made.phases.first = common.phase(0, 8)
  first = toys.phase()._replace(name="first")  # with BatchNorm, and no noise
  last = private_toy("toy")._replace(needs=("first",))
  phases, _ = budget.privatise([first, last], made, named(PEOPLE))
  assert [bool(phase.plan) for phase in phases] == [False, True]


def test_privacy_of_what_is_not_trained_is_refused():
  made = private()
  made.phases.toy.steps = 0
  with pytest.raises(DataError, match="no phase of this run is trained"):
    budget.privatise([private_toy("toy")], made, named(PEOPLE))
  made.phases.toy.update(steps=4, accumulate=2)
  with pytest.raises(DataError, match="by config.dp.microbatch_size"):
    budget.privatise([private_toy("toy")], made, named(PEOPLE))


def test_the_secret_goes_though_nothing_was_left_to_train(tmp_path, mesh):
  """As after a signal in the last step, when the state was saved before."""
  noise_of(tmp_path, mesh)
  secret = tmp_path / workdir.SECRET
  assert not secret.exists()
  secret.write_text("00" * 16)
  noise_of(tmp_path, mesh)
  assert not secret.exists()


@pytest.mark.parametrize("sealed", [True, False])
def test_steps_are_not_taken_again_with_other_noise(sealed, tmp_path, mesh):
  """Where the last step of a finished run is damaged: it may be published."""
  made = private(epsilon=math.inf, noise_multiplier=30.0)
  made.train.save_every = 2
  data = named(PEOPLE)
  phases, made = budget.privatise([private_toy("toy")], made, data)
  run.train_phases(phases, made, data, tmp_path, mesh)
  last = tmp_path / "phases/toy/4"
  for path in last.rglob("*"):
    if path.name == checkpoints.CHECKSUMS and not sealed:
      path.unlink()
    elif path.is_file() and path.parent.name == "d":
      path.write_bytes(b"")
  error = BudgetError if sealed else checkpoints.CheckpointError
  message = "noise_secret.* is gone" if sealed else "4 cannot be read"
  with pytest.raises(error, match=message):
    run.train_phases(phases, made, data, tmp_path, mesh)
  assert {p.name for p in (tmp_path / "phases/toy").iterdir()} == {"2", "4"}
  assert not (tmp_path / workdir.SECRET).exists()
