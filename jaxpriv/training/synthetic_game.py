"""A phase that trains a StyleGAN2 generator of faces, under conditions.

Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", CVPR
2020. A step makes two moves on one batch, with faces drawn of noise under the
conditions of the batch's photographs:

  discriminator: softplus(-D(x, c)) + softplus(D(G(z, c), c))
                 + every k-th step k r1 / 2 |grad_x D(x, c)|^2
                 + a |R(x) - c|^2
  generator:     softplus(-D(G(z, c), c)) + a |R(G(z, c)) - c|^2

where R is what the discriminator reads of the condition in an image, of whose
numbers those count that are known, which is not 0: Odena et al., "Conditional
Image Synthesis with Auxiliary Classifier GANs", ICML 2017, with squares for
numbers, and no reading of drawn images by the discriminator's own loss.

The condition c of a photograph is what labels and pixels say of attributes,
pose, skin and five points: see `training.synthetic`, which draws faces of a
trained state. What is drawn is of keys and conditions alone; what the networks
remember of the people they learned from is not bounded by that.

Decided here: each photograph hides a random share of its points, so that some
of them may be asked for, or none. The penalty joins the loss of its step, as
one update, so that rates and betas of Adam are not rescaled, which the paper
does for updates of the penalty alone. Neither the length of paths is penalised
nor are styles mixed.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from jaxpriv.data import augmentation
from jaxpriv.data.dataset import Data
from jaxpriv.data.records import ARCFACE_LANDMARKS, DataError
from jaxpriv.data.sources import words
from jaxpriv.errors import SettingError
from jaxpriv.models import stylegan2
from jaxpriv.training import combinators, recipes, synthetic
from jaxpriv.training import mesh as mesh_lib
from jaxpriv.training.builders import Move, Player
from jaxpriv.training.method import Outputs, Phase
from jaxpriv.training.optimizers import make_optimizer
from jaxpriv.training.synthetic import MAPPING, MEASURED, SYNTHESIS

SOURCE = "source"
DISCRIMINATOR = "discriminator"
MADE_WITH = {
  SOURCE: (
    *("data.image_size", "data.align", "data.attributes", "model.latent"),
    *("model.mapping", "model.synthesis", "model.discriminator"),
    *("model.points", "model.auxiliary"),
  )
}
# Conditions that `sample` shows: yaw in radians, skin in degrees, and corners
# of the mouth so far outwards, in tenths of the distance of the eyes.
_TURN, _SKIN = 0.5, {"light skin": 55.0, "dark skin": -30.0}
_MOUTHS = {"narrow mouth": -1.0, "wide mouth": 1.0}


def phase(config: ConfigDict, model: ConfigDict) -> Phase:
  """The phase "source", a game of three networks.

  Args:
    config: of the run, with the options of the phase.
    model: its latent, numbers of noise; mapping, synthesis and discriminator,
      fields of the networks of `stylegan2`; r1 and every, the weight of the
      penalty and its k; truncation, of samples; points, whether the networks
      are told of five points; auxiliary, the a of what is read.

  Raises:
    SettingError: something is not as it can be; the message names it.
  """
  side = config.data.image_size
  if side < 8 or side & (side - 1):
    raise SettingError(
      f"config.data.image_size = {side}: sides of drawn faces are doubled from"
      " 4 pixels on; take a power of 2, 8 or more"
    )
  if not 0 <= auxiliary(model) < math.inf:
    raise SettingError(
      f"config.model.auxiliary = {model.auxiliary}: it is a weight, 0 or more"
    )
  if model.every < 1:
    raise SettingError(
      f"config.model.every = {model.every}: the penalty is of every k-th step,"
      " of each if it is 1"
    )
  return Game(config, model).phase()


def check(config: ConfigDict, data: Data) -> None:
  """Checks that records are of one face each, and more than one to learn from.

  Raises:
    DataError: they are not.
  """
  if data.source.max_faces:
    raise DataError(
      "a source of faces learns from photographs of one face, and records here"
      " are scenes: set config.data.max_faces to 0"
    )
  if len(data.splits["train"]) < 2 and config.phases[SOURCE].steps:
    raise DataError(
      f"{len(data.splits['train'])} photographs to train on: a source of faces"
      " would show them as they are; use more"
    )


def generator(config: ConfigDict, model: ConfigDict) -> synthetic.Generator:
  """The networks that draw faces, for `synthetic`; arguments as of `phase`."""
  return synthetic.Generator(
    stylegan2.Mapping(**model.mapping),
    stylegan2.Synthesis(
      config.data.image_size, dtype=jnp.dtype(config.dtype), **model.synthesis
    ),
    model.latent,
  )


class Game:
  """The networks of a config, their losses, and what is shown of them."""

  def __init__(self, config: ConfigDict, model: ConfigDict):
    self.config, self.model = config, model
    self.align = config.data.align
    self.points = told_of_points(model)
    self.auxiliary = auxiliary(model)
    # Its gradient is trained, which wants float32.
    judge = stylegan2.Discriminator(
      reads=self.auxiliary > 0, **self.model.discriminator
    )
    self.networks = {
      **generator(config, model).networks,
      DISCRIMINATOR: judge,
    }

  def phase(self) -> Phase:
    options = self.config.phases[SOURCE]
    players = {
      name: Player(network, make_optimizer(options), self._inputs(name))
      for name, network in self.networks.items()
    }
    moves = {
      "discriminator": Move((DISCRIMINATOR,), self.judged),
      "generator": Move((MAPPING, SYNTHESIS), self.drawn),
    }
    phase = recipes.adversarial_phase(
      SOURCE,
      players,
      moves,
      options,
      transform=self.draw,
      outputs=Outputs(drawn=self._faces, sample=self._sample),
    )
    every = self.model.every
    due = lambda step: (step % every == 0).astype(jnp.float32)
    method = combinators.with_schedules(phase.method, {"due": due})
    return phase._replace(method=method)

  def _inputs(self, name: str) -> Callable:
    def made(batch, frozen, key):
      conditions = self._condition(batch)
      zeros = lambda size: jnp.zeros((len(conditions), size))
      if name == SYNTHESIS:
        return zeros(self.model.mapping.width)
      first = (
        batch["image"] if name == DISCRIMINATOR else zeros(self.model.latent)
      )
      return first, conditions

    return made

  def draw(self, key: jax.Array, batch: Mapping[str, Any]) -> dict[str, Any]:
    """Mirrors half of a batch, and adds what its fakes are drawn of.

    Returns:
      the batch with condition [B, C], latents [B, latent] and random keys [B].
    """
    flips, noise, keys, hidden = jax.random.split(key, 4)
    batch = augmentation.random_mirror(flips, batch)
    count = len(batch["image"])
    latents = jax.random.normal(noise, (count, self.model.latent))
    points = None
    if self.points:
      side = batch["image"].shape[1]
      five = batch["landmarks"][:, : len(ARCFACE_LANDMARKS)]
      points = synthetic.displacements(five, side, self.align)
      points = _some_hidden(hidden, points)
    return {
      **batch,
      "condition": synthetic.condition_of(batch, self.align, points),
      "latents": mesh_lib.constrain(latents),
      "keys": mesh_lib.constrain(jax.random.split(keys, count)),
    }

  def _condition(self, batch) -> jax.Array:
    """That of photographs, without their points."""
    points = None
    if self.points:
      points = synthetic.unknown_points(len(batch["image"]))
    return synthetic.condition_of(batch, self.align, points)

  def _fake(self, applies, batch) -> jax.Array:
    w = applies[MAPPING](batch["latents"], batch["condition"])
    return applies[SYNTHESIS](w, batch["keys"])

  def judged(self, applies, batch, frozen, key):
    """The loss of the discriminator."""
    keep = jnp.logical_not(batch["padding"])
    judge = lambda x: applies[DISCRIMINATOR](x, batch["condition"], keep)
    x = 2 * batch["image"] - 1
    fake = jax.lax.stop_gradient(self._fake(applies, batch))
    seen, false = judge(x), judge(fake)[:, 0]
    real = seen[:, 0]
    losses = jax.nn.softplus(-real) + jax.nn.softplus(false)
    losses += self.auxiliary * self._misread(seen, batch["condition"])

    def squares() -> jax.Array:
      with jax.default_matmul_precision("highest"):
        _, pull = jax.vjp(lambda x: judge(x)[:, 0], x)
        # The rows of a group see each other, but none that is no example.
        (slope,) = pull(keep.astype(jnp.float32))
      return jnp.square(slope).sum((1, 2, 3))

    every = self.model.every
    if every > 1:
      nothing = lambda: jnp.zeros_like(losses)
      penalty = jax.lax.cond(batch["due"].max() > 0, squares, nothing)
    else:
      penalty = squares()
    losses += every * self.model.r1 / 2 * penalty
    return losses, {
      "real": jax.nn.sigmoid(real),
      "fake": jax.nn.sigmoid(false),
      "penalty": penalty,
    }

  def drawn(self, applies, batch, frozen, key):
    """The loss of the generator."""
    keep = jnp.logical_not(batch["padding"])
    fake = self._fake(applies, batch)
    seen = applies[DISCRIMINATOR](fake, batch["condition"], keep)
    losses = jax.nn.softplus(-seen[:, 0])
    losses += self.auxiliary * self._misread(seen, batch["condition"])
    return losses, {}

  def _misread(self, seen, condition) -> jax.Array:
    """Squares [B] of what is read in images less what is known, summed.

    Args:
      seen: [B, 1 + C], what the discriminator says of images.
      condition: [B, C].
    """
    if not self.auxiliary:
      return jnp.zeros(len(seen))
    numbers = condition.shape[-1]
    if self.points:
      numbers -= len(ARCFACE_LANDMARKS)  # which are known is not to be seen
    known, read = condition[:, :numbers], seen[:, 1 : 1 + numbers]
    return jnp.where(known != 0, jnp.square(read - known), 0).sum(1)

  def _faces(self, applies, batch, frozen):
    """A face under the condition of each photograph, of its number's key."""
    root = jax.random.key(self.config.seed)
    keys = jax.vmap(lambda row: jax.random.fold_in(root, row))(batch["index"])
    return synthetic.drawn(
      applies,
      self.model.latent,
      self._condition(batch),
      mesh_lib.constrain(keys),
      self.model.truncation,
    )

  def _sample(self, applies, batch, frozen):
    """Two faces as photographs are, and the first under other conditions."""
    conditions = self._condition(batch)
    attributes = batch["attributes"].shape[1]
    names = words(self.config.data.attributes)
    names = names if len(names) == attributes else ()
    first = {name: attributes + i for i, name in enumerate(MEASURED)}
    columns = {**{name: i for i, name in enumerate(names)}, **first}

    def under(number=0, points=None, **numbers):
      asked = conditions
      if points is not None:
        asked = synthetic.condition_of(batch, self.align, points)
      for name, value in numbers.items():
        asked = asked.at[:, columns[name]].set(value)
      rows = jnp.arange(len(conditions))
      root = jax.random.fold_in(jax.random.key(0), number)
      keys = jax.vmap(lambda row: jax.random.fold_in(root, row))(rows)
      return synthetic.drawn(
        applies,
        self.model.latent,
        asked,
        mesh_lib.constrain(keys),
        self.model.truncation,
      )

    shown = {
      "original": batch["image"],
      "drawn, 1": under(),
      "drawn, 2": under(1),
      "turned, 1": under(yaw=-_TURN),
      "turned, 2": under(yaw=_TURN),
    }
    for name, angle in _SKIN.items():
      shown[name] = under(skin=angle / 90)
    for name, out in _MOUTHS.items() if self.points else ():
      shown[name] = under(points=mouths(jnp.full(len(conditions), out)))
    for name in names[:2]:
      shown[f"with {name}"] = under(**{name: 1.0})
      shown[f"without {name}"] = under(**{name: -1.0})
    return shown  # in the order of the alphabet


