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


@pytest.mark.parametrize(
  ("section", "row", "change", "message"),
  [
    ("reconstruction", 0, {"ssim": 0.9}, "ssim 0.9 outside its own interval"),
    ("reconstruction", 0, {"hits": 703}, "0.702 is not 703 / 1000"),
    ("reconstruction", 0, {"low": None, "chance": None}, "low, chance null"),
    ("reconstruction", 0, {"identified_of": 0, "hits": 0}, "0 hits of 0"),
    ("reconstruction", 1, {"aligned_ssim": None}, "aligned_ssim is null"),
    ("reconstruction", 1, {"total": 0}, "no photograph"),
    ("reconstruction", 1, {"pairs": -1}, "-1 pairs"),
    ("reconstruction", 1, {"rate": 0.5}, "hits, identified_of, low, high"),
    ("reconstruction", 1, {"attributes": {}}, "attributes lack what, balanced"),
    (
      *("reconstruction", 1, {"attributes": examples.read(0.5, rate=0.1)}),
      "0.1 is not 4107 / 6000",
    ),
    (
      *("reconstruction", 1, {"attributes": examples.read(0.5, low=0.6)}),
      "balanced accuracy 0.5 outside",
    ),
    ("leakage", 0, {"hits": 1001}, "1001 hits of 1000"),
    ("precision", 0, {"value": 0.8}, "precision 0.8 outside its own"),
    ("precision", 1, {"low": None}, "low is null"),
    ("curves", 0, {"pairs_needed": 32768}, "32768 pairs needed, of 16384"),
    ("curves", 0, {"pairs_needed": None}, "null, but 1024 pairs reach 0.4"),
    ("curves", 0, {"largest": 64}, "16384 pairs of 64"),
    ("curves", 0, {"points": [[2, 0.1, 0.2, 0.3]]}, "ssim of 2 pairs 0.1"),
    ("curves", 0, {"points": [[2, 0.1]]}, "is not pairs, ssim, low, high"),
    ("curves", 0, {"points": [[0, 0.1, 0.1, 0.1]]}, "not 1 or more"),
    ("curves", 0, {"threshold_ssim": None}, "threshold_ssim is null"),
  ],
)
def test_contradictions_of_features_are_refused(section, row, change, message):
  results = examples.feature_results()
  results_lib.check(results)
  results[section][row].update(change)
  with pytest.raises(results_lib.ResultsError, match=message) as raised:
    results_lib.check(results)
  assert f"row {row} of {section}" in str(raised.value)


@pytest.mark.parametrize(
  "section", ["reconstruction", "leakage", "curves", "precision"]
)
def test_every_column_of_features_is_asked_for(section):
  for column in results_lib.COLUMNS[section]:
    results = examples.feature_results()
    del results[section][0][column]
    with pytest.raises(results_lib.ResultsError, match=f"lacks {column}"):
      results_lib.check(results)


def test_what_was_not_measured_may_be_null(tmp_path):
  results = examples.feature_results()
  results["reconstruction"][1].update(psnr=np.inf, undisguised=0.9)
  results["reconstruction"][3]["undisguised"] = None
  results["curves"][0].update(clean=None, mean=np.nan)
  written = results_lib.write(tmp_path / "metrics.json", results)
  assert written["reconstruction"][1]["psnr"] is None
  assert written["curves"][0]["mean"] is None
  assert results_lib.read(tmp_path / "metrics.json") == written


def test_nothing_is_written_when_refused(tmp_path):
  results = examples.results()
  results["outputs"] = [{"mechanism": "x"}]
  with pytest.raises(results_lib.ResultsError, match="distinct, total"):
    results_lib.write(tmp_path / "metrics.json", results)
  assert list(tmp_path.iterdir()) == []
