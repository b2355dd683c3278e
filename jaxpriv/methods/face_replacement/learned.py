"""Faces of a generator under conditions that was trained."""

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jaxpriv.data import alignment
from jaxpriv.data.sources import words
from jaxpriv.errors import SettingError
from jaxpriv.methods.face_replacement.codes import REPLACEMENT, SMILING, Codes
from jaxpriv.training import synthetic, synthetic_game
from jaxpriv.training.method import Outputs, Phase, untrained

# The individual typology angles that faces are asked to have, in degrees; a
# class beyond these is as wide as _WIDE.
_LIGHTEST, _DARKEST, _WIDE = 65.0, -50.0, 10.0
# In distances of the eyes: mouths that smile are asked to be so much wider than
# the edge of the code, and others narrower.
_WIDER = 0.1


class Learned(Codes):
  """Codes whose faces are of a generator that was trained."""

  def __init__(self, config: ConfigDict):
    super().__init__(config)
    if "synthesis" not in config.model:
      raise SettingError(
        "config.model.faces = learned needs the settings of a generator: take"
        " the option, as in --config=face_replacement:demo,learned"
      )
    there = words(config.data.attributes)
    self.points = synthetic_game.told_of_points(config.model)
    if self.smile and not self.points and SMILING not in there:
      raise SettingError(
        f"config.model.smile = {self.smile} asks for smiles, and the generator"
        " is told neither of points nor of them: train one with"
        f" config.model.points, or with {SMILING} among config.data.attributes"
      )
    self.generator = synthetic_game.generator(config, config.model)
    self.truncation = config.model.truncation
    self.width = len(there)
    # The label that photographs may have, besides the width of their mouths.
    self.smiling = there.index(SMILING) if SMILING in there else None

  def phases(self) -> list[Phase]:
    outputs = Outputs(image=self.image, code=self.read)
    return [
      synthetic_game.phase(self.config, self.config.model),
      Phase(REPLACEMENT, (synthetic_game.SOURCE,), untrained(outputs)),
    ]

  def condition(self, codes: jax.Array, keys: jax.Array) -> jax.Array:
    """Conditions [B, C] of faces, of codes int32 [B, K] and noise alone.

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
    if self.smile and self.smiling is not None:
      attributes = attributes.at[:, self.smiling].set(code["smile"])
    for name, column in zip(self.attributes, self.columns, strict=True):
      value = jnp.where(code[name] < 2, code[name], attributes[:, column])
      attributes = attributes.at[:, column].set(value)
    return synthetic.condition(
      attributes,
      self.turned("yaw", code["yaw"]),
      self.turned("pitch", code["pitch"]),
      low + (high - low) * share[:, 0],
      self._points(code["smile"]),
    )

  def _points(self, smiles: jax.Array) -> jax.Array | None:
    """Points that are asked for: mouths of smiles, if these are a code."""
    if not self.points:
      return None
    if not self.smile:
      return synthetic.unknown_points(len(smiles))
    eyes, _, corners = np.split(alignment.template(1, self.align), [2, 3])
    usual = np.linalg.norm(np.diff(corners, axis=0)) / np.linalg.norm(
      np.diff(eyes, axis=0)
    )
    wider = self.smile + _WIDER * (2 * smiles - 1) - usual
    return synthetic_game.mouths(10 * wider / 2)  # tenths, half of it each side

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
