"""Layers whose gradients are products: inputs times backpropagated gradients.

The gradient of a Dense or convolution kernel for one example is a^T g, where a
[T, P] is the layer's input, g [T, O] the gradient by its output, and T is 1 or
the positions of an image. `Program` runs a loss so that kernels expose both. A
gradient itself is only formed where that is less work than its norm without it;
the clipped sum is one matrix product over all examples and positions
(Goodfellow 2015; Bu et al., "Differentially Private Optimization on Large Model
at Small Cost", ICML 2023).

Kernels are found in the jaxpr of the loss, equation by equation, not in the
layers that it is written with. So all uses of a kernel count, whether a layer,
a vmap or a derivative inside the loss makes them, and a kernel with any use
that is not a plain product (weight decay, a scan, a checkpoint) is left to JAX.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from jaxpriv.equations import bind
from jaxpriv.im2col import im2col
from jaxpriv.privacy import norms

# float32 throughout: by default, accelerators round the factors of a product.
_einsum = functools.partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)

# Operations that do nothing but reorder a kernel's elements, or round them.
_RESHAPING = ("reshape", "transpose", "squeeze")
_NEUTRAL = ("convert_element_type", "pvary", "copy", "copy_p")


class Product:
  """The gradients of a kernel [P, O]: for each example, the sum of a^T g."""

  def __init__(self):
    self.inputs, self.outputs, self._each = [], [], None

  def add(self, a, g):
    """Adds one use of the kernel: a [B, T, P] and g [B, T, O]."""
    self.inputs.append(a)
    self.outputs.append(g)

  def lengths(self):
    """Norms [B]; the products are formed where they are small."""
    a, g = self._all()
    positions, features = a.shape[1], a.shape[2] * g.shape[2]
    # Then this takes at most a quarter of the time and memory of forming them.
    if features > 4 * positions * (a.shape[2] + g.shape[2]):
      return norms.product_lengths(a, g)
    # So that `sum` adds up the same numbers that are measured here.
    self._each = jax.lax.optimization_barrier(_einsum("btp,bto->bpo", a, g))
    return norms.lengths(self._each)

  def sum(self, scale, good, clean):
    """The sum of the examples' gradients times scale [B], [P, O]."""
    if self._each is not None:
      each = self._each if clean else rows_where(good, self._each)
      return _einsum("b,bpo->po", scale, each)
    a, g = self._all()
    if not clean:
      a, g = rows_where(good, a), rows_where(good, g)
    g = g * scale[:, None, None]
    return _einsum("btp,bto->po", a, g)

  def _all(self):
    join = lambda xs: jnp.concatenate(
      [x.astype(jnp.float32) for x in xs], axis=1
    )
    return join(self.inputs), join(self.outputs)


def rows_where(good: jax.Array, x: jax.Array) -> jax.Array:
  """x [B, ...] with zeros in the rows where `good` [B] is false."""
  good = good.reshape(-1, *(1,) * (x.ndim - 1))
  return jnp.where(good, x, jnp.zeros((), x.dtype))


@dataclasses.dataclass(frozen=True)
class Kernel:
  """A parameter as an equation sees it.

  Attributes:
    leaf: its index.
    reshaped: the (operation, parameters) that it went through, in order.
    apply: applies these operations to any array of its shape.
    padded: zeros at its edges, as `lax.pad` takes them, () if none.
  """

  leaf: int
  reshaped: tuple[tuple[str, str], ...] = ()
  apply: Callable = lambda x: x
  padded: tuple[tuple[int, int, int], ...] = ()


@dataclasses.dataclass(frozen=True)
class Use:
  """One product with a kernel.

  Attributes:
    leaf: index of the parameter.
    layout: how [P, O] was made from it; uses of equal layout add up.
    restore: [P, O] -> the shape of the parameter.
    output: shape [T, O] and dtype of the product, for one example.
    run: (operands of the equation, probe [T, O]) -> (a [T, P], result).
  """

  leaf: int
  layout: Any
  restore: Callable
  output: jax.ShapeDtypeStruct
  run: Callable


