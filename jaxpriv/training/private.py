"""DP-SGD for any supervised phase: the gradient, the ledger, and a check."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpriv.errors import UserError
from jaxpriv.privacy.plan import Plan
from jaxpriv.training import builders, inference
from jaxpriv.training import mesh as mesh_lib
from jaxpriv.training.method import Method, Phase, need

# Prefix of metrics that show more of the data than the budget covers.
NOT_PRIVATE = "not_private/"

# Largest influence of one example on the loss of another, relative to that on
# its own loss, that still passes as rounding.
CROSS_EXAMPLE = 1e-3


class NotPerExampleError(UserError, ValueError):
  """The loss of an example depends on other examples of the batch."""


# (key, rows of a unit) -> the same rows, changed at random.
View = Callable[[jax.Array, Any], Any]


def private_grad(
  plan: Plan, view: View | None = None
) -> Callable[[Callable], Callable]:
  """A `grad` of `builders.supervised`: clipped by unit, summed, noised.

  Rows of a batch are those of its first unit, then those of its second, and so
  on; a unit's objective is the mean over its own rows. Batches come from
  `plan.sampler`. Values and metrics are means over the units drawn, as they are
  without privacy: they are not private.

  With `view`, it is the mean over `plan.augmentation_multiplicity` views of
  these rows, each drawn by (key of the step, unit, view). So gradients of views
  are averaged before the clip, and the sensitivity stays as it is (De et al.,
  "Unlocking High-Accuracy Differentially Private Image Classification through
  Scale", 2022, on augmentation multiplicity). As there, all of them are drawn:
  none is the image as it was. Only the views of a microbatch exist at a time.
  """

  def grad(objective):
    def private(params, batch, key):
      noise_key, key = jax.random.split(key)
      total, norms, metrics, padding = _clipped(
        plan, view, objective, params, batch, key
      )
      grads = plan.privatise(noise_key, total, params)
      drawn = jnp.isfinite(norms) & ~padding
      metrics = {**metrics, "unclipped_norm": norms}
      if not (plan.per_layer or plan.group_clip_norms):
        metrics["clipped"] = norms > plan.clip_norm
      # float32, as gradients are: the compiler reduces both in one operation.
      share = drawn.mean(dtype=jnp.float32)
      totals = {
        name: jnp.where(drawn, x, 0).mean(dtype=jnp.float32)
        for name, x in metrics.items()
      }
      means = builders.mean(totals, share)
      return (means.pop("loss"), (means, {})), grads

    return private

  return grad


def clipped_sum(
  plan: Plan, view: View | None = None
) -> Callable[[Callable], Callable]:
  """Like `private_grad`, but stops before the noise: for audits of the clip.

  The metrics are "sum", the clipped sum over units, and "norms" [units]; the
  gradient is zero.
  """

  def grad(objective):
    def measured(params, batch, key):
      total, norms, _, _ = _clipped(plan, view, objective, params, batch, key)
      grads = jax.tree.map(jnp.zeros_like, params)
      return (jnp.zeros(()), ({"sum": total, "norms": norms}, {})), grads

    return measured

  return grad


def _clipped(plan, view, objective, params, batch, key):
  """(clipped sum, norms, metrics and padding of each unit) of a batch."""

  def of_unit(params, unit):
    rows, key = unit["rows"], unit["key"]
    if view:
      drawn, key = jax.random.split(key)
      rows = _views(view, drawn, rows, plan.augmentation_multiplicity)
    total, (share, (metrics, _)) = objective(params, rows, key)
    value = builders.mean(total, share)
    return value, {"loss": value, **metrics}

  units = len(batch["padding"]) // plan.rows_per_unit
  rows = jax.tree.map(
    lambda x: x.reshape(units, plan.rows_per_unit, *x.shape[1:]), batch
  )
  keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(units))
  padding = rows["padding"].all(1)
  total, norms, metrics = plan.clipped_grad(of_unit, params)(
    params, {"rows": rows, "key": keys, "padding": padding}
  )
  return total, norms, metrics, padding


def _views(view, key, rows, count):
  """Views of the rows [R, ...] of a unit: [count * R, ...]."""
  keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(count))
  drawn = jax.vmap(view, (0, None))(keys, rows)
  return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), drawn)


def with_ledger(method: Method, plan: Plan) -> Method:
  """Keeps a supervised method's account beside its parameters.

  Args:
    method: `builders.supervised` with `private_grad(plan)`.
    plan: its plan.

  Returns:
    a Method whose state has "privacy", the ledger, and whose metrics say which
    of them are not private. Its `cross_example` measures how much the loss of
    each row moves with the images of other rows, which must be nothing.

  Raises:
    NotPerExampleError: at `init`, if the model keeps BatchNorm statistics.
  """

  def init(key, batch, frozen):
    state = method.init(key, batch, frozen)
    if jax.tree.leaves(state["batch_stats"]):
      layers = {
        jax.tree_util.keystr(path[:-1], simple=True, separator="/")
        for path, _ in jax.tree_util.tree_leaves_with_path(state["batch_stats"])
      }
      raise NotPerExampleError(
        "differential privacy needs a network that sees one example at a time,"
        f" and {', '.join(sorted(layers)[:3])} (of {len(layers)}) keep"
        " statistics of whole batches (BatchNorm): set the norm of this network"
        ' to "group" in config.model'
      )
    return {**state, "privacy": plan.ledger()}

  def step(state, frozen, batch, key):
    new, metrics = method.step(state, frozen, batch, key)
    metrics = {
      # The gradient is private, and so is what is computed from it.
      name if name == "gradient_norm" else NOT_PRIVATE + name: value
      for name, value in metrics.items()
    }
    ledger = {**state["privacy"], "steps": state["privacy"]["steps"] + 1}
    return {**new, "privacy": ledger}, metrics

  def cross_example(state, frozen, batch):
    def losses(image):
      rows = {**batch, "image": image}
      return need(method.outputs.losses, "losses")(state, frozen, rows)["loss"]

    image = batch["image"]
    direction = jax.random.normal(jax.random.key(0), image.shape, image.dtype)
    odd = jnp.arange(len(image)) % 2 == 1

    def moved(rows):
      tangent = jnp.where(rows[:, None, None, None], direction, 0)
      return jnp.abs(jax.jvp(losses, (image,), (tangent,))[1])

    by_odd, by_even = moved(odd), moved(~odd)
    own = jnp.where(odd, by_odd, by_even)
    others = jnp.where(odd, by_even, by_odd)
    return others / jnp.maximum(own, 1e-12)

  return method._replace(init=init, step=step, cross_example=cross_example)


def check(
  phase: Phase,
  state: Any,
  frozen: Mapping[str, Any],
  host_batch: Mapping[str, np.ndarray],
  mesh: jax.sharding.Mesh,
) -> None:
  """Checks that a state was made by its plan, and rows do not see each other.

  A phase that is not private passes.

  Raises:
    BudgetError: the checkpoint was made by another plan.
    NotPerExampleError: rows see each other.
  """
  if phase.plan is None:
    return
  phase.plan.check_ledger(mesh_lib.fetch(state["privacy"]))
  rows = slice(2 * mesh.local_mesh.size)
  few = mesh_lib.put_batch({k: v[rows] for k, v in host_batch.items()}, mesh)
  run = inference.compiled(
    need(phase.method.cross_example, "cross_example"), mesh
  )
  worst = float(mesh_lib.fetch(run(state, frozen, few)).max())
  if not worst < CROSS_EXAMPLE:
    raise NotPerExampleError(
      f"{phase.name}: the loss of one example changes with the image of another"
      f" one ({worst:.2g} of what its own does). Differential privacy needs a"
      " loss of each example by itself: no batch statistics, no contrast"
      " between examples"
    )
