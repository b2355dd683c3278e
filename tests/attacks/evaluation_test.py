"""Attacks that a config asks for and that are not there are refused first."""

import json
import math

import pytest

from jaxpriv import files
from jaxpriv.attacks import evaluation
from jaxpriv.data.records import DataError
from jaxpriv.metrics import finding
from jaxpriv.metrics.finding import Finding
from jaxpriv.training.mechanism import Target, Trained
from tests import tiny


@pytest.mark.parametrize(
  "changes, message",
  [
    (
      dict(type="nothing"),
      r"likeness.type: there is no module jaxpriv.attacks",
    ),
    (dict(type="nobody.knows.it"), "there is no module nobody.knows.it"),
    (dict(steps=3), "likeness: jaxpriv.attacks.likeness has .*'steps'"),
    (
      dict(controls=("blurr",)),
      "likeness.controls names blurr: config.controls",
    ),
  ],
)
def test_a_wrong_entry_is_named_before_work_starts(changes, message):
  config = tiny.embedded_autoencoder()
  assert evaluation.attacks(config)
  with config.unlocked():
    config.attacks.likeness.update(changes)
  with pytest.raises(DataError, match=message):
    evaluation.attacks(config)


def test_what_others_stand_beside_comes_first():
  names = [attack.name for attack in evaluation.attacks(tiny.deep_poisoning())]
  assert names[0] == "bounds" and names[1:] == sorted(names[1:])


def test_what_attacks_need_is_looked_for_before_any_runs():
  def colluders(data, mesh):
    yield from ()
    raise DataError("runs/other: is not there")

  config = tiny.deep_poisoning()
  chosen = evaluation.attacks(config)
  target = Target("m", config, Trained((), {}), ("features",))
  evaluation.ready(chosen, [target], None, None)
  alone = target._replace(name="c", control=True, colluders=colluders)
  evaluation.ready(chosen, [alone], None, None)  # it does not face that attack
  with pytest.raises(DataError, match="runs/other"):
    evaluation.ready(chosen, [target._replace(colluders=colluders)], None, None)


def test_a_finding_without_an_interval_outlasts_an_interruption(tmp_path):
  told = Finding(
    "m", "realism", finding.TOLD, "x", "mean", 2.5, -math.inf, math.inf, 4
  )
  path = tmp_path / "kept.json"
  path.write_text(json.dumps(finding.to_dict(told)))
  assert evaluation._again(files.read_json(path)) == told
