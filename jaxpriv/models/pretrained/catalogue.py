"""The pretrained networks by name: the frame and the function of each."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

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
  """

  frame: Frame
  apply: Callable[[Params, jax.Array], dict[str, jax.Array]]


NETWORKS: Mapping[str, Network] = {
  "faceres": Network(faceres.FRAME, faceres.apply),
  "dlib": Network(dlib_resnet.FRAME, dlib_resnet.apply),
  "blazeface": Network(
    blazeface.FRAME,
    lambda params, x: blazeface.best(blazeface.apply(params, x)),
  ),
  "landmarks": Network(dense_blocks.LANDMARKS_FRAME, dense_blocks.landmarks),
  "expressions": Network(dense_blocks.FRAME, dense_blocks.expressions),
  "age_gender": Network(xception.FRAME, xception.apply),
}
RECOGNISERS = ("faceres", "dlib")
