"""The pretrained networks by name: the frame and the function of each."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

from jaxpriv.models.pretrained import (
  blazeface,
  dense_blocks,
  dlib_resnet,
  faceres,
  xception,
)
from jaxpriv.models.pretrained.frames import Frame
from jaxpriv.models.pretrained.layers import Params


class Network(NamedTuple):
  """A pretrained network.

  Attributes:
    frame: in which it sees a face.
    apply: (parameters, images [B, size, size, 3] in [0, 1]) -> outputs [B, ...]
      by name.
    attributes: attribute -> what its outputs say of it, [B]; above 0 where it
      is likelier than not.
  """

  frame: Frame
  apply: Callable[[Params, jax.Array], dict[str, jax.Array]]
  attributes: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {}


# Young is under 30 years, as in labels.csv.
_PEOPLE = {
  "Male": lambda outputs: outputs["male"] - 0.5,
  "Young": lambda outputs: 30 - outputs["age"],
}
_SMILING = {"Smiling": lambda outputs: outputs["expressions"][:, 1] - 0.5}

NETWORKS: Mapping[str, Network] = {
  "faceres": Network(faceres.FRAME, faceres.apply, _PEOPLE),
  "dlib": Network(dlib_resnet.FRAME, dlib_resnet.apply),
  "blazeface": Network(
    blazeface.FRAME,
    lambda params, x: blazeface.best(blazeface.apply(params, x)),
  ),
  "landmarks": Network(dense_blocks.LANDMARKS_FRAME, dense_blocks.landmarks),
  "expressions": Network(
    dense_blocks.FRAME, dense_blocks.expressions, _SMILING
  ),
  "age_gender": Network(xception.FRAME, xception.apply, _PEOPLE),
}
RECOGNISERS = ("faceres", "dlib")
WITNESSES = (*RECOGNISERS, "age_gender", "expressions")
