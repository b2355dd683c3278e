"""Packed sets: reading returns what was written, and damage is noticed."""

import json
import pickle

import numpy as np
import pytest

from jaxpriv.data import array_record, records, serialization, sources
from jaxpriv.data.array_record import ArrayRecordSource
from jaxpriv.data.records import DataError, UnreadableImageError


def _records(make_picture, count=7):
  rng = np.random.default_rng(0)
  for i in range(count):
    landmarks = rng.normal(size=(26, 2)).astype(np.float32)
    landmarks[9] = np.nan
    yield records.record(
      make_picture(i),
      identity=i // 2,
      attributes=(i % 2, -1),
      landmarks=landmarks,
      pose=rng.normal(size=3),
      domain=i % 4,
    )


def _write(path, make_picture, **options):
  return array_record.write(
    path,
    _records(make_picture),
    attribute_names=("Male", "Young"),
    identity_names=("a", "b", "c", "d"),
    **options,
  )


@pytest.mark.parametrize("image_format", ["png", "jpeg"])
@pytest.mark.parametrize("records_per_shard", [3, 100])
def test_what_is_written_is_read(
  tmp_path, make_picture, image_format, records_per_shard
):
  path = tmp_path / "packed"
  count = _write(
    path,
    make_picture,
    image_format=image_format,
    records_per_shard=records_per_shard,
  )
  source = ArrayRecordSource(path)
  assert count == len(source) == 7
  assert source.attribute_names == ("Male", "Young")
  assert source.identity_names == ("a", "b", "c", "d")
  np.testing.assert_array_equal(source.identities, np.arange(7) // 2)
  for index, expected in enumerate(_records(make_picture)):
    actual = source[index]
    assert actual.keys() == expected.keys()
    for name in expected.keys() - {"image"}:
      np.testing.assert_array_equal(actual[name], expected[name])
      assert actual[name].dtype == expected[name].dtype
    difference = actual["image"].astype(int) - expected["image"]
    assert np.abs(difference).max() <= (0 if image_format == "png" else 12)
  shards = sorted(file.name for file in path.glob("*.array_record"))
  assert len(shards) == (3 if records_per_shard == 3 else 1)
  assert shards[0].startswith("records-00000-of-")


def test_features_without_an_image_can_be_packed(tmp_path):
  features = np.random.default_rng(0).normal(size=(4, 5, 6)).astype(np.float16)
  array_record.write(tmp_path / "f", [dict(features=f) for f in features])
  source = ArrayRecordSource(tmp_path / "f")
  np.testing.assert_array_equal(source[2]["features"], features[2])


def test_a_packed_set_is_a_source_for_training(
  tmp_path, make_picture, data_config
):
  _write(tmp_path / "packed", make_picture)
  config = data_config(
    source="array_record", path=str(tmp_path / "packed"), align="box"
  )
  source = sources.open_source(config)
  assert len(source) == 7
  # Young is unknown throughout, so it is not chosen.
  assert source.attribute_names == ("Male",)


def test_a_source_survives_pickling(tmp_path, make_picture):
  _write(tmp_path / "packed", make_picture)
  source = ArrayRecordSource(tmp_path / "packed")
  source[0]
  copy = pickle.loads(pickle.dumps(source))
  np.testing.assert_array_equal(copy[3]["image"], source[3]["image"])


def test_an_output_is_neither_replaced_nor_left_half(tmp_path, make_picture):
  path = tmp_path / "packed"

  def failing():
    yield from _records(make_picture, 2)
    raise RuntimeError("stop")

  with pytest.raises(RuntimeError, match="stop"):
    array_record.write(path, failing())
  assert not path.exists()
  _write(path, make_picture)
  with pytest.raises(DataError, match="packed exists"):
    _write(path, make_picture)
  with pytest.raises(DataError, match="'gif'; it must be one of jpeg, png"):
    _write(tmp_path / "other", make_picture, image_format="gif")


def test_what_is_not_a_packed_set_is_refused(tmp_path):
  with pytest.raises(DataError, match="There is no folder.*launch.pack"):
    ArrayRecordSource(tmp_path / "nowhere")
  with pytest.raises(DataError, match="has no index.json.*launch.pack"):
    ArrayRecordSource(tmp_path)
  (tmp_path / "index.json").write_text("{")
  with pytest.raises(DataError, match="index.json is damaged"):
    ArrayRecordSource(tmp_path)
  (tmp_path / "index.json").write_text('{"images": 3}')
  with pytest.raises(DataError, match="not the index of a packed set"):
    ArrayRecordSource(tmp_path)


def test_another_version_is_refused(tmp_path, make_picture):
  path = tmp_path / "packed"
  _write(path, make_picture)
  index = json.loads((path / "index.json").read_text())
  (path / "index.json").write_text(json.dumps(index | dict(version=99)))
  with pytest.raises(DataError, match="has version 99.*reads version 1"):
    ArrayRecordSource(path)


def test_an_empty_set_is_refused(tmp_path):
  array_record.write(tmp_path / "none", [])
  with pytest.raises(DataError, match="holds no records"):
    ArrayRecordSource(tmp_path / "none")


def test_a_missing_truncated_or_foreign_file_is_named(tmp_path, make_picture):
  path = tmp_path / "packed"
  _write(path, make_picture, records_per_shard=4)
  second = path / "records-00001-of-00002.array_record"
  whole = second.read_bytes()
  for content in (whole[: len(whole) // 2], b"something else" * 99, b""):
    second.write_bytes(content)
    with pytest.raises(DataError, match="00001-of-00002.*truncated"):
      ArrayRecordSource(path)
  second.write_bytes(
    (path / "records-00000-of-00002.array_record").read_bytes()
  )
  with pytest.raises(DataError, match="holds 4 records, index.json says 3"):
    ArrayRecordSource(path)
  second.unlink()
  with pytest.raises(DataError, match="00001-of-00002.*is missing"):
    ArrayRecordSource(path)


def test_damaged_bytes_are_unreadable_not_wrong(make_picture):
  (record,) = _records(make_picture, 1)
  data = serialization.encode(record, "jpeg")
  decoded = serialization.decode(data)
  np.testing.assert_array_equal(decoded["pose"], record["pose"])
  for damaged in (data[:-1], data[:30], data[:4], b"", b"XXXX" + data[4:],
                  data + b"x"):  # fmt: skip
    with pytest.raises(UnreadableImageError, match="number nine"):
      serialization.decode(damaged, "number nine")
