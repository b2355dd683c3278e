"""How many devices a CPU is made into, their order, and what is sharded."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxpriv.training import mesh as mesh_lib

V1 = ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")


def container(root, files):
  for name, text in files.items():
    path = root / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
  return root


@pytest.mark.parametrize(
  "files, quota",
  [
    ({}, math.inf),
    ({"cpu.max": "max 100000\n"}, math.inf),
    ({"cpu.max": "250000 100000\n"}, 2.5),
    ({V1[0]: "-1\n", V1[1]: "100000\n"}, math.inf),
    ({V1[0]: "50000\n", V1[1]: "100000\n"}, 0.5),
    ({V1[0]: "50000\n"}, math.inf),
  ],
)
def test_the_quota_of_a_container_is_read(tmp_path, files, quota):
  assert mesh_lib.cpu_quota(container(tmp_path, files)) == quota


@pytest.mark.parametrize(
  "cores, cpu_max, devices",
  [
    (1, "max", 1),
    (6, "max", 4),
    (128, "max", 8),
    (128, "350000", 2),
    (128, "50000", 1),
    (2, "800000", 2),
  ],
)
def test_a_cpu_is_as_many_devices_as_it_may_use_cores(
  tmp_path, monkeypatch, cores, cpu_max, devices
):
  monkeypatch.setattr(mesh_lib.sys, "platform", "linux")
  monkeypatch.setattr(
    mesh_lib.os, "sched_getaffinity", lambda pid: set(range(cores))
  )
  cgroup = container(tmp_path, {"cpu.max": f"{cpu_max} 100000\n"})
  assert mesh_lib.num_cpu_devices(cgroup) == devices


def test_devices_of_a_process_are_neighbours(monkeypatch):
  """In the order of processes, whichever order a torus would suggest."""
  devices = jax.devices()
  assert len(devices) == 8
  monkeypatch.setattr(jax, "devices", lambda: devices[::-1])
  assert list(mesh_lib.make_mesh().devices) == devices
  owners = dict(zip(devices, (1, 0, 0, 1, 1, 0, 0, 1), strict=True))
  order = mesh_lib.ordered(devices, lambda device: owners[device])
  assert [owners[device] for device in order] == [0] * 4 + [1] * 4


SHAPES = {
  "large": (24, 4096),
  "odd": (4097, 24),
  "small": (64, 8),
  "indivisible": (257, 257),
}


def floats(shapes):
  return {
    name: jax.ShapeDtypeStruct(shape, jnp.float32)
    for name, shape in shapes.items()
  }


def specs(tree, mesh, **options):
  shardings = mesh_lib.infer_shardings(tree, mesh, **options)
  return {name: tuple(s.spec) for name, s in shardings.items()}


def test_what_there_is_room_for_is_replicated(mesh):
  tree = floats(SHAPES)
  total = sum(4 * math.prod(shape) for shape in SHAPES.values())
  assert set(specs(tree, mesh).values()) == {()}
  assert set(specs(tree, mesh, room=total, min_bytes=0).values()) == {()}
  # A byte less, and the largest that can be cut is; then the next one.
  some = specs(tree, mesh, room=total - 1, min_bytes=0)
  assert some == dict.fromkeys(SHAPES, ()) | {"odd": (None, "data")}
  left = total - 4 * math.prod(SHAPES["odd"]) * 7 // 8
  assert specs(tree, mesh, room=left, min_bytes=0) == some
  more = specs(tree, mesh, room=left - 1, min_bytes=0)
  assert more == some | {"large": (None, "data")}


def test_without_room_all_that_is_large_and_even_is_sharded(mesh):
  assert specs(floats(SHAPES), mesh, room=0, min_bytes=2**16) == {
    "large": (None, "data"),
    "odd": (None, "data"),
    "small": (),
    "indivisible": (),
  }


def test_parameters_are_gathered_and_their_gradients_are_not(mesh):
  def loss(w, x):
    return (x @ mesh_lib.gather(w)).sum()

  w, x = jnp.ones((8, 4)), jnp.arange(24.0).reshape(3, 8)
  with jax.set_mesh(mesh):
    program = str(jax.make_jaxpr(jax.grad(loss))(w, x))
    there = jax.jit(jax.grad(loss))(w, x)
  assert program.count("sharding_constraint") == 1
  np.testing.assert_array_equal(
    there, np.broadcast_to(x.sum(0)[:, None], (8, 4))
  )


@given(
  st.dictionaries(
    st.text("abc", min_size=1),
    st.lists(st.integers(0, 40), max_size=3).map(tuple),
    max_size=6,
  ),
  st.integers(0, 2**17),
)
def test_a_device_holds_no_more_than_there_is_room_for(shapes, room):
  mesh = mesh_lib.make_mesh()
  tree = floats(shapes)
  shardings = mesh_lib.infer_shardings(tree, mesh, room, min_bytes=0)
  held = sum(
    4 * math.prod(shardings[name].shard_shape(shape))
    for name, shape in shapes.items()
  )
  whole = [n for n, s in shardings.items() if s.is_fully_replicated]
  even = [n for n in whole if any(side % 8 == 0 for side in shapes[n])]
  assert held <= room or not even


@pytest.mark.parametrize(
  "kind, gigabytes",
  [
    ("NVIDIA H100 80GB HBM3", 80),
    ("NVIDIA A100-SXM4-80GB", 40),
    ("TPU v5 lite", 16),
    ("TPU v5", 95),
    ("cpu", 4),
    ("TPU v9", 16),
  ],
)
def test_memory_is_known_by_kind(kind, gigabytes):
  device = type("Device", (), {"device_kind": kind})()
  devices = type("Devices", (), {"flat": [device]})()
  mesh = type("Mesh", (), {"devices": devices})()
  assert mesh_lib.memory(mesh) == 1e9 * gigabytes
