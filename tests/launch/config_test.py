"""--config, and mistakes in flags: one sentence each."""

import sys
from unittest import mock

import pytest
from absl import flags

from jaxpriv.errors import UserError
from launch import config as config_lib
from tests.launch.programs import config_of


@pytest.mark.parametrize("name", config_lib.names())
def test_a_config_is_found_by_name_from_any_folder(name, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  argument = f"{name}:demo{',k_same' if name == 'baseline' else ''}"
  config = config_lib.define(values=(values := flags.FlagValues()))
  with mock.patch.object(sys, "argv", ["program"]):
    values(["program", f"--config={argument}"])
  assert config.value.data.image_size in (64, 128)
  assert name == "baseline" or config.value.mechanism == name


def test_a_file_of_ones_own_and_its_overrides(tmp_path):
  (tmp_path / "mine.py").write_text(
    "from configs import embedded_autoencoder\n"
    "def get_config(scale): return embedded_autoencoder.get_config(scale)\n"
  )
  config = config_of(f"--config={tmp_path}/mine.py:demo", "--config.seed=3")
  assert config.seed == 3 and config.method == "embedded_autoencoder"
  assert config.is_locked


@pytest.mark.parametrize(
  "argument,message",
  [
    ("--config=configs/nowhere.py", "baseline, deep_poisoning, dp_multitask"),
    ("--config=somewhere/dp_multitask.py", "as in --config=dp_multitask:demo"),
    ("--config=embedded_autoencodr", "as in --config=embedded_autoencoder:d"),
    ("--config.data.pth=x", "did you mean --config.data.path?"),
    ("--config.phases.fsn.stps=3", "mean --config.phases.fsn.steps?"),
    ("--config.path=x", "did you mean --config.data.path?"),
    ("--config.seed.x=1", "there is no such setting"),
    ("--config.dp.qqq=1", "config.dp has accountant, "),
  ],
)
def test_what_does_not_exist_is_named_with_the_nearest(argument, message):
  first = ["--config=embedded_autoencoder:demo"]
  given = [argument] if argument.startswith("--config=") else [*first, argument]
  with pytest.raises(UserError) as caught:
    config_of(*given)
  assert message in str(caught.value)
  assert argument.split("=")[0] in str(caught.value)


@pytest.mark.parametrize(
  "argument,message",
  [
    ("--number=abc", "--number=abc: it is a whole number"),
    ("--share=abc", "--share=abc: it is a number"),
    ("--yes=maybe", "--yes=maybe: it is true or false"),
    ("--numbr=1", "Did you mean: number"),
    ("--number=-1", "--number=-1: -1 is not"),
  ],
)
def test_values_of_another_kind(argument, message, monkeypatch):
  values = flags.FlagValues()
  flags.DEFINE_integer("number", 1, "", 0, flag_values=values)
  flags.DEFINE_float("share", 1, "", flag_values=values)
  flags.DEFINE_bool("yes", True, "", flag_values=values)
  monkeypatch.setattr(flags, "FLAGS", values)
  with pytest.raises(UserError) as caught:
    config_lib.parse(["program", argument])
  assert message in str(caught.value) and "\n" not in str(caught.value)
