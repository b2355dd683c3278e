"""Floating-point operations of a traced program: those of its products.

XLA counts what is in a loop once, and for some platforms nothing at all. Here
products and convolutions are counted in the jaxpr, before anything is fused or
cut to devices, as often as their loops run. All else is left out: on
accelerators it is bound by memory.
"""

import math
from collections.abc import Iterator
from typing import Any

from jax.extend import core


def flops(jaxpr: Any, devices: int = 1) -> int:
  """Operations of a jaxpr over all devices, a multiplication and addition two.

  A `while` loop without a known number of rounds counts once, and of branches
  the dearest.

  Args:
    jaxpr: a Jaxpr or ClosedJaxpr.
    devices: of the mesh, each of which runs what is in a `shard_map`.
  """
  jaxpr = getattr(jaxpr, "jaxpr", jaxpr)
  return sum(_of(equation, devices) for equation in jaxpr.eqns)


def _of(equation, devices: int) -> int:
  name, params = equation.primitive.name, equation.params
  if name == "dot_general":
    return _of_product(equation)
  if name == "conv_general_dilated":
    return _of_convolution(equation)
  inner = [flops(each, devices) for each in _jaxprs(params)]
  if name == "scan":
    return params["length"] * sum(inner)
  if name == "cond":
    return max(inner, default=0)
  if name == "shard_map":
    return devices * sum(inner)
  return sum(inner)


def _jaxprs(params: dict[str, Any]) -> Iterator[Any]:
  for value in params.values():
    for each in value if isinstance(value, (tuple, list)) else (value,):
      if isinstance(each, (core.Jaxpr, core.ClosedJaxpr)):
        yield each


def _of_product(equation) -> int:
  (contracted, _), _ = equation.params["dimension_numbers"]
  shape = equation.invars[0].aval.shape
  size = math.prod(equation.outvars[0].aval.shape)
  return 2 * size * math.prod(shape[axis] for axis in contracted)


def _of_convolution(equation) -> int:
  """Counts taps on padding, too, and none on holes that dilation makes."""
  numbers = equation.params["dimension_numbers"]
  kernel = equation.invars[1].aval.shape
  taps = math.prod(kernel[axis] for axis in numbers.rhs_spec[1:])
  taps //= math.prod(equation.params["lhs_dilation"])
  # In a gradient of weights examples take the place of channels.
  groups = equation.params["batch_group_count"]
  return 2 * math.prod(equation.outvars[0].aval.shape) * taps // groups
