"""Lower bounds on epsilon from attacks: the least that a mechanism gives away.

A bound above the claimed epsilon proves the claim wrong. One below it proves
nothing, but a mechanism whose noise is missing or too small is detected.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from jaxpriv.privacy import accounting
from jaxpriv.privacy.plan import Plan


def epsilon_lower_bound(
  inside: np.ndarray,
  outside: np.ndarray,
  delta: float,
  confidence: float = 0.95,
) -> float:
  """The lower bound on epsilon from independent trials of an attack.

  Every test of an (epsilon, delta)-private mechanism, with false positive rate
  a and false negative rate b, satisfies 1 - b <= e^epsilon a + delta and
  1 - a <= e^epsilon b + delta (Kairouz, Oh and Viswanath 2015). Half of the
  trials choose the threshold; the rates of the other half are bounded by
  Clopper and Pearson, each at half the level.

  Args:
    inside: [N] scores of trials with the canary; they should be higher.
    outside: [M] scores without.
    delta: of the claim.
    confidence: probability of a bound that is not above the truth.

  Returns:
    the bound, 0 where there is none.
  """
  inside, outside = np.asarray(inside, float), np.asarray(outside, float)
  _check_scores(inside, outside)
  _check_levels(delta, confidence)
  level = (1 - confidence) / 4  # two rates of two inequalities

  def bounds(threshold, inside, outside, level):
    false_positive = np.sum(outside > threshold), len(outside)
    false_negative = np.sum(inside <= threshold), len(inside)
    best = 0.0
    for wrong, other in (
      (false_positive, false_negative),
      (false_negative, false_positive),
    ):
      least = 1 - _upper(*other, level) - delta
      if least > 0:
        best = max(best, math.log(least / _upper(*wrong, level)))
    return best

  chosen_in, scored_in = inside[::2], inside[1::2]
  chosen_out, scored_out = outside[::2], outside[1::2]
  candidates = np.quantile(
    np.concatenate([chosen_in, chosen_out]), np.linspace(0.005, 0.995, 199)
  )
  threshold = max(
    candidates, key=lambda t: bounds(t, chosen_in, chosen_out, level)
  )
  return bounds(threshold, scored_in, scored_out, level)


def _upper(hits, total, level) -> float:
  """Clopper and Pearson's upper limit of a rate."""
  if hits == total:
    return 1.0
  return stats.beta.ppf(1 - level, hits + 1, total - hits)


def _check_levels(delta, confidence):
  if not 0 <= delta < 1:
    raise ValueError(f"delta = {delta}: it is a probability, 0 to below 1")
  if not 0 < confidence < 1:
    raise ValueError(
      f"confidence = {confidence}: it is a probability, above 0 and below 1"
    )


def _check_scores(inside, outside):
  if min(len(inside), len(outside)) < 4:
    raise ValueError(
      f"{len(inside)} canaries inside and {len(outside)} outside: an audit"
      " needs four of each at least, and hundreds to say anything"
    )
  if not (np.isfinite(inside).all() and np.isfinite(outside).all()):
    raise ValueError("scores must be finite")


