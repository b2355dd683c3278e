"""How many devices a CPU is made into, and their order."""

import math

import jax
import pytest

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
