"""Whom a run has learned from, and may be tested on."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxpriv.data import dataset
from jaxpriv.data.memory import InMemory
from jaxpriv.data.records import DataError
from jaxpriv.training import people, run, workdir
from tests.people import PEOPLE, SHARES, Faces, named, names
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


COUNT = 4 * len(PEOPLE)
FIELDS = {
  "image": np.random.default_rng(0).integers(0, 256, (COUNT, 8, 8, 3), "u1"),
  "attributes": np.random.default_rng(1).integers(-1, 2, (COUNT, 2), "i1"),
  "landmarks": np.full((COUNT, 26, 2), np.nan, np.float32),
  "domain": np.zeros(COUNT, np.int32),
}


def origin(order=PEOPLE, **changes):
  """Four photographs of each person; `order` tells whose comes first."""
  identities = np.repeat(np.arange(len(order), dtype=np.int32), 4)
  return Faces(identities, ("Male", "Smiling"), order, **changes)


def in_memory(source=None, **fields):
  """Data whose records are those of `FIELDS`, but for some fields."""
  source = source or origin()
  arrays = {**FIELDS, "identity": source.identities, **fields}
  kept = InMemory(arrays, source.attribute_names, source, np.arange(COUNT))
  return dataset.split_data(kept, SHARES, 0)


def changed(name, row, value):
  array = FIELDS[name].copy()
  array.reshape(COUNT, -1)[row, -1] = value
  return {name: array}


def begin(path, data, mesh):
  run.begin(path, [toys.phase()], config(), data, mesh)
  trained(path)


TRAINED = in_memory().splits["train"]


@pytest.mark.parametrize(
  ("fields", "words"),
  [
    ({"attributes": 1 - FIELDS["attributes"]}, "their attributes are others"),
    (changed("image", TRAINED[-1], 77), "their pixels, or the frames cut out"),
    (changed("landmarks", TRAINED[3], 1), "their landmarks, visibility"),
    (
      changed("domain", TRAINED[0], 1) | changed("attributes", TRAINED[0], 5),
      "their attributes and their landmarks",
    ),
  ],
)
def test_a_run_does_not_go_on_with_other_labels_or_photographs(
  fields, words, tmp_path, mesh
):
  begin(tmp_path, in_memory(), mesh)
  run.begin(tmp_path, [toys.phase()], config(), in_memory(), mesh)
  with pytest.raises(DataError, match=f"data have changed.*{words}") as error:
    run.begin(tmp_path, [toys.phase()], config(), in_memory(**fields), mesh)
  assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)


def test_photographs_that_change_people_are_refused(tmp_path, mesh):
  data = in_memory()
  begin(tmp_path, data, mesh)
  one, other = data.splits["train"][[0, -1]]
  swapped = data.source.identities.copy()
  swapped[[one, other]] = swapped[[other, one]]
  source = in_memory().source
  source.identities = swapped
  with pytest.raises(DataError, match="who is in them"):
    people.check_same(tmp_path, data._replace(source=source))


def test_people_that_are_not_trained_on_may_change(tmp_path, mesh):
  begin(tmp_path, in_memory(), mesh)
  others = in_memory().splits["test"]
  data = in_memory(**changed("image", others, 3))
  run.begin(tmp_path, [toys.phase()], config(), data, mesh)


def test_a_run_of_an_earlier_version_goes_on_without_hashes(tmp_path, mesh):
  begin(tmp_path, in_memory(), mesh)
  path = tmp_path / "people.json"
  content = json.loads(path.read_text())
  del content["fed"]
  path.write_text(json.dumps(content))
  data = in_memory(attributes=1 - FIELDS["attributes"])
  people.check_same(tmp_path, data)
  run.begin(tmp_path, [toys.phase()], config(), data, mesh)
  assert "fed" not in json.loads(path.read_text())


@given(st.permutations(range(COUNT)))
@settings(deadline=None, max_examples=20)
def test_hashes_are_of_rows_in_order_and_not_of_how_they_lie(order):
  data = in_memory()
  order = np.array(order)
  lying = {
    k: np.asfortranarray(v[order]) for k, v in data.source.arrays.items()
  }
  source = InMemory(lying, (), data.source.origin, order)
  where = np.argsort(order)
  splits = {name: where[rows] for name, rows in data.splits.items()}
  again = data._replace(source=source, splits=splits)
  assert people.fed(again) == people.fed(data)
  rows = data.splits["train"][::-1]
  other = data._replace(splits={**data.splits, "train": rows})
  for kind in ("people", "images", "attributes"):
    assert people.fed(other)[kind] != people.fed(data)[kind]


def test_drawn_photographs_are_known_by_their_settings():
  """Other machines may round pixels and points otherwise."""
  source = origin()
  source.batched = True
  assert people.fed(in_memory(source)).keys() == {"people", "attributes"}


class Streamed(Faces):
  """Its photographs are files, which are read while it is trained."""

  def describe(self, index):
    return str(self.folder / f"{index:03d}.png")

  def name(self, index):
    return f"{index:03d}.png"


def test_of_files_read_while_training_labels_and_sizes_are_compared(
  tmp_path, mesh
):
  folder = tmp_path / "faces"
  folder.mkdir()
  for i in range(COUNT):
    (folder / f"{i:03d}.png").write_bytes(bytes(i))

  points = {"box": np.arange(4.0 * COUNT).reshape(COUNT, 4)}

  def streamed(values, points=points):
    identities = np.repeat(np.arange(len(PEOPLE), dtype=np.int32), 4)
    source = Streamed(identities, ("Male", "Smiling"), PEOPLE)
    source.folder, source.attribute_values = folder, values
    source.points = points
    return dataset.split_data(source, SHARES, 0)

  data = streamed(FIELDS["attributes"])
  assert people.fed(data).keys() == {"people", "attributes", "sizes", "labels"}
  # The same hashes as in memory, so that data.cache may change.
  both = people.fed(in_memory())
  assert people.fed(data)["attributes"] == both["attributes"]
  assert people.fed(data)["people"] == both["people"]
  people.write(tmp_path, "", data)
  people.check_same(tmp_path, data)
  rows = data.splits["train"]

  def kept(points):
    source = origin()
    source.points = points
    return in_memory(source)

  with pytest.raises(DataError, match="their attributes are others"):
    people.check_same(tmp_path, streamed(1 - FIELDS["attributes"]))
  moved = {"box": points["box"] + (np.arange(COUNT) == rows[0])[:, None]}
  with pytest.raises(DataError, match="boxes or domains in their labels are"):
    people.check_same(tmp_path, streamed(FIELDS["attributes"], moved))
  # They are the same in memory, where records have them in their frames, too.
  labels = [people.fed(d)["labels"] for d in (data, kept(points), kept(moved))]
  assert labels[0] == labels[1] != labels[2]
  (folder / f"{data.splits['train'][0]:03d}.png").write_bytes(b"another image")
  with pytest.raises(DataError, match="the sizes of their files are others"):
    people.check_same(tmp_path, data)


@pytest.mark.parametrize("text", ["", '{"train": ["0a', "[]", "{}", "\xff"])
def test_a_damaged_people_json_is_named(text, tmp_path, mesh):
  begin(tmp_path, in_memory(), mesh)
  path = tmp_path / "people.json"
  path.write_bytes(text.encode("latin-1"))
  for use in (
    lambda: people.check_same(tmp_path, in_memory()),
    lambda: people.learned_from(tmp_path),
  ):
    with pytest.raises(workdir.DamagedError) as error:
      use()
    assert f"{path} is damaged" in str(error.value)
    assert "\n" not in str(error.value)
