"""Communication is read in XLA's text, by hand-written lines and real ones."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec as P

from jaxpriv.training import collectives
from jaxpriv.training import mesh as mesh_lib
from jaxpriv.training.collectives import Collective


@pytest.mark.parametrize(
  "line, kind, size",
  [
    ("%a.1 = f32[4,8]{1,0} all-reduce(%p), channel_id=1", "all-reduce", 128),
    ("%a = (f32[4]{0}, bf16[6,2]{1,0:T(8,128)(2,1)}) all-reduce(%p, %q)",
     "all-reduce", 16 + 24),
    ("ROOT %a = (f32[2]{0}, f32[16]{0}) all-gather-start(%p), dimensions={0}",
     "all-gather", 64),
    ("%a = ((f32[2], u8[3]), (f32[16], u8[24])) all-gather-start(%p, %q)",
     "all-gather", 64 + 24),
    ("%r = f32[2]{0} reduce-scatter(%p), replica_groups={{0,1,2,3}}",
     "reduce-scatter", 32),
    ("%r = f32[2]{0} reduce-scatter(%p), replica_groups=[1,8]<=[8]",
     "reduce-scatter", 64),
    ("%c = pred[8]{0} collective-permute(%p), source_target_pairs={{0,1}}",
     "collective-permute", 8),
    ("%t = s4[8]{0} all-to-all(%p)", "all-to-all", 8),
  ],
)  # fmt: skip
def test_operations_are_found_with_their_sizes(line, kind, size):
  assert collectives.read(line) == {kind: Collective(1, size)}


@pytest.mark.parametrize(
  "line",
  [
    "%d = f32[16]{0} all-gather-done(%a)",
    "%f = f32[4] fusion(%all-reduce.3), calls=%fused",
    '  metadata={op_name="jit(run)/all-reduce(x)"}',
    "",
  ],
)
def test_other_lines_are_no_operations(line):
  assert collectives.read(line) == {}


def test_real_programs_are_read(mesh):
  spec = P(mesh_lib.DATA)

  def fn(x):
    mean = jax.lax.psum(x, mesh_lib.DATA)
    return mean + jax.lax.all_gather(x, mesh_lib.DATA).sum(0)

  sharded = jax.shard_map(fn, mesh=mesh, in_specs=spec, out_specs=spec)
  x = jnp.zeros((8 * 16, 3))
  found = collectives.read(jax.jit(sharded).lower(x).compile().as_text())
  part = 16 * 3 * 4
  assert found["all-reduce"] == Collective(1, part)
  assert found["all-gather"] == Collective(1, 8 * part)


def test_a_ring_sends_each_array_but_for_a_devices_part():
  one = lambda kind: {kind: Collective(3, 800)}
  assert collectives.seconds(one("all-gather"), 8, 100.0) == 7.0
  assert collectives.seconds(one("reduce-scatter"), 8, 100.0) == 7.0
  assert collectives.seconds(one("all-reduce"), 8, 100.0) == 14.0
  assert collectives.seconds(one("all-reduce"), 1, 100.0) == 0
  assert collectives.seconds({}, 8, 100.0) == 0