def told_of_points(model: ConfigDict) -> bool:
  """Whether networks are told of points: not those of earlier versions."""
  return bool(model.get("points", False))


def auxiliary(model: ConfigDict) -> float:
  """The weight of what is read of conditions: none in earlier versions."""
  return model.get("auxiliary", 0.0)


def mouths(out: jax.Array) -> jax.Array:
  """Points [B, 5, 2] to ask for: eyes on the template, mouths of any width.

  Args:
    out: [B], how far outwards each corner of the mouth is to lie, in tenths of
      the distance of the eyes.
  """
  points = synthetic.unknown_points(len(out))
  directions = dict(left_eye=0, right_eye=0, left_mouth=-1, right_mouth=1)
  for name, direction in directions.items():
    there = jnp.stack([direction * out, jnp.zeros_like(out)], 1)
    points = points.at[:, ARCFACE_LANDMARKS.index(name)].set(there)
  return points


def _some_hidden(key: jax.Array, points: jax.Array) -> jax.Array:
  """Points [B, 5, 2] of which each row hides a random share."""
  share, each = jax.random.split(key)
  count, number, _ = points.shape
  shares = jax.random.uniform(share, (count, 1))
  seen = jax.random.uniform(each, (count, number)) >= shares
  return mesh_lib.constrain(jnp.where(seen[..., None], points, jnp.nan))
