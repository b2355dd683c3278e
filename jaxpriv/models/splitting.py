"""Cuts a network in two at a named layer: C = D o f.

Guo et al., "Deep Poisoning: Towards Robust Image Data Sharing against Visual
Disclosure", WACV 2021, equation (2): a featurizer f, up to and including that
layer, and a decider D, the rest. It works on any network: calls of the layer
are intercepted.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
from flax.traverse_util import flatten_dict


class Split(NamedTuple):
  """The two halves; both take the variables of the whole network.

  Attributes:
    featurizer: (variables, images) -> features, the output of the layer.
    decider: (variables, features, images) -> the network's output as if the
      layer had given `features`; it does not depend on the images' pixels.
  """

  featurizer: Callable[..., jax.Array]
  decider: Callable[..., Any]


class _Reached(Exception):
  """Raised when the layer was called, to skip the rest of the network."""

  def __init__(self, features):
    super().__init__()
    self.features = features


def split(model: nn.Module, layer: str, **arguments: Any) -> Split:
  """Cuts a network after `layer`.

  Args:
    model: a module whose `__call__` takes images.
    layer: the path of a module that returns one array, such as "conv4_1" or
      "backbone/conv4_1"; it is called once.
    **arguments: further arguments of `model.__call__`, such as train=False.

  Returns:
    a Split. A compiled decider computes no layer before the cut: XLA removes
    results that are not used.

  Raises:
    ValueError: there is no such layer (raised when the halves are called).
  """

  def featurizer(variables, images):
    return model.apply(variables, images, method=featurize(layer), **arguments)

  def decider(variables, features, images):
    return model.apply(
      variables, features, images, method=decide(layer), **arguments
    )

  return Split(featurizer, decider)


@functools.cache
def featurize(layer: str) -> Callable[..., jax.Array]:
  """(module, images, **arguments) -> features: a `method` of `Module.apply`."""

  def method(module, images, **arguments):
    def reached(call):
      raise _Reached(call())

    try:
      _intercepted(module, layer, images, arguments, reached)
    except _Reached as found:
      return found.features
    raise AssertionError("unreachable")

  return method


@functools.cache
def decide(layer: str) -> Callable[..., Any]:
  """(module, features, images, **arguments) -> output, as `featurize`."""

  def method(module, features, images, **arguments):
    return _intercepted(module, layer, images, arguments, lambda call: features)

  return method


@functools.cache
def observe(layer: str) -> Callable[..., tuple[jax.Array, Any]]:
  """(module, images, **arguments) -> (features, output), as `featurize`."""

  def method(module, images, **arguments):
    seen = []

    def reached(call):
      seen.append(call())
      return seen[0]

    output = _intercepted(module, layer, images, arguments, reached)
    return seen[0], output

  return method


def _intercepted(module, layer, images, arguments, instead):
  """Calls the module, with `instead` in place of the layer."""
  path = tuple(layer.split("/"))
  called: list[str] = []

  def wrapped(call, args, kwargs, context):
    if context.method_name != "__call__":
      return call(*args, **kwargs)
    called.append("/".join(context.module.path))
    if context.module.path != path:
      return call(*args, **kwargs)
    return instead(lambda: call(*args, **kwargs))

  with nn.intercept_methods(wrapped):
    output = module(images, **arguments)
  if layer not in called:
    raise ValueError(
      f"no layer {layer!r} to cut at: choose of {_listed(called)}"
    )
  return output


def halves(
  model: nn.Module, layer: str, images: Any, **arguments: Any
) -> tuple[tuple[str, ...], tuple[str, ...]]:
  """The names of the parameters of f and of D, such as "conv1/kernel".

  Args:
    model: see `split`.
    layer: see `split`.
    images: images of the shape to come, or a jax.ShapeDtypeStruct.
    **arguments: see `split`.

  Raises:
    ValueError: there is no such layer.
  """
  key = jax.eval_shape(lambda: jax.random.key(0))
  names = lambda method: tuple(
    flatten_dict(
      jax.eval_shape(
        lambda key, x: model.init(key, x, method=method, **arguments),
        key,
        images,
      )["params"],
      sep="/",
    )
  )
  before = names(featurize(layer))
  return before, tuple(n for n in names(None) if n not in before)


def parameters(variables: Mapping[str, Any], names: Sequence[str]) -> dict:
  """The variables that belong to some parameters: these, and their statistics.

  Args:
    variables: variables of a network: "params" and perhaps "batch_stats".
    names: names of parameters, as from `halves`.

  Returns:
    "params/conv1/kernel" -> array.
  """
  owners = {name.rpartition("/")[0] for name in names}
  return {
    name: value
    for name, value in flatten_dict(dict(variables), sep="/").items()
    if name.partition("/")[2].rpartition("/")[0] in owners
  }


def _listed(names: Sequence[str]) -> str:
  return ", ".join(dict.fromkeys(name for name in names if name))
