"""Networks that attackers train to read images: recognisers, predictors."""

import flax.linen as nn
from ml_collections import ConfigDict

from jaxpriv.models.feature_selection import FeatureSelectionNetwork
from jaxpriv.models.heads import AttributePredictor
from jaxpriv.models.iresnet import IResNet
from jaxpriv.models.vggnet import VGGNet
from jaxpriv.training import tasks
from jaxpriv.training.method import Phase

BACKBONES = {"vgg": VGGNet, "iresnet": IResNet}


def recogniser(
    name: str, network: ConfigDict, head: ConfigDict, options: ConfigDict,
    people: int,
) -> Phase:  # fmt: skip
  """An attacker's recogniser: `network.architecture` is "vgg" or "iresnet"."""
  settings = {k: v for k, v in network.items() if k != "architecture"}
  backbone = BACKBONES[network.architecture](**settings)
  return tasks.recognition(name, backbone, people, options, head=head)


def _vgg(attributes: int, settings: dict) -> nn.Module:
  return AttributePredictor(VGGNet(**settings), attributes)


def _fsn(attributes: int, settings: dict) -> nn.Module:
  return FeatureSelectionNetwork(attributes, **settings)


ARCHITECTURES = {"fsn": _fsn, "vgg": _vgg}


def predictor(
  name: str, network: ConfigDict, options: ConfigDict, attributes: int
) -> Phase:
  """A fresh predictor; `network.architecture` is "fsn" or "vgg"."""
  settings = {k: v for k, v in network.items() if k != "architecture"}
  model = ARCHITECTURES[network.architecture](attributes, settings)
  return tasks.attribute_prediction(name, model, options)
