"""Deep poisoning's demo config, whose A6 searches few steps for few people.

300 steps are no more of a test, and programs compiled for tests are slow.
"""

from ml_collections import ConfigDict

from configs import deep_poisoning


def get_config(scale: str = "demo") -> ConfigDict:
  config = deep_poisoning.get_config(scale)
  config.attacks.A6.update(searched=4, steps=10)
  return config
