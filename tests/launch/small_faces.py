"""EEAE's demo config with small attackers and two of the six baselines.

The black box trains nothing, k-Same needs all people at once; the others are
protected in `test_every_baseline_can_be_attacked`.
"""

from ml_collections import ConfigDict

from configs import embedded_autoencoder


def get_config() -> ConfigDict:
  config = embedded_autoencoder.get_config("demo")
  options = config.evaluation
  options.controls = ("black_box", "k_same")
  config.controls.k_same.model.k = 2
  config.attacks.embedding_map.update(pairs=(8, 16), network=4)
  config.attacks.repair.update(components=8, widths=(4,))
  options.phases.map.update(steps=2, batch_size=8)
  options.recogniser.update(depths=(1, 1), width=4, features=16)
  options.predictors.fsn.update(widths=(8,) * 6, group_units=(16, 8))
  options.predictors.vgg.update(depths=(1, 1), width=4, features=16)
  return config
