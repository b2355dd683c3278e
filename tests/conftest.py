"""8 fake CPU devices for all tests: sharding is the default, not a special."""

import gc
import os
import pathlib
from importlib import metadata

# Tests compile far more than they compute: a sixth of the time without the
# passes of LLVM, and without MLIR for fused loops. Not so with JAX 0.12, which
# at level 0 compiles the augmentation to wrong numbers. Eight devices on a busy
# machine may wait for each other for longer than XLA does before it ends the
# process.
os.environ["XLA_FLAGS"] = " ".join(
  (
    os.environ.get("XLA_FLAGS", ""),
    "--xla_llvm_disable_expensive_passes=true",
    "--xla_cpu_collective_call_terminate_timeout_seconds=600",
    "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
    if metadata.version("jaxlib") < "0.11"
    else "--xla_backend_optimization_level=1",
  )
)
# Processes and runs share compiled programs through a cache on disk: set
# here, before JAX is read, and inherited by every process that a test starts.
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(
  pathlib.Path(__file__).resolve().parents[1] / ".pytest_cache/jax"
)
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.05"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

import jax
import pytest
from absl import flags

if jax.config.jax_platforms in (None, "", "cpu"):
  jax.config.update("jax_platforms", "cpu")
  jax.config.update("jax_num_cpu_devices", 8)
# Grain reads absl flags.
flags.FLAGS.mark_as_parsed()

ROOT = pathlib.Path(__file__).resolve().parents[1]
FACES = pathlib.Path(
  os.environ.get("JAXPRIV_FACES", ROOT.parent / "shared" / "data" / "faces")
)


# A tenth of the time would be a search for garbage among what tracing makes,
# nearly all of which is kept.
GARBAGE = 100_000, 20, 100
gc.set_threshold(*GARBAGE)


# Files that take minutes: first, so that no process is left alone with one.
LONG = ("sharded_test.py", "features_test.py", "programs_test.py")


def pytest_collection_modifyitems(items):
  from jaxpriv.data import pretrained

  items.sort(key=lambda item: item.path.name not in LONG)
  reasons = {}
  if not FACES.exists():
    reasons["faces"] = f"real photographs are not at {FACES}"
  if absent := pretrained.missing():
    reasons["networks"] = (
      f"{', '.join(absent)} are missing in {pretrained.cache_folder()}:"
      f" {pretrained.FETCH}"
    )
  for item in items:
    for mark in reasons.keys() & set(item.keywords):
      item.add_marker(pytest.mark.skip(reason=reasons[mark]))


def pytest_collection_finish():
  """What was imported is no garbage; it is looked through no more."""
  gc.collect()
  gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def forget_programs():
  """All that the tests compile would fill a small machine's memory."""
  yield
  jax.clear_caches()


@pytest.fixture
def faces() -> pathlib.Path:
  """The folder of real photographs; mark the test with pytest.mark.faces."""
  return FACES


@pytest.fixture(scope="session")
def mesh():
  """All eight devices."""
  from jaxpriv.training import mesh as mesh_lib

  return mesh_lib.make_mesh()
