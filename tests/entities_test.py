"""Entities that share features: who trains on what, and what comes of it."""

import json

import numpy as np
import pytest
from etils import epath

from jaxpriv.data.pool import Pool
from jaxpriv.data.records import DataError
from jaxpriv.training import mesh as mesh_lib
from jaxpriv.training import people as people_lib
from jaxpriv.training import workdir as workdir_lib
from tests import tiny
from tools import entity_sweep as entities


def test_the_rows_are_those_of_the_paper_and_the_controls():
  names = [entities.describe(row) for row in entities.ROWS]
  assert len(names) == len(set(names)) == 16
  assert names[0] == "entity 1: own photographs"
  assert names[4] == "all people: own photographs"
  assert names[11] == (
    "entity 4: own photographs, poisoned features of 1 and 2 and 3"
  )
  assert names[12] == "entity 4: the network of entity 1, as it is"


@pytest.fixture
def sweep(tmp_path):
  config = tiny.deep_poisoning()
  config.data.num_identities = 80
  config.data.images_per_identity = 2
  with config.unlocked():
    config.evaluation.controls = ()
  mesh = mesh_lib.make_mesh(1)
  return entities.Sweep(config, epath.Path(tmp_path), mesh, test_images=24)


@pytest.mark.parametrize("entity", [1, entities.EVERYBODY])
def test_nobody_is_scored_on_who_an_entity_has(tmp_path, entity):
  config = tiny.deep_poisoning()
  config.data.seed = entities.TEST_SEED - entity
  with pytest.raises(DataError, match="on whom all are scored"):
    entities.Sweep(config, epath.Path(tmp_path), None, test_images=24)


def test_an_entity_learns_from_the_pool_of_another(sweep, monkeypatch, caplog):
  caplog.set_level("INFO")
  monkeypatch.setitem(entities.SHARES, 1, 0.5)
  monkeypatch.setitem(entities.SHARES, 2, 0.25)
  rows = [
    entities.Row(1, (), "raw"),
    entities.Row(1, (2,), "poisoned"),
    entities.Row(2, (1,), "labels"),
    entities.Row(2, (), "unchanged"),
  ]
  results = [
    {"row": i, "what": "", **sweep.score(r)} for i, r in enumerate(rows)
  ]
  for row in results:
    assert 0 <= row["low"] <= row["accuracy"] <= row["high"] <= 1
    assert row["total"] == 24
  # Entity 1's network, as it is, is entity 1's.
  assert results[3]["accuracy"] == results[0]["accuracy"]
  poisoned = Pool(sweep.workdir / "pool_2_poisoned")
  assert len(poisoned) == 20 * 2  # a quarter of the people
  assert poisoned.attribute_names == sweep.kept == ("Male", "Smiling")
  labels = Pool(sweep.workdir / "pool_1_labels")
  assert len(labels) == 40 * 2
  poisoned_1 = Pool(sweep.workdir / "pool_2_poisoned")
  first = labels.features(range(4))
  assert np.all(first >= 0) and not np.array_equal(first[0], first[1])
  assert labels.shape == poisoned_1.shape
  config = workdir_lib.load_config(sweep.workdir / "entity_1_poisoned_2")
  assert config.data.pools == (str(sweep.workdir / "pool_2_poisoned"),)
  assert config.phases.classifier.steps == 3
  # Nobody of one entity is of another, or of the test.
  people = [
    people_lib.learned_from(sweep.workdir / name)
    for name in ("entity_1", "module_2")
  ]
  assert people[0] < people[1]  # whose module is for entity 1's network
  # A module of one's own begins from nothing.
  log = caplog.text
  assert "poisoning: parameters taken over" not in log
  entities.write(sweep.workdir, results, sweep.majority)
  report = json.loads((sweep.workdir / "entities.json").read_text())
  assert [row["row"] for row in report["rows"]] == [0, 1, 2, 3]
  assert (
    "always the commoner label" in (sweep.workdir / "entities.md").read_text()
  )
