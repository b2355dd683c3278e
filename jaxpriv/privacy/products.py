"""Layers whose gradients are products: what goes in times what comes back.

Of a Dense or Conv layer the gradient of an example is a^T g, a [T, P] being
what goes in and g [T, O] what comes back, T being 1 or the positions of an
image. `Tap` has layers hand out both, so that a gradient itself is only formed
where that is less work than its norm without it,

  |a^T g|^2 = sum of (a a^T) * (g g^T)        (ghost norm, T x T)

and the clipped sum is one matrix product over all examples and positions
(Goodfellow 2015; Bu et al., "Differentially Private Optimization on Large Model
at Small Cost", ICML 2023).
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxpriv.patches import patches

_EPSILON = 2.0**-23

# float32 throughout: accelerators would round what norms are made of.
_einsum = functools.partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)


class Product:
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
      found = jnp.sum(
        _einsum("btp,bsp->bts", a, a) * _einsum("bto,bso->bts", g, g),
        (1, 2),
      )
      # Terms may cancel: never below what rounding could hide of the norm.
      size = jnp.sum(jnp.square(a), (1, 2)) * jnp.sum(jnp.square(g), (1, 2))
      slack = 0.0 if positions == 1 else 2 * _EPSILON * positions
      return jnp.maximum(found, 0) + slack * size
    self._each = _einsum("btp,bto->bpo", a, g)
    return squares(self._each)

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


def squares(x: jax.Array) -> jax.Array:
  """Squared norms [B] of the rows of x [B, ...], float32."""
  x = x.astype(jnp.float32)
  return jnp.sum(jnp.square(x), tuple(range(1, x.ndim)))


def rows_where(good: jax.Array, x: jax.Array) -> jax.Array:
  """x [B, ...] with zeros for the rows that are not good [B]."""
  good = good.reshape(-1, *(1,) * (x.ndim - 1))
  return jnp.where(good, x, jnp.zeros((), x.dtype))


@dataclasses.dataclass(frozen=True)
class Call:
  """One use of a kernel: which leaf, and its output [T, O] for one example."""

  leaf: int
  outputs: tuple[int, int]
  dtype: Any


class Tap:
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
    self.calls: list[Call] = []
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
    self.calls.append(Call(leaf, flat, dtype))
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
  strides, padding = layer.strides or 1, layer.padding
  if not isinstance(strides, (tuple, list)):
    strides = (strides, strides)
  if isinstance(padding, int):
    padding = (padding, padding)
  if not isinstance(padding, str):
    padding = [(p, p) if isinstance(p, int) else p for p in padding]
  return patches(x, layer.kernel_size, strides, padding)


class Traced(NamedTuple):
  """What is known of a loss before it is run.

  Attributes:
    calls: the uses of kernels that only Dense and Conv layers use.
    convolves: there are convolutions besides.
  """

  calls: list[Call]
  convolves: bool


def trace(loss_fn, params, row) -> Traced:
  """Finds the layers whose gradients are products."""
  leaves, structure = jax.tree.flatten(params)
  kernels = range(len(leaves))
  calls: list[Call] = []

  def run(leaves, row):
    with Tap(leaves, kernels) as tap:
      value = loss_fn(jax.tree.unflatten(structure, leaves), row)
    calls.extend(tap.calls)
    return value

  jaxpr = jax.make_jaxpr(run)(leaves, row).jaxpr
  # A kernel that the loss depends on without its layers is used elsewhere too,
  # as by weight decay: its gradient is not the layers' alone.
  used = {id(x) for x in jaxpr.outvars}
  used |= {id(x) for equation in jaxpr.eqns for x in equation.invars}
  own = [c for c in calls if id(jaxpr.invars[c.leaf]) not in used]
  convolves = len(own) < len(calls) or "conv_general_dilated" in str(jaxpr)
  return Traced(own, convolves)
