"""Bounds hold against known epsilons, and each planted fault is detected."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax_privacy import auditing as jax_privacy_auditing
from scipy import stats

from jaxpriv.privacy import accounting, auditing, clipping, noise
from jaxpriv.privacy import plan as plan_lib
from jaxpriv.training import private

# mu -> epsilon of N(mu, 1) against N(0, 1) at delta 1e-5, by dp_accounting.
DELTA = 1e-5


def gaussian_epsilon(mu):
  return accounting.epsilon(1.0, 1 / mu, 1, DELTA)


@pytest.mark.parametrize("mu", [0.0, 0.5, 1.0, 3.0])
def test_bounds_are_below_the_truth_and_not_far(mu):
  """At least 19 of 20 bounds are right, so at most 6 of 40 may be above."""
  truth = gaussian_epsilon(mu) if mu else 0.0
  above, bounds = 0, []
  for seed in range(40):
    rng = np.random.default_rng(seed)
    inside, outside = rng.normal(mu, 1, 1000), rng.normal(0, 1, 1000)
    bounds.append(auditing.epsilon_lower_bound(inside, outside, DELTA))
    above += bounds[-1] > truth
  assert above <= 6
  least = {0.0: 0.0, 0.5: 0.1, 1.0: 0.6, 3.0: 3.0}[mu]
  assert np.mean(bounds) >= least


def test_scores_that_never_cross_give_all_that_counts_allow():
  """With 0 errors of 500, at level 1 / 80, the rate is below 0.0087."""
  inside, outside = np.full(1000, 5.0), np.zeros(1000)
  bound = auditing.epsilon_lower_bound(inside, outside, DELTA)
  upper = 1 - (0.05 / 4) ** (1 / 500)
  assert bound == pytest.approx(np.log((1 - upper - DELTA) / upper), rel=1e-6)
  # Scores that are lower with the canary give no bound.
  assert auditing.epsilon_lower_bound(-inside, outside, DELTA) == 0


def test_one_run_equals_its_formula_by_hand():
  """18 of 20 right guesses: the smallest epsilon at which they are likely."""
  scores = np.arange(20.0)[::-1]
  included = np.array([True] * 9 + [False, True] + [False] * 9)
  bound = auditing.epsilon_one_run(scores, included, 0.0)
  # The best of the five shares is one half: P(Bin(20, p) >= 18) = .01 gives p.
  low, high = 0.0, 20.0
  for _ in range(60):
    middle = (low + high) / 2
    tail = stats.binom.sf(17, 20, 1 / (1 + np.exp(-middle)))
    low, high = (middle, high) if tail < 0.01 else (low, middle)
  assert bound == pytest.approx(low, abs=2e-3)
  assert auditing.epsilon_one_run(scores, included, 1e-3) < bound


@pytest.mark.parametrize("guesses,right", [(40, 33), (200, 150), (10, 10)])
def test_one_run_has_the_level_of_jax_privacy(guesses, right):
  for epsilon in (0.0, 0.5, 1.0, 3.0):
    for delta in (1e-9, 1e-5, 1e-3):
      level = auditing._one_run_level(500, guesses, right, epsilon, delta)
      peer = jax_privacy_auditing._one_run_p_value(
        500, guesses, right, epsilon, delta
      )
      assert level == pytest.approx(peer, rel=1e-9, abs=1e-12)


def test_one_run_is_below_the_truth():
  for seed in range(10):
    rng = np.random.default_rng(seed)
    included = rng.random(1000) < 0.5
    scores = rng.normal(0, 1, 1000) + 2.0 * included
    bound = auditing.epsilon_one_run(scores, included, DELTA)
    assert 1 < bound < gaussian_epsilon(2.0)
    assert auditing.epsilon_one_run(scores, ~included, DELTA) == 0


def test_the_order_of_scores_that_tie_says_nothing():
  included = np.arange(1000) < 500
  assert auditing.epsilon_one_run(np.zeros(1000), included, DELTA) == 0
  # Only two values: the higher ones are guessed in if a share ends at them.
  scores = np.where(np.arange(1000) % 500 < 100, 1.0, 0.0)
  for order in (np.arange(1000), np.random.default_rng(0).permutation(1000)):
    bound = auditing.epsilon_one_run(scores[order], included[order], DELTA)
    assert bound == 0
  telling = np.where(included, 1.0, 0.0)
  bound = auditing.epsilon_one_run(telling, included, 0.0)
  shuffled = np.random.default_rng(0).permutation(1000)
  again = auditing.epsilon_one_run(telling[shuffled], included[shuffled], 0.0)
  assert bound == again > 4


@pytest.mark.parametrize("function", ["epsilon_one_run", "epsilon_lower_bound"])
@pytest.mark.parametrize(
  "levels,named",
  [
    ((-0.1, 0.95), "delta = -0.1"),
    ((1.0, 0.95), "delta = 1.0"),
    ((np.nan, 0.95), "delta = nan"),
    ((DELTA, 1.1), "confidence = 1.1"),
    ((DELTA, 0.0), "confidence = 0.0"),
  ],
)
def test_levels_are_probabilities(function, levels, named):
  scores = np.arange(20.0)
  other = scores % 2 == 0 if function == "epsilon_one_run" else scores
  with pytest.raises(ValueError, match=named):
    getattr(auditing, function)(scores, other, *levels)


def test_too_few_or_infinite_scores_are_refused():
  with pytest.raises(ValueError, match="3 canaries inside and 9 outside"):
    auditing.epsilon_lower_bound(np.zeros(3), np.zeros(9), DELTA)
  with pytest.raises(ValueError, match="finite"):
    auditing.epsilon_lower_bound(np.full(9, np.nan), np.zeros(9), DELTA)


PLAN = plan_lib.Plan(
  units=5000, unit="image", rows_per_unit=1, batch_size=100,
  noise_multiplier=2.0, steps=100, microbatch_size=100,
)  # fmt: skip


def audit(mesh, grad=private.private_grad, seed=0, plan=PLAN):
  with jax.set_mesh(mesh):
    return auditing.white_box(plan, grad, canaries=1600, seed=seed)


def test_the_mechanism_passes(mesh):
  for seed in range(3):
    result = audit(mesh, seed=seed)
    assert not result.faults
    assert 0 < result.epsilon < result.claimed
    assert result.claimed == accounting.epsilon(1.0, 2.0, 2, DELTA)


def test_it_passes_with_groups_layers_and_little_noise(mesh):
  plan = dataclasses.replace(
    PLAN, noise_multiplier=0.5, per_layer=True, allocation="dimension",
    group_clip_norms={"log": 0.1}, clip_norm=3.0,
  )  # fmt: skip
  result = audit(mesh, plan=plan)
  assert not result.faults and result.epsilon > 3


def test_no_noise_is_found(mesh, monkeypatch):
  silent = lambda key, tree, stddev: jax.tree.map(
    lambda x: jnp.zeros(x.shape), tree
  )
  monkeypatch.setattr(noise, "gaussian", silent)
  result = audit(mesh)
  assert result.epsilon > result.claimed and len(result.faults) == 2


def test_noise_divided_by_the_batch_size_twice_is_found(mesh, monkeypatch):
  right = noise.gaussian

  def small(key, tree, stddev):
    return jax.tree.map(lambda z: z / 100, right(key, tree, stddev))

  monkeypatch.setattr(noise, "gaussian", small)
  result = audit(mesh)
  assert result.epsilon > result.claimed
  assert result.noise_ratio == pytest.approx(0.01, rel=0.2)


def test_no_clipping_is_found(mesh, monkeypatch):
  monkeypatch.setattr(clipping, "_scale", lambda clip_norm, length: 1.0)
  result = audit(mesh)
  assert result.epsilon > result.claimed
  assert result.noise_low < result.noise_ratio < result.noise_high
  assert len(result.faults) == 2


def test_noise_for_each_device_is_found(mesh, monkeypatch):
  """Noise added before the sum over devices is drawn eight times, not once."""
  right = noise.gaussian

  def each(key, tree, stddev):
    draws = [right(jax.random.fold_in(key, i), tree, stddev) for i in range(8)]
    return jax.tree.map(lambda *z: sum(z), *draws)

  monkeypatch.setattr(noise, "gaussian", each)
  result = audit(mesh)
  assert result.noise_ratio == pytest.approx(np.sqrt(8), rel=0.1)
  assert result.faults


def test_noise_that_differs_between_replicas_is_found(mesh, monkeypatch):
  right = noise.gaussian

  def different(key, tree, stddev):
    spec = jax.sharding.PartitionSpec()

    def own(key):
      here = jax.random.fold_in(key, jax.lax.axis_index("data"))
      return right(here, tree, stddev)

    return jax.shard_map(own, in_specs=spec, out_specs=spec, check_vma=False)(
      key
    )

  monkeypatch.setattr(noise, "gaussian", different)
  result = audit(mesh)
  assert not result.replicas_agree and result.faults


def test_a_key_used_for_all_steps_is_found(mesh, monkeypatch):
  """The noise of each step is right, but the same in all steps."""
  right = noise.gaussian
  monkeypatch.setattr(
    noise, "gaussian", lambda key, tree, s: right(jax.random.key(9), tree, s)
  )
  result = audit(mesh)
  assert result.epsilon > result.claimed


def test_steps_are_even(mesh):
  with pytest.raises(ValueError, match="steps = 3"):
    auditing.white_box(PLAN, private.private_grad, steps=3)
