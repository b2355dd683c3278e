"""Networks by their names in configs.

| kind | network | output |
|---|---|---|
| fsn | `feature_selection.FeatureSelectionNetwork` | [B, attributes, 2] |
| hyperface | `multi_task.HyperFace` | [B, features] |
| iresnet | `iresnet.IResNet` | [B, features] |
| resnet | `resnet.ResNet` | [B, features] |
| small | `multi_task.SmallMultiTask` | [B, features] |
| vgg | `vggnet.VGGNet` | [B, features] |
"""

import dataclasses
from typing import Any

import flax.linen as nn

from jaxpriv.models.feature_selection import FeatureSelectionNetwork
from jaxpriv.models.iresnet import IResNet
from jaxpriv.models.multi_task import HyperFace, SmallMultiTask
from jaxpriv.models.resnet import ResNet
from jaxpriv.models.vggnet import VGGNet

KINDS: dict[str, Any] = {
  "fsn": FeatureSelectionNetwork,
  "hyperface": HyperFace,
  "iresnet": IResNet,
  "resnet": ResNet,
  "small": SmallMultiTask,
  "vgg": VGGNet,
}

_OF_EVERY_MODULE = ("parent", "name")


def make(kind: str, **settings: Any) -> nn.Module:
  """Makes a network.

  Args:
    kind: one of `KINDS`.
    **settings: fields of the module.

  Raises:
    ValueError: the kind, or a setting of it, is unknown; the message lists the
      valid ones.
  """
  if kind not in KINDS:
    raise ValueError(
      f"there is no network {kind!r}: choose of {', '.join(KINDS)}"
    )
  fields = [field.name for field in dataclasses.fields(KINDS[kind])]
  names = [name for name in fields if name not in _OF_EVERY_MODULE]
  unknown = [name for name in settings if name not in names]
  if unknown:
    raise ValueError(
      f"a network {kind!r} has no setting {', '.join(unknown)}; its settings"
      f" are {', '.join(names)}"
    )
  return KINDS[kind](**settings)
