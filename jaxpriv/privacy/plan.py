"""One plan of a private training run: sampler, clipping, noise and accounting.

They are bound together so that none can be changed without the others: batches
are drawn with the same q, and noise with the same sigma, as the accountant
uses.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpriv import platforms, ranges
from jaxpriv.errors import UserError
from jaxpriv.privacy import accounting, clipping, noise, sampling

UNITS = ("image", "person")
PLURAL = {"image": "images", "person": "people"}

# Rates at which a guarantee says what an attacker can reach at most.
FALSE_POSITIVES = (0.001, 0.01, 0.1)

# Ranges of the settings of config.dp. Beyond them accountants fail, or take
# hours and all memory.
RANGES = {
  "epsilon": ranges.Range(
    "a budget, and a budget is above 0, 0.001 at least; there is no training"
    " with less. inf is training without privacy",
    lambda x: x >= 1e-3,
  ),
  "delta": ranges.Range(
    "a probability, which must be above 0 and below 1 / n, 1e-14 at least",
    lambda x: 1e-14 <= x < 1,
  ),
  "noise_multiplier": ranges.Range(
    "noise over the clip norm, from 0.1 to 1,000,000; 0 is the smallest that"
    " keeps to the budget",
    lambda x: x == 0 or 0.1 <= x <= 1e6,
  ),
  "accountant": ranges.Range(
    " or ".join(accounting.ACCOUNTANTS), accounting.ACCOUNTANTS.__contains__
  ),
  "images_per_person": ranges.whole(1, 10_000),
  "clip_norm": ranges.POSITIVE,
  "group_clip_norms.*": ranges.POSITIVE,
  "augmentation_multiplicity": ranges.Range(
    "the number of views of an image, 1 or more, 1,000 at most",
    lambda x: 1 <= x <= 1000,
  ),
  "microbatch_size": ranges.NATURAL,
}

# The group of parameters that no prefix of `group_clip_norms` names.
REST = "rest"


class BudgetError(UserError, ValueError):
  """There is no such plan, or another step would overspend it."""


def owner(name: str, prefixes: Iterable[str]) -> str | None:
  """The longest of `prefixes` that a parameter's name begins with."""
  mine = [prefix for prefix in prefixes if name.startswith(prefix)]
  return max(mine, key=len, default=None)


