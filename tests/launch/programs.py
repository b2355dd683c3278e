"""Starts the programs as a user does."""

import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]


def start(program, *arguments, **variables):
  environment = {
    **os.environ,
    **variables,
    "PYTHONPATH": str(ROOT),
    "JAX_PLATFORMS": "cpu",
    "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".pytest_cache/jax"),
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
  output, _ = process.communicate(timeout=600)
  assert process.returncode == status, output
  return output


def short(where: str, steps: int, *phases: str) -> list[str]:
  """Flags for so few steps of phases, in batches of eight."""
  return [
    f"--config.{where}.{name}.{key}={value}"
    for name in phases
    for key, value in (("steps", steps), ("batch_size", 8))
  ]