class Program(NamedTuple):
  """A loss of one example whose kernels expose the factors of their gradients.

  Attributes:
    closed: the loss as a function of the leaves of parameters and example.
    structure: the tree structure of its result.
    uses: the uses of kernels that occur in products only, by the place of their
      equation, (index, index within a compiled part, ...), in order.
    convolves: whether there are other convolutions.
  """

  closed: ClosedJaxpr
  structure: Any
  uses: Mapping[tuple[int, ...], Use]
  convolves: bool

  @property
  def restore(self) -> dict[int, Callable]:
    """For each leaf that `uses` names: [P, O] -> the shape of the parameter."""
    return {use.leaf: use.restore for use in self.uses.values()}

  def run(self, leaves: Sequence, row: Any, probes: Sequence):
    """(result of the loss, [a [T, P]] of each use).

    A probe is added to a product, so that the gradient by the probe is that by
    the product; the parameters that `uses` names enter as constants.

    Args:
      leaves: the parameters.
      row: an example.
      probes: [T, O] of each use; zeros.
    """
    left = dict(zip(self.uses, probes, strict=True))
    inputs: dict[tuple[int, ...], jax.Array] = {}

    def run(jaxpr, consts, args, place):
      env = dict(zip(jaxpr.constvars, consts, strict=True))
      env |= zip(jaxpr.invars, args, strict=True)
      for i, equation in enumerate(jaxpr.eqns):
        here = (*place, i)
        values = [
          x.val if isinstance(x, Literal) else env[x] for x in equation.invars
        ]
        use = self.uses.get(here)
        results: Sequence
        if use:
          inputs[here], result = use.run(values, left[here])
          results = [result]
        elif _is_jit(equation) and any(
          key[: len(here)] == here for key in left
        ):
          inner = equation.params["jaxpr"]
          results = run(inner.jaxpr, inner.consts, values, here)
        else:
          results = bind(equation, values)
        env |= zip(equation.outvars, results, strict=True)
      return [
        x.val if isinstance(x, Literal) else env[x] for x in jaxpr.outvars
      ]

    args = [*leaves, *jax.tree.leaves(row)]
    flat = run(self.closed.jaxpr, self.closed.consts, args, ())
    value = jax.tree.unflatten(self.structure, flat)
    return value, [inputs[here] for here in self.uses]


def find(
  loss_fn: Callable, params: Any, row: Any, convolutions: bool
) -> Program:
  """Finds the parameters whose gradients are products.

  Args:
    loss_fn: (params, row) -> a pytree.
    params: pytree of arrays.
    row: an example.
    convolutions: include convolutions, which are then computed as matrix
      products of windows (`im2col`): the fast way on a CPU.
  """
  leaves, structure = jax.tree.flatten(params)
  row_leaves, row_structure = jax.tree.flatten(row)
  returned = None

  def flat(*args):
    nonlocal returned
    value = loss_fn(
      jax.tree.unflatten(structure, args[: len(leaves)]),
      jax.tree.unflatten(row_structure, args[len(leaves) :]),
    )
    out, returned = jax.tree.flatten(value)
    return out

  closed = jax.make_jaxpr(flat)(*leaves, *row_leaves)
  uses: dict[tuple[int, ...], Use] = {}
  spoiled: set[int] = set()

  def walk(jaxpr: Jaxpr, kernels: dict, place: tuple[int, ...]):
    for i, equation in enumerate(jaxpr.eqns):
      here = (*place, i)
      kernel_at = {
        k: kernels[x]
        for k, x in enumerate(equation.invars)
        if not isinstance(x, Literal) and x in kernels
      }
      if not kernel_at:
        continue
      reshaped = _reshaped(equation, kernel_at)
      use = (
        None if reshaped else _use(equation, kernel_at, leaves, convolutions)
      )
      if reshaped:
        kernels[equation.outvars[0]] = reshaped
      elif use:
        uses[here] = use
      elif _is_jit(equation):
        inner = equation.params["jaxpr"].jaxpr
        mine = {inner.invars[k]: kernel for k, kernel in kernel_at.items()}
        for x, kernel in zip(
          equation.outvars, walk(inner, mine, here), strict=True
        ):
          if kernel:
            kernels[x] = kernel
      else:
        spoiled.update(kernel.leaf for kernel in kernel_at.values())
    return [
      None if isinstance(x, Literal) else kernels.get(x) for x in jaxpr.outvars
    ]

  invars = closed.jaxpr.invars[: len(leaves)]
  first = {
    x: Kernel(i)
    for i, x in enumerate(invars)
    if jnp.issubdtype(x.aval.dtype, jnp.floating)
  }
  returned_kernels = walk(closed.jaxpr, first, ())
  spoiled |= {kernel.leaf for kernel in returned_kernels if kernel}
  layouts: dict[int, Any] = {}
  for use in uses.values():
    # A kernel used in two ways, such as by a layer and by its derivative.
    if layouts.setdefault(use.leaf, use.layout) != use.layout:
      spoiled.add(use.leaf)
  uses = {k: use for k, use in uses.items() if use.leaf not in spoiled}
  convolves = _convolves(closed.jaxpr, uses, ())
  return Program(closed, returned, uses, convolves)


def _is_jit(equation) -> bool:
  return equation.primitive.name in ("jit", "pjit")


def _convolves(jaxpr, uses, place) -> bool:
  for i, equation in enumerate(jaxpr.eqns):
    here = (*place, i)
    if here in uses:
      continue
    if _is_jit(equation):
      if _convolves(equation.params["jaxpr"].jaxpr, uses, here):
        return True
    elif "conv_general_dilated" in str(equation):
      return True
  return False


