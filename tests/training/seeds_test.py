import jax
import numpy as np

from jaxpriv.training import seeds


def test_phases_have_seeds_of_their_own_and_always_the_same():
  assert seeds.phase_seed(0, "fsn") == 2098209035
  drawn = {seeds.phase_seed(s, n) for s in range(3) for n in ("fsn", "pen")}
  assert len(drawn) == 6


def test_a_private_key_holds_all_bits_of_its_seed():
  secret = bytes(range(16))
  seed = seeds.private_seed(secret, "fsn")
  assert seed.bit_length() > 56 and seed < 2**64
  words = jax.random.key_data(seeds.private_key(secret, "fsn"))
  assert (int(words[0]) << 32) + int(words[1]) == seed
  others = [
    seeds.private_key(secret, "pen"), seeds.private_key(bytes(16), "fsn")
  ]  # fmt: skip
  for other in others:
    assert (np.asarray(jax.random.key_data(other)) != words).any()
