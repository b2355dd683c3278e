"""Cuts a network in two at a named layer: C = D o f.

Guo et al., "Deep Poisoning: Towards Robust Image Data Sharing against Visual
Disclosure", WACV 2021, equation (2): a featurizer f, up to and with that layer,
and a decider D, the rest. No network is written for it: calls of the layer are
intercepted.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax


class Split(NamedTuple):
  """The two halves; both take the variables of the whole network.

  Attributes:
    featurizer: (variables, images) -> features, what the layer gives.
    decider: (variables, features, images) -> the network's output as if the
      layer had given `features`; it does not depend on the images' pixels.
  """

  featurizer: Callable[..., jax.Array]
  decider: Callable[..., Any]


class _Reached(Exception):
  """The layer was called: what comes after it is not wanted."""

  def __init__(self, features):
    super().__init__()
    self.features = features


def split(model: nn.Module, layer: str, **arguments: Any) -> Split:
  """Cuts a network behind `layer`.

  Args:
    model: its `__call__` takes images.
    layer: the path of a module that gives one array, such as "conv4_1" or
      "backbone/conv4_1"; it is called once.
    **arguments: of `model.__call__`, such as train=False.

  Returns:
    a Split. Nothing before the layer is computed for the decider, once it is
    compiled: its result is not used.

  Raises:
    ValueError: when called, if there is no such layer.
  """
  path = tuple(layer.split("/"))

  def intercepted(variables, images, interceptor):
    called: list[str] = []

    def wrapped(call, args, kwargs, context):
      if context.method_name != "__call__":
        return call(*args, **kwargs)
      called.append("/".join(context.module.path))
      if context.module.path != path:
        return call(*args, **kwargs)
      return interceptor(call, args, kwargs)

    with nn.intercept_methods(wrapped):
      output = model.apply(variables, images, **arguments)
    if layer not in called:
      raise ValueError(
        f"no layer {layer!r} to cut at: choose of {_listed(called)}"
      )
    return output

  def featurizer(variables, images):
    def reached(call, args, kwargs):
      raise _Reached(call(*args, **kwargs))

    try:
      intercepted(variables, images, reached)
    except _Reached as found:
      return found.features
    raise AssertionError("unreachable")

  def decider(variables, features, images):
    def replaced(call, args, kwargs):
      return features

    return intercepted(variables, images, replaced)

  return Split(featurizer, decider)


def _listed(names: Sequence[str]) -> str:
  return ", ".join(dict.fromkeys(name for name in names if name))
