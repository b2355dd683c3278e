"""Networks that attackers train to read images: recognisers, predictors."""

from ml_collections import ConfigDict

from jaxpriv.errors import SettingError
from jaxpriv.models import backbones
from jaxpriv.models.heads import AttributePredictor
from jaxpriv.training import recipes
from jaxpriv.training.method import Phase


def recogniser(
    name: str, network: ConfigDict, head: ConfigDict, options: ConfigDict,
    people: int,
) -> Phase:  # fmt: skip
  """An attacker's recogniser; `network.architecture` is a kind of backbone."""
  settings = {k: v for k, v in network.items() if k != "architecture"}
  backbone = backbones.make(network.architecture, **settings)
  return recipes.recognition(name, backbone, people, options, head=head)


def predictor(
  name: str, network: ConfigDict, options: ConfigDict, attributes: int
) -> Phase:
  """A fresh predictor; `network.architecture` is a kind of backbone."""
  kind = network.architecture
  settings = {k: v for k, v in network.items() if k != "architecture"}
  if kind == "fsn":
    model = backbones.make(kind, attributes=attributes, **settings)
  else:
    model = AttributePredictor(backbones.make(kind, **settings), attributes)
  return recipes.attribute_prediction(name, model, options)


def check(evaluation: ConfigDict) -> None:
  """Builds all readers of `config.evaluation` on paper.

  Raises:
    SettingError: one is of an unknown kind, or has no phase to be trained by.
  """
  options = evaluation.phases

  def make(name):
    if name == "recogniser":
      one = evaluation.recogniser
      recogniser(name, one, evaluation.head, options[name], 2)
    else:
      predictor(name, evaluation.predictors[name], options[name], 1)

  for name in ("recogniser", *evaluation.predictors):
    where = "" if name == "recogniser" else "predictors."
    setting = f"config.evaluation.{where}{name}"
    if name not in options:
      raise SettingError(
        f"{setting} has no config.evaluation.phases.{name} to be trained by"
      )
    try:
      make(name)
    except (TypeError, ValueError, AttributeError) as error:
      reason = " ".join(str(error).split())
      raise SettingError(f"{setting}: {reason}") from error
