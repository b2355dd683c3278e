"""Plans: their budget, refused settings, and the noise of each group."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import common
from jaxpriv.privacy import accounting, plan

PARAMS = {
  "log": {"s": jnp.zeros(5)},
  "net": {"a": {"w": jnp.zeros((300, 40))}, "b": {"w": jnp.zeros((50, 60))}},
}


def make(**changes):
  result = plan.Plan(
    units=1000, unit="image", rows_per_unit=1, batch_size=50,
    noise_multiplier=1.5, steps=20, group_clip_norms={"log": 0.5},
  )  # fmt: skip
  return dataclasses.replace(result, **changes)


def options(**changes):
  result = common.dp()
  result.epsilon = 3.0
  result.accountant = "rdp"  # in a moment
  result.update(changes)
  return result


PHASES = [("one", 50, 20), ("two", 100, 30)]


def test_phases_share_one_budget():
  plans = plan.make_plans(options(), PHASES, 1000)
  sigma = plans["one"].noise_multiplier
  assert plans["two"].noise_multiplier == sigma
  both = accounting.epsilon_of([p.event for p in plans.values()], 1e-5, "rdp")
  assert 2.99 < both <= 3
  alone = plan.make_plans(options(), PHASES[:1], 1000)["one"]
  assert alone.noise_multiplier < sigma


def test_given_noise_pays_for_fewer_steps():
  """As many steps as keep to the budget, and not one fewer."""
  dp = options(noise_multiplier=1.05, epsilon=3.0)
  plans = plan.make_plans(dp, PHASES, 1000)
  one, two = plans["one"], plans["two"]
  assert one.steps == 20 and 0 < two.steps < 30
  spent = lambda steps: accounting.epsilon_of(
    [
      accounting.event(0.05, 1.05, 20),
      accounting.event(0.1, 1.05, steps),
    ],
    1e-5,
    "rdp",
  )
  assert spent(two.steps) <= 3 < spent(two.steps + 1)
  enough = plan.make_plans(options(noise_multiplier=5.0), PHASES, 1000)
  assert enough["two"].steps == 30
  with pytest.raises(plan.BudgetError, match="before phase 1 of 2"):
    plan.make_plans(options(noise_multiplier=0.21, epsilon=0.1), PHASES, 1000)


def test_steps_that_are_not_paid_for_are_refused():
  assert make().spent(20).count == 20
  with pytest.raises(plan.BudgetError, match="step 21 .* with step 20"):
    make().spent(21)


@pytest.mark.parametrize(
  "change,message",
  [
    (dict(delta=1e-3), "below 1 / n = 0.001, n being the 1000 images"),
    (dict(delta=0.0), "delta = 0.0"),
    (dict(epsilon=0.0), "a budget is above 0"),
    (dict(epsilon=-1.0), "a budget is above 0"),
    (dict(epsilon=math.nan), "a budget is above 0"),
    (dict(noise_multiplier=-1.0), "noise_multiplier = -1.0"),
    (dict(unit="face"), "it is image or person"),
    (dict(unit="person", images_per_person=0), "images_per_person"),
    (dict(allocation="all"), "uniform or dimension"),
    (dict(augmentation_multiplicity=0), "augmentation_multiplicity = 0"),
  ],
)
def test_bad_settings_are_named(change, message):
  with pytest.raises(plan.BudgetError, match=message):
    plan.make_plans(options(**change), PHASES, 1000)


@pytest.mark.parametrize(
  "change,units",
  [
    (dict(), 8),
    (dict(augmentation_multiplicity=4), 2),
    (dict(augmentation_multiplicity=16), 1),
    (dict(unit="person", images_per_person=2, augmentation_multiplicity=2), 2),
    (dict(augmentation_multiplicity=4, microbatch_size=5), 5),
  ],
)
def test_as_many_views_are_worked_on_at_once_as_rows_were(change, units):
  made = plan.make_plans(options(**change), PHASES, 1000)["one"]
  assert made.microbatch_size == units
  views = change.get("augmentation_multiplicity", 1)
  assert made.augmentation_multiplicity == views


def test_views_cost_no_privacy():
  one, eight = (
    plan.make_plans(options(augmentation_multiplicity=n), PHASES, 1000)["one"]
    for n in (1, 8)
  )
  assert one.noise_multiplier == eight.noise_multiplier
  assert one.stddevs(PARAMS) == eight.stddevs(PARAMS)
  eight.check_ledger(one.ledger())


def test_a_batch_is_no_larger_than_the_data():
  with pytest.raises(
    plan.BudgetError, match="two.batch_size = 100, .* only 80"
  ):
    plan.make_plans(options(), PHASES, 80)


def test_batches_and_accounts_have_the_same_probability():
  one = make()
  sampler = one.sampler(devices=8)
  assert sampler.units == 1000
  assert sampler.probability == one.sampling_probability == 0.05
  inner = one.event.event
  assert inner.sampling_probability == 0.05
  assert inner.event.noise_multiplier == 1.5
  assert sampler.rows % 8 == 0
  # 114 rows suffice: 15 a device, or four microbatches of 4.
  assert sampler.rows == 8 * 15
  assert make(microbatch_size=4).sampler(8).rows == 8 * 4 * 4


def test_groups_and_layers_bound_the_whole():
  norms, group_of = make().groups(PARAMS)
  assert norms == {"rest": 1.0, "log": 0.5}
  assert group_of("log/s") == "log" and group_of("net/a/w") == "rest"
  norms, group_of = make(per_layer=True).groups(PARAMS)
  assert set(norms) == {"net/a", "net/b", "log"}
  assert norms["net/a"] == norms["net/b"] == pytest.approx(1 / math.sqrt(2))
  loss = lambda params, example: (0.0, {})
  for one in (make(), make(per_layer=True)):
    clipped = one.clipped_grad(loss, PARAMS)
    assert clipped.sensitivity() == pytest.approx(math.sqrt(1.25))
  # A group without parameters, as when they are not trained.
  other = make(group_clip_norms={"logs": 1.0})
  assert other.groups(PARAMS)[0] == {"rest": 1.0}
  assert other.clipped_grad(loss, PARAMS).sensitivity() == 1


@pytest.mark.parametrize("allocation", ["uniform", "dimension"])
def test_the_longest_beginning_owns_a_parameter(allocation):
  both = {"net": 1.0, "net/b": 0.5}
  for norms in (both, dict(reversed(both.items()))):
    one = make(group_clip_norms=norms, allocation=allocation)
    clip_norms, group_of = one.groups(PARAMS)
    assert clip_norms == {**both, "rest": 1.0}
    assert group_of("net/a/w") == "net" and group_of("net/b/w") == "net/b"
  # All of "net/" belongs to other groups: it is none itself, costs no noise.
  all_of_it = {"net/": 3.0, "net/a": 1.0, "net/b": 0.5}
  one = make(group_clip_norms=all_of_it, allocation=allocation)
  assert one.groups(PARAMS)[0] == {"net/a": 1.0, "net/b": 0.5, "rest": 1.0}
  assert set(one.stddevs(PARAMS)) == {"net/a", "net/b", "rest"}
  clipped = one.clipped_grad(lambda p, e: (0.0, {}), PARAMS)
  assert clipped.sensitivity() == pytest.approx(1.5)


@pytest.mark.parametrize("allocation", ["uniform", "dimension"])
@pytest.mark.parametrize("per_layer", [False, True])
def test_noise_of_all_groups_is_as_private_as_sigma(allocation, per_layer):
  one = make(allocation=allocation, per_layer=per_layer)
  norms, _ = one.groups(PARAMS)
  stddevs = one.stddevs(PARAMS)
  mu = sum((c / stddevs[g]) ** 2 for g, c in norms.items())
  assert mu == pytest.approx(1 / one.noise_multiplier**2)
  if allocation == "uniform":
    sensitivity = one.clipped_grad(lambda p, e: (0.0, {}), PARAMS).sensitivity()
    for stddev in stddevs.values():
      assert stddev == pytest.approx(one.noise_multiplier * sensitivity)


def test_noise_by_dimension_is_less_in_all():
  total = {}
  for allocation in ("uniform", "dimension"):
    stddevs = make(allocation=allocation, per_layer=True).stddevs(PARAMS)
    sizes = {"log": 5, "net/a": 12000, "net/b": 3000}
    total[allocation] = sum(n * stddevs[g] ** 2 for g, n in sizes.items())
  assert total["dimension"] < 0.97 * total["uniform"]


def test_noise_is_divided_by_the_expected_batch_size():
  one = make()
  zero = jax.tree.map(jnp.zeros_like, PARAMS)
  drawn = one.privatise(jax.random.key(0), zero, PARAMS)
  w = np.asarray(drawn["net"]["a"]["w"])
  expected = 1.5 * math.sqrt(1.25) / 50
  assert abs(w.std() / expected - 1) < 0.03
  ones = jax.tree.map(jnp.ones_like, PARAMS)
  more = one.privatise(jax.random.key(0), ones, PARAMS)
  np.testing.assert_allclose(more["net"]["a"]["w"] - w, 1 / 50, atol=1e-6)


def test_a_ledger_of_another_plan_is_refused():
  ledger = jax.tree.map(np.asarray, make().ledger())
  make().check_ledger(ledger)
  for name, change in (
    ("noise_multiplier was 1.5, is 1.25", dict(noise_multiplier=1.25)),
    ("units was 1000, is 1001", dict(units=1001)),
    ("batch_size was 50, is 60", dict(batch_size=60)),
    ("clip_norms", dict(clip_norm=2.0)),
    ("clip_norms", dict(group_clip_norms={"log": 0.6})),
    ("paid_steps was 20, is 21", dict(steps=21)),
    ("per_layer", dict(per_layer=True)),
    ("by_dimension", dict(allocation="dimension")),
    ("rows_per_unit", dict(rows_per_unit=2)),
  ):
    with pytest.raises(plan.BudgetError, match=name):
      make(**change).check_ledger(ledger)


def test_a_statement_carries_all_it_rests_on():
  dp = options()
  plans = plan.make_plans(dp, PHASES, 1000)
  statement = plan.statement(plans, {"one": 20, "two": 30}, dp)
  assert 2.99 < statement["epsilon"] <= 3
  assert statement["relation"] == "add_or_remove_one"
  assert (statement["unit"], statement["units"], statement["delta"]) == (
    "image",
    1000,
    1e-5,
  )
  assert [p["sampling_probability"] for p in statement["phases"]] == [0.05, 0.1]
  early = plan.statement(plans, {"one": 20, "two": 10}, dp)
  assert early["epsilon"] < statement["epsilon"]
  for less, more in zip(
    early["attackers"], statement["attackers"], strict=True
  ):
    f = more["false_positives"]
    assert f < less["true_positives"] < more["true_positives"]
    whole = math.exp(statement["epsilon"]) * f + 1e-5
    assert more["true_positives"] <= whole + 1e-6
