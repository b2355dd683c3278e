"""Enhanced Embedded AutoEncoders (EEAE).

Liu et al., "Enhanced Embedded AutoEncoders: An Attribute-Preserving Face
De-identification Framework", 2023. Released are images without a face, from
which chosen attributes can still be read:

  r = E(x), y = I(r), x^ = D(y)

E and D are the external autoencoder, trained first to reconstruct (6); I is the
internal one, trained with everything else frozen to minimise (7)

  MSE(d, y) + a1 * sum_n CE(t_n, FSN_n(x^)) + a2 * cos(PEN(x), PEN(x^))

where FSN, the feature selection network, reads attributes and gives the desired
feature map d from its trunk, and PEN, the privacy evaluation network,
recognises people. With `config.model.internal = False` it is the paper's
ablation, SPRN: one autoencoder trained by (8), whose first term is
MSE(x, x^).

Decided here, as the text leaves it open: L_i is the mean squared error; d is
taken from the original image.

Not the paper's: `config.model.code.pooled` and `.noise` leave a code of a few
numbers with noise, so that it is proven how seldom anybody names a person by a
release (`jaxpriv.privacy.leakage`). Noise is drawn by `config.model.secret` and
the photograph, so that a photograph is always released alike.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from jaxpriv.data.dataset import Data
from jaxpriv.data.records import DataError
from jaxpriv.errors import SettingError
from jaxpriv.models.autoencoder import ExternalAutoEncoder, InternalAutoEncoder
from jaxpriv.models.feature_selection import FeatureSelectionNetwork
from jaxpriv.models.heads import MarginRecogniser
from jaxpriv.models.iresnet import IResNet
from jaxpriv.models.poisoning import content_keys
from jaxpriv.privacy import leakage
from jaxpriv.training import mechanism, recipes, transfer
from jaxpriv.training.builders import variables
from jaxpriv.training.mechanism import Load, Target, Trained
from jaxpriv.training.method import Outputs, Phase

FSN, PEN, EXTERNAL, INTERNAL, SPRN = (
  "fsn",
  "pen",
  "external",
  "internal",
  "sprn",
)


SECRETS = ("model.secret",)
LARGEST_GAIN = 1000.0  # a bound beyond that says nothing worth reading
NOISE_LIMITS = (
  "What is proven holds of one trained model and its secret: two models with"
  " one secret draw the same noise for a photograph, and their releases"
  " together give more away. Every training needs a secret of its own.",
  "The noise is that of JAX's random numbers, which are no cipher: the proof"
  " takes them for random to whoever has not the secret.",
)

# Settings that must be those of the other run for a phase to be taken over
# untrained. Shapes do not tell: two attributes may have changed places.
_IMAGES = ("data.image_size", "data.align")
MADE_WITH = {
  FSN: ("model.fsn", "data.attributes", *_IMAGES),
  PEN: ("model.pen", "model.pen_head", "model.pen_side", *_IMAGES),
  EXTERNAL: ("model.external", *_IMAGES),
  INTERNAL: ("model", "data.attributes", *_IMAGES),
  SPRN: ("model", "data.attributes", *_IMAGES),
}


def check(config: ConfigDict, data: Data, load: Load) -> None:
  """Checks that phases taken over untrained fit the settings of this run.

  Raises:
    DataError: they do not.
  """
  del data
  transfer.check_copied(config, MADE_WITH, load)


def phases(config: ConfigDict) -> list[Phase]:
  """Procedures 1 to 3 of the paper, in order; the last phase protects.

  Args:
    config: with model, phases, data.attributes (the A attributes to keep) and
      data.num_people (people in the training split).

  Raises:
    DataError: the data has no attributes to keep, or images are of a side that
      the autoencoders cannot halve as often as they do.
  """
  if not config.data.attributes:
    raise DataError(
      "embedded_autoencoder keeps attributes, and these photographs have none:"
      " add columns of 0 and 1 to labels.csv, such as Smiling, or name those to"
      " keep with --config.data.attributes"
    )
  networks = _networks(config)
  options = config.phases
  selection = recipes.attribute_prediction(FSN, networks[FSN], options[FSN])
  evaluation = recipes.recognition(
    PEN,
    networks[PEN].backbone,
    networks[PEN].classes,
    options[PEN],
    head=config.model.pen_head,
    side=config.model.pen_side,
  )
  if config.model.internal:
    return [
      selection,
      evaluation,
      _external(networks, options),
      _internal(networks, config),
    ]
  return [selection, evaluation, _single(networks, config)]


def _networks(config: ConfigDict) -> dict[str, Any]:
  model = config.model
  d = (math.prod(model.fsn.pool_strides), model.fsn.widths[-1])
  r = (math.prod(model.external.strides), model.external.widths[-1])
  if model.internal and d != r:
    raise SettingError(
      "y is compared with d, so config.model.fsn and config.model.external must"
      f" end alike: strides multiply to {d[0]} in the first and {r[0]} in the"
      f" second, last widths are {d[1]} and {r[1]}"
    )
  # Before hours of training: the internal one halves r once more.
  multiple = r[0] * (2 if model.internal else 1)
  side = config.data.image_size
  if side % multiple:
    raise DataError(
      f"config.data.image_size = {side}: the strides of config.model.external"
      f" multiply to {r[0]}"
      + (", and the internal autoencoder halves that" if model.internal else "")
      + f"; take a multiple of {multiple}, or other strides"
    )
  dtype = jnp.dtype(config.dtype)
  return {
    FSN: FeatureSelectionNetwork(
      len(config.data.attributes), dtype=dtype, **model.fsn
    ),
    PEN: MarginRecogniser(
      IResNet(dtype=dtype, **model.pen),
      config.data.num_people,
      model.pen_side,
    ),
    EXTERNAL: ExternalAutoEncoder(dtype=dtype, **model.external),
    INTERNAL: InternalAutoEncoder(
      features=model.external.widths[-1], dtype=dtype, **model.code
    ),
  }


def _code_shape(config: ConfigDict) -> tuple[int, int, int]:
  """The shape of the code of one image: height, width, channels."""
  model = config.model
  side = config.data.image_size // (2 * math.prod(model.external.strides))
  return (*((1, 1) if model.code.pooled else (side, side)), model.code.code)


def targets(config: ConfigDict, trained: Trained) -> list[Target]:
  """The mechanism, with what is proven of it, and its controls."""
  target = Target(
    config.mechanism, config, trained, mechanism.products(trained)
  )
  if config.model.internal and config.model.code.noise:
    target = target._replace(
      proven=_proven(config),
      caution=_caution(config),
      again=_again(config, trained),
      limits=NOISE_LIMITS,
    )
  return mechanism.with_controls(target)


def _again(config: ConfigDict, trained: Trained) -> Trained:
  other = config.copy_and_resolve_references()
  with other.unlocked():
    other.model.secret += 1
  return trained._replace(phases=(*trained.phases[:-1], phases(other)[-1]))


def _proven(config: ConfigDict) -> tuple[str, ...]:
  numbers = math.prod(_code_shape(config))
  gain = leakage.gain(config.model.code.noise, numbers)
  if gain > LARGEST_GAIN:
    return ()
  what = "a number" if numbers == 1 else f"{numbers} numbers"
  return (
    f"A release is a function of {what} in [-1, 1] with Gaussian noise of"
    f" {config.model.code.noise:g}: by one release of a person, whoever does"
    " not have the secret that the noise is drawn by names them, or guesses"
    f" anything else about them, at most {gain:.3g} times as often as without"
    " it; by n releases, that to the power of n",
  )


def _caution(config: ConfigDict) -> str:
  if config.model.secret:
    return ""
  return (
    "config.model.secret is 0, as everybody's is: whoever has a photograph can"
    " draw its noise, and tell its release. Train with a number of your own"
  )


def squared_error(a: jax.Array, b: jax.Array) -> jax.Array:
  """Mean squared error of each example, float32 [B]."""
  difference = a.astype(jnp.float32) - b.astype(jnp.float32)
  return jnp.mean(jnp.square(difference), axis=tuple(range(1, a.ndim)))


def cosine_similarity(a: jax.Array, b: jax.Array) -> jax.Array:
  """Equation (5) for rows of two [B, D], float32 [B]."""
  norms = jnp.linalg.norm(a, axis=1) * jnp.linalg.norm(b, axis=1)
  return jnp.sum(a * b, axis=1) / jnp.maximum(norms, 1e-12)


def _external(networks, options) -> Phase:
  def loss(apply, batch, frozen):
    return squared_error(batch["image"], apply(batch["image"])), {}

  def sample(apply, batch, frozen):
    x = batch["image"]
    return {"original": x, "reconstructed": apply(x)}

  return recipes.supervised_phase(
    EXTERNAL,
    networks[EXTERNAL],
    loss,
    options[EXTERNAL],
    outputs=Outputs(sample=sample),
  )


def _feedback(networks, config, batch, frozen, protected):
  """The second and third term of (7) and (8), with their metrics, [B] each."""
  fsn, pen = variables(frozen[FSN]), variables(frozen[PEN])
  logits = networks[FSN].apply(fsn, protected, train=False)
  utility = recipes.attribute_losses(logits, batch["attributes"])
  embed = lambda x: networks[PEN].apply(pen, x, method="embed")
  cosine = cosine_similarity(embed(batch["image"]), embed(protected))
  # A floor of -1 is the paper's loss. It rewards embeddings that point away
  # from the person as surely as others point at them; 0 rewards nothing there.
  privacy = jnp.maximum(cosine, config.model.cosine_floor)
  loss = config.model.alpha_1 * utility + config.model.alpha_2 * privacy
  accuracy = recipes.attribute_accuracy(logits, batch["attributes"])
  return loss, {
    "utility_loss": utility,
    "cosine": cosine,
    "attribute_accuracy": accuracy,
  }


def _internal(networks, config) -> Phase:
  external, selection = networks[EXTERNAL], networks[FSN]

  def representation(batch, frozen):
    weights = variables(frozen[EXTERNAL])
    return external.apply(weights, batch["image"], method="encode")

  def decode(y, frozen):
    weights = variables(frozen[EXTERNAL])
    return external.apply(weights, y, method="decode")

  def draws(keys):
    return jax.vmap(lambda key: jax.random.normal(key, _code_shape(config)))(
      keys
    )

  def hidden(apply, batch, frozen):
    """y, of noise that is drawn by step in training, else by photograph."""
    drawn = None
    if config.model.code.noise:
      drawn = batch.get("drawn")
      if drawn is None:
        drawn = draws(content_keys(batch["image"], config.model.secret))
    return apply(representation(batch, frozen), drawn)

  def draw(key, batch):
    return {**batch, "drawn": draws(jax.random.split(key, len(batch["image"])))}

  def loss(apply, batch, frozen):
    d = selection.apply(variables(frozen[FSN]), batch["image"], method="trunk")
    y = hidden(apply, batch, frozen)
    distance = squared_error(d, y)
    feedback, metrics = _feedback(
      networks, config, batch, frozen, decode(y, frozen)
    )
    return distance + feedback, {"feature_distance": distance, **metrics}

  def protect(apply, batch, frozen):
    return decode(hidden(apply, batch, frozen), frozen)

  def sample(apply, batch, frozen):
    protected = protect(apply, batch, frozen)
    return {"original": batch["image"], "protected": protected}

  return recipes.supervised_phase(
    INTERNAL,
    networks[INTERNAL],
    loss,
    config.phases[INTERNAL],
    needs=(FSN, PEN, EXTERNAL),
    inputs=representation,
    transform=draw if config.model.code.noise else None,
    outputs=Outputs(image=protect, sample=sample),
  )


def _single(networks, config) -> Phase:
  """The ablation: one autoencoder under (8)."""

  def loss(apply, batch, frozen):
    protected = apply(batch["image"])
    distance = squared_error(batch["image"], protected)
    feedback, metrics = _feedback(networks, config, batch, frozen, protected)
    return distance + feedback, {"reconstruction": distance, **metrics}

  def protect(apply, batch, frozen):
    return apply(batch["image"])

  def sample(apply, batch, frozen):
    protected = protect(apply, batch, frozen)
    return {"original": batch["image"], "protected": protected}

  return recipes.supervised_phase(
    SPRN,
    networks[EXTERNAL],
    loss,
    config.phases[SPRN],
    needs=(FSN, PEN),
    outputs=Outputs(image=protect, sample=sample),
  )
