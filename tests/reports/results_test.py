"""metrics.json holds what was measured and nothing that contradicts itself."""

import json

import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

import jaxpriv
from jaxpriv.metrics import finding as finding_lib
from jaxpriv.reports import results as results_lib
from jaxpriv.reports.results import ResultsError
from tests.reports import examples


@pytest.mark.parametrize("name", list(examples.ALL))
def test_round_trip(tmp_path, name):
  path = tmp_path / "evaluation" / "metrics.json"
  given = examples.ALL[name]()
  written = results_lib.write(path, given)
  again = results_lib.read(path)
  assert again.header == written.header
  assert again.metrics == written.metrics == given.metrics
  assert str(again.findings) == str(written.findings)  # nan is not nan
  assert [f for f in again.findings if f.value == f.value] == [
    f for f in given.findings if np.isfinite(f.value)
  ]
  assert [p.name for p in path.parent.iterdir()] == ["metrics.json"]


def test_the_file_explains_itself(tmp_path, monkeypatch):
  path = tmp_path / "metrics.json"
  results_lib.write(path, examples.stranger())
  monkeypatch.setattr(finding_lib, "METRICS", {})
  saved = json.loads(path.read_text())
  assert saved["format"] == 2 and saved["version"] == jaxpriv.__version__
  assert saved["products"] == ["image", "model"]
  assert saved["metrics"]["entropy"]["unit"] == "bits"
  assert "accuracy" not in saved["metrics"]  # no finding uses it
  (row,) = [f for f in saved["findings"] if f["metric"] == "entropy"]
  assert row["verdict"] == "bad" and "1.25" in row["reason"]
  assert row["ceiling"] == {"value": 6.5, "low": 6.0, "high": 7.0}
  assert results_lib.read(path).metrics["entropy"] == examples.ENTROPY


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


def test_arrays_in_findings_are_numbers_in_the_file():
  odd = examples.attack("naive", 6)
  where = {**odd.where, "pairs": np.int64(3)}
  odd = odd._replace(value=np.float64(odd.value), where=where)
  (row,) = results_lib.encode(examples.images([odd]))["findings"]
  assert row["where"]["pairs"] == 3 and row["value"] == 0.006


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"hits": 1001}, "hits 1001 of a total of 1000"),
    ({"hits": -1}, "hits -1 of a total"),
    ({"hits": 7}, "value 0.006 is not hits / total, 7 / 1000"),
    ({"hits": True}, "hits must be a whole number, not True"),
    ({"low": 0.9}, "value 0.006 lies outside its interval, 0.9"),
    ({"high": 0.001}, "lies outside its interval"),
    ({"total": 0}, "total must be 1 or more, not 0"),
    ({"total": None}, "total must be a whole number"),
    ({"value": None}, "value must be a number, not None"),
    ({"value": "high"}, "value must be a number, not 'high'"),
    ({"subject": None}, "subject must be text"),
    ({"wanted": "gone"}, "wanted must be hidden, kept or told, not 'gone'"),
    ({"metric": "rank-9"}, "metrics do not say how to read its metric"),
    ({"ceiling": 0.9}, "ceiling must be an object of value, low and high"),
    ({"ceiling": {"value": 0.9, "low": 0.8}}, "ceiling lacks high"),
    (
      {"ceiling": {"value": 0.9, "low": 0.95, "high": 1}},
      "ceiling: value 0.9 lies outside",
    ),
    ({"where": {"pairs": [1, 2]}}, r"pairs in where must be text or a number"),
    ({"floor": "chance"}, "floor must be a number, not 'chance'"),
    ({"verdict": "bad"}, "verdict 'bad' .* is stored, but its figures say"),
    ({"reason": "because"}, "because"),
  ],
)
def test_contradictions_are_refused(change, message):
  content = results_lib.encode(examples.images())
  content["findings"][4] |= change
  message = f"a.json: finding 4 .naive on identity.*{message}"
  with pytest.raises(ResultsError, match=message):
    results_lib.decode(content, "a.json")


@pytest.mark.parametrize("field", finding_lib.Finding._fields)
def test_every_field_must_be_there(field):
  content = results_lib.encode(examples.images())
  del content["findings"][1][field]
  with pytest.raises(ResultsError, match=f"finding 1.* lacks {field}"):
    results_lib.decode(content, "a.json")


@pytest.mark.parametrize(
  "key", ["mechanism", "products", "metrics", "findings"]
)
def test_what_the_header_must_have(key):
  content = results_lib.encode(examples.images())
  del content[key]
  with pytest.raises(ResultsError, match=f"a.json: {key} must be"):
    results_lib.decode(content, "a.json")
  content[key] = 3
  with pytest.raises(ResultsError, match=f"a.json: {key} must be"):
    results_lib.decode(content, "a.json")


def test_other_formats_are_refused_in_one_sentence(tmp_path):
  path = tmp_path / "metrics.json"
  path.write_text('{"mechanism": "x", "identification": []}')
  with pytest.raises(ResultsError, match="an older jaxpriv.*launch.evaluate"):
    results_lib.read(path)
  path.write_text('{"format": 3, "version": "9.1"}')
  with pytest.raises(ResultsError, match="by jaxpriv 9.1 in a format"):
    results_lib.read(path)


def test_metrics_have_known_fields():
  content = results_lib.encode(examples.images())
  content["metrics"]["rank-1"]["colour"] = "red"
  with pytest.raises(ResultsError, match="metric 'rank-1' must have no other"):
    results_lib.decode(content, "a.json")


def test_a_metric_that_nobody_described_is_refused():
  odd = examples.attack("naive", 6)._replace(metric="luck")
  with pytest.raises(ResultsError, match="'luck' is unknown: add it to"):
    examples.images([odd])


def test_what_is_told_may_be_no_number_and_what_is_judged_may_not():
  told = examples.outputs("black_box", 1, 0.2, float("inf"))
  content = results_lib.encode(examples.images(told))
  assert content["findings"][2]["value"] is None
  bad = examples.attack("naive", 6)._replace(value=float("nan"), hits=None)
  with pytest.raises(ResultsError, match="value must be a number, not nan"):
    results_lib.encode(examples.images([bad]))


def test_an_epsilon_without_what_it_rests_on_is_refused():
  privacy = {k: v for k, v in examples.PRIVACY.items() if k != "delta"}
  with pytest.raises(ResultsError, match="privacy lacks delta"):
    examples.checked(examples.model(privacy=privacy))
  examples.checked(examples.model(privacy=None))
