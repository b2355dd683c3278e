"""Per-example gradients, clipped and summed.

Abadi et al., "Deep Learning with Differential Privacy", CCS 2016, algorithm 1,
lines 5 to 10, without the noise. What makes it fast: of a Dense or Conv layer
the gradient of an example is a product of what goes in, a [T, P], and what
comes back, g [T, O], T being 1 or the positions of an image. So layers hand out
a and g, and the gradients themselves are only formed where that is less work
than the norm without them,

  |a^T g|^2 = sum of (a a^T) * (g g^T)        (ghost norm, T x T)

and their clipped sum is one matrix product over all examples and positions
(Goodfellow 2015; Bu et al., "Differentially Private Optimization on Large Model
at Small Cost", ICML 2023).
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P

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
  microbatches: int
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
    count = self.microbatches
    if rows % count:
      raise ValueError(
        f"{rows} rows on each device cannot be divided into {count}"
        " microbatches"
      )
    if count == 1:
      return self._sum(params, batch)
    parts = jax.tree.map(
      lambda x: x.reshape(count, rows // count, *x.shape[1:]), batch
    )

    def body(total, part):
      one, *rest = self._sum(params, part)
      return jax.tree.map(jnp.add, total, one), tuple(rest)

    shapes = jax.eval_shape(
      lambda: self._sum(params, jax.tree.map(lambda x: x[0], parts))[0]
    )
    zero = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    zero = jax.tree.map(_as_varying, zero, params)
    total, rest = jax.lax.scan(body, zero, parts)
    rest = jax.tree.map(lambda x: x.reshape(rows, *x.shape[2:]), rest)
    return total, *rest

  def _sum(self, params, batch):
    """(clipped sum, norms [B][, aux]) of one microbatch."""
    keep = jnp.logical_not(batch["padding"])
    leaves, structure = jax.tree.flatten(params)
    names = _names(params)
    calls = _product_layers(self.loss_fn, params, _row(batch))
    inner = sorted({call.leaf for call in calls})

    def lane(example):
      def loss(explicit, probes):
        whole = list(leaves)
        for i, leaf in explicit.items():
          whole[i] = leaf
        with _Tap(whole, inner, probes) as tap:
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
    products = {i: _Product() for i in inner}
    for call, a, g in zip(calls, inputs, outputs, strict=True):
      products[call.leaf].add(a, g)
    squares = {i: _squares(g) for i, g in grads.items()}
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
          g = grads[i] if clean else _where(good, grads[i])
          sums.append(jnp.tensordot(scale, g.astype(jnp.float32), 1))
      return sums

    # 0 * nan is nan: such rows are taken out first, where there are any.
    sums = jax.lax.cond(finite, lambda: total(True), lambda: total(False))
    result = jax.tree.unflatten(structure, sums), norms
    return (*result, aux) if self.has_aux else result


class _Product:
  """The gradients of a kernel [P, O]: of each example, the sum of a^T g."""

  def __init__(self):
    self.inputs, self.outputs, self._each = [], [], None

  def add(self, a, g):
    """One use of the kernel: a [B, T, P] and g [B, T, O]."""
    self.inputs.append(a)
    self.outputs.append(g)

  def squares(self):
    """Squared norms [B], by whichever way is less work."""
    a, g = self._all()
    positions, features = a.shape[1], a.shape[2] * g.shape[2]
    if 2 * positions**2 < features:
      return jnp.sum(
        jnp.einsum("btp,bsp->bts", a, a) * jnp.einsum("bto,bso->bts", g, g),
        (1, 2),
      )
    self._each = jnp.einsum("btp,bto->bpo", a, g)
    return _squares(self._each)

  def sum(self, scale, good, clean):
    """The sum of the examples' gradients times scale [B], [P, O]."""
    if self._each is not None:
      each = self._each if clean else _where(good, self._each)
      return jnp.tensordot(scale, each, 1)
    a, g = self._all()
    if not clean:
      a, g = _where(good, a), _where(good, g)
    g = g * scale[:, None, None]
    return jnp.einsum("btp,bto->po", a, g)

  def _all(self):
    join = lambda xs: jnp.concatenate(
      [x.astype(jnp.float32) for x in xs], axis=1
    )
    return join(self.inputs), join(self.outputs)


def _as_varying(x, like):
  """x, which inside `shard_map` differs between devices if `like` does."""
  nothing = jnp.where(False, like.reshape(-1)[0], 0)
  return x + nothing.astype(x.dtype)


def _where(good, x):
  return jnp.where(good.reshape(-1, *(1,) * (x.ndim - 1)), x, 0)


def _safe(square):
  # Only a guard against 0 / 0; a norm of 0 is clipped by nothing.
  return jnp.maximum(jnp.sqrt(square), 1e-12)


def _squares(x):
  x = x.astype(jnp.float32)
  return jnp.sum(jnp.square(x), tuple(range(1, x.ndim)))


def _row(batch):
  return jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), batch
  )


def _names(tree):
  paths = jax.tree_util.tree_leaves_with_path(tree)
  return [jax.tree_util.keystr(p, simple=True, separator="/") for p, _ in paths]


@dataclasses.dataclass(frozen=True)
class _Call:
  """One use of a kernel: which leaf, and its output [T, O] for one example."""

  leaf: int
  outputs: tuple[int, int]
  dtype: Any