def epsilon_one_run(
  scores: np.ndarray,
  included: np.ndarray,
  delta: float,
  confidence: float = 0.95,
) -> float:
  """A lower bound from one training run with many canaries.

  Steinke, Nasr and Jagielski, "Privacy Auditing with One (1) Training Run",
  NeurIPS 2023, theorem 5.2: each canary is in the data by a coin; the highest
  scores are guessed to be in, the lowest out, and that many right guesses are
  unlikely at a small epsilon. The number of guesses is chosen among five
  shares, and the level is divided by five to pay for the choice. Tied scores
  are guessed alike or, where a share ends among them, not at all, so that the
  order of rows does not matter.

  Args:
    scores: [M], higher for what was more likely in.
    included: [M] bool, by fair coins.
    delta: of the claim.
    confidence: see `epsilon_lower_bound`.

  Returns:
    the bound, 0 where there is none.
  """
  scores, included = np.asarray(scores, float), np.asarray(included, bool)
  _check_scores(scores[included], scores[~included])
  _check_levels(delta, confidence)
  total = len(scores)
  ranked = np.sort(scores)
  shares = (0.02, 0.05, 0.1, 0.25, 0.5)
  level = (1 - confidence) / len(shares)
  best = 0.0
  for share in shares:
    each = max(int(share * total), 1)
    # Strictly beyond the best scores that are not guessed, so that ties with
    # them are not guessed either.
    top = scores > ranked[-each - 1]
    bottom = scores < ranked[each]
    guesses = int(top.sum() + bottom.sum())
    right = int(included[top].sum() + (~included[bottom]).sum())
    low, high = 0.0, 50.0
    if _one_run_level(total, guesses, right, low, delta) >= level:
      continue
    while high - low > 1e-3:
      middle = (low + high) / 2
      likelihood = _one_run_level(total, guesses, right, middle, delta)
      low, high = (middle, high) if likelihood < level else (low, middle)
    best = max(best, low)
  return best


def _one_run_level(canaries, guesses, right, epsilon, delta) -> float:
  """The largest probability of so many right guesses at (epsilon, delta)."""
  # The largest probability that a guess is right, whatever the others are.
  chance = 1 / (1 + math.exp(-epsilon))
  likely = stats.binom.sf(right - 1, guesses, chance)
  just_below = np.cumsum(
    stats.binom.pmf(np.arange(right - 1, -1, -1), guesses, chance)
  )
  counts = np.arange(1, right + 1)
  worst = np.max(just_below / counts) if right else 0.0
  return min(float(likely + 2 * canaries * delta * worst), 1.0)


class WhiteBox(NamedTuple):
  """The result of an audit by gradient canaries.

  Attributes:
    epsilon: lower bound.
    claimed: epsilon of as many steps in which all units take part.
    delta: the delta of both.
    noise_ratio: measured over planned standard deviation of the noise.
    noise_low, noise_high: interval in which that ratio should lie.
    clip_ratio: contribution of a canary to a sum, over the clip norm; at most
      clip_high, except by chance.
    replicas_agree: every device holds the same gradient.
    canaries, steps: their numbers.
  """

  epsilon: float
  claimed: float
  delta: float
  noise_ratio: float
  noise_low: float
  noise_high: float
  clip_ratio: float
  clip_high: float
  replicas_agree: bool
  canaries: int
  steps: int

  @property
  def faults(self) -> list[str]:
    """One sentence for each fault; empty if there is none."""
    messages = []
    if self.epsilon > self.claimed:
      messages.append(
        f"canaries are told apart as no mechanism of epsilon {self.claimed:.3g}"
        f" allows: it is {self.epsilon:.3g} at least"
      )
    if not self.noise_low <= self.noise_ratio <= self.noise_high:
      messages.append(
        f"the noise is {self.noise_ratio:.3g} times what the plan says"
        f" (between {self.noise_low:.3f} and {self.noise_high:.3f} would be"
        " chance)"
      )
    if not self.clip_ratio <= self.clip_high:
      messages.append(
        f"an example moves the sum by {self.clip_ratio:.3g} clip norms, and"
        f" {self.clip_high:.3f} would be chance"
      )
    if not self.replicas_agree:
      messages.append(
        "devices hold different gradients, each with its own noise"
      )
    return messages


