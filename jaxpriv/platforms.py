"""The platform that a program is for, where layers choose their route by it."""

import jax


def on_cpu() -> bool:
  """Whether the program that is being traced is for CPUs.

  The devices of `jax.set_mesh` say so, which are not those of this machine
  where a program is compiled for another one; without a mesh the default ones.
  """
  device = jax.sharding.get_abstract_mesh().abstract_device
  platform = jax.default_backend() if device is None else device.platform
  return platform == "cpu"
