"""Ready-made phases that mechanisms and attackers share.

Each takes the options of one phase (`configs.common.phase`), so that EMA,
augmentation, accumulation and the optimizer are settings of any of them.
"""

import functools
from collections.abc import Callable, Mapping, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from jaxpriv.data import augmentation
from jaxpriv.data.records import DataError
from jaxpriv.data.sources import words
from jaxpriv.errors import SettingError
from jaxpriv.models import heads, margin
from jaxpriv.privacy.plan import Plan
from jaxpriv.training import builders, combinators, federated, private
from jaxpriv.training.federated import Clients
from jaxpriv.training.method import Method, Outputs, Phase
from jaxpriv.training.optimizers import make_optimizer


def supervised_phase(
  name: str,
  model: nn.Module,
  loss: builders.Loss,
  options: ConfigDict,
  *,
  needs: tuple[str, ...] = (),
  transform: Callable | None = None,
  validated: bool = True,
  **arguments,
) -> Phase:
  """A supervised phase with the combinators its options ask for.

  Args:
    name: of the phase.
    model: see `builders.supervised`, as for loss and further arguments.
    loss: see there.
    options: of the phase.
    needs: of the phase.
    transform: (key, batch) -> batch, each row on its own, after augmentation.
    validated: False where the loss on held-out people would mean nothing.
    **arguments: of `builders.supervised`.
  """

  def build(
    plan: Plan | None = None,
    private_grad: Callable = private.private_grad,
    clients: Clients | None = None,
  ) -> Method:
    grad, schedule = gradient(options), options.copy_and_resolve_references()
    changes = random_changes(options, transform)
    if plan:
      view = None
      if plan.augmentation_multiplicity > 1:
        _check_varied(name, options, transform, plan)
        view, changes = combinators.in_turn(changes), []
      grad = private_grad(plan, view)
      # The schedule ends where the budget does.
      schedule.steps = plan.steps
    if plan and clients:
      rows = plan.sampler(1).rows * plan.rows_per_unit
      clients = clients._replace(rows=rows)
    if clients:
      schedule.steps *= clients.local_steps
    optimizer = make_optimizer(schedule)
    if clients and clients.proximal:
      optimizer = federated.proximal(optimizer, clients.proximal)
    method = builders.supervised(
      model,
      loss,
      optimizer,
      grad=grad,
      clip_norm=options.clip_norm,
      trainable=words(options.trainable),
      **arguments,
    )
    method = transformed(method, changes)
    if clients:
      method = federated.with_clients(method, clients)
    if plan:
      method = private.with_ledger(method, plan)
    if not validated:
      outputs = method.outputs._replace(losses=None)
      method = method._replace(outputs=outputs)
    return averaged(method, options)

  def phase(clients: Clients | None = None) -> Phase:
    made = functools.partial(build, clients=clients)
    return Phase(name, needs, made(), made, federated=phase, clients=clients)

  return phase()


def _check_varied(name, options, transform, plan) -> None:
  """Raises SettingError where all views of an image would be alike."""
  varied = options.augment and augmentation.varies(options.augmentation)
  if not (varied or transform):
    count = plan.augmentation_multiplicity
    raise SettingError(
      f"config.dp.augmentation_multiplicity = {count}, and nothing varies the"
      f" images of phase {name}: {count} equal views would cost {count} times"
      f" as much and change nothing. Set config.phases.{name}.augment and"
      " strengths in its augmentation, or leave the multiplicity at 1"
    )


def adversarial_phase(
  name: str,
  players: Mapping[str, builders.Player],
  moves: Mapping[str, builders.Move],
  options: ConfigDict,
  *,
  needs: tuple[str, ...] = (),
  transform: Callable | None = None,
  outputs: Outputs | None = None,
) -> Phase:
  """A game with the combinators its options ask for.

  Args:
    name: of the phase.
    players: see `builders.adversarial`, as for moves and outputs; optimizers
      are theirs, such as `optimizers.make_optimizer` of these options.
    moves: see there.
    options: of the phase.
    needs: of the phase.
    transform: as in `supervised_phase`.
    outputs: see `builders.adversarial`.

  Raises:
    DataError: options.trainable is set: each player has its own parameters.
  """
  if words(options.trainable):
    raise DataError(
      f"config.phases.{name}.trainable: {name} is a game of several networks,"
      " all of which are trained; leave it empty"
    )
  method = builders.adversarial(
    players,
    moves,
    grad=gradient(options),
    clip_norm=options.clip_norm,
    outputs=outputs,
  )
  method = transformed(method, random_changes(options, transform))
  return Phase(name, needs, averaged(method, options))


