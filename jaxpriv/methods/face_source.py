"""A source of faces of nobody: StyleGAN2, under conditions, trained here.

The phase and its losses are those of `training.synthetic_game`.
"""

from ml_collections import ConfigDict

from jaxpriv.data.dataset import Data
from jaxpriv.training import mechanism, synthetic, synthetic_game, transfer
from jaxpriv.training.mechanism import Load, Target, Trained
from jaxpriv.training.method import Phase


def phases(config: ConfigDict) -> list[Phase]:
  """One phase, the game of three networks.

  Args:
    config: with what `synthetic_game.phase` has of a model in config.model.

  Raises:
    SettingError: something is not as it can be; the message names it.
  """
  return [synthetic_game.phase(config, config.model)]


def targets(config: ConfigDict, trained: Trained) -> list[Target]:
  """The one target: the model."""
  made = Target(config.mechanism, config, trained, (mechanism.MODEL,))
  return [made._replace(nobody=True)]


def check(config: ConfigDict, data: Data, load: Load) -> None:
  """Checks that records are of one face each, and more than one to learn from.

  Raises:
    DataError: they are not, or a phase does not fit.
  """
  transfer.check_copied(config, synthetic_game.MADE_WITH, load)
  synthetic_game.check(config, data)


def generator(config: ConfigDict) -> synthetic.Generator:
  """The networks of a config that draw faces, for `synthetic`."""
  return synthetic_game.generator(config, config.model)
