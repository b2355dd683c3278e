"""Numbers of a config that no training can be made with."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs import baseline, deep_poisoning, dp_multitask, embedded_autoencoder
from jaxpriv.errors import SettingError
from jaxpriv.training import settings

INF, NAN = math.inf, math.nan
BAD = [
  *(("data.image_size", x) for x in (0, -1, 7, 10**6)),
  *(("data.max_bad_share", x) for x in (-0.1, 1.1, NAN)),
  *(("data.splits.train", x) for x in (NAN, -0.6, 0.0, 0.9)),
  ("data.seed", -1),
  ("data.num_identities", 0),
  ("seed", -1),
  ("dtype", "float99"),
  *(("phases.fsn.learning_rate", x) for x in (NAN, -1.0, INF)),
  ("phases.fsn.steps", -1),
  ("phases.pen.steps", 2**40),
  *(("phases.fsn.batch_size", x) for x in (0, -8)),
  ("phases.fsn.warmup_steps", -1),
  *(("phases.fsn.ema", x) for x in (1.0, -0.1, NAN)),
  ("phases.fsn.accumulate", 0),
  *(("phases.fsn.clip_norm", x) for x in (-1.0, NAN, INF)),
  ("phases.fsn.augmentation.shift", 2.0),
  ("evaluation.phases.parrot.batch_size", 0),
  ("evaluation.batch_size", 0),
  ("evaluation.max_test_images", 0),
  ("release.batch_size", -1),
  ("train.save_every", -1),
  ("train.keep", 0),
  *(("dp.epsilon", x) for x in (0.0, -1.0, NAN, 1e-6, -INF)),
  *(("dp.delta", x) for x in (0.0, 1.0, 2.0, NAN, 1e-30)),
  *(("dp.noise_multiplier", x) for x in (-1.0, NAN, INF, 1e-3, 1e9)),
  *(("dp.clip_norm", x) for x in (0.0, -1.0, NAN, INF)),
  ("dp.group_clip_norms", {"fsn/": 0.0}),
  ("dp.accountant", "prv"),
  *(("dp.augmentation_multiplicity", x) for x in (0, 10**6)),
  ("dp.images_per_person", 0),
  ("dp.microbatch_size", -1),
]


def changed(name, value):
  config = embedded_autoencoder.get_config("demo")
  with config.unlocked():
    config.update_from_flattened_dict({name: value})
  return config


@pytest.mark.parametrize("name,value", BAD)
def test_a_number_out_of_its_range_is_named(name, value):
  with pytest.raises(SettingError) as caught:
    settings.check(changed(name, value))
  assert f"config.{name.rpartition('.')[0]}" in str(caught.value)
  assert "\n" not in str(caught.value)


@pytest.mark.parametrize("scale", ["demo", "gpu", "paper"])
def test_all_configs_pass(scale):
  for module in (deep_poisoning, dp_multitask, embedded_autoencoder):
    settings.check(module.get_config(scale))
  for option in baseline.OPTIONS:
    settings.check(baseline.get_config(f"{scale},{option}"))


@given(st.floats() | st.integers())
def test_every_number_is_taken_or_refused_in_a_sentence(value):
  names = ("data.max_bad_share", "dp.epsilon", "dp.delta", "dp.clip_norm")
  config = embedded_autoencoder.get_config("demo")
  with config.unlocked():
    for name in names:
      config.update_from_flattened_dict({name: float(value)})
  try:
    settings.check(config)
  except SettingError:
    return
  assert 0 <= config.data.max_bad_share <= 1 and 0 < config.dp.delta < 1
  assert config.dp.clip_norm > 0 and config.dp.epsilon > 0
