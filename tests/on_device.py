"""A plugin of pytest: one device is a CPU's, and several are all at hand.

  JAX_PLATFORMS=cuda,cpu python -m pytest -n 0 -p tests.on_device \
    tests/sharded_test.py --json=sharded.json

With it, tests that compare a mesh of eight devices with a mesh of one compare
those that there are, and be it one, with one that computes in another way. All
multiply in float32, and not by TensorFloat-32.
"""

import json
import pathlib
import time

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh

from jaxpriv import files
from jaxpriv.training import mesh as mesh_lib


def pytest_addoption(parser):
  parser.addoption("--json", default="", help="a JSON file to write")
  parser.addoption("--limit", default=540.0, type=float, help="seconds")


def pytest_configure(config):
  config.pluginmanager.register(
    Results(config.getoption("--json"), config.getoption("--limit"))
  )


class Results:
  """Keeps what came out of each test, in a file written after each."""

  def __init__(self, path, limit):
    # Tests have folders of their own.
    self._path = pathlib.Path(path).resolve() if path else None
    self._deadline = time.monotonic() + limit
    self._rows = []

  @pytest.hookimpl(tryfirst=True)
  def pytest_runtest_setup(self, item):
    if time.monotonic() > self._deadline:
      pytest.skip("there was no time left")

  def pytest_runtest_logreport(self, report):
    if report.when != "call" and report.passed:
      return
    name = report.nodeid.split("::")[-1]
    said = ""
    if report.failed:
      said = str(report.longrepr).strip().splitlines()[-1]
    if report.skipped:
      said = report.longrepr[-1]
    row = {"test": name, "outcome": report.outcome,
           "seconds": round(report.duration, 1), "said": said}  # fmt: skip
    self._rows.append(row)
    if self._path:
      device = jax.devices()[0]
      content = {"device": device.device_kind, "devices": jax.device_count(),
                 "jax": jax.__version__,
                 "suites": {"sharded": self._rows}}  # fmt: skip
      files.atomic_write(self._path, json.dumps(content, indent=2) + "\n")


@pytest.fixture(autouse=True)
def one_device_is_a_cpu(monkeypatch):
  there = mesh_lib.make_mesh

  def make_mesh(num_devices=None):
    if num_devices != 1:
      return there(num_devices)
    one = np.array(jax.devices("cpu")[:1])
    return Mesh(one, (mesh_lib.DATA,), axis_types=(AxisType.Auto,))

  monkeypatch.setattr(mesh_lib, "make_mesh", make_mesh)
  with jax.default_matmul_precision("highest"):
    yield