@dataclasses.dataclass(frozen=True)
class Plan:
  """How one phase is trained with differential privacy.

  Attributes:
    units: n, the number of protected units: images, or people; of federated
      training, those of the smallest client, which learns most of each.
    unit: "image" or "person".
    rows_per_unit: the most images of a unit in a batch; 1 if the unit is an
      image.
    batch_size: the expected number of units in a batch, by which sums are
      divided.
    noise_multiplier: sigma, noise over sensitivity.
    steps: the steps that are paid for.
    clip_norm: clip norm of the gradient of a unit; with `group_clip_norms`, of
      the rest of it.
    group_clip_norms: prefix of parameter names -> clip norm of the group of
      these parameters, which is clipped on its own. The longest prefix wins.
    per_layer: each layer of the rest is clipped on its own, all together to
      clip_norm.
    allocation: "uniform" noise, the same on every parameter, or "dimension":
      groups get more or less, for the least noise at the same privacy.
    microbatch_size: units that a device works on at once, at most.
    augmentation_multiplicity: random views of each row of a unit whose
      gradients are averaged before the clip. It changes no sensitivity, and so
      stands in no account.
    seed: the seed of the batches; secret, as the noise is.
    clients: the units of each client of federated training, where no unit is
      with two clients; () if training is not federated. Each takes steps of
      DP-SGD on its own batches, drawn with probability batch_size over its own
      number of units, with noise of its own.
    local_steps: of a client in a step of the phase, which is a round.
  """

  units: int
  unit: str
  rows_per_unit: int
  batch_size: int
  noise_multiplier: float
  steps: int
  clip_norm: float = 1.0
  group_clip_norms: Mapping[str, float] = dataclasses.field(
    default_factory=dict
  )
  per_layer: bool = False
  allocation: str = "uniform"
  microbatch_size: int | None = None
  augmentation_multiplicity: int = 1
  seed: int = 0
  clients: tuple[int, ...] = ()
  local_steps: int = 1

  @property
  def sampling_probability(self) -> float:
    """The probability of each unit to be in a batch."""
    return self.batch_size / self.units

  @property
  def event(self) -> Any:
    """All steps as dp_accounting describes them."""
    return self.spent(self.steps)

  def spent(self, steps: int) -> Any:
    """The event of the first `steps` steps.

    Raises:
      BudgetError: more steps than are paid for.
    """
    if steps > self.steps:
      raise BudgetError(
        f"step {steps} is one too many: the budget is spent with step"
        f" {self.steps}. More steps need more noise in all of them: train anew,"
        " in another --workdir"
      )
    return accounting.event(
      self.sampling_probability,
      self.noise_multiplier,
      steps * self.local_steps,
    )

  def of_client(self, number: int) -> "Plan":
    """The plan of one client, and so the account of its units."""
    return dataclasses.replace(self, units=self.clients[number])

  @property
  def rows(self) -> int:
    """The expected number of rows of a step, over all clients."""
    batches = self.local_steps * max(len(self.clients), 1)
    return self.batch_size * self.rows_per_unit * batches

  def sampler(self, devices: int) -> sampling.PoissonSampling:
    """The batches; their rows divide among devices and microbatches.

    All clients have as many rows, whatever their number of units.
    """
    size = self.microbatch_size
    rows = max(
      sampling.rows_for(units, self.batch_size / units, devices, size)
      for units in (self.units, *self.clients)
    )
    return sampling.PoissonSampling(
      self.units, self.sampling_probability, self.seed, rows
    )

  def groups(self, params: Any) -> tuple[dict[str, float], Callable]:
    """(group -> clip norm, name of a parameter -> group)."""
    names = clipping.parameter_names(params)

    def group_of(name):
      prefix = owner(name, self.group_clip_norms)
      if prefix is not None:
        return prefix
      return clipping.layer_of(name) if self.per_layer else REST

    # A group without parameters, as of another phase, would cost noise.
    owned = {owner(name, self.group_clip_norms) for name in names} - {None}
    rest = [n for n in names if owner(n, self.group_clip_norms) is None]
    group_names = sorted({group_of(name) for name in rest})
    each = self.clip_norm / math.sqrt(max(len(group_names), 1))
    norms = {p: c for p, c in self.group_clip_norms.items() if p in owned}
    return {**dict.fromkeys(group_names, each), **norms}, group_of

  def clipped_grad(
    self, loss_fn: Callable, params: Any
  ) -> clipping.ClippedGrad:
    """The clipped sum over units; loss_fn returns (scalar, aux)."""
    norms, group_of = self.groups(params)
    return clipping.clipped_grad(
      loss_fn,
      norms,
      group_of=group_of,
      has_aux=True,
      microbatch_size=self.microbatch_size,
    )

  def stddevs(self, params: Any) -> dict[str, float]:
    """Standard deviation of the noise on the gradient sum, for each group.

    A Gaussian of standard deviation s_g on groups of sensitivity C_g is as
    private as one of sigma on a sensitivity of 1 if sum C_g^2 / s_g^2 is
    1 / sigma^2; how the sum is shared among groups is free. "uniform" takes one
    s for all groups; "dimension" takes the s_g that minimise the noise over all
    parameters.
    """
    norms, group_of = self.groups(params)
    sizes = dict.fromkeys(norms, 0)
    for name, leaf in zip(
      clipping.parameter_names(params), jax.tree.leaves(params), strict=True
    ):
      sizes[group_of(name)] += math.prod(leaf.shape)
    if self.allocation == "uniform":
      weights = {g: c * c for g, c in norms.items()}
    else:
      weights = {g: c * math.sqrt(sizes[g]) for g, c in norms.items()}
    total = sum(weights.values())
    return {
      g: self.noise_multiplier * c * math.sqrt(total / weights[g])
      for g, c in norms.items()
    }

  def privatise(self, key: jax.Array, total: Any, params: Any) -> Any:
    """The private mean gradient from a clipped sum: noised, then divided.

    The divisor is the expected batch size, which is public; the realised one is
    not.
    """
    stddevs = self.stddevs(params)
    _, group_of = self.groups(params)
    names = clipping.parameter_names(params)
    drawn = noise.gaussian(key, total, 1.0)
    leaves, structure = jax.tree.flatten(drawn)
    scaled = [
      stddevs[group_of(name)] * leaf
      for name, leaf in zip(names, leaves, strict=True)
    ]
    drawn = jax.tree.unflatten(structure, scaled)
    return jax.tree.map(lambda x, z: (x + z) / self.batch_size, total, drawn)

  def ledger(self) -> dict[str, jax.Array]:
    """The plan's state in a checkpoint: its settings, and 0 steps spent."""
    constants = {k: jnp.asarray(v) for k, v in self._constants().items()}
    return {**constants, "steps": jnp.zeros((), jnp.int32)}

  def check_ledger(self, ledger: Mapping[str, Any]) -> None:
    """Checks that a checkpoint was made by this plan.

    Raises:
      BudgetError: it was not, so that the plan misstates the privacy spent.
    """
    mine = self._constants()
    changed = [
      f"{name} was {np.asarray(ledger.get(name)).tolist()}, is {value.tolist()}"
      for name, value in mine.items()
      if name not in ledger or not np.array_equal(ledger[name], value)
    ]
    if changed:
      raise BudgetError(
        "the checkpoint was made by another plan, so that its budget does not"
        f" add up: {'; '.join(changed)}. Bring the settings and the data back"
        " to what they were, or train anew, in another --workdir"
      )

  def _constants(self) -> dict[str, np.ndarray]:
    groups = sorted(self.group_clip_norms.items())
    constants: dict[str, Any] = {
      "units": np.int32(self.units),
      "rows_per_unit": np.int32(self.rows_per_unit),
      "batch_size": np.int32(self.batch_size),
      "noise_multiplier": np.float32(self.noise_multiplier),
      "paid_steps": np.int32(self.steps),
      "clip_norms": np.array(
        [self.clip_norm, *(c for _, c in groups)], np.float32
      ),
      "per_layer": np.int32(self.per_layer),
      "by_dimension": np.int32(self.allocation == "dimension"),
    }
    if self.clients:
      constants["clients"] = np.array(self.clients, np.int32)
      constants["local_steps"] = np.int32(self.local_steps)
    return {name: np.asarray(value) for name, value in constants.items()}


