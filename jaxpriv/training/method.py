"""Method, the one abstraction: a NamedTuple of pure functions."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import jax

from jaxpriv.privacy.plan import Plan

if TYPE_CHECKING:
  from jaxpriv.training.federated import Clients

State = Any  # a dict pytree of arrays
Frozen = Mapping[str, State]
Metrics = dict[str, jax.Array]


class Init(Protocol):
  def __call__(self, key: jax.Array, batch: Any, frozen: Frozen) -> State:
    """A fresh state; its shapes depend on the batch's, not on its values."""


class Step(Protocol):
  def __call__(
    self, state: State, frozen: Frozen, batch: Any, key: jax.Array
  ) -> tuple[State, Metrics]:
    """One step of training; metrics are scalars."""


# (state, frozen, batch) -> pytree of arrays with a leading batch axis.
Predict = Callable[[State, Frozen, Any], Any]


class Outputs(NamedTuple):
  """The functions that a trained method offers; None where it has none.

  Each is (state, frozen, batch) -> pytree with a leading batch axis B.

  Attributes:
    image: protected images [B, H, W, 3] in [0, 1]: what is released.
    cut_out: faces of protected images to be pasted without what is behind
      them, [B, H, W, 4]: colours times opacity, and opacity, in [0, 1].
    code: int32 [B, C], values of which alone a release is made, with noise.
    drawn: images [B, H, W, 3] in [0, 1] that a generator makes of photographs,
      or of their conditions alone, and other ones for each batch["index"].
    keep: bool [B, H, W], True where a protected image shows the photograph as
      it is and everybody can see that: a mask that is public.
    features: protected features, float32 [B, h, w, C]: what is released.
    clean_features: the same features before they are protected.
    features_given_code: protected features under a guessed key,
      batch["code"] [B, K], without noise.
    logits: [B, A, classes] of batch["image"], or of batch["features"] where the
      method decides on features.
    labels: int32 [B, A], the likeliest class of each.
    attributes: float32 [B, A], scores of attributes read in images, above 0
      where they are likelier than not.
    embed: float32 [B, D], which identifies people.
    scores: name -> [B], how well an example is read; NaN where unlabelled.
    read: name -> [B, ...], what is read of the face in batch["box"].
    detect: boxes [B, K, 4] and scores [B, K] of faces in whole images.
    reconstruct: images [B, S, S, 3] rebuilt from batch["features"], or from
      other images, batch["released"].
    align: features [B, h, w, C] brought nearer to clean ones.
    losses: name -> [B], "loss" among them, on examples that are not trained on.
    sample: name -> images [B, H, W, 3], to look at.
  """

  image: Predict | None = None
  cut_out: Predict | None = None
  code: Predict | None = None
  drawn: Predict | None = None
  keep: Predict | None = None
  features: Predict | None = None
  clean_features: Predict | None = None
  features_given_code: Predict | None = None
  logits: Predict | None = None
  labels: Predict | None = None
  attributes: Predict | None = None
  embed: Predict | None = None
  scores: Predict | None = None
  read: Predict | None = None
  detect: Predict | None = None
  reconstruct: Predict | None = None
  align: Predict | None = None
  losses: Predict | None = None
  sample: Predict | None = None

  def given(self) -> dict[str, Predict]:
    """The functions that are there, by name."""
    return {k: fn for k, fn in self._asdict().items() if fn is not None}

  def map(self, change: Callable[[Callable], Predict]) -> "Outputs":
    """The same outputs, each function changed."""
    return Outputs(**{name: change(fn) for name, fn in self.given().items()})


def need(output: Predict | None, name: str) -> Predict:
  """An output that must be there.

  Raises:
    ValueError: it is not; `name` says what it is.
  """
  if output is None:
    raise ValueError(f"this method has no output {name!r}, which is asked for")
  return output


class Method(NamedTuple):
  """A training algorithm in the image of `optax.GradientTransformation`.

  Attributes:
    init: (key, batch, frozen) -> state, any dict pytree. All of it is
      checkpointed. In a fresh run the batch is that of the first step, before
      any random change; elsewhere only its shapes may be right. The state of a
      private phase does not depend on what is in it.
    step: (state, frozen, batch, key) -> (state, metrics); pure and jittable.
    outputs: what it can do once it is trained.
    cross_example: (state, frozen, batch) -> [B], how much one example moves the
      loss of another, relative to its own; None where nobody claims that none
      does.
    layers: (state, frozen, batch) -> path of a layer -> [B, ...], what each
      layer of its networks says; None where nobody has said what they read.

  `batch` holds float32 images in [0, 1] and `padding` as in
  `jaxpriv.data.records`; `frozen` maps the names of earlier phases to their
  finished states, read-only.
  """

  init: Init
  step: Step
  outputs: Outputs = Outputs()
  cross_example: Predict | None = None
  layers: Predict | None = None


def untrained(outputs: Outputs) -> Method:
  """A method that has nothing to learn, such as a blur."""
  return Method(
    init=lambda key, batch, frozen: {},
    step=lambda state, frozen, batch, key: (state, {}),
    outputs=outputs,
  )


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
    federated: clients -> the phase trained by them, or by nobody if it is given
      None; None where that cannot be.
    clients: of the method, if they train it.
  """

  name: str
  needs: tuple[str, ...]
  method: Method
  private: Callable[..., Method] | None = None
  plan: Plan | None = None
  federated: "Callable[[Clients | None], Phase] | None" = None
  clients: "Clients | None" = None
