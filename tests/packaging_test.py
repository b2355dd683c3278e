"""The installed packages match the ranges, the lock file and the checks."""

import pathlib
import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = pathlib.Path(__file__).parents[1]
WHOLE = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT, TOOL = WHOLE["project"], WHOLE["tool"]
LOCK = (ROOT / "requirements.lock").read_text()

# The two ends of what is supported, on both kinds of Linux machine.
ENVIRONMENTS = [
  {
    "python_version": python,
    "python_full_version": f"{python}.1",
    "platform_machine": machine,
    "sys_platform": "linux",
    "platform_system": "Linux",
    "implementation_name": "cpython",
    "platform_python_implementation": "CPython",
  }
  for python in ("3.11", "3.12")
  for machine in ("x86_64", "aarch64")
]


def pinned(environment):
  """Returns name -> version as pip would read the lock there."""
  versions = {}
  for block in re.split(r"\n(?=[a-z0-9])", LOCK):
    line, *hashes = block.split("\\\n")
    if line.startswith("#"):
      continue
    requirement = Requirement(line)
    assert hashes, f"{requirement.name} has no hash"
    if requirement.marker and not requirement.marker.evaluate(environment):
      continue
    name = canonicalize_name(requirement.name)
    assert name not in versions, f"{name} is pinned twice"
    (specifier,) = requirement.specifier
    assert specifier.operator == "=="
    versions[name] = specifier.version
  return versions


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_lock_is_a_point_in_the_ranges(environment):
  versions = pinned(environment)
  extras = PROJECT["optional-dependencies"]
  for line in PROJECT["dependencies"] + extras["test"] + extras["dev"]:
    wanted = Requirement(line)
    version = versions[canonicalize_name(wanted.name)]
    assert version in wanted.specifier, f"{wanted} is locked to {version}"


def test_lock_has_hashes_and_no_addresses():
  assert "://" not in LOCK
  assert "index-url" not in LOCK
  assert "find-links" not in LOCK
  for line in LOCK.splitlines():
    if line.startswith("    "):
      assert re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}( \\)?", line)


def test_no_torch_and_no_tensorflow():
  names = set(pinned(ENVIRONMENTS[0]))
  assert not names & {"torch", "tensorflow", "tensorflow-cpu", "clu"}


def test_accelerators_are_extras():
  extras = PROJECT["optional-dependencies"]
  for name in ("tpu", "cuda12", "cuda13"):
    (line,) = extras[name]
    assert Requirement(line).extras == {name}


def test_configs_are_installed_with_the_programs():
  include = TOOL["setuptools"]["packages"]["find"]["include"]
  assert {"jaxpriv*", "configs*", "launch*"} <= set(include)