# The units of each client of a phase, and its local steps in a round.
Shared = tuple[tuple[int, ...], int]


def make_plans(
  options: Any,
  phases: Sequence[tuple[str, int, int]],
  units: int,
  clients: Mapping[str, Shared] | None = None,
) -> dict[str, Plan]:
  """Plans for all private phases of a run, which share one budget.

  Args:
    options: `configs.common.dp`.
    phases: (name, batch_size, steps) of each.
    units: n.
    clients: phase -> who trains it, if clients do.

  Returns:
    name -> Plan. If options.noise_multiplier is 0, plans get the smallest one
    that keeps to the budget. Otherwise phases are paid for one after the other,
    and a plan may have fewer steps than asked for.

  Raises:
    BudgetError: settings do not fit each other or the data.
  """
  clients = clients or {}
  shared = {name: clients.get(name, ((), 1)) for name, _, _ in phases}
  fewest = {n: min(sizes, default=units) for n, (sizes, _) in shared.items()}
  _check(options, phases, units, fewest)
  sigma = options.noise_multiplier
  steps = [count for _, _, count in phases]

  def spent(sigma, steps, accountant=options.accountant):
    events = [
      accounting.event(batch / fewest[name], sigma, count * shared[name][1])
      for (name, batch, _), count in zip(phases, steps, strict=True)
    ]
    return accounting.epsilon_of(events, options.delta, accountant)

  if not sigma:
    sigma = accounting.calibrate(
      lambda sigma, accountant: spent(sigma, steps, accountant),
      options.epsilon,
      options.accountant,
    )
  elif options.epsilon < math.inf:
    steps = _affordable(lambda s: spent(sigma, s), steps, options.epsilon)
  person = options.unit == "person"
  return {
    name: Plan(
      units=fewest[name],
      unit=options.unit,
      rows_per_unit=options.images_per_person if person else 1,
      batch_size=batch,
      noise_multiplier=sigma,
      steps=count,
      clip_norm=options.clip_norm,
      group_clip_norms=dict(options.group_clip_norms),
      per_layer=options.per_layer,
      allocation=options.allocation,
      microbatch_size=options.microbatch_size or _microbatch_size(options),
      augmentation_multiplicity=options.augmentation_multiplicity,
      clients=shared[name][0],
      local_steps=shared[name][1],
    )
    for (name, batch, _), count in zip(phases, steps, strict=True)
  }


