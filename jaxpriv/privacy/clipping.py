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

from jaxpriv import platforms
from jaxpriv.privacy import norms as norms_lib
from jaxpriv.privacy import products as products_lib

Tree = Any
Batch = Mapping[str, Any]

ADD_OR_REMOVE_ONE = "add_or_remove_one"
REPLACE_ONE = "replace_one"

# The name of the only group when the whole gradient is clipped at once.
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
    """The largest norm by which one example can change the sum of gradients."""
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
      total, *rows = self._local(params, batch)
      return jax.tree.map(lambda x: x[None], total), *rows

    rows = P(self.axis)
    # Unchecked: otherwise AD would add up the devices' gradients before they
    # are clipped, and a loss with a scan would have to know of the mesh.
    totals, *rest = jax.shard_map(
      local,
      in_specs=(P(), rows),
      out_specs=(rows, rows, rows) if self.has_aux else (rows, rows),
      check_vma=False,
    )(params, batch)
    # Not a psum, whose result every device has: of a parameter that is sharded
    # a device needs its own part alone, which a reduce-scatter gives.
    return jax.tree.map(lambda x: x.sum(0), totals), *rest

  def _local(self, params, batch):
    """The sum over the rows of one device, microbatch after microbatch."""
    rows = len(jax.tree.leaves(batch)[0])
    batch = {"padding": jnp.zeros(rows, bool), **batch}
    program = products_lib.find(
      self.loss_fn,
      params,
      jax.tree.map(lambda x: x[0], batch),
      convolutions=platforms.on_cpu(),
    )
    count = self._microbatches(rows, program.convolves)
    if count == 1:
      return self._sum(params, batch, program)
    parts = jax.tree.map(
      lambda x: x.reshape(count, rows // count, *x.shape[1:]), batch
    )
    like = jax.tree.leaves(params)[0]
    shapes = jax.eval_shape(
      lambda: self._sum(params, jax.tree.map(lambda x: x[0], parts), program)
    )

    def nothing():
      zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
      return jax.tree.map(lambda x: _as_varying(x, like), zeros)

    def body(total, part):
      # The last microbatches of a Poisson batch are often padding only.
      one, *rest = jax.lax.cond(
        jnp.all(part["padding"]),
        nothing,
        lambda: self._sum(params, part, program),
      )
      return jax.tree.map(jnp.add, total, one), tuple(rest)

    total, rest = jax.lax.scan(body, nothing()[0], parts)
    rest = jax.tree.map(lambda x: x.reshape(rows, *x.shape[2:]), rest)
    return total, *rest

  def _microbatches(self, rows, convolves) -> int:
    """The number of equal microbatches that rows are divided into."""
    # XLA's convolutions crawl in a scan on CPU: one microbatch is faster there.
    slow = convolves and platforms.on_cpu()
    if self.microbatch_size is None or slow:
      return 1
    count = -(-rows // self.microbatch_size)
    while rows % count:
      count += 1
    return count

  def _sum(self, params, batch, program):
    """(clipped sum, norms [B][, aux]) of one microbatch."""
    keep = jnp.logical_not(batch["padding"])
    leaves = jax.tree.leaves(params)
    names = parameter_names(params)
    uses = list(program.uses.values())

    def lane(example):
      def loss(explicit, probes):
        whole = [explicit.get(i, leaf) for i, leaf in enumerate(leaves)]
        value, inputs = program.run(whole, example, probes)
        value, aux = value if self.has_aux else (value, None)
        return value, (aux, inputs)

      explicit = {
        i: x for i, x in enumerate(leaves) if i not in program.restore
      }
      probes = [
        _as_varying(jnp.zeros(use.output.shape, use.output.dtype), leaves[0])
        for use in uses
      ]
      (_, (aux, inputs)), (grads, outputs) = jax.value_and_grad(
        loss, (0, 1), has_aux=True
      )(explicit, probes)
      return grads, inputs, outputs, aux

    grads, inputs, outputs, aux = jax.vmap(lane)(batch)
    # Otherwise XLA may keep more digits of these in the norm than in the sum,
    # or compute them twice, and would clip other values than it measured.
    grads, inputs, outputs = jax.lax.optimization_barrier(
      (grads, inputs, outputs)
    )
    products = {use.leaf: products_lib.Product() for use in uses}
    for use, a, g in zip(uses, inputs, outputs, strict=True):
      products[use.leaf].add(a, g)
    lengths = {i: norms_lib.lengths(g) for i, g in grads.items()}
    lengths |= {i: product.lengths() for i, product in products.items()}
    groups: dict[str, list[jax.Array]] = {}
    for i, length in lengths.items():
      groups.setdefault(self.group_of(names[i]), []).append(length)
    together = lambda xs: norms_lib.lengths(jnp.stack(list(xs), 1))
    by_group = {name: together(xs) for name, xs in groups.items()}
    norms = together(by_group.values())
    # An example whose gradient is not finite adds nothing, as padding does.
    good = keep & jnp.isfinite(norms)
    scales = {
      name: jnp.where(good, _scale(self.clip_norms[name], length), 0)
      for name, length in by_group.items()
    }
    finite = jnp.all(jnp.isfinite(norms))

    def total(clean):
      sums = []
      for i in range(len(leaves)):
        scale = scales[self.group_of(names[i])]
        if i in products:
          summed = products[i].sum(scale, good, clean)
          sums.append(program.restore[i](summed))
        else:
          g = grads[i] if clean else products_lib.rows_where(good, grads[i])
          g = g.astype(jnp.float32)
          highest = jax.lax.Precision.HIGHEST
          sums.append(jnp.tensordot(scale, g, 1, precision=highest))
      return sums

    # 0 * nan is nan: such rows are zeroed first, if there are any.
    sums = jax.lax.cond(finite, lambda: total(True), lambda: total(False))
    # So that the result is the same whether a microbatch of padding ran or not.
    aux_rows = jax.tree.map(lambda x: products_lib.rows_where(keep, x), aux)
    norms = products_lib.rows_where(keep, norms)
    result = jax.tree.unflatten(jax.tree.structure(params), sums), norms
    return (*result, aux_rows) if self.has_aux else result


def _as_varying(x, like):
  """Marks x as varying between devices inside `shard_map` if `like` is."""
  nothing = jnp.where(False, like.reshape(-1)[0], 0)
  return x + nothing.astype(x.dtype) if x.dtype != bool else x | (nothing > 0)


def _scale(clip_norm, length):
  """The factor that scales gradients of that length to clip_norm at most."""
  return jnp.minimum(1, clip_norm / length)


def parameter_names(params: Tree) -> list[str]:
  """The "path/of/a/parameter" of every leaf, in the order of tree.leaves."""
  paths = jax.tree_util.tree_leaves_with_path(params)
  return [jax.tree_util.keystr(p, simple=True, separator="/") for p, _ in paths]


def layer_of(name: str) -> str:
  """The layer of a parameter; pass it as `group_of` to clip layer by layer."""
  return name.rpartition("/")[0] or name


def by_layer(params: Tree, clip_norm: float) -> dict[str, float]:
  """Equal clip norms for all layers, of the same sensitivity as clip_norm."""
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
    clip_norm: of the gradient; or group -> clip norm, each group being clipped
      on its own.
    group_of: "path/of/a/parameter" -> name of its group, if there are groups.
    has_aux: see loss_fn.
    microbatch_size: the largest number of rows that a device works on at once,
      which saves memory. A microbatch of nothing but padding costs nothing.
      Without effect on CPU if the loss has convolutions other than those of
      `nn.Conv`: XLA is slow with them in a loop.
    axis: the axis of the mesh.

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