def gradient(options: ConfigDict) -> builders.Gradient:
  """The gradient that options ask for: in microbatches, or at once."""
  if options.accumulate > 1:
    return builders.accumulated_grad(options.accumulate)
  return builders.value_and_grad


def random_changes(
  options: ConfigDict, transform: Callable | None = None
) -> list[Callable]:
  """The random changes of a batch, in order: augmentation, then `transform`.

  Each is (key, batch) -> batch.
  """

  def augment(key, batch):
    image = augmentation.augment(key, batch["image"], options.augmentation)
    return {**batch, "image": image}

  changes = [augment] if options.augment else []
  return [*changes, transform] if transform else changes


def transformed(method: Method, changes: Sequence[Callable]) -> Method:
  """The method with the `random_changes` of its batches, in order."""
  for change in reversed(changes):
    method = combinators.with_transform(method, change)
  return method


def averaged(method: Method, options: ConfigDict) -> Method:
  """The method with EMA, as options ask."""
  return combinators.with_ema(method, options.ema) if options.ema else method


HEADS: Mapping[str, Callable] = {
  "arcface": margin.arcface_loss,
  "cosface": margin.cosface_loss,
  "magface": margin.magface_loss,
  "softmax": margin.softmax_loss,
}


def class_logits(
  embeddings: jax.Array, weight: jax.Array, head: ConfigDict
) -> jax.Array:
  """Logits [B, classes] without a margin, linear in the embeddings.

  Those of a margin head are cosines by the length of the embedding: the order
  of classes is that of the cosines.
  """
  if head.kind != "softmax":
    weight = weight / (jnp.linalg.norm(weight, axis=1, keepdims=True) + 1e-12)
  return embeddings @ weight.T


def scaled_logits(
  embeddings: jax.Array, weight: jax.Array, head: ConfigDict
) -> jax.Array:
  """Logits [B, classes] as the loss sees them, but without its margin."""
  if head.kind == "softmax":
    return embeddings @ weight.T
  scale = head.get("scale", margin.SCALE)
  return scale * margin.cosine_logits(embeddings, weight)


def recognition(
  name: str,
  backbone: nn.Module,
  classes: int,
  options: ConfigDict,
  *,
  head: ConfigDict,
  side: int = 0,
  mirrored: bool = True,
  reads: Callable = lambda batch: batch["image"],
  transform: Callable | None = None,
) -> Phase:
  """A recogniser trained by a loss on identities 0 .. classes - 1.

  Its output "embed" returns [B, D]: the embeddings of the image and of its
  mirror image added, as is the custom in face verification.

  Args:
    name: of the phase.
    backbone: images to embeddings.
    classes: people in training.
    options: of the phase.
    head: see `identification`.
    side: see `heads.MarginRecogniser`.
    mirrored: whether the mirror image is embedded, too. Leave it out for
      features: a mirrored map is not that of the mirrored photograph.
    reads: batch -> what the network reads, such as features.
    transform: see `supervised_phase`.
  """

  def embed(apply, batch, frozen):
    image = reads(batch)
    embedding = apply(image, method="embed")
    if not mirrored:
      return embedding
    return embedding + apply(image[:, :, ::-1], method="embed")

  return identification(
    name,
    heads.MarginRecogniser(backbone, classes, side),
    classes,
    options,
    head=head,
    reads=lambda batch, frozen: reads(batch),
    outputs=Outputs(embed=embed),
    transform=transform,
  )


