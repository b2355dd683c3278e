"""Runs the equations of a jaxpr one by one.

The module stands below the packages, since both per-example gradients and
saliency maps read networks equation by equation.
"""

from collections.abc import Sequence

from jax.extend.core import JaxprEqn


def bind(equation: JaxprEqn, values: Sequence) -> Sequence:
  """The results of an equation, as `jax.core.eval_jaxpr` has them."""
  params = equation.primitive.get_bind_params(equation.params)
  with equation.ctx.manager:
    result = equation.primitive.bind(*values, **params)
  return result if equation.primitive.multiple_results else [result]
