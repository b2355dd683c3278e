"""Which attributes can be read from what is released, and by whom.

For attributes that a mechanism promises to keep this measures utility, for
others leakage. The predictor of the mechanism's own loss is the weakest
witness: it may read a code that nobody else can. So predictors that the
mechanism has never seen are trained on released images, and compared with their
like trained and scored on originals.
"""

import flax.linen as nn
import numpy as np
from ml_collections import ConfigDict

from jaxpriv.metrics import classification
from jaxpriv.models.feature_selection import FeatureSelectionNetwork
from jaxpriv.models.heads import AttributePredictor
from jaxpriv.models.vggnet import VGGNet
from jaxpriv.training import tasks
from jaxpriv.training.method import Phase


def _vgg(attributes: int, settings: ConfigDict) -> nn.Module:
  return AttributePredictor(VGGNet(**settings), attributes)


def _fsn(attributes: int, settings: ConfigDict) -> nn.Module:
  return FeatureSelectionNetwork(attributes, **settings)


ARCHITECTURES = {"fsn": _fsn, "vgg": _vgg}


def predictor(
  name: str, network: ConfigDict, options: ConfigDict, attributes: int
) -> Phase:
  """A fresh predictor; `network.architecture` is "fsn" or "vgg"."""
  settings = {k: v for k, v in network.items() if k != "architecture"}
  model = ARCHITECTURES[network.architecture](attributes, settings)
  return tasks.attribute_prediction(name, model, options)


def score(
  predicted: np.ndarray, labels: np.ndarray, names: tuple[str, ...]
) -> dict[str, classification.Accuracy]:
  """Accuracy of each attribute.

  Args:
    predicted: [N, A].
    labels: [N, A], -1 unknown.
    names: of the A attributes; one of which no label is known is left out.
  """
  return {
    name: classification.accuracy(predicted[:, i], labels[:, i])
    for i, name in enumerate(names)
    if (labels[:, i] >= 0).any()
  }


def rows(
  predictor_name: str,
  released: dict[str, classification.Accuracy],
  original: dict[str, classification.Accuracy],
) -> list[dict]:
  """Rows as in `jaxpriv.reports.results`, without the mechanism."""
  return [
    {
      "attribute": name,
      "predictor": predictor_name,
      **accuracy._asdict(),
      "original": original[name].rate,
    }
    for name, accuracy in released.items()
  ]
