"""Curves of bfloat16 are judged by what seeds of float32 do."""

import numpy as np
import pytest

from jaxpriv.errors import SettingError
from jaxpriv.training import budget, mechanism
from launch import benchmark_precision
from launch import config as config_lib


def judged(rounded, *curves):
  (row,) = benchmark_precision.compare(
    "m",
    [{"p: loss": np.array(curve)} for curve in curves],
    {"p: loss": rounded},
  )
  return row


def test_what_is_nearer_than_seeds_is_within_noise():
  ramp = np.linspace(2, 1, 16)
  row = judged(ramp + 0.1, ramp, ramp + 0.3, ramp - 0.1)
  assert row["within noise"] == "yes" and row["steps"] == 16
  assert row["apart"] == "0.1" and row["seeds apart"] == "0.4"
  # The last four of 16 points from 2 to 1.
  assert row["float32"] == "1 to 1.4" and row["bfloat16"] == "1.2"


def test_it_is_compared_with_the_curve_of_its_own_seed():
  ramp = np.linspace(2, 1, 16)
  row = judged(ramp + 0.5, ramp, ramp + 0.3, ramp + 0.3)
  assert row["within noise"] == "no"
  assert row["apart"] == "0.5" and row["seeds apart"] == "0.3"


def test_noise_of_steps_is_averaged():
  flat, zigzag = np.ones(64), np.tile([1.0, -1.0], 32)
  row = judged(flat + zigzag, flat, flat, flat + 0.01)
  assert row["apart"] == "0" and row["within noise"] == "yes"


@pytest.mark.parametrize("name", ["dp_multitask", "dp_multitask:private"])
def test_configs_are_shrunk_demos(name):
  config = benchmark_precision._config(name, 16, "bfloat16", 2)
  assert config.dtype == "bfloat16" and config.seed == 2
  assert config.phases.multi_task.steps == 16
  assert config.phases.multi_task.batch_size == benchmark_precision.BATCH
  assert budget.is_private(config.dp) == name.endswith(":private")


def test_a_config_that_is_not_there_is_named_before_work_starts():
  with pytest.raises(SettingError, match="names nothing, and .* face_source"):
    benchmark_precision.run(("dp_multitask:private", "nothing"), 8)


def test_there_are_as_many_scenes_as_photographs():
  config = benchmark_precision._config("face_detection", 8, "float32", 0)
  assert config.data.num_identities // config.data.max_faces == 48 * 6


@pytest.mark.parametrize("name", sorted({*config_lib.names()} - {"baseline"}))
def test_no_mechanism_refuses_what_is_left_of_its_demo(name):
  config = benchmark_precision._config(name, 8, "float32", 0)
  config.data.attributes = ("Male", "Smiling")  # as a source would say
  assert mechanism.phases(config)
  largest = max(phase.batch_size for phase in config.phases.values())
  many = name == "mask_desensitization"
  assert (largest == benchmark_precision.MOST) == many
