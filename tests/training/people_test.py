"""Whom a run has learned from, and may be tested on."""

import pytest

from jaxpriv.data.records import DataError
from jaxpriv.training import people, run
from tests.people import PEOPLE, named, names
from tests.training import toys
from tests.training.toys import config, trained


def test_data_that_changed_since_training_are_refused(tmp_path, mesh):
  phases, data = [toys.phase()], named(PEOPLE)
  run.begin(tmp_path, phases, config(), data, mesh)
  trained(tmp_path)
  run.begin(tmp_path, phases, config(), named(PEOPLE), mesh)
  people.check_same(tmp_path, data)
  grown = named([*PEOPLE, "a newcomer", "another"])
  came = len(names(grown, "train") - names(data, "train"))
  left = len(names(data, "train") - names(grown, "train"))
  assert came and left <= 2  # only those next to the cut of the split
  message = f"changed since training: .* {came} are new to .* and {left} are no"
  for check in (
    lambda: people.check_same(tmp_path, grown),
    lambda: run.begin(tmp_path, phases, config(), grown, mesh),
  ):
    with pytest.raises(DataError, match=message):
      check()
  (tmp_path / "people.json").unlink()
  with pytest.raises(DataError, match="people.json does not exist"):
    run.begin(tmp_path, phases, config(), data, mesh)


def test_people_seen_in_training_are_not_tested_on(tmp_path, mesh):
  phases = [toys.phase()]
  first, second, third = (tmp_path / name for name in ("a", "b", "c"))
  run.begin(first, phases, config(), named(PEOPLE), mesh)
  same, other = named(PEOPLE, seed=1), named([f"other {i}" for i in range(16)])
  seen = len(names(same, "test") & names(named(PEOPLE), "train"))
  assert seen
  trained(first, step=4)
  message = f"{seen} of the 4 test people are among those that .*a, or a run"
  with pytest.raises(DataError, match=message):
    run.begin(second, phases, config(pretrained=str(first)), same, mesh)
  assert not (second / "config.json").exists()
  people.check_unseen(first, other)
  run.begin(second, phases, config(pretrained=str(first)), other, mesh)
  trained(second, step=4)
  # A run that takes over from this one remembers these people, too.
  with pytest.raises(DataError, match=message.replace("a, or", "b, or")):
    people.check_unseen(second, same)
  run.begin(
    third, phases, config(pretrained=str(second)),
    named([f"third {i}" for i in range(16)]), mesh,
  )  # fmt: skip
  with pytest.raises(DataError, match=message.replace("a, or", "c, or")):
    people.check_unseen(third, same)


def test_other_photographs_of_the_same_people_are_refused(tmp_path, mesh):
  data = named(PEOPLE)
  run.begin(tmp_path, [toys.phase()], config(), data, mesh)
  trained(tmp_path)
  rows = data.splits["train"]
  for other in (rows[1:], rows[::-1]):  # one is gone; another order
    changed = data._replace(splits={**data.splits, "train": other})
    with pytest.raises(DataError, match="same, and of their photographs some"):
      people.check_same(tmp_path, changed)