def statement(
  plans: Mapping[str, Plan], steps: Mapping[str, int], options: Any
) -> dict[str, Any]:
  """The privacy guarantee of a trained model, with everything it rests on.

  Args:
    plans: phase -> its plan.
    steps: phase -> steps taken.
    options: `configs.common.dp`.
  """
  events = [plan.spent(steps[name]) for name, plan in plans.items()]
  first = next(iter(plans.values()))
  epsilon_of = lambda events: accounting.epsilon_of(
    events, options.delta, options.accountant
  )
  clients = next((p.clients for p in plans.values() if p.clients), ())

  def of_client(number):
    """The events that touch the units of one client."""
    return [
      (plan.of_client(number) if plan.clients else plan).spent(steps[name])
      for name, plan in plans.items()
    ]

  return {
    "epsilon": epsilon_of(events),  # clients: the largest
    "delta": options.delta,
    "attackers": [
      {"false_positives": f, "true_positives": t}
      for f, t in zip(
        FALSE_POSITIVES,
        accounting.true_positive_bounds(
          events, FALSE_POSITIVES, options.accountant
        ),
      )
    ],
    "relation": clipping.ADD_OR_REMOVE_ONE,
    "accountant": options.accountant,
    "unit": first.unit,
    "units": sum(first.clients) or first.units,
    "clients": {
      f"client {number + 1}": {
        "units": units,
        "epsilon": epsilon_of(of_client(number)),
        "sampling_probability": {
          name: plan.of_client(number).sampling_probability
          for name, plan in plans.items()
          if plan.clients
        },
      }
      for number, units in enumerate(clients)
    },
    "phases": [
      {
        "phase": name,
        "sampling_probability": plan.sampling_probability,
        "noise_multiplier": plan.noise_multiplier,
        "steps": steps[name] * plan.local_steps,
        "clip_norm": plan.clip_norm,
        "group_clip_norms": dict(plan.group_clip_norms),
        "rows_per_unit": plan.rows_per_unit,
      }
      for name, plan in plans.items()
    ],
  }


def _affordable(spent, steps, budget) -> list[int]:
  """The number of steps of each phase, in order, that the budget pays for."""
  if spent(steps) <= budget:
    return steps
  paid = [0] * len(steps)
  for i, wanted in enumerate(steps):
    low, high = 0, wanted
    while low < high:
      middle = (low + high + 1) // 2
      tried = [*paid[:i], middle, *paid[i + 1 :]]
      low, high = (
        (middle, high) if spent(tried) <= budget else (low, middle - 1)
      )
    paid[i] = low
    if not low:
      raise BudgetError(
        f"the budget epsilon = {budget} is spent before phase {i + 1} of"
        f" {len(steps)} has taken a step: raise config.dp.noise_multiplier, or"
        " set it to 0 to have the right one found"
      )
  return paid


def _microbatch_size(options) -> int:
  """The fastest microbatch size in `launch.benchmark dp`."""
  rows = 8 if platforms.on_cpu() else 64
  per_unit = options.images_per_person if options.unit == "person" else 1
  return max(rows // (per_unit * options.augmentation_multiplicity), 1)


def _check(options, phases, units, fewest):
  def refuse(sentence):
    raise BudgetError(sentence)

  for sentence in ranges.problems(options, RANGES, "config.dp."):
    refuse(sentence)
  if options.unit not in UNITS:
    refuse(f"config.dp.unit = {options.unit!r}: it is image or person")
  if options.allocation not in ("uniform", "dimension"):
    refuse(
      f"config.dp.allocation = {options.allocation!r}: it is uniform or"
      " dimension"
    )
  if not options.delta < 1 / max(units, 1):
    refuse(
      f"config.dp.delta = {options.delta}: it must be above 0 and below 1 / n ="
      f" {1 / max(units, 1):.2g}, n being the {units} {PLURAL[options.unit]} to"
      " train on. With more, publishing a random one of them would count as"
      " private"
    )
  for name, batch, _ in phases:
    if not 1 <= batch <= fewest[name]:
      whose = "" if fewest[name] == units else "the smallest client has only"
      refuse(
        f"config.phases.{name}.batch_size = {batch}, in a private phase the"
        f" {PLURAL[options.unit]} in an average batch, but"
        f" {whose or 'there are only'} {fewest[name]}: lower it, or use more"
        " data"
      )