def identification(
  name: str,
  model: nn.Module,
  classes: int,
  options: ConfigDict,
  *,
  head: ConfigDict,
  reads: Callable,
  outputs: Outputs,
  needs: tuple[str, ...] = (),
  transform: Callable | None = None,
) -> Phase:
  """A network that learns to tell people 0 .. classes - 1 apart.

  Rows whose identity is outside that range add nothing.

  Args:
    name: of the phase.
    model: maps what it reads to (embeddings [B, D], weight [classes, D]).
    classes: people in training.
    options: of the phase.
    head: kind, one of `HEADS`, and the options of its loss.
    reads: (batch, frozen) -> what the model reads, or a tuple of it.
    outputs: of the phase.
    needs: of the phase.
    transform: see `supervised_phase`.
  """
  settings = {k: v for k, v in head.items() if k != "kind"}
  if head.kind not in HEADS:
    raise SettingError(
      f"{name}: the kind of a head is one of {', '.join(HEADS)}, not"
      f" {head.kind!r}"
    )
  head_loss = HEADS[head.kind]

  def loss(apply, batch, frozen):
    read = reads(batch, frozen)
    read = read if isinstance(read, tuple) else (read,)
    embeddings, weight = apply(*read)
    labels = batch["identity"]
    known = (labels >= 0) & (labels < classes)
    labels = jnp.where(known, labels, 0)
    losses = head_loss(embeddings, weight, labels, reduction="none", **settings)
    logits = class_logits(embeddings, weight, head)
    right = jnp.argmax(logits, axis=1) == labels
    return losses * known, {"accuracy": (right & known).astype(jnp.float32)}

  # Held-out people are no classes: a validation loss would mean nothing.
  return supervised_phase(
    name,
    model,
    loss,
    options,
    needs=needs,
    transform=transform,
    inputs=reads,
    validated=False,
    outputs=outputs,
  )


def attribute_losses(logits: jax.Array, labels: jax.Array) -> jax.Array:
  """Cross-entropy summed over the known attributes of each example.

  Equation (4) of Liu et al. 2023, without its mean.

  Args:
    logits: [B, A, 2].
    labels: [B, A] in {0, 1}, -1 unknown.

  Returns:
    [B]
  """
  known = labels >= 0
  losses = optax.softmax_cross_entropy_with_integer_labels(
    logits, jnp.where(known, labels, 0).astype(jnp.int32)
  )
  return jnp.sum(losses * known, axis=1)


def attribute_accuracy(logits: jax.Array, labels: jax.Array) -> jax.Array:
  """Share of the known attributes of each example read right, [B]."""
  known = labels >= 0
  right = (jnp.argmax(logits, axis=-1) == labels) & known
  return right.sum(1) / jnp.maximum(known.sum(1), 1)


def attribute_prediction(
  name: str,
  model: nn.Module,
  options: ConfigDict,
  *,
  reads: Callable = lambda batch: batch["image"],
) -> Phase:
  """A predictor of binary attributes: model maps reads(batch) to [B, A, 2].

  Its outputs: "logits" float32 [B, A, 2], and "attributes" their margins
  [B, A].
  """

  def loss(apply, batch, frozen):
    logits = apply(reads(batch))
    labels = batch["attributes"]
    accuracy = attribute_accuracy(logits, labels)
    return attribute_losses(logits, labels), {"accuracy": accuracy}

  def logits(apply, batch, frozen):
    return apply(reads(batch)).astype(jnp.float32)

  def attributes(apply, batch, frozen):
    both = logits(apply, batch, frozen)
    return both[..., 1] - both[..., 0]

  return supervised_phase(
    name,
    model,
    loss,
    options,
    inputs=lambda batch, frozen: reads(batch),
    outputs=Outputs(attributes=attributes, logits=logits),
  )


def reconstruction(
  name: str,
  model: nn.Module,
  options: ConfigDict,
  *,
  features: Callable = lambda batch, frozen: batch["features"],
  needs: tuple[str, ...] = (),
) -> Phase:
  """An inverter of features, trained by the mean absolute error of images.

  Equation (3) of Guo et al. 2021. Its output "reconstruct" maps
  batch["features"] to images [B, S, S, 3] in [0, 1].

  Args:
    name: of the phase.
    model: features to images.
    options: of the phase.
    features: (batch, frozen) -> what is inverted.
    needs: of the phase.
  """

  def loss(apply, batch, frozen):
    images = apply(features(batch, frozen))
    return jnp.mean(jnp.abs(batch["image"] - images), axis=(1, 2, 3)), {}

  def reconstruct(apply, batch, frozen):
    return apply(batch["features"].astype(jnp.float32))

  def sample(apply, batch, frozen):
    images = apply(features(batch, frozen))
    return {"original": batch["image"], "reconstructed": images}

  return supervised_phase(
    name,
    model,
    loss,
    options,
    needs=needs,
    inputs=features,
    outputs=Outputs(reconstruct=reconstruct, sample=sample),
  )
