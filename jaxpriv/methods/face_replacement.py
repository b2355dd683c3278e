"""Face replacement: faces of nobody, that depend on a person by a few codes.

A release shows a made face. It depends on the photograph through codes alone,
named values of few levels each:

| code | levels | read from |
|---|---|---|
| yaw, pitch | `model.yaw`, `model.pitch` | the pose, labelled or by points |
| skin | one more than `model.skin` has edges | cheeks, `data.skin` |
| smile | 2, or 1 if `model.smile` is 0 | how wide the mouth is, by points |
| each of `model.attributes` | 0, 1, unknown | labels |

Everything else of the face is noise: of `model.secret` and the photograph, or
of the secret and the track of a video, so that a person keeps one face in it.

That bounds every attacker. Let c be the code of one of N equally likely people,
and z the noise, which is independent of who it is. By a release f(c, z) whoever
does not have the secret names the person with a probability of

  sum over c, z of P(z) max_i P(i) P(c | i) 1[guess of f(c, z) is i]
    <= sum over c of max_i P(c | i) / N  <=  (number of codes) / N

for given c, z one person is guessed. That holds of any f that was there before
it was settled who of the N is released: a generator that learned from some of
them tells who these are. With n releases of one person it is the number of
codes to the power of n. The rest of a photograph
that the face is pasted into (hair, clothes, place) is as it was, and no part of
that.

Faces are those of `jaxpriv.data.procedural` (`model.faces` is "drawn"), for
which nothing is trained, or of a generator under conditions (`synthetic_game`)
that the run trains before ("learned").
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jaxpriv.data import skin
from jaxpriv.data.dataset import Data
from jaxpriv.data.procedural import factors as tables
from jaxpriv.data.procedural import framing, rendering, sampling
from jaxpriv.data.records import DataError
from jaxpriv.data.sources import words
from jaxpriv.errors import SettingError
from jaxpriv.models.poisoning import content_keys
from jaxpriv.training import mechanism, synthetic, synthetic_game, transfer
from jaxpriv.training.mechanism import Load, Target, Trained
from jaxpriv.training.method import Outputs, Phase, untrained

REPLACEMENT = "replacement"
DRAWN, LEARNED = "drawn", "learned"
SECRETS = ("model.secret",)
LIMITS = (
  "The bound is of the face alone: hair, clothes and the place, around a face"
  " that is pasted into a photograph, are as they were.",
  "The noise is that of JAX's random numbers, which are no cipher: the bound"
  " takes them for random to whoever has not the secret. Frames of one track"
  " show one face, and are one release only where their codes are alike.",
)
MEMORY = (
  "Faces are of a generator that learned from photographs of people, and how"
  " like these its faces are is not bounded. The bound is of people who are as"
  " likely to be replaced whomever it learned from: it should learn from"
  " others."
)
# Beyond these a made face does not turn.
_YAW, _PITCH = tables.PHOTOGRAPH["yaw"][1], tables.PHOTOGRAPH["pitch"][1]
# The individual typology angles that learned faces are asked to have, in
# degrees; a class beyond these is as wide as _WIDE.
_LIGHTEST, _DARKEST, _WIDE = 65.0, -50.0, 10.0
# Factors of a photograph that are the same in all replacements: even light, and
# nothing before the face.
_FIXED = {
  **dict.fromkeys(("cover", "bar", "noise", "Wearing_Hat"), 0.0),
  **dict.fromkeys(("gaze_x", "gaze_y", "light_x"), 0.0),
  **dict.fromkeys(("cast_red", "cast_green", "cast_blue", "contrast"), 1.0),
  "light_y": -0.3,
  "light_strength": 0.45,
  "ambient": 0.55,
  "blur": 1.0,
  "lens_dark": -1.0,
}
_SMILING = "Smiling"
# Chance of attributes that no code gives.
_CHANCES = {
  **tables.PERSON_ATTRIBUTES,
  **tables.PHOTOGRAPH_ATTRIBUTES,
  "Eyeglasses": 0.0,
  "Rosy_Cheeks": 0.0,
  "Mouth_Slightly_Open": 0.2,
}


def phases(config: ConfigDict) -> list[Phase]:
  """One phase without training, after that of a generator if faces are learned.

  Args:
    config: with model.faces, "drawn" or "learned", and for the latter what
      `synthetic_game.phase` has of a model; model.yaw and model.pitch, how many
      levels (1: always from the front); model.skin, the edges of the individual
      typology angle in degrees, falling (none: any skin); model.smile, the
      width of a mouth that smiles, over the distance of the eyes (0: the smile
      is no code); model.attributes, of
      data.attributes, of those that drawn faces can show if they are drawn;
      model.secret.

  Raises:
    SettingError: something is not as it can be; the message names it.
  """
  codes = Codes(config)
  if config.model.faces == DRAWN:
    outputs = Outputs(image=codes.image, cut_out=codes.cut_out, code=codes.read)
    return [Phase(REPLACEMENT, (), untrained(outputs))]
  outputs = Outputs(image=Learned(config).image, code=codes.read)
  return [
    synthetic_game.phase(config, config.model),
    Phase(REPLACEMENT, (synthetic_game.SOURCE,), untrained(outputs)),
  ]


def check(config: ConfigDict, data: Data, load: Load) -> None:
  """Checks that a generator is trained here, or taken over as it was.

  Raises:
    DataError: it is not, or cannot be.
  """
  if config.model.faces == DRAWN:
    return
  copied = transfer.check_copied(config, synthetic_game.MADE_WITH, load)
  synthetic_game.check(config, data)
  if not copied and not config.phases[synthetic_game.SOURCE].steps:
    raise DataError(
      "faces are learned (config.model.faces), and config.phases.source.steps"
      " is 0: give steps, or config.pretrained with a run that has trained them"
    )


def targets(config: ConfigDict, trained: Trained) -> list[Target]:
  """The mechanism, with what is proven of it, and its controls."""
  count = Codes(config).count
  caution = ""
  if not config.model.secret:
    caution = (
      "config.model.secret is 0, as everybody's is: whoever has a photograph"
      " can draw its face, and tell its release. Train with a number of your"
      " own"
    )
  other = config.copy_and_resolve_references()
  with other.unlocked():
    other.model.secret += 1
  target = Target(
    config.mechanism,
    config,
    trained,
    mechanism.products(trained),
    kept=words(config.model.attributes),
    again=trained._replace(phases=tuple(phases(other))),
    proven=(
      f"A face is a function of one of {count} codes and of noise: by one"
      " release of a person, whoever does not have the secret names them among"
      f" N equally likely people with a probability of at most {count}/N,"
      " whatever else they know of these people",
    ),
    limits=LIMITS if config.model.faces == DRAWN else (*LIMITS, MEMORY),
    caution=caution,
  )
  return mechanism.with_controls(target)


class Codes:
  """The codes of a config, read from a batch and drawn as faces.

  For both kinds of faces, but for what is drawn.

  Attributes:
    names: of the codes.
    levels: how many values each has.
    count: how many codes there are in all.
  """

  def __init__(self, config: ConfigDict):
    model = config.model
    if model.faces not in (DRAWN, LEARNED):
      raise SettingError(
        f"config.model.faces = {model.faces}: faces are {DRAWN} or {LEARNED}"
      )
    if model.faces == LEARNED and "synthesis" not in model:
      raise SettingError(
        "config.model.faces = learned needs the settings of a generator: take"
        " the option, as in --config=face_replacement:demo,learned"
      )
    self.secret, self.align = int(model.secret), config.data.align
    self.attributes = words(model.attributes)
    self.columns = self._columns(config)
    self.edges = tuple(float(edge) for edge in model.skin)
    if list(self.edges) != sorted(set(self.edges), reverse=True):
      raise SettingError(
        f"config.model.skin = {self.edges}: edges of the individual typology"
        f" angle fall, as in {skin.EDGES}"
      )
    for name in ("yaw", "pitch"):
      if model[name] < 1:
        raise SettingError(
          f"config.model.{name} = {model[name]}: it has one level at least,"
          " which is to look straight ahead"
        )
    self.smile = float(model.smile)
    self._check_smile(config)
    self.turns = {"yaw": (model.yaw, _YAW), "pitch": (model.pitch, _PITCH)}
    self.names = ("yaw", "pitch", "skin", "smile", *self.attributes)
    self.levels = (
      *(model.yaw, model.pitch, len(self.edges) + 1, 2 if self.smile else 1),
      *[3] * len(self.attributes),
    )
    self.count = math.prod(self.levels)
    self.tones = _tones(self.edges)

  def _check_smile(self, config: ConfigDict) -> None:
    if not self.smile:
      return
    if _SMILING in self.attributes:
      raise SettingError(
        f"config.model.smile = {self.smile} reads smiles from points, and"
        f" config.model.attributes names {_SMILING}: choose one of them"
      )
    there = words(config.data.attributes)
    if config.model.faces == LEARNED and _SMILING not in there:
      raise SettingError(
        f"config.model.smile = {self.smile} asks for smiles, and the generator"
        f" is not told of them: add {_SMILING} to config.data.attributes"
      )

  def _columns(self, config: ConfigDict) -> tuple[int, ...]:
    there = words(config.data.attributes)
    for name in self.attributes:
      undrawn = name not in _CHANCES or name in _FIXED
      if undrawn and config.model.faces == DRAWN:
        drawable = ", ".join(n for n in _CHANCES if n not in _FIXED)
        raise SettingError(
          f"config.model.attributes names {name}, which drawn faces cannot"
          f" show at will: choose of {drawable}"
        )
      if name not in there:
        raise SettingError(
          f"config.model.attributes names {name}, which config.data.attributes"
          f" does not: {', '.join(there) or 'it is empty'}"
        )
    return tuple(there.index(name) for name in self.attributes)

  def read(self, state, frozen, batch) -> jax.Array:
    """The codes int32 [B, C] of photographs, in the order of `names`."""
    cells = [
      _cell(batch["pose"][:, i], *self.turns[name])
      for i, name in enumerate(("yaw", "pitch"))
    ]
    colour = skin.cheeks(batch["image"], batch["landmarks"], self.align)
    cells.append(skin.level(skin.typology_angle(colour), self.edges))
    cells.append(self._smiles(batch["landmarks"]))
    for column in self.columns:
      value = batch["attributes"][:, column].astype(jnp.int32)
      cells.append(jnp.where(value < 0, 2, value))
    return jnp.stack(cells, 1).astype(jnp.int32)

  def _smiles(self, points: jax.Array) -> jax.Array:
    """Whether mouths [B] are wide; those of unknown points are not."""
    left, right, _, *mouth = jnp.moveaxis(points[:, :5], 1, 0)
    width = jnp.linalg.norm(mouth[1] - mouth[0], axis=-1)
    wide = width > self.smile * jnp.linalg.norm(right - left, axis=-1)
    return wide & (self.smile > 0)

  def turned(self, name: str, level: jax.Array) -> jax.Array:
    """Radians of levels [B] of yaw or pitch: the middles of their cells."""
    levels, reach = self.turns[name]
    return reach * ((2 * level + 1) / levels - 1)

  def keys(self, batch) -> jax.Array:
    """Random keys [B], by the track where there is one, else the image."""
    return content_keys(batch["image"], self.secret, batch.get("track"))

  def factors(self, codes: jax.Array, keys: jax.Array) -> dict[str, jax.Array]:
    """Factors [B] of aligned drawn faces, of codes and noise alone."""
    table = {**tables.PERSON, **tables.PHOTOGRAPH}
    names = [*table, *_CHANCES]
    draw = lambda key: jax.random.uniform(key, (len(names) + 1,))
    noise = dict(zip([*names, "tone"], jax.vmap(draw)(keys).T, strict=True))
    drawn = {
      name: low + (high - low) * noise[name]
      for name, (low, high) in table.items()
    }
    for name, chance in _CHANCES.items():
      drawn[name] = (noise[name] < chance).astype(jnp.float32)
    for name, value in _FIXED.items():
      drawn[name] = jnp.full(len(codes), value)
    code = dict(zip(self.names, codes.T, strict=True))
    for name in self.turns:
      drawn[name] = self.turned(name, code[name])
    tones = jnp.asarray(self.tones, jnp.float32)[code["skin"]]
    drawn["skin_tone"] = jnp.floor(
      tones[:, 0] + noise["tone"] * (tones[:, 1] - tones[:, 0] + 1)
    )
    if self.smile:
      drawn[_SMILING] = code["smile"].astype(jnp.float32)
    for name in self.attributes:
      told = code[name] < 2
      drawn[name] = jnp.where(told, code[name], drawn[name])
    return framing.aligned_people(drawn, self.align)

  def _drawn(self, state, frozen, batch) -> dict[str, jax.Array]:
    return self.factors(self.read(state, frozen, batch), self.keys(batch))

  def image(self, state, frozen, batch) -> jax.Array:
    """Drawn faces [B, S, S, 3] before drawn backgrounds, in [0, 1]."""
    side = batch["image"].shape[1]
    return rendering.render(self._drawn(state, frozen, batch), side, jnp)

  def cut_out(self, state, frozen, batch) -> jax.Array:
    """Drawn heads [B, S, S, 4]: colours times opacity, and opacity."""
    drawn, side = self._drawn(state, frozen, batch), batch["image"].shape[1]
    colours, rest = rendering.cut_out(drawn, side, "human", jnp)
    return jnp.concatenate([colours, 1 - rest], -1)


class Learned(Codes):
  """Codes whose faces are of a generator that was trained."""

  def __init__(self, config: ConfigDict):
    super().__init__(config)
    self.generator = synthetic_game.generator(config, config.model)
    self.truncation = config.model.truncation
    there = words(config.data.attributes)
    self.width = len(there)
    self.smiling = there.index(_SMILING) if self.smile else None

  def condition(self, codes: jax.Array, keys: jax.Array) -> jax.Array:
    """Conditions of faces [B, A + 3], of codes int32 [B, C] and noise alone.

    Skin is drawn evenly from its class, and so is each attribute of which no
    code tells.
    """
    code = dict(zip(self.names, codes.T, strict=True))
    light, dark = self.edges[:1] or (0.0,), self.edges[-1:] or (0.0,)
    bounds = jnp.array(
      [
        max(_LIGHTEST, light[0] + _WIDE),
        *self.edges,
        min(_DARKEST, dark[0] - _WIDE),
      ],
      jnp.float32,
    )
    high, low = bounds[code["skin"]], bounds[code["skin"] + 1]
    # Numbers 0 and 1 are of the generator's own noise.
    draw = lambda key: jax.random.uniform(
      jax.random.fold_in(key, 2), (self.width + 1,)
    )
    share, noise = jnp.split(jax.vmap(draw)(keys), [1], axis=1)
    attributes = (noise < 0.5).astype(jnp.int32)
    if self.smile:
      attributes = attributes.at[:, self.smiling].set(code["smile"])
    for name, column in zip(self.attributes, self.columns, strict=True):
      value = jnp.where(code[name] < 2, code[name], attributes[:, column])
      attributes = attributes.at[:, column].set(value)
    return synthetic.condition(
      attributes,
      self.turned("yaw", code["yaw"]),
      self.turned("pitch", code["pitch"]),
      low + (high - low) * share[:, 0],
    )

  def image(self, state, frozen, batch) -> jax.Array:
    """Learned faces [B, S, S, 3] in [0, 1]."""
    keys = self.keys(batch)
    return synthetic.generate(
      self.generator,
      frozen[synthetic_game.SOURCE],
      self.condition(self.read(state, frozen, batch), keys),
      keys,
      self.truncation,
    )


def _cell(angle: jax.Array, levels: int, reach: float) -> jax.Array:
  """Level int32 [B] of angles in [-reach, reach]; unknown is the middle one."""
  share = jnp.nan_to_num(angle, nan=0.0) / (2 * reach) + 0.5
  return jnp.clip(jnp.floor(share * levels), 0, levels - 1).astype(jnp.int32)


@functools.cache
def _tones(edges: tuple[float, ...]) -> tuple[tuple[int, int], ...]:
  """The first and the last Monk level that is drawn for each class of skin.

  They are those whose drawn cheeks are of the class; where there are none, the
  one that is nearest to it.
  """
  count = len(tables.MONK_SKIN_TONES)
  ids = np.zeros(count, int)
  drawn = sampling.sample_people(0, ids) | sampling.sample_photographs(
    0, ids, ids
  )
  drawn |= {k: np.full(count, v, np.float32) for k, v in _FIXED.items()}
  drawn |= dict.fromkeys(
    ("undertone", "yaw", "pitch", "beard"), np.zeros(count)
  )
  drawn |= dict.fromkeys(("Male", "Rosy_Cheeks", "Eyeglasses"), np.zeros(count))
  drawn["freckles"] = np.full(count, -1.0)
  drawn["skin_tone"] = np.arange(1, count + 1, dtype=np.float32)
  images = rendering.render(framing.aligned(drawn), 64)
  angles = np.asarray(skin.typology_angle(skin.cheeks(jnp.asarray(images))))
  bounds = (np.inf, *edges, -np.inf)
  found = []
  for high, low in zip(bounds, bounds[1:], strict=False):
    levels = np.flatnonzero((angles < high) & (angles >= low)) + 1
    if not len(levels):
      apart = np.maximum(low - angles, angles - high)
      levels = np.array([apart.argmin() + 1])
    found.append((int(levels[0]), int(levels[-1])))
  return tuple(found)