def _reshaped(equation, kernel_at) -> Kernel | None:
  """The kernel that an equation only reshapes, rounds or pads."""
  kernel, name = kernel_at.get(0), equation.primitive.name
  if kernel is None or len(kernel_at) > 1:
    return None
  shape = equation.outvars[0].aval.shape
  if name in _NEUTRAL and jnp.issubdtype(
    equation.outvars[0].aval.dtype, jnp.floating
  ):
    return kernel
  same = math.prod(shape) == math.prod(equation.invars[0].aval.shape)
  if name in _RESHAPING or (name == "broadcast_in_dim" and same):
    if kernel.padded:
      return None

    def apply(x, equation=equation, before=kernel.apply):
      return bind(equation, [before(x)])[0]

    step = (name, f"{equation.invars[0].aval.shape}{equation.params}")
    return Kernel(kernel.leaf, (*kernel.reshaped, step), apply)
  if name == "pad" and not kernel.padded:
    value = equation.invars[1]
    edges = tuple(equation.params["padding_config"])
    zeros = isinstance(value, Literal) and value.val == 0
    if zeros and all(e[0] >= 0 and e[1] >= 0 and e[2] == 0 for e in edges):
      return dataclasses.replace(kernel, padded=edges)
  return None


def _use(equation, kernel_at, leaves, convolutions) -> Use | None:
  if len(kernel_at) != 1:
    return None
  (side, kernel) = next(iter(kernel_at.items()))
  name = equation.primitive.name
  if name == "dot_general" and not kernel.padded:
    return _dot(equation, side, kernel, leaves)
  if name == "conv_general_dilated" and side == 1 and convolutions:
    return _convolution(equation, kernel, leaves)
  return None


def _restore(kernel, leaves, rows: tuple[int, ...], columns: tuple[int, ...]):
  """(layout, [P, O] -> leaf) of a kernel whose axes `rows` make up P."""
  leaf = leaves[kernel.leaf]

  def matrix(x):
    x = kernel.apply(x)
    x = jnp.transpose(x, (*rows, *columns))
    return x.reshape(math.prod(x.shape[: len(rows)]), -1)

  def restore(x):
    # `matrix` only reorders elements, so its transpose is its inverse.
    return jax.vjp(matrix, leaf.astype(jnp.float32))[1](x)[0]

  return (kernel.reshaped, rows, columns), restore


def _dot(equation, side, kernel, leaves) -> Use | None:
  (contracted, batched) = equation.params["dimension_numbers"]
  if any(batched):
    return None
  avals = [x.aval for x in equation.invars]
  mine, other = contracted[side], contracted[1 - side]
  free = lambda i, used: tuple(d for d in range(avals[i].ndim) if d not in used)
  columns, positions = free(side, mine), free(1 - side, other)
  layout, restore = _restore(kernel, leaves, tuple(mine), columns)
  out = equation.outvars[0].aval
  sizes = [
    math.prod(avals[1 - side].shape[d] for d in positions),
    math.prod(avals[side].shape[d] for d in columns),
  ]

  def run(values, probe):
    x = jnp.transpose(values[1 - side], (*positions, *other))
    if side == 0:  # the kernel's axes come first
      probe = probe.T
    (result,) = bind(equation, values)
    return x.reshape(sizes[0], -1), result + probe.reshape(out.shape)

  output = jax.ShapeDtypeStruct(tuple(sizes), out.dtype)
  return Use(kernel.leaf, layout, restore, output, run)


def _convolution(equation, kernel, leaves) -> Use | None:
  params = equation.params
  numbers = params["dimension_numbers"]
  if params["feature_group_count"] != 1 or params["batch_group_count"] != 1:
    return None
  features, channels, *window = numbers.rhs_spec
  shape = list(equation.invars[1].aval.shape)
  first = 0
  if kernel.padded:
    # Channels of zeros: the input's values there do not matter.
    if any(any(e) for d, e in enumerate(kernel.padded) if d != channels):
      return None
    first, after, _ = kernel.padded[channels]
    shape[channels] -= first + after
  layout, restore = _restore(kernel, leaves, (*window, channels), (features,))
  out = equation.outvars[0].aval
  sizes = (math.prod(out.shape) // shape[features], shape[features])

  def run(values, probe):
    x, w = values
    batch, channel, *space = numbers.lhs_spec
    x = jnp.transpose(x, (batch, *space, channel))
    w = jnp.transpose(w, (*window, channels, features))
    last = first + shape[channels]
    x, w = x[..., first:last], w[..., first:last, :]
    a = im2col(
      x,
      w.shape[:-2],
      params["window_strides"],
      params["padding"],
      params["lhs_dilation"],
      params["rhs_dilation"],
    )
    leading = a.shape[:-1]
    a = a.reshape(sizes[0], -1)
    y = jax.lax.dot(
      a,
      w.reshape(-1, sizes[1]),
      precision=params["precision"],
      preferred_element_type=params["preferred_element_type"],
    )
    y = (y + probe).reshape(*leading, sizes[1])
    batch, channel, *space = numbers.out_spec
    return a, jnp.moveaxis(y, range(y.ndim), (batch, *space, channel))

  output = jax.ShapeDtypeStruct(sizes, out.dtype)
  return Use(kernel.leaf, layout, restore, output, run)
