"""The codes of a photograph: named values of few levels each."""

import math

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from jaxpriv.data import skin
from jaxpriv.data.procedural import factors as tables
from jaxpriv.data.sources import words
from jaxpriv.errors import SettingError
from jaxpriv.models.poisoning import content_keys

REPLACEMENT = "replacement"  # the phase that shows faces
SMILING = "Smiling"
# Beyond these a made face does not turn.
YAW, PITCH = tables.PHOTOGRAPH["yaw"][1], tables.PHOTOGRAPH["pitch"][1]


class Codes:
  """The codes of a config, read from a batch; what shows them is a subclass.

  Attributes:
    config: of the run.
    names: of the codes.
    levels: how many values each has.
    count: how many codes there are in all.
  """

  def __init__(self, config: ConfigDict):
    model = config.model
    self.config = config
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
    if self.smile and SMILING in self.attributes:
      raise SettingError(
        f"config.model.smile = {self.smile} reads smiles from points, and"
        f" config.model.attributes names {SMILING}: choose one of them"
      )
    self.turns = {"yaw": (model.yaw, YAW), "pitch": (model.pitch, PITCH)}
    self.names = ("yaw", "pitch", "skin", "smile", *self.attributes)
    self.levels = (
      *(model.yaw, model.pitch, len(self.edges) + 1, 2 if self.smile else 1),
      *[3] * len(self.attributes),
    )
    self.count = math.prod(self.levels)

  def _columns(self, config: ConfigDict) -> tuple[int, ...]:
    there = words(config.data.attributes)
    for name in self.attributes:
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


def _cell(angle: jax.Array, levels: int, reach: float) -> jax.Array:
  """Level int32 [B] of angles in [-reach, reach]; unknown is the middle one."""
  share = jnp.nan_to_num(angle, nan=0.0) / (2 * reach) + 0.5
  return jnp.clip(jnp.floor(share * levels), 0, levels - 1).astype(jnp.int32)
