"""ProceduralFaces keeps the contract of a record source."""

import pickle

import grain
import numpy as np
import pytest

from jaxpriv.data import records
from jaxpriv.data.procedural import ProceduralFaces
from jaxpriv.errors import SettingError


@pytest.mark.parametrize("domain", ["human", "cat", "all"])
def test_records_have_the_shapes_of_the_contract(domain):
  source = ProceduralFaces(6, 3, 48, seed=5, domain=domain)
  assert len(source) == 18 and len(source.identities) == 18
  for index in (0, 7, 17):
    record = source[index]
    empty = records.record(
      record["image"],
      attributes=(0,) * len(source.attribute_names),
    )
    assert record.keys() == empty.keys()
    for name, value in empty.items():
      assert np.shape(record[name]) == np.shape(value), name
      assert np.asarray(record[name]).dtype == np.asarray(value).dtype, name
    assert record["identity"] == source.identities[index] == index // 3
    assert record["image"].shape == (48, 48, 3)


def test_a_record_is_a_function_of_seed_and_index():
  source, again = (ProceduralFaces(5, 4, 32, seed=2) for _ in range(2))
  batch = source.batch([19, 3, 3, 0])
  for row, index in enumerate([19, 3, 3, 0]):
    record = again[index]
    for name in record:
      np.testing.assert_array_equal(batch[name][row], record[name], name)
  other = ProceduralFaces(5, 4, 32, seed=3)[3]
  assert not np.array_equal(other["image"], source[3]["image"])


def test_all_domains_are_batched_in_order():
  source = ProceduralFaces(8, 2, 32, domain="all")
  indices = np.array([15, 0, 2, 9, 4, 6])
  batch = source.batch(indices)
  assert batch["domain"].tolist() == [3, 0, 1, 0, 2, 3]
  for row, index in enumerate(indices):
    np.testing.assert_array_equal(batch["image"][row], source[index]["image"])
  people = batch["domain"] == 0
  assert set(np.unique(batch["attributes"][people])) <= {0, 1}
  assert np.all(batch["attributes"][~people] == -1)


def test_boxes_hold_the_face():
  batch = ProceduralFaces(100, 2, 64).batch(np.arange(200))
  x0, y0, x1, y1 = batch["box"].T
  assert np.all((x0 >= 0) & (y0 >= 0) & (x1 <= 64) & (y1 <= 64))
  assert np.all((x1 - x0 > 20) & (y1 - y0 > 25))
  for name in ("left_eye", "right_eye", "nose", "mouth_center"):
    x, y = batch["landmarks"][:, records.LANDMARKS.index(name)].T
    inside = (x > x0) & (x < x1) & (y > y0) & (y < y1)
    assert np.all(inside), name


def test_landmarks_of_people_are_known_and_ordered():
  batch = ProceduralFaces(60, 2, 64).batch(np.arange(120))
  points = {
    name: batch["landmarks"][:, i] for i, name in enumerate(records.LANDMARKS)
  }
  assert np.isfinite(batch["landmarks"]).all()
  assert set(np.unique(batch["visibility"])) == {0, 1}
  for left, right in (("left_eye", "right_eye"), ("left_ear", "right_ear")):
    assert np.all(points[left][:, 0] < points[right][:, 0])
  for part in ("left_brow", "right_brow", "left_eye", "right_eye"):
    across = [points[f"{part}_{at}"][:, 0] for at in ("left", "right")]
    middle = points[f"{part}_center"][:, 0]
    assert np.all((across[0] < middle) & (middle < across[1])), part
  down = ("left_brow_center", "left_eye", "nose", "mouth_center", "chin_center")
  for above, below in zip(down, down[1:], strict=False):
    assert np.all(points[above][:, 1] < points[below][:, 1]), (above, below)
  for same, name in (("left_eye", "left_eye_center"), ("nose", "nose_center")):
    np.testing.assert_array_equal(points[same], points[name])


def test_animals_have_no_brows():
  batch = ProceduralFaces(4, 2, 64, domain="dog").batch(np.arange(8))
  brow = [i for i, n in enumerate(records.LANDMARKS) if "brow" in n]
  rest = [i for i, n in enumerate(records.LANDMARKS) if "brow" not in n]
  assert np.isnan(batch["landmarks"][:, brow]).all()
  assert np.all(batch["visibility"][:, brow] == -1)
  assert np.isfinite(batch["landmarks"][:, rest]).all()


def test_grain_reads_records_and_batches():
  source = ProceduralFaces(4, 4, 32)
  dataset = grain.MapDataset.source(source).seed(0).shuffle().batch(8)
  batch = dataset[0]
  assert batch["image"].shape == (8, 32, 32, 3)
  clone = pickle.loads(pickle.dumps(source))
  np.testing.assert_array_equal(clone[5]["image"], source[5]["image"])
  records_read = source._getitems([3, 1])
  np.testing.assert_array_equal(records_read[1]["image"], source[1]["image"])


def test_describe_names_the_face():
  text = ProceduralFaces(4, 4, seed=9, domain="all").describe(6)
  assert "cat 1" in text and "photograph 2" in text and "seed 9" in text


def test_default_attributes_exist():
  source = ProceduralFaces(1, 1)
  assert source.default_attributes == (
      "Male", "Smiling", "Big_Nose", "Eyeglasses",
  )  # fmt: skip
  assert set(source.default_attributes) <= set(source.attribute_names)


def test_correlation_reaches_the_records():
  source = ProceduralFaces(300, 2, 32, correlate={("Male", "Smiling"): 1.0})
  labels = source.batch(np.arange(600))["attributes"]
  male, smiling = (source.attribute_names.index(n) for n in ("Male", "Smiling"))
  np.testing.assert_array_equal(labels[:, male], labels[:, smiling])


@pytest.mark.parametrize(
  ("options", "message"),
  [
    (dict(image_size=300), r"config.data.image_size = 300 is not in \[32, 256"),
    (dict(num_identities=0), "config.data.num_identities and .*, not 0 and 10"),
    (dict(images_per_identity=0), "at least 1, not 2000 and 0"),
    (dict(domain="fish"), "config.data.domain names 'fish'"),
  ],
)
def test_settings_that_cannot_be_are_named(options, message):
  with pytest.raises(SettingError, match=message):
    ProceduralFaces(**options)


def test_what_cannot_be_correlated_is_named():
  with pytest.raises(ValueError, match="Tall"):
    ProceduralFaces(correlate={("Male", "Tall"): 0.1})


def test_out_of_range_records_are_refused():
  source = ProceduralFaces(2, 2, 32)
  with pytest.raises(IndexError, match="4"):
    source[4]
  np.testing.assert_array_equal(source[-1]["image"], source[3]["image"])