class _Tap:
  """Has Dense and Conv layers hand out their inputs and take a probe.

  The gradient by the probe, which is added to the output, is that by the
  output. Kernels are known by identity, so that other networks with layers of
  the same names are left alone.

  Args:
    leaves: of the parameters, as the network will see them.
    inner: the indices of kernels whose layers are tapped.
    probes: one for each use, in order; None only to note `calls`, in which case
      no tapped kernel enters the computation.
  """

  def __init__(self, leaves, inner, probes=None):
    self.inputs: list[jax.Array] = []
    self.calls: list[_Call] = []
    self._index = {id(leaves[i]): i for i in inner}
    self._probes = probes

  def __enter__(self):
    self._context = nn.intercept_methods(self._intercept)
    self._context.__enter__()
    return self

  def __exit__(self, *error):
    return self._context.__exit__(*error)

  def _intercept(self, call, args, kwargs, context):
    layer = context.module
    if context.method_name != "__call__" or not _is_product(layer):
      return call(*args, **kwargs)
    leaf = self._index.get(id(layer.get_variable("params", "kernel")))
    if leaf is None:
      return call(*args, **kwargs)
    (x,) = args
    kernel = layer.get_variable("params", "kernel")
    bias = layer.get_variable("params", "bias") if layer.use_bias else None
    if self._probes is None:
      kernel = jax.ShapeDtypeStruct(kernel.shape, kernel.dtype)
    dtype = layer.dtype or jnp.result_type(x, kernel.dtype)
    x = x.astype(dtype)
    if isinstance(layer, nn.Conv):
      x = _patches(x, layer)
    features = kernel.shape[-1]
    shape = (*x.shape[:-1], features)
    flat = (math.prod(shape[:-1]), features)
    self.calls.append(_Call(leaf, flat, dtype))
    if self._probes is None:
      y = jnp.zeros(shape, dtype)
    else:
      self.inputs.append(x.reshape(flat[0], -1))
      probe = self._probes[len(self.inputs) - 1]
      y = x @ kernel.reshape(-1, features).astype(dtype) + probe.reshape(shape)
    return y if bias is None else y + bias.astype(dtype)


def _is_product(layer) -> bool:
  if type(layer) is nn.Dense:
    return True
  if type(layer) is not nn.Conv or jax.default_backend() != "cpu":
    return False
  ones = lambda x: x in (1, None) or set(x) == {1}
  return (
    isinstance(layer.kernel_size, Sequence)
    and len(layer.kernel_size) == 2
    and ones(layer.input_dilation)
    and ones(layer.kernel_dilation)
    and layer.feature_group_count == 1
    and layer.mask is None
    and layer.padding not in ("CIRCULAR", "CAUSAL", "REFLECT")
  )


def _patches(x, layer):
  """[..., H, W, C] -> [..., H', W', h * w * C], what each output is made of."""
  window = layer.kernel_size
  strides = layer.strides
  strides = (
    (strides or 1,) * 2 if not isinstance(strides, (tuple, list)) else strides
  )
  padding = layer.padding
  if isinstance(padding, str):
    padding = jax.lax.padtype_to_pads(x.shape[-3:-1], window, strides, padding)
  elif isinstance(padding, int):
    padding = [(padding, padding)] * 2
  else:
    padding = [(p, p) if isinstance(p, int) else p for p in padding]
  before = [(0, 0)] * (x.ndim - 3)
  x = jnp.pad(x, (*before, *padding, (0, 0)))
  rows, columns = (
    (n - w) // s * s + 1
    for n, w, s in zip(x.shape[-3:-1], window, strides, strict=True)
  )
  return jnp.concatenate(
    [
      x[..., i : i + rows : strides[0], j : j + columns : strides[1], :]
      for i in range(window[0])
      for j in range(window[1])
    ],
    -1,
  )


def _product_layers(loss_fn, params, row) -> list[_Call]:
  """The uses of kernels that only Dense and Conv layers use."""
  leaves, structure = jax.tree.flatten(params)
  kernels = range(len(leaves))
  calls: list[_Call] = []

  def run(leaves, row):
    with _Tap(leaves, kernels) as tap:
      value = loss_fn(jax.tree.unflatten(structure, leaves), row)
    calls.extend(tap.calls)
    return value

  jaxpr = jax.make_jaxpr(run)(leaves, row).jaxpr
  # A kernel that the loss depends on without its layers is used elsewhere too,
  # as by weight decay: its gradient is not the layers' alone.
  used = {id(x) for x in jaxpr.outvars}
  used |= {id(x) for equation in jaxpr.eqns for x in equation.invars}
  return [c for c in calls if id(jaxpr.invars[c.leaf]) not in used]


def clipped_grad(
  loss_fn: Callable,
  clip_norm: float | Mapping[str, float],
  *,
  group_of: Callable[[str], str] | None = None,
  has_aux: bool = False,
  microbatches: int = 1,
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
    microbatches: parts, one after the other, that each device's rows are
      divided into; memory falls by about as much.
    axis: of the mesh.

  Returns:
    (params, batch) -> (sum of clipped gradients, float32; norms [B] before
    clipping[, aux [B, ...]]). Rows whose batch["padding"] is true, and examples
    whose gradient is not finite, add nothing to the sum; norms and aux are of
    all rows and are not private. `.sensitivity()` is the norm that one example
    can add.

  Raises:
    ValueError: a clip norm is not positive, or there are groups and no
      group_of.
  """
  groups = clip_norm if isinstance(clip_norm, Mapping) else {_ALL: clip_norm}
  bad = {k: v for k, v in groups.items() if not (0 < v < math.inf)}
  if bad or not groups:
    raise ValueError(f"clip_norm must be positive and finite, got {clip_norm}")
  if isinstance(clip_norm, Mapping) != (group_of is not None):
    raise ValueError("clip_norm by group and group_of belong together")
  return ClippedGrad(
    loss_fn,
    {k: float(v) for k, v in groups.items()},
    group_of or (lambda name: _ALL),
    has_aux,
    microbatches,
    axis,
  )
