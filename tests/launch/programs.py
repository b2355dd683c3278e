"""Starts the programs as a user does, or calls them in this process."""

import contextlib
import os
import pathlib
import subprocess
import sys
from unittest import mock

import pytest
from absl import flags
from ml_collections import ConfigDict

from jaxpriv.errors import UserError
from jaxpriv.training import mesh as mesh_lib
from launch import common
from launch import config as config_lib

ROOT = pathlib.Path(__file__).resolve().parents[2]

# For processes that work as one: JAX writes what the first of them compiles, by
# names that the others do not look for, so that they would only drift apart.
UNCACHED = {"JAX_ENABLE_COMPILATION_CACHE": "false"}


def start(program, *arguments, **variables):
  environment = {
    **os.environ,
    "JAXPRIV_CACHE": str(ROOT / ".pytest_cache/nothing"),  # no witnesses
    **variables,
    "PYTHONPATH": str(ROOT),
    "JAX_PLATFORMS": "cpu",
  }
  return subprocess.Popen(
    [sys.executable, "-m", program, *map(str, arguments)],
    cwd=ROOT,
    env=environment,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  )


def run(program, *arguments, status=0):
  process = start(program, *arguments)
  output, _ = process.communicate(timeout=1200)
  assert process.returncode == status, output
  return output


def config_of(*arguments) -> ConfigDict:
  """The config that launch.train reads from its flags."""
  values = flags.FlagValues()
  config = config_lib.define(values=values)
  argv = ["launch.train", *map(str, arguments)]
  # Config flags look for their overrides in sys.argv.
  with contextlib.chdir(ROOT), mock.patch.object(sys, "argv", argv):
    values(argv)
    return config.value


def refusal(workdir, *arguments) -> str:
  """The message that launch.train would end with, after "error:"."""
  config = config_of(*arguments)
  with pytest.raises((UserError, FileNotFoundError)) as caught:
    common.train(config, workdir, mesh_lib.make_mesh())
  return str(caught.value)


def short(where: str, steps: int, *phases: str) -> list[str]:
  """Flags for so few steps of phases, in batches of eight."""
  return [
    f"--config.{where}.{name}.{key}={value}"
    for name in phases
    for key, value in (("steps", steps), ("batch_size", 8))
  ]
