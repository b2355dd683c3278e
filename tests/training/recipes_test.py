import jax
import numpy as np
from ml_collections import ConfigDict

from configs import common
from jaxpriv.models.poisoning import FeatureNet
from jaxpriv.training import recipes


def test_features_are_embedded_as_they_are_and_photographs_mirrored_too():
  options = common.phase(1, 4, augment=False)
  head = ConfigDict(dict(kind="arcface", scale=16.0, margin=0.2))
  x = np.random.default_rng(0).random((4, 8, 8, 6)).astype(np.float32)
  batch = {"image": x, "identity": np.arange(4), "padding": np.zeros(4, bool)}

  def embeddings(mirrored):
    phase = recipes.recognition(
      "r", FeatureNet(16, 8), 4, options, head=head, mirrored=mirrored
    )
    state = phase.method.init(jax.random.key(0), batch, {})
    embed = phase.method.outputs.embed
    return [
      np.asarray(embed(state, {}, {"image": image}))
      for image in (x, x[:, :, ::-1])
    ]

  (here, there), (both, again) = embeddings(False), embeddings(True)
  assert np.abs(here - there).max() > 1e-2
  np.testing.assert_allclose(both, here + there, atol=1e-5)
  np.testing.assert_allclose(again, both, atol=1e-5)
