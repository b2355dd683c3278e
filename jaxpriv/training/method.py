"""Method, the one abstraction: a NamedTuple of pure functions."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from jaxpriv.privacy.plan import Plan


class Method(NamedTuple):
  """A training algorithm in the image of `optax.GradientTransformation`.

  Attributes:
    init: (key, batch, frozen) -> state, any dict pytree. All of it is
      checkpointed.
    step: (state, frozen, batch, key) -> (state, metrics); pure and jittable.
      metrics is a dict of scalars.
    predict: name -> (state, frozen, batch) -> pytree with a leading batch axis.
      "protect" is what is released.

  `batch` holds float32 images in [0, 1] and `padding` as in
  `jaxpriv.data.records`; `frozen` maps the names of earlier phases to their
  finished states, read-only.
  """

  init: Callable[..., Any]
  step: Callable[..., tuple[Any, dict]]
  predict: Mapping[str, Callable[..., Any]] = {}


class Phase(NamedTuple):
  """One training run: a method, and the phases whose states it reads.

  Attributes:
    name: of the phase.
    needs: names of earlier phases, which become `frozen`.
    method: what is trained.
    private: plan -> the method trained with differential privacy; None where
      that cannot be. An audit passes another gradient than
      `private.private_grad` as a second argument.
    plan: of the method, if it is the private one.
  """

  name: str
  needs: tuple[str, ...]
  method: Method
  private: Callable[..., Method] | None = None
  plan: Plan | None = None
