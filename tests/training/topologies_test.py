"""Machines that are not here: what is asked for, and what is missing."""

import jax
import pytest
from jax.experimental import topologies as jax_topologies

from jaxpriv.errors import SettingError
from jaxpriv.training import topologies


@pytest.mark.parametrize(
  "name, kind, size, platform",
  [
    ("h200:8", "h200", 8, "cuda"),
    ("a100:1", "a100", 1, "cuda"),
    ("v5e:4x4", "v5e", 16, "tpu"),
    ("v5p:2x2x2", "v5p", 8, "tpu"),
    ("cpu:4", "cpu", 4, "cpu"),
  ],
)
def test_topologies_are_read(name, kind, size, platform):
  topology = topologies.parse(name)
  assert (topology.kind, topology.size) == (kind, size)
  assert topology.device.platform == platform


@pytest.mark.parametrize(
  "name, message",
  [
    ("b300:8", "devices are of a100, h100"),
    ("h200", "how many devices, as in h200:8"),
    ("h200:0", "how many"),
    ("h200:2x4", "how many"),
    ("h200:16", "of one host are reckoned with, 8 at most"),
    ("v5e:4x", "as in v5e:4x4"),
    ("v5e:-4", "how many"),
  ],
)
def test_others_are_refused(name, message):
  with pytest.raises(SettingError, match=message):
    topologies.parse(name)


def test_compilers_of_tpus_try_little_but_for_tuned_programs():
  effort = "exec_time_optimization_effort"
  assert topologies.parse("v5e:4x4").options == {effort: -1.0}
  assert topologies.parse("v5e:4x4", tuned=True).options == {}
  assert effort not in topologies.parse("h200:8").options
  plain, tuned = (topologies.parse("h200:8", tuned=t) for t in (False, True))
  assert plain.options == tuned.options != {}


def test_those_of_a_cpu_are_here():
  mesh = topologies.make_mesh(topologies.parse("cpu:4"))
  assert mesh.size == 4 and mesh.axis_names == ("data",)
  with pytest.raises(SettingError, match="started with 8 devices"):
    topologies.make_mesh(topologies.parse("cpu:16"))


@pytest.mark.parametrize(
  "name, error, extra",
  [
    ("h200:8", NotImplementedError("topology not implemented"), "aot-gpu"),
    ("v5e:4x4", RuntimeError("JAX TPU support not installed"), "aot-tpu"),
  ],
)
def test_a_missing_compiler_is_named(name, error, extra, monkeypatch):
  def fail(*args, **options):
    raise error

  monkeypatch.setattr(jax_topologies, "get_topology_desc", fail)
  with pytest.raises(SettingError, match=rf"jaxpriv\[{extra}\]"):
    topologies.make_mesh(topologies.parse(name))


def test_what_the_compiler_refuses_is_told(monkeypatch):
  def fail(*args, **options):
    raise RuntimeError("no such torus")

  monkeypatch.setattr(jax_topologies, "get_topology_desc", fail)
  with pytest.raises(SettingError, match="v5e:3x5: no such torus"):
    topologies.make_mesh(topologies.parse("v5e:3x5"))


def test_a_card_is_described_by_its_own_numbers(monkeypatch):
  seen = {}

  def note(name, **options):
    seen.update(options, name=name)
    return type("Described", (), {"devices": jax.devices()})

  monkeypatch.setattr(jax_topologies, "get_topology_desc", note)
  mesh = topologies.make_mesh(topologies.parse("a100:8"))
  assert mesh.size == 8 and seen["topology"] == "1x8x1"
  for part in (
    "core_count: 108",
    "memory_bandwidth: 2039000000000",
    "cuda_compute_capability { major: 8 }",
    '"NVIDIA A100"',
  ):
    assert part in seen["target_config"]
  assert seen["target_config"].count("{") == seen["target_config"].count("}")
