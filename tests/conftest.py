"""8 fake CPU devices for all tests: sharding is the default, not a special."""

import os
import pathlib

import jax
import pytest
from absl import flags

os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
if jax.config.jax_platforms in (None, "", "cpu"):
  jax.config.update("jax_platforms", "cpu")
  jax.config.update("jax_num_cpu_devices", 8)
# Grain reads absl flags.
flags.FLAGS.mark_as_parsed()

ROOT = pathlib.Path(__file__).resolve().parents[1]
FACES = pathlib.Path(
    os.environ.get("JAXPRIV_FACES", ROOT.parent / "shared" / "data" / "faces")
)


def pytest_collection_modifyitems(items):
  if FACES.exists():
    return
  skip = pytest.mark.skip(reason=f"real photographs are not at {FACES}")
  for item in items:
    if "faces" in item.keywords:
      item.add_marker(skip)


@pytest.fixture
def faces() -> pathlib.Path:
  """The folder of real photographs; mark the test with pytest.mark.faces."""
  return FACES


@pytest.fixture
def mesh():
  """All eight devices."""
  from jaxpriv.training import mesh as mesh_lib

  return mesh_lib.make_mesh()
