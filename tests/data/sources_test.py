"""Opening by config: framing, choice of attributes, memory."""

import numpy as np
import pytest

from jaxpriv.data import alignment, sources
from jaxpriv.data.records import LANDMARKS, DataError


@pytest.mark.parametrize("cache", [True, False])
def test_records_have_the_size_and_attributes_asked_for(
  people_folder, data_config, cache
):
  config = data_config(
    path=str(people_folder),
    image_size=32,
    attributes=("Young", "Male"),
    cache=cache,
  )
  source = sources.open_source(config)
  record = source[4]
  assert record["image"].shape == (32, 32, 3)
  assert record["image"].dtype == np.uint8
  assert source.attribute_names == ("Young", "Male")
  np.testing.assert_array_equal(record["attributes"], (1, 0))
  np.testing.assert_allclose(
    record["landmarks"][:5], alignment.arcface_template(32), atol=1e-2
  )
  assert source.unreadable == []
  assert len(source.identity_names) == 8


def test_memory_holds_what_streams(people_folder, data_config):
  config = data_config(path=str(people_folder))
  held = sources.open_source(config)
  with config.unlocked():
    config.cache = False
  streamed = sources.open_source(config)
  assert len(held) == len(streamed) == 24
  for index in (0, 11, 23):
    for name, value in streamed[index].items():
      np.testing.assert_array_equal(held[index][name], value)
      assert held[index][name].dtype == value.dtype
  np.testing.assert_array_equal(held.identities, streamed.identities)
  assert sources.in_memory(held) is held


def test_chosen_attributes_are_known_without_reading_images(
  people_folder, data_config
):
  config = data_config(
    path=str(people_folder), attributes=("Young", "Male"), cache=False
  )
  source = sources.open_source(config)
  for index in (0, 4, 23):
    np.testing.assert_array_equal(
      source.attribute_values[index], source[index]["attributes"]
    )


def test_default_attributes_are_those_that_vary(people_folder, data_config):
  source = sources.open_source(data_config(path=str(people_folder)))
  # Eyeglasses is never known; Male and Young take both values.
  assert source.attribute_names == ("Male", "Young")


def test_all_attributes_can_be_asked_for(people_folder, data_config):
  source = sources.open_source(
    data_config(path=str(people_folder), attributes=("all",))
  )
  assert source.attribute_names == ("Male", "Young")
  config = data_config(source="procedural", image_size=32, attributes=("all",))
  drawn = sources.open_unframed(config)
  assert len(drawn.default_attributes) < len(drawn.attribute_names)
  every = sources.open_source(config)
  assert every.attribute_names == drawn.attribute_names
  np.testing.assert_array_equal(every[2]["attributes"], drawn[2]["attributes"])


def test_an_unknown_attribute_is_named(people_folder, data_config):
  config = data_config(path=str(people_folder), attributes=("Male", "Beard"))
  message = "'Beard'.*'folder'.*people.*it has Male, Eyeglasses, Young"
  with pytest.raises(DataError, match=message):
    sources.open_source(config)


@pytest.mark.parametrize(
  "fields, message",
  [
    (dict(source="web"), "'web'; it must be one of procedural, folder"),
    (dict(align="eyes"), "align is 'eyes'; it must be one of landmarks"),
  ],
)
def test_unknown_choices_are_named(people_folder, data_config, fields, message):
  config = data_config(**(dict(path=str(people_folder)) | fields))
  with pytest.raises(DataError, match=message):
    sources.open_source(config)


def test_people_are_called_alike_by_every_source(people_folder, data_config):
  named = sources.open_source(data_config(path=str(people_folder)))
  assert named.person(3) == "person3"

  def drawn(**fields):
    config = data_config(source="procedural", image_size=32, **fields)
    return sources.open_source(config)

  assert drawn().person(3) == "procedural human 3, seed 0"
  same = drawn(align="centre", cache=False, num_identities=9)
  assert same.person(3) == drawn().person(3)
  assert drawn(seed=1).person(3) != drawn().person(3)
  every = drawn(domain="all")
  assert every.person(0) == drawn().person(0)
  assert every.person(1) == "procedural cat 1, seed 0"


def test_progress_reaches_the_end(people_folder, data_config):
  reports = []
  config = data_config(path=str(people_folder))
  sources.open_source(config, lambda done, total: reports.append((done, total)))
  assert reports[-1] == (24, 24)


@pytest.mark.parametrize("cache", [True, False])
def test_procedural_faces_need_no_files(data_config, cache):
  pytest.importorskip("jaxpriv.data.procedural")
  config = data_config(
    source="procedural", image_size=32, attributes=("Male",), cache=cache
  )
  source = sources.open_source(config)
  assert len(source) == 8 and source.attribute_names == ("Male",)
  np.testing.assert_array_equal(source.identities, np.arange(8) // 2)
  record = source[3]
  assert record["image"].shape == (32, 32, 3)
  assert record["attributes"].shape == (1,)
  assert record["landmarks"].shape == (len(LANDMARKS), 2)
  np.testing.assert_array_equal(
    source.batch(np.array([3]))["image"][0], record["image"]
  )


def test_names_of_flags_arrive_in_one_or_as_numbers():
  assert sources.words(("a,b", "c", 1)) == ("a", "b", "c", "1")
