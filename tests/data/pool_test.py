"""Reading a pool returns what was written, and damage is reported."""

import json

import numpy as np
import pytest

from jaxpriv.data import pool as pool_lib
from jaxpriv.data.pool import Pool
from jaxpriv.data.records import DataError
from tests.pools import NAMES, SHA, SHAPE
from tests.pools import rows as _records
from tests.pools import write as _write


@pytest.fixture
def path(tmp_path):
  _write(tmp_path / "pool", records_per_shard=4)
  return tmp_path / "pool"


@pytest.mark.parametrize("records_per_shard", [1, 3, 7, 100])
def test_what_is_written_is_read_bit_for_bit(tmp_path, records_per_shard):
  count = _write(tmp_path / "pool", records_per_shard=records_per_shard)
  pool = Pool(tmp_path / "pool")
  assert count == len(pool) == 7
  assert (pool.featurizer, pool.layer, pool.shape) == (SHA, "conv2", SHAPE)
  assert pool.attribute_names == NAMES
  assert pool.attributes.dtype == np.int8
  order = [6, 0, 3, 3, 2]
  records = list(_records())
  features = pool.features(order)
  assert features.dtype == np.float16 and features.shape == (5, *SHAPE)
  for row, index in enumerate(order):
    expected = records[index]
    assert features[row].tobytes() == expected["features"].tobytes()
    np.testing.assert_array_equal(
      pool.attributes[index], expected["attributes"]
    )
  assert pool.features([]).shape == (0, *SHAPE)
  assert pool.describe(3) == f"pool {tmp_path / 'pool'}, record 3"
  shards = sorted(tmp_path.glob("pool/*.array_record"))
  assert len(shards) == -(-7 // records_per_shard)
  assert shards[0].name.startswith("features-00000-of-")


def test_an_entry_is_the_bytes_of_a_map_and_no_more(path):
  features = [record["features"] for record in _records()]
  first = (path / "features-00000-of-00002.array_record").read_bytes()
  places = [first.find(f.astype("<f2").tobytes()) for f in features]
  assert min(places[:4]) > 0 and places[4:] == [-1] * 3


def test_only_what_is_asked_for_is_read(tmp_path):
  """Every other record is damaged; reading the others does not notice."""
  path = tmp_path / "pool"
  features = [r["features"] for r in _records(40)]
  _write(path, _records(40), records_per_shard=15)
  asked = [3, 17, 38]
  for file in path.glob("*.array_record"):
    data = bytearray(file.read_bytes())
    for index in set(range(40)) - set(asked):
      place = data.find(features[index].tobytes())
      if place >= 0:
        data[place + 5] ^= 1
    file.write_bytes(data)
  pool = Pool(path)
  np.testing.assert_array_equal(
    pool.features(asked), [features[i] for i in asked]
  )
  with pytest.raises(DataError, match="pool, record 4, is damaged: .*hash"):
    pool.features([3, 4])


def test_a_folder_of_the_caller_can_be_written_into(tmp_path):
  folder = tmp_path / "release.partial"
  folder.mkdir()
  (folder / "CARD.md").write_text("card")
  options = dict(
    featurizer=SHA,
    layer="a",
    align="landmarks",
    attribute_names=NAMES,
    publish=False,
  )

  def failing():
    yield from _records(5)
    raise RuntimeError("stop")

  with pytest.raises(RuntimeError, match="stop"):
    pool_lib.write(folder, failing(), records_per_shard=1, **options)
  with pytest.raises(DataError, match="no index.json"):
    Pool(folder)
  for count in (6, 3):
    pool_lib.write(folder, _records(count), records_per_shard=2, **options)
    assert len(Pool(folder)) == count
  assert sorted(file.name for file in folder.iterdir()) == [
    "CARD.md",
    "features-00000-of-00002.array_record",
    "features-00001-of-00002.array_record",
    "index.json",
  ]


def test_an_output_is_neither_replaced_nor_left_half(tmp_path):
  path = tmp_path / "pool"

  def failing():
    yield from _records(2)
    raise RuntimeError("stop")

  with pytest.raises(RuntimeError, match="stop"):
    _write(path, failing())
  assert not path.exists()
  (tmp_path / "pool.partial" / "stale").touch()
  _write(path)
  assert not (path / "stale").exists()
  with pytest.raises(DataError, match="pool exists"):
    _write(path)


def test_nothing_is_released_if_something_is_not_finite(tmp_path):
  def records():
    for i, record in enumerate(_records(9)):
      if i in (4, 6, 7):
        record["features"][1, 2, 3] = {4: np.inf, 6: np.nan, 7: -np.inf}[i]
      yield record

  message = "3 of 9 feature maps are not finite, record 4.*nothing is released"
  with pytest.raises(DataError, match=message):
    _write(tmp_path / "pool", records())
  assert not (tmp_path / "pool").exists()


@pytest.mark.parametrize(
  "changes, message",
  [
    (
      dict(features=np.zeros((4, 3, 6), np.float16)),
      r"record 2 are \[4, 3, 6\], those of record 0 \[4, 3, 5\]",
    ),
    (
      dict(features=np.zeros(SHAPE, np.float32)),
      r"record 2 are float32 \[4, 3, 5\]; a pool holds float16 \[H, W, C\]",
    ),
    (dict(features=np.zeros(5, np.float16)), r"record 2 are float16 \[5\]"),
    (
      dict(attributes=np.zeros(3, np.int8)),
      r"attributes of record 2 are int8 \[3\].*they are int8 \[2\]",
    ),
    (dict(attributes=np.zeros(2)), r"attributes of record 2 are float64"),
    (
      dict(attributes=np.array([2, 0], np.int8)),
      r"record 2 are \[2, 0\]; they must be 0, 1 or",
    ),
  ],
)
def test_a_record_of_another_kind_is_named(tmp_path, changes, message):
  records = (
    record | changes if i == 2 else record
    for i, record in enumerate(_records())
  )
  with pytest.raises(DataError, match=message):
    _write(tmp_path / "pool", records)
  assert not (tmp_path / "pool").exists()


def test_a_pool_of_nothing_is_refused(tmp_path):
  with pytest.raises(DataError, match="There are no records.*pool"):
    _write(tmp_path / "pool", [])


def test_what_is_not_a_pool_is_refused(tmp_path):
  with pytest.raises(DataError, match="There is no folder.*launch.release"):
    Pool(tmp_path / "nowhere")
  with pytest.raises(DataError, match="has no index.json.*launch.release"):
    Pool(tmp_path)
  (tmp_path / "index.json").write_text("{")
  with pytest.raises(DataError, match="index.json is damaged"):
    Pool(tmp_path)
  (tmp_path / "index.json").write_text('{"format": "jaxpriv records"}')
  with pytest.raises(DataError, match="not the index of a feature pool"):
    Pool(tmp_path)


@pytest.mark.parametrize(
  "changes, message",
  [
    (dict(version=99), "has version 99.*reads version 1"),
    (dict(dtype="float32"), "features are float32.*reads float16"),
    (dict(layer=None, shape=3), "has no layer, shape, or not as it should be"),
    (dict(shape=[4, 3]), "has no shape, or not"),
    (dict(attribute_names=[1, 2]), "has no attribute_names, or not"),
    (dict(shards=[{}]), "has no shards, or not"),
    (dict(shards=[]), "holds no records"),
    (dict(attributes=[[0, 1]]), r"its attributes are not \[7, 2\] numbers"),
    (dict(attributes=[[0], [1, 0]]), r"its attributes are not \[7, 2\]"),
    (dict(attributes=[[0, -128]] * 7), r"its attributes are not \[7, 2\]"),
  ],
)
def test_an_index_of_another_kind_is_refused(path, changes, message):
  index = json.loads((path / "index.json").read_text())
  (path / "index.json").write_text(json.dumps(index | changes))
  with pytest.raises(DataError, match=message):
    Pool(path)


def test_a_missing_truncated_or_foreign_file_is_named(path):
  first, second = sorted(path.glob("*.array_record"))
  whole = second.read_bytes()
  for content in (whole[: len(whole) // 2], b"something else" * 99, b""):
    second.write_bytes(content)
    with pytest.raises(DataError, match="00001-of-00002.*truncated"):
      Pool(path)
  second.write_bytes(first.read_bytes())
  with pytest.raises(DataError, match="holds 4 records, index.json says 3"):
    Pool(path)
  second.unlink()
  with pytest.raises(DataError, match="00001-of-00002.*is missing"):
    Pool(path)


def test_a_file_cut_while_it_is_read_is_noticed(path):
  pool = Pool(path)
  for file in path.glob("*.array_record"):
    file.write_bytes(file.read_bytes()[:10])
  with pytest.raises(DataError, match="pool, record 6, is damaged"):
    pool.features([6])


def test_records_of_another_size_than_the_index_says_are_noticed(path):
  index = json.loads((path / "index.json").read_text())
  index["shape"] = [4, 3, 6]
  (path / "index.json").write_text(json.dumps(index))
  with pytest.raises(DataError, match="record 0, .*120 bytes.*promises 144"):
    Pool(path).features([0])
