import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import common
from jaxpriv.errors import SettingError
from jaxpriv.models.poisoning import FeatureNet
from jaxpriv.privacy.plan import Plan
from jaxpriv.training import recipes
from tests.training import toys


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


def test_a_softmax_head_begins_at_chance_and_others_are_listed():
  options = common.phase(1, 4, augment=False)
  x = np.random.default_rng(0).random((4, 8, 8, 6)).astype(np.float32)
  batch = {"image": x, "identity": np.arange(4), "padding": np.zeros(4, bool)}
  phase = lambda kind: recipes.recognition(
    "r", FeatureNet(16, 8), 4, options, head=ConfigDict(dict(kind=kind))
  )
  method = phase("softmax").method
  state = method.init(jax.random.key(0), batch, {})
  _, metrics = method.step(state, {}, batch, jax.random.key(1))
  assert float(metrics["loss"]) == pytest.approx(np.log(4), abs=0.1)
  with pytest.raises(SettingError, match="magface, softmax, not 'linear'"):
    phase("linear")


STILL = dict(
  flip=False, shift=0.0, brightness=0.0, contrast=0.0, saturation=0.0
)


@pytest.mark.parametrize(
  "changes,transform,alike",
  [
    (dict(), None, False),
    (dict(augment=False), None, True),
    (dict(augmentation=STILL), None, True),
    (dict(augmentation={**STILL, "shift": 0.1}), None, False),
    (dict(augment=False), lambda key, batch: batch, False),
  ],
)
def test_several_views_that_are_alike_are_refused(changes, transform, alike):
  phase = recipes.supervised_phase(
    "toy",
    toys.Net("group"),
    toys.regression_loss,
    common.phase(4, 8, **changes),
    transform=transform,
  )
  plan = lambda views: Plan(
    units=40, unit="image", rows_per_unit=1, batch_size=8, steps=4,
    noise_multiplier=1.0, augmentation_multiplicity=views,
  )  # fmt: skip
  phase.private(plan(1))
  if not alike:
    phase.private(plan(2))
    return
  with pytest.raises(SettingError, match="multiplicity = 2, .* phase toy"):
    phase.private(plan(2))
