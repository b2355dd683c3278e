"""Faces of a folder: of nobody, made elsewhere, or of people who agreed."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from ml_collections import ConfigDict

from jaxpriv.errors import SettingError
from jaxpriv.methods.face_replacement.codes import REPLACEMENT, Codes
from jaxpriv.training import extra_folder, inference
from jaxpriv.training import mesh as mesh_lib
from jaxpriv.training.method import Method, Outputs, Phase, untrained

GIVEN = "given"  # the phase that reads the folder
FOLDER = "config.model.folder"
_AT_ONCE = 256


class Given(Codes):
  """Codes that choose of faces that were there before.

  A face is chosen at random among those whose codes are the photograph's, or
  else among those that are nearest to it: by codes and noise alone, so that the
  bound holds whatever the faces are. Their state is

    faces: uint8 [M, S, S, 3], framed as photographs are;
    codes: int32 [M, C], read of each as of a photograph.
  """

  def __init__(self, config: ConfigDict):
    super().__init__(config)
    if not config.model.get("folder", ""):
      raise SettingError(
        "config.model.faces = given shows faces of a folder: name it in"
        f" {FOLDER}, with the option, as in"
        " --config=face_replacement:demo,given"
      )
    if config.model.most < 1:
      raise SettingError(
        f"config.model.most = {config.model.most}: one face is shown at least"
      )

  @property
  def extra(self) -> extra_folder.Extra:
    """Where the faces are."""
    model = self.config.model
    return extra_folder.Extra(
      self.config.data, FOLDER, model.folder, model.most, self.attributes
    )

  def phases(self) -> list[Phase]:
    method = Method(
      init=lambda key, batch, frozen: dict(self.pool()),
      step=lambda state, frozen, batch, key: (state, {}),
      outputs=Outputs(sample=self._sample),
    )
    outputs = Outputs(image=self.image, code=self.read)
    return [
      Phase(GIVEN, (), method),
      Phase(REPLACEMENT, (GIVEN,), untrained(outputs)),
    ]

  def _sample(self, state, frozen, batch) -> dict[str, jax.Array]:
    """The first faces of the folder."""
    rows = np.arange(len(batch["image"])) % len(state["faces"])
    return {"given": mesh_lib.constrain(state["faces"][rows] / 255.0)}

  def pool(self) -> dict[str, np.ndarray]:
    """The state of the faces of the folder.

    Raises:
      DataError: it cannot be read, or shows no face.
    """
    model = self.config.model
    arrays = extra_folder.read(self.extra)
    config = self.config.copy_and_resolve_references()
    with config.unlocked():
      config.data.attributes = self.attributes
    reader = Codes(config)
    read = jax.jit(lambda batch: reader.read({}, {}, inference.as_float(batch)))
    parts = [
      {k: v[start : start + _AT_ONCE] for k, v in arrays.items()}
      for start in range(0, len(arrays["image"]), _AT_ONCE)
    ]
    codes = extra_folder.aside(
      lambda: np.concatenate([np.asarray(read(part)) for part in parts])
    )
    _tell(codes, self.levels, model.folder)
    return {"faces": arrays["image"], "codes": codes}

  def choose(
    self, there: jax.Array, codes: jax.Array, keys: jax.Array
  ) -> jax.Array:
    """Chooses a face for each code [B, C]; returns rows of `there`, int32 [B].

    Yaw, pitch and skin are as far apart as their levels, other codes by 1.
    """
    ordered = np.array(
      [name in ("yaw", "pitch", "skin") for name in self.names]
    )
    apart = jnp.abs(codes[:, None] - there)
    apart = jnp.where(ordered, apart, jnp.minimum(apart, 1)).sum(-1)
    draw = lambda key: jax.random.uniform(
      jax.random.fold_in(key, 0), there.shape[:1]
    )
    noise = mesh_lib.constrain(jax.vmap(draw)(keys))
    return jnp.argmin(apart + noise, 1).astype(jnp.int32)

  def image(self, state, frozen, batch) -> jax.Array:
    """Given faces [B, S, S, 3] in [0, 1]."""
    pool, keys = frozen[GIVEN], self.keys(batch)
    chosen = self.choose(pool["codes"], self.read(state, frozen, batch), keys)
    return mesh_lib.constrain(pool["faces"][chosen].astype(jnp.float32) / 255)


def _tell(codes: np.ndarray, levels: tuple[int, ...], folder: str) -> None:
  """Says how many faces there are, and of how many codes there is none.

  An attribute that is unknown is no code that a face must have.
  """
  count = math.prod(2 if level == 3 else level for level in levels[4:])
  count *= math.prod(levels[:4])
  known = codes[(codes[:, 4:] < 2).all(1)]
  there = len(np.unique(known, axis=0))
  logging.info("%d faces of %s are of %d codes", len(codes), folder, there)
  if there < count:
    logging.warning(
      "%s shows faces of %d of %d codes: of the others the nearest are shown,"
      " turned otherwise or of another skin",
      folder,
      there,
      count,
    )
