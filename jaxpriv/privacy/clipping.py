"""Per-example gradients, clipped and summed.

Abadi et al., "Deep Learning with Differential Privacy", CCS 2016, algorithm 1,
lines 5 to 10, without the noise. `products` makes it fast.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P

from jaxpriv.privacy import products as products_lib

Tree = Any
Batch = Mapping[str, Any]

ADD_OR_REMOVE_ONE = "add_or_remove_one"
REPLACE_ONE = "replace_one"

# Of one group: the whole gradient.
_ALL = ""


@dataclasses.dataclass(frozen=True, eq=False)
class ClippedGrad:
  """See `clipped_grad`."""

  loss_fn: Callable
  clip_norms: Mapping[str, float]
  group_of: Callable[[str], str]
  has_aux: bool
  microbatch_size: int | None
  axis: str

  def sensitivity(self, relation: str = ADD_OR_REMOVE_ONE) -> float:
    """How far one example can move the sum of the gradients, in norm."""
    one = math.sqrt(sum(c * c for c in self.clip_norms.values()))
    if relation == ADD_OR_REMOVE_ONE:
      return one
    if relation == REPLACE_ONE:
      return 2 * one
    raise ValueError(
      f"relation {relation!r} is unknown: use {ADD_OR_REMOVE_ONE!r} or"
      f" {REPLACE_ONE!r}"
    )

  def __call__(self, params: Tree, batch: Batch):
    mesh = jax.sharding.get_abstract_mesh()
    if self.axis not in mesh.shape or self.axis in mesh.manual_axes:
      return self._local(params, batch)

    def local(params, batch):
      # Else AD would add the devices' gradients up before they are clipped.
      params = jax.lax.pcast(params, self.axis, to="varying")
      total, *rows = self._local(params, batch)
      return jax.lax.psum(total, self.axis), *rows

    rows = P(self.axis)
    return jax.shard_map(
      local,
      in_specs=(P(), rows),
      out_specs=(P(), rows, rows) if self.has_aux else (P(), rows),
    )(params, batch)

  def _local(self, params, batch):
    """The sum over the rows of one device, microbatch after microbatch."""
    rows = len(jax.tree.leaves(batch)[0])
    batch = {"padding": jnp.zeros(rows, bool), **batch}
    traced = products_lib.trace(self.loss_fn, params, _row(batch))
    count = self._microbatches(rows, traced)
    if count == 1:
      return self._sum(params, batch, traced.calls)
    parts = jax.tree.map(
      lambda x: x.reshape(count, rows // count, *x.shape[1:]), batch
    )
    like = jax.tree.leaves(params)[0]
    shapes = jax.eval_shape(
      lambda: self._sum(
        params, jax.tree.map(lambda x: x[0], parts), traced.calls
      )
    )

    def nothing():
      zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
      return jax.tree.map(lambda x: _as_varying(x, like), zeros)

    def body(total, part):
      # Of a Poisson batch the last microbatches are often padding only.
      one, *rest = jax.lax.cond(
        jnp.all(part["padding"]),
        nothing,
        lambda: self._sum(params, part, traced.calls),
      )
      return jax.tree.map(jnp.add, total, one), tuple(rest)

    total, rest = jax.lax.scan(body, nothing()[0], parts)
    rest = jax.tree.map(lambda x: x.reshape(rows, *x.shape[2:]), rest)
    return total, *rest

  def _microbatches(self, rows, traced) -> int:
    """How many microbatches rows are divided into, evenly."""
    # XLA's convolutions crawl in a scan on CPU: there all at once is faster.
    slow = traced.convolves and jax.default_backend() == "cpu"
    if self.microbatch_size is None or slow:
      return 1
    count = -(-rows // self.microbatch_size)
    while rows % count:
      count += 1
    return count

  def _sum(self, params, batch, calls):
    """(clipped sum, norms [B][, aux]) of one microbatch."""
    keep = jnp.logical_not(batch["padding"])
    leaves, structure = jax.tree.flatten(params)
    names = parameter_names(params)
    inner = sorted({call.leaf for call in calls})

    def lane(example):
      def loss(explicit, probes):
        whole = list(leaves)
        for i, leaf in explicit.items():
          whole[i] = leaf
        with products_lib.Tap(whole, inner, probes) as tap:
          value = self.loss_fn(jax.tree.unflatten(structure, whole), example)
        value, aux = value if self.has_aux else (value, None)
        return value, (aux, tap.inputs)

      explicit = {i: x for i, x in enumerate(leaves) if i not in inner}
      probes = [
        _as_varying(jnp.zeros(call.outputs, call.dtype), leaves[0])
        for call in calls
      ]
      (_, (aux, inputs)), (grads, outputs) = jax.value_and_grad(
        loss, (0, 1), has_aux=True
      )(explicit, probes)
      return grads, inputs, outputs, aux

    grads, inputs, outputs, aux = jax.vmap(lane)(batch)
    products = {i: products_lib.Product() for i in inner}
    for call, a, g in zip(calls, inputs, outputs, strict=True):
      products[call.leaf].add(a, g)
    squares = {i: products_lib.squares(g) for i, g in grads.items()}
    squares |= {i: product.squares() for i, product in products.items()}
    groups: dict[str, jax.Array] = {}
    for i, square in squares.items():
      group = self.group_of(names[i])
      groups[group] = groups.get(group, 0) + square
    norms = jnp.sqrt(sum(groups.values()))
    # An example whose gradient is not finite adds nothing, as padding does.
    good = keep & jnp.isfinite(norms)
    scales = {
      name: jnp.where(
        good, jnp.minimum(1, self.clip_norms[name] / _safe(square)), 0
      )
      for name, square in groups.items()
    }
    finite = jnp.all(jnp.isfinite(norms))

    def total(clean):
      sums = []
      for i, leaf in enumerate(leaves):
        scale = scales[self.group_of(names[i])]
        if i in products:
          sums.append(products[i].sum(scale, good, clean).reshape(leaf.shape))
        else:
          g = grads[i] if clean else products_lib.rows_where(good, grads[i])
          g = g.astype(jnp.float32)
          highest = jax.lax.Precision.HIGHEST
          sums.append(jnp.tensordot(scale, g, 1, precision=highest))
      return sums

    # 0 * nan is nan: such rows are taken out first, where there are any.
    sums = jax.lax.cond(finite, lambda: total(True), lambda: total(False))
    # The same whether a microbatch of padding was run or not.
    shown = jax.tree.map(lambda x: products_lib.rows_where(keep, x), aux)
    norms = products_lib.rows_where(keep, norms)
    result = jax.tree.unflatten(structure, sums), norms
    return (*result, shown) if self.has_aux else result


def _as_varying(x, like):
  """x, which inside `shard_map` differs between devices if `like` does."""
  nothing = jnp.where(False, like.reshape(-1)[0], 0)
  return x + nothing.astype(x.dtype) if x.dtype != bool else x | (nothing > 0)


def _safe(square):
  # Only a guard against 0 / 0; a norm of 0 is clipped by nothing.
  return jnp.maximum(jnp.sqrt(square), 1e-12)


def _row(batch):
  return jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), batch
  )


def parameter_names(params: Tree) -> list[str]:
  """Of each leaf "path/of/a/parameter", in the order of `jax.tree.leaves`."""
  paths = jax.tree_util.tree_leaves_with_path(params)
  return [jax.tree_util.keystr(p, simple=True, separator="/") for p, _ in paths]


def layer_of(name: str) -> str:
  """The layer of a parameter: to be `group_of` where each is clipped alone."""
  return name.rpartition("/")[0] or name


def by_layer(params: Tree, clip_norm: float) -> dict[str, float]:
  """Clip norms of all layers alike that together bound what one of all does."""
  layers = {layer_of(name): 0 for name in parameter_names(params)}
  return dict.fromkeys(layers, clip_norm / math.sqrt(len(layers)))


def clipped_grad(
  loss_fn: Callable,
  clip_norm: float | Mapping[str, float],
  *,
  group_of: Callable[[str], str] | None = None,
  has_aux: bool = False,
  microbatch_size: int | None = None,
  axis: str = "data",
) -> ClippedGrad:
  """The sum of the gradients of examples, each clipped.

  The result is right on any mesh that `jax.set_mesh` sets, with the batch
  sharded over `axis`: gradients are taken inside `shard_map`.

  Args:
    loss_fn: (params, example) -> scalar, or (scalar, aux) if has_aux; an
      example is a row of the batch without the leading axis. It must be a
      function of that row only: no BatchNorm.
    clip_norm: of the gradient; or by group, each clipped on its own.
    group_of: "path/of/a/parameter" -> name of its group, if there are groups.
    has_aux: see loss_fn.
    microbatch_size: rows of each device that are worked on at once, at most;
      the others wait, so that memory falls. A microbatch of padding only costs
      nothing. Without effect on CPU where the loss has convolutions other than
      those of `nn.Conv`: XLA is slow with them in a loop.
    axis: of the mesh.

  Returns:
    (params, batch) -> (sum of clipped gradients, float32; norms [B] before
    clipping[, aux [B, ...]]). Rows whose batch["padding"] is true, and examples
    whose gradient is not finite, add nothing to the sum; norms and aux are not
    private, and zero for padding. `.sensitivity()` is the norm that one example
    can add.

  Raises:
    ValueError: a clip norm is not positive, or there are groups and no
      group_of, or microbatch_size is below 1.
  """
  groups = clip_norm if isinstance(clip_norm, Mapping) else {_ALL: clip_norm}
  bad = {k: v for k, v in groups.items() if not (0 < v < math.inf)}
  if bad or not groups:
    raise ValueError(f"clip_norm must be positive and finite, got {clip_norm}")
  if isinstance(clip_norm, Mapping) != (group_of is not None):
    raise ValueError("clip_norm by group and group_of belong together")
  if microbatch_size is not None and microbatch_size < 1:
    raise ValueError(f"microbatch_size = {microbatch_size} is below 1")
  return ClippedGrad(
    loss_fn,
    {k: float(v) for k, v in groups.items()},
    group_of or (lambda name: _ALL),
    has_aux,
    microbatch_size,
    axis,
  )
