"""Seeds: everything random is a function of (seed, step).

Private phases draw from a secret of the run instead of its seed; see
`workdir.secret`.
"""

import hashlib
import zlib

import jax
import jax.numpy as jnp


def phase_seed(seed: int, name: str) -> int:
  """A seed of its own for each phase, the same on every machine."""
  return zlib.crc32(f"{seed}/{name}".encode())


def private_seed(secret: bytes, name: str) -> int:
  """64 bits for the noise, or the batches, of one phase: `name` says which."""
  return int.from_bytes(
    hashlib.blake2b(name.encode(), key=secret, digest_size=8).digest()
  )


def private_key(secret: bytes, name: str) -> jax.Array:
  """The key that the steps of a private phase draw from."""
  seed = private_seed(secret, name)
  words = jnp.array([seed >> 32, seed & 0xFFFFFFFF], jnp.uint32)
  return jax.random.wrap_key_data(words, impl="threefry2x32")
