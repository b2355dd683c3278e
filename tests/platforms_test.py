"""Routes follow the mesh of a program, and not the machine it is traced on."""

import functools

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AbstractDevice, AbstractMesh, AxisType
from jax.sharding import PartitionSpec as P

from jaxpriv import platforms
from jaxpriv.models import layers
from jaxpriv.training import mesh as mesh_lib


def elsewhere(platform):
  """A mesh of eight devices that are not here."""
  return AbstractMesh(
    (8,),
    (mesh_lib.DATA,),
    axis_types=(AxisType.Auto,),
    abstract_device=AbstractDevice(
      device_kind=platform, num_cores=None, platform=platform
    ),
  )


def seen(mesh, manual=False):
  found = []

  def note(x):
    found.append(platforms.on_cpu())
    return x

  with jax.sharding.use_abstract_mesh(mesh):
    spec = P(mesh_lib.DATA)
    fn = jax.shard_map(note, in_specs=spec, out_specs=spec) if manual else note
    jax.make_jaxpr(jax.jit(fn))(jnp.zeros(8))
  (answer,) = found
  return answer


@pytest.mark.parametrize("manual", [False, True])
def test_the_mesh_says_what_a_program_is_for(manual, mesh):
  assert not seen(elsewhere("cuda"), manual)
  assert not seen(elsewhere("tpu"), manual)
  assert seen(elsewhere("cpu"), manual)
  assert seen(mesh.abstract_mesh, manual)


def test_without_a_mesh_it_is_this_machine():
  assert platforms.on_cpu() == (jax.default_backend() == "cpu")


def test_a_layer_takes_the_route_of_the_mesh():
  """Three channels become four on a CPU, where that is faster."""

  def convolution(mesh):
    x, kernel = jnp.zeros((8, 16, 16, 3)), jnp.zeros((3, 3, 3, 4))
    convolve = functools.partial(
      layers.conv_general_dilated,
      strides=(2, 2),
      padding="SAME",
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    with jax.sharding.use_abstract_mesh(mesh):
      return str(jax.make_jaxpr(convolve)(x, kernel))

  assert "pad[" in convolution(elsewhere("cpu"))
  assert "pad[" not in convolution(elsewhere("cuda"))
