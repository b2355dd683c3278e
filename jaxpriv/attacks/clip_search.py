"""A search for an example whose gradient is larger than what was measured.

Differential privacy rests on one sentence, that no example adds more than the
clip norm to a sum, and in float32 that is true as far as the norm is. Whoever
may place an example may choose one whose norm comes out too small: where terms
cancel, or where numbers are very small. So this climbs there, in the network
and with the loss of a run, by the pixels of examples, and weighs what each of
them alone adds in float64.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxpriv.training import inference, private
from jaxpriv.training import mesh as mesh_lib
from jaxpriv.training.method import Phase

# Rounding of the norm, of the scale and of the scaled gradient.
ALLOWED = 1 + 1e-5

# Steps between two weighings, which cost a gradient of all for each example.
_EVERY = 10
# Step lengths, first and last; pixels run from 0 to 1.
_RATES = (0.2, 1e-5)


class ClipSearch(NamedTuple):
  """The result of `search`.

  Attributes:
    ratio: the largest norm that one example added to the clipped sum, over the
      norm that was measured of it, or the clip norm if that is smaller.
    examples: how many were weighed.
    steps: of the ascent of each.
  """

  ratio: float
  examples: int
  steps: int

  @property
  def faults(self) -> list[str]:
    """Sentences about what is wrong; empty if the clip held."""
    if self.ratio <= ALLOWED:
      return []
    return [
      f"an example adds {self.ratio:.6g} times the norm that was measured of"
      " it, or the clip norm: the noise does not cover it"
    ]


def units_of(mesh: Any) -> int:
  """How many units `search` works on: eight, or one for each device."""
  return mesh.size * -(-8 // mesh.size)


def search(
  phase: Phase,
  states: Mapping[str, Any],
  batch: Mapping[str, np.ndarray],
  mesh: Any,
  steps: int = 40,
  seed: int = 0,
) -> ClipSearch:
  """Searches from photographs, noise and blank images, for large and for small.

  Args:
    phase: private, with its plan.
    states: of the run, by phase.
    batch: rows of `units_of(mesh)` units, on every host; labels stay as they
      are.
    mesh: to work on.
    steps: of gradient ascent, by the sign, of the logarithm of the norm as it
      is measured, upwards for one half and downwards (where terms cancel) for
      the other.
    seed: of noise and of augmentation.
  """
  plan = phase.plan
  if phase.clients and phase.federated:  # each of them clips alike
    phase = phase.federated(None)
  if plan is None or phase.private is None:
    raise ValueError(f"phase {phase.name} is not private: there is no clip")
  method = phase.private(plan, private.clipped_sum)
  state = states[phase.name]
  frozen = {name: states[name] for name in phase.needs}
  key = jax.random.key(seed)

  def measure(state, frozen, batch, key):
    # A finished run keeps no state of its optimiser, and none is needed.
    whole = {**method.init(key, batch, frozen), **state}
    metrics = method.step(whole, frozen, batch, key)[1]
    return tuple(metrics[private.NOT_PRIVATE + k] for k in ("sum", "norms"))

  @jax.jit
  def climbed(state, frozen, batch, key, direction, rate):
    def height(image):
      norms = measure(state, frozen, {**batch, "image": image}, key)[1]
      return jnp.sum(direction * jnp.log(jnp.maximum(norms, 1e-30)))

    slope = jnp.sign(jnp.nan_to_num(jax.grad(height)(batch["image"])))
    return jnp.clip(batch["image"] + rate * slope, 0, 1)

  rows = len(batch["padding"])
  units = rows // plan.rows_per_unit
  padding = np.asarray(batch["padding"]).reshape(units, -1)
  real = np.flatnonzero(~padding.all(1))
  random = np.random.default_rng(seed)
  floats = inference.as_float({k: jnp.asarray(v) for k, v in batch.items()})
  image = np.array(floats["image"])
  starts = image.reshape(units, plan.rows_per_unit, *image.shape[1:])
  starts[1::4] = random.random(starts[1::4].shape)
  starts[2::4] = random.random((len(starts[2::4]), *[1] * (starts.ndim - 1)))
  starts[3::4] = 0
  direction = np.where(np.arange(units) // 4 % 2, 1.0, -1.0).astype(np.float32)
  # Ever shorter, so that terms come to cancel to the last digits.
  rates = np.geomspace(*_RATES, max(steps, 1), dtype=np.float32)
  worst, weighed = 0.0, 0
  with jax.set_mesh(mesh):
    measured = jax.jit(measure)
    # All rows are on every host.
    put = lambda x: jax.device_put(x, mesh_lib.batch_sharding(mesh))
    here: dict[str, Any] = {**floats, "image": image}
    for step in range(steps + 1):
      if step % _EVERY == 0 or step == steps:
        for i in real:
          alone = np.arange(units)[:, None] == i
          one = {**here, "padding": (padding | ~alone).reshape(rows)}
          total, norms = measured(state, frozen, put(one), key)
          worst = max(worst, _ratio(total, norms, i, plan))
        weighed += len(real)
      if step < steps:
        moved = climbed(
          state, frozen, put(here), key, put(direction), rates[step]
        )
        here = {**here, "image": mesh_lib.fetch(moved)}
  return ClipSearch(worst, weighed, steps)


def _ratio(total, norms, i, plan) -> float:
  leaves = [np.asarray(x, np.float64) for x in jax.tree.leaves(total)]
  added = float(np.sqrt(sum(np.sum(x * x) for x in leaves)))
  norm = float(mesh_lib.fetch(norms)[i])
  allowed = min(norm, plan.clipped_grad(lambda p, u: None, total).sensitivity())
  if not added:
    return 0.0
  return added / allowed if allowed else np.inf
