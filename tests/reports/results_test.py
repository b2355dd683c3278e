"""metrics.json holds what was measured and nothing that contradicts itself."""

import json

import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from jaxpriv.reports import results as results_lib
from tests.reports import examples


def test_round_trip(tmp_path):
  path = tmp_path / "evaluation" / "metrics.json"
  written = results_lib.write(path, examples.results())
  assert results_lib.read(path) == written == examples.results()
  assert [p.name for p in path.parent.iterdir()] == ["metrics.json"]


def test_what_json_cannot_hold_becomes_what_it_can():
  tree = {
    "f": np.float32(0.5),
    "i": np.int64(3),
    "a": jnp.arange(3),
    "n": float("nan"),
    "inf": np.inf,
    "t": (1, (2.5, None)),
    "b": np.bool_(True),
    "c": ml_collections.ConfigDict({"x": (1, 2)}),
    7: "key",
  }
  plain = results_lib.plain(tree)
  assert plain == {
    "f": 0.5,
    "i": 3,
    "a": [0, 1, 2],
    "n": None,
    "inf": None,
    "t": [1, [2.5, None]],
    "b": True,
    "c": {"x": [1, 2]},
    "7": "key",
  }
  assert json.loads(json.dumps(plain, allow_nan=False)) == plain


@pytest.mark.parametrize(
  ("section", "change", "message"),
  [
    ("identification", {"hits": 1001}, "1001 hits of 1000"),
    ("identification", {"rate": 0.5}, "is not 871 / 1000"),
    ("identification", {"low": 0.9}, "outside its own interval"),
    ("identification", {"chance": None}, None),
    ("attributes", {"total": 0, "hits": 0}, "0 hits of 0"),
  ],
)
def test_contradictions_are_refused(section, change, message):
  results = examples.results()
  if message is None:
    (missing,) = change
    del results[section][0][missing]
    message = f"row 0 of {section} lacks {missing}"
  else:
    results[section][0].update(change)
  with pytest.raises(results_lib.ResultsError, match=message):
    results_lib.check(results)


def test_nothing_is_written_when_refused(tmp_path):
  results = examples.results()
  results["outputs"] = [{"mechanism": "x"}]
  with pytest.raises(results_lib.ResultsError, match="distinct, total"):
    results_lib.write(tmp_path / "metrics.json", results)
  assert list(tmp_path.iterdir()) == []
