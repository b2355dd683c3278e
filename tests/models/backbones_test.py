"""Networks by name equal their modules; unknown names are reported."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpriv.models import backbones
from jaxpriv.models.iresnet import IResNet
from jaxpriv.models.vggnet import VGGNet

SETTINGS = {
  "fsn": dict(attributes=3, widths=(4,) * 6, group_units=(8, 8)),
  "hyperface": dict(width=8, features=16),
  "iresnet": dict(depths=(1, 1), width=4, features=16),
  "resnet": dict(depths=(1, 1), width=4, features=16, stem=(3, 1, False)),
  "small": dict(widths=(4, 8), features=16),
  "vgg": dict(depths=(1, 1), width=4, features=16),
}


@pytest.mark.parametrize("kind", backbones.KINDS)
def test_every_kind_reads_images(kind):
  network = backbones.make(kind, **SETTINGS[kind])
  side = 227 if kind == "hyperface" else 32
  images = jax.ShapeDtypeStruct((2, side, side, 3), jnp.float32)
  key = jax.random.key(0)
  output, variables = jax.eval_shape(
    lambda x: network.init_with_output(key, x, train=False), images
  )
  assert output.shape == ((2, 3, 2) if kind == "fsn" else (2, 16))
  assert variables["params"]


@pytest.mark.parametrize(
  "kind, by_hand", [("vgg", VGGNet), ("iresnet", IResNet)]
)
def test_parameters_are_those_of_the_network_made_by_hand(kind, by_hand):
  images = jnp.zeros((1, 16, 16, 3))
  variables, expected = (
    network.init(jax.random.key(3), images, train=False)
    for network in (
      backbones.make(kind, **SETTINGS[kind]),
      by_hand(**SETTINGS[kind]),
    )
  )
  jax.tree.map(np.testing.assert_array_equal, variables, expected)


def test_what_is_unknown_is_named():
  with pytest.raises(ValueError, match="'vggg': choose of fsn, .*, vgg"):
    backbones.make("vggg", width=4)
  message = "'vgg' has no setting depth, name; its settings are depths, width"
  with pytest.raises(ValueError, match=message):
    backbones.make("vgg", width=4, depth=(1,), name="x")
