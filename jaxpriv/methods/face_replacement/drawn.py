"""Faces that are drawn: those of `jaxpriv.data.procedural`."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jaxpriv.data import skin
from jaxpriv.data.procedural import factors as tables
from jaxpriv.data.procedural import framing, rendering, sampling
from jaxpriv.data.sources import words
from jaxpriv.errors import SettingError
from jaxpriv.methods.face_replacement.codes import REPLACEMENT, SMILING, Codes
from jaxpriv.training.method import Outputs, Phase, untrained

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
# Chance of attributes that no code gives.
_CHANCES = {
  **tables.PERSON_ATTRIBUTES,
  **tables.PHOTOGRAPH_ATTRIBUTES,
  "Eyeglasses": 0.0,
  "Rosy_Cheeks": 0.0,
  "Mouth_Slightly_Open": 0.2,
}


class Drawn(Codes):
  """Codes whose faces are drawn."""

  def __init__(self, config: ConfigDict):
    drawable = [name for name in _CHANCES if name not in _FIXED]
    for name in words(config.model.attributes):
      if name not in drawable:
        raise SettingError(
          f"config.model.attributes names {name}, which drawn faces cannot show"
          f" at will: choose of {', '.join(drawable)}"
        )
    super().__init__(config)
    self.tones = _tones(self.edges)

  def phases(self) -> list[Phase]:
    outputs = Outputs(
      image=self.image,
      cut_out=self.cut_out,
      drawn=self.various,
      code=self.read,
    )
    return [Phase(REPLACEMENT, (), untrained(outputs))]

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
      drawn[SMILING] = code["smile"].astype(jnp.float32)
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

  def various(self, state, frozen, batch) -> jax.Array:
    """As `image`, but of noise by numbers in the data."""
    root = jax.random.key(self.secret)
    keys = jax.vmap(lambda row: jax.random.fold_in(root, row))(batch["index"])
    drawn = self.factors(self.read(state, frozen, batch), keys)
    return rendering.render(drawn, batch["image"].shape[1], jnp)

  def cut_out(self, state, frozen, batch) -> jax.Array:
    """Drawn heads [B, S, S, 4]: colours times opacity, and opacity."""
    drawn, side = self._drawn(state, frozen, batch), batch["image"].shape[1]
    colours, rest = rendering.cut_out(drawn, side, "human", jnp)
    return jnp.concatenate([colours, 1 - rest], -1)


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
