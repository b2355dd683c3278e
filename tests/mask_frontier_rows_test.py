"""Masks that tools.mask_frontier compares, and what it says of them."""

import jax
import numpy as np
import pytest

from jaxpriv.data import masks as masks_lib
from jaxpriv.methods.mask_desensitization import search, template
from jaxpriv.metrics.finding import Finding, Interval
from tests import tiny
from tools import mask_frontier_rows as lib


def test_masks_hide_as_much_as_the_one_of_the_run():
  """Candidates are those of the search, from the least loss to the greatest."""
  config = tiny.mask_desensitization()
  side, options = tiny.SIDE, config.model.search
  states = {"template": {"total": np.eye(side, dtype=np.float32), "count": 1.0}}
  critical = template.critical(
    states["template"],
    config.model.template.threshold,
    1 - config.model.search.hidden[1],
  )
  draw = jax.jit(
    jax.vmap(lambda n: search.candidate(config.seed, n, critical, options))
  )
  keep = np.asarray(draw(np.arange(200)))
  hidden = np.asarray(masks_lib.hidden_ratio(keep))
  losses = np.random.default_rng(0).random(200)
  own = int(np.abs(hidden - 0.8).argmin())
  states["search"] = {"losses": losses, "hidden": hidden}
  states["mask"] = {"keep": keep[own], "number": own}
  chosen = lib.masks(config, states, 4)
  ratio = hidden[own]
  assert all(
    abs(1 - mask.mean() - ratio) < lib.ALIKE + 0.01 for mask in chosen.values()
  )
  np.testing.assert_array_equal(chosen.pop(lib.SEARCHED), keep[own])
  kinds = [name.split(" ")[0] for name in chosen]
  assert kinds.count(lib.RANDOM) == 4 and 3 <= kinds.count(lib.CANDIDATE) <= 4
  numbers = [int(n.split(" ")[1]) for n in chosen if n.startswith("cand")]
  assert losses[numbers].tolist() == sorted(losses[numbers])
  for number in numbers:
    np.testing.assert_array_equal(chosen[f"candidate {number}"], keep[number])
  assert len({mask.tobytes() for mask in chosen.values()}) == len(chosen)


def row(name, recognition, found):
  around = lambda x: Interval(x, x - 0.02, x + 0.02)
  return lib.Row(
    name, 0.8, around(recognition),
    {"faceres": (around(found), "naive"), "dlib": (around(0.1), "reverse")},
  )  # fmt: skip


def test_masks_are_told_in_a_table_and_drawn():
  rows = [row("searched", 0.7, 0.4), row("random 0", 0.6, 0.2)]
  lines = lib.table(rows).splitlines()
  assert lines[0].count("|") == lines[1].count("|") == lines[2].count("|")
  assert "70.0% (68.0% to 72.0%) | 40.0% (38.0% to 42.0%) | naive" in lines[2]
  drawn = lib.chart(rows)
  assert drawn.count("<circle") == 2 + len(lib.COLOURS)
  assert drawn.count(lib.COLOURS[lib.RANDOM]) == 4


@pytest.mark.parametrize(
  "changes, wanted",
  [
    ({}, True),
    ({"metric": "TAR at FAR 1%"}, False),
    ({"where": {"gallery": "same photograph", "recogniser": "dlib"}}, False),
    ({"where": {"gallery": "other photograph", "recogniser": "vgg"}}, False),
  ],
)
def test_who_is_found_by_another_photograph_counts(changes, wanted):
  known = dict(
    subject="x", claim="identity", wanted="hidden", by="naive", metric="rank-1",
    value=0.1, low=0.0, high=0.2, total=10,
    where={"gallery": "other photograph", "recogniser": "dlib"},
  )  # fmt: skip
  assert lib.is_of(Finding(**{**known, **changes}), "dlib") == wanted