def white_box(
  plan: Plan,
  private_grad: Callable,
  *,
  canaries: int = 0,
  steps: int = 2,
  delta: float = 1e-5,
  confidence: float = 0.95,
  seed: int = 0,
) -> WhiteBox:
  """Audits the gradient of a plan as training computes it, on the current mesh.

  Each canary has a coordinate for itself and a gradient along it a hundred
  times longer than the clip norm, of alternating sign from step to step, so
  that noise which repeats cancels (Nasr et al., "Tight Auditing of
  Differentially Private Machine Learning", USENIX Security 2023). All units
  take part in each step, so the claim is that of the same noise without
  sampling. An attacker who sees gradients may be as strong as that.

  Args:
    plan: the plan of a phase; its clip, noise and microbatches are audited.
    private_grad: plan -> `grad` of `builders.supervised`.
    canaries: independent trials, a multiple of the devices; 0 chooses as many
      as give a bound above the claim if nothing hides them, at most 16,384.
    steps: an even number.
    delta: the delta of the claim.
    confidence: the confidence of the bound; the interval of the noise ratio
      misses by chance once in ten thousand audits.
    seed: the seed of coins and noise.
  """
  if steps < 2 or steps % 2:
    raise ValueError(f"steps = {steps}: an even number, at least 2")
  claimed = accounting.epsilon(1.0, plan.noise_multiplier, steps, delta)
  if not canaries:
    # With no error among a quarter of the canaries, the limit of the error rate
    # must fall below e^-epsilon.
    wanted = 40 * math.exp(min(claimed, 9.0))
    canaries = 2 ** math.ceil(math.log2(min(max(wanted, 2048), 16384)))
  plan = dataclasses.replace(
    plan, units=canaries, batch_size=canaries, steps=steps, unit="image",
    rows_per_unit=1, group_clip_norms={}, per_layer=False,
  )  # fmt: skip
  included = np.random.default_rng(seed).random(canaries) < 0.5
  params = {"canary": jnp.zeros(canaries)}
  batch = {
    "which": jnp.arange(canaries, dtype=jnp.int32),
    "padding": jnp.asarray(~included),
  }

  def objective(params, batch, key):
    one = params["canary"][batch["which"]]
    value = jnp.sum(one * batch["sign"][0]) * 100 * plan.clip_norm
    return value, (jnp.ones(()), ({}, {}))

  @jax.jit
  def gradient(params, batch, key):
    return private_grad(plan)(objective)(params, batch, key)[1]["canary"]

  key = jax.random.key(seed)
  total, agree = np.zeros(canaries), True
  for step in range(steps):
    sign = 1.0 if step % 2 == 0 else -1.0
    signed = {**batch, "sign": jnp.full(canaries, sign)}
    gradients = gradient(
      params, _sharded(signed), jax.random.fold_in(key, step)
    )
    agree &= _replicas_agree(gradients)
    total += sign * np.asarray(gradients, np.float64)
  scores = total * plan.batch_size / (steps * plan.clip_norm)
  outside = scores[~included]
  planned = plan.noise_multiplier / math.sqrt(steps)
  trials = len(outside)
  low, high = np.sqrt(stats.chi2.ppf([5e-5, 1 - 5e-5], trials) / trials)
  inside = scores[included]
  slack = 4 * planned / math.sqrt(len(inside)) + 1e-4
  ratio = math.sqrt(np.mean(outside**2)) / planned if planned else math.inf
  return WhiteBox(
    epsilon=epsilon_lower_bound(inside, outside, delta, confidence),
    claimed=claimed,
    delta=delta,
    noise_ratio=ratio,
    noise_low=float(low),
    noise_high=float(high),
    clip_ratio=float(inside.mean()),
    clip_high=1 + slack,
    replicas_agree=bool(agree),
    canaries=canaries,
    steps=steps,
  )


def _sharded(batch: dict[str, Any]) -> dict[str, Any]:
  mesh = jax.sharding.get_mesh()
  if mesh.empty:
    return batch
  sharding = jax.sharding.NamedSharding(
    mesh, jax.sharding.PartitionSpec(mesh.axis_names[0])
  )
  return {k: jax.device_put(v, sharding) for k, v in batch.items()}


def _replicas_agree(x: jax.Array) -> bool:
  """Whether all devices that hold a copy of the same part hold equal copies."""
  parts: dict[str, np.ndarray] = {}
  for shard in x.addressable_shards:
    mine = np.asarray(shard.data)
    first = parts.setdefault(str(shard.index), mine)
    if not np.array_equal(first, mine):
      return False
  return True
