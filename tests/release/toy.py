"""A mechanism of somebody else's that releases images and a model, or features.

Its one phase darkens images by a gain it has "learned"; nothing is trained.
"""

import jax.numpy as jnp
import numpy as np
from etils import epath
from ml_collections import ConfigDict

from configs import common
from jaxpriv.training import checkpoints
from jaxpriv.training import workdir as workdir_lib
from jaxpriv.training.mechanism import Pool, Target, Trained
from jaxpriv.training.method import Outputs, Phase, untrained

SIDE = 32
GAIN = 0.5
SECRETS = ("toy.password",)


def phases(config: ConfigDict) -> list[Phase]:
  def gain(state):
    return state["params"]["gain"][0]

  def keep(state, frozen, batch):
    return batch["image"].mean(3) > 0.3

  def image(state, frozen, batch):
    if config.toy.masked:
      return batch["image"] * keep(state, frozen, batch)[..., None]
    return batch["image"] * gain(state)

  def embed(state, frozen, batch):
    return batch["image"].mean((1, 2)) * gain(state)

  def features(state, frozen, batch):
    return batch["image"][:, ::8, ::8] * gain(state)

  outputs = Outputs(image=image, embed=embed, features=features)
  if config.toy.masked:
    outputs = outputs._replace(keep=keep)
  return [Phase("toy", (), untrained(outputs))]


def targets(config: ConfigDict, trained: Trained) -> list[Target]:
  target = Target(
    config.mechanism,
    config,
    trained,
    tuple(config.toy.products),
    kept=("Male",),
    pool=lambda: Pool("eighth", "f" * 64, trained.states),
    withheld=config.toy.withheld,
    caution="mind the gain",
    limits=("The gain is small.",),
  )
  return [target, target._replace(name="control", control=True)]


def unfit(config: ConfigDict, arrays: dict) -> str:
  del arrays
  return config.toy.unfit


def make_run(workdir, *products: str, **changes) -> ConfigDict:
  """A finished run; `changes` are of config.toy."""
  config = common.base("tests.release.toy", "toy")
  config.data.update(
    source="folder", image_size=SIDE, path="/home/anna/photographs"
  )
  config.data.attributes = ("Male", "Smiling")
  config.phases.toy = common.phase(0, 8)
  config.toy = dict(
    products=products, withheld="", unfit="", password="hunter2", masked=False
  )
  config.toy.update(changes)
  config.release.batch_size = 4
  workdir_lib.save_config(workdir, config)
  directory = checkpoints.phase_directory(epath.Path(workdir), "toy")
  with checkpoints.open_manager(directory) as manager:
    gain = jnp.full(3, GAIN, np.float32)
    state = {"params": {"gain": gain}, "batch_stats": {}}
    checkpoints.save(manager, 0, state)
  return config
