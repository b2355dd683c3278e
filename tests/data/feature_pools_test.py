"""Pools are what was released, are read where they lie, and damage is named."""

import itertools
import json
import pickle

import numpy as np
import pytest

from jaxpriv.data import dataset, feature_pools, pipeline, sources
from jaxpriv.data.feature_pools import FeaturePools, Pool
from jaxpriv.data.records import DataError
from tests.people import SHARES

SHAPE = (4, 3, 5)
NAMES = ("Smiling", "Male")
SHA = "0123456789abcdef" * 4


def _records(count=7, seed=0):
  rng = np.random.default_rng(seed)
  for i in range(count):
    features = rng.normal(size=SHAPE).astype(np.float16)
    features.flat[:3] = (65504, -0.0, 6e-8)  # largest, signed, subnormal
    yield dict(features=features, attributes=np.array([i % 2, -1], np.int8))


def _write(path, records=None, **options):
  options = (
    dict(
      featurizer=SHA, layer="conv2", align="landmarks", attribute_names=NAMES
    )
    | options
  )
  records = _records() if records is None else records
  return feature_pools.write(path, records, **options)


@pytest.fixture
def path(tmp_path):
  _write(tmp_path / "pool", records_per_shard=4)
  return tmp_path / "pool"


@pytest.fixture
def own(people_folder, data_config):
  """24 images of eight people; Male and Young are known."""
  return sources.open_source(data_config(path=str(people_folder)))


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
  """Every other record is damaged, which nobody notices who does not ask."""
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
    featurizer=SHA, layer="a", align="landmarks", attribute_names=NAMES
  )

  def failing():
    yield from _records(5)
    raise RuntimeError("stop")

  with pytest.raises(RuntimeError, match="stop"):
    feature_pools.write_into(folder, failing(), records_per_shard=1, **options)
  with pytest.raises(DataError, match="no index.json"):
    Pool(folder)
  for count in (6, 3):
    feature_pools.write_into(
      folder, _records(count), records_per_shard=2, **options
    )
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


def test_images_come_first_and_pools_after_them(own, path, tmp_path):
  _write(tmp_path / "second", _records(3, 1), attribute_names=("Male", "Bald"))
  _write(tmp_path / "third", _records(3, 1), attribute_names=("Bald", "Male"))
  pools = [Pool(tmp_path / "second"), Pool(tmp_path / "third")]
  source = FeaturePools(own, pools)
  assert len(source) == 24 + 3 + 3
  assert source.attribute_names == own.attribute_names == ("Male", "Young")
  assert source.identity_names == own.identity_names
  assert source.person(3) == "person3"
  assert source.image_size == 48
  np.testing.assert_array_equal(source.identities[:24], own.identities)
  np.testing.assert_array_equal(source.identities[24:], -1)
  assert source.identities.dtype == np.int32
  assert source.describe(5) == own.describe(5)
  assert source.describe(28) == f"pool {tmp_path / 'third'}, record 1"
  image, feature = source[5], source[28]
  for name, value in own[5].items():
    np.testing.assert_array_equal(image[name], value)
  assert not image["features"].any() and not image["pooled"]
  assert image.keys() == feature.keys()
  for name, value in image.items():
    assert value.dtype == feature[name].dtype
    assert value.shape == feature[name].shape
  expected = list(_records(3, 1))[1]
  np.testing.assert_array_equal(feature["features"], expected["features"])
  assert feature["pooled"] and not feature["image"].any()
  # Bald is nobody else's, and of Young the pool says nothing.
  np.testing.assert_array_equal(feature["attributes"], (-1, -1))
  np.testing.assert_array_equal(source[25]["attributes"], (1, -1))
  assert feature["identity"] == -1 and np.isnan(feature["landmarks"]).all()
  assert (feature["visibility"] == -1).all() and np.isnan(feature["box"]).all()


@pytest.mark.parametrize("cache", [True, False])
def test_batches_mix_images_and_features(
  people_folder, data_config, path, cache
):
  config = data_config(
    source="feature_pools", own="folder", path=str(people_folder),
    pools=(f"{path},{path}",), cache=cache,
  )  # fmt: skip
  source = sources.open_source(config)
  assert len(source) == 24 + 14
  assert source.batched == cache
  stream = pipeline.batches(
    source, np.arange(38), batch_size=16, seed=0, process_index=0,
    process_count=1,
  )  # fmt: skip
  drawn = list(itertools.islice(stream, 3))
  stream.close()
  last = list(
    pipeline.epoch(
      source, np.arange(38), batch_size=16, process_index=0, process_count=1
    )
  )[-1]
  np.testing.assert_array_equal(last["padding"], np.arange(16) >= 6)
  seen = set()
  for batch in (*drawn, last):
    np.testing.assert_array_equal(
      batch["pooled"], (batch["index"] >= 24) & ~batch["padding"]
    )
    for row, index in enumerate(batch["index"]):
      if batch["padding"][row]:
        assert not batch["features"][row].any()
        continue
      seen.add(bool(batch["pooled"][row]))
      for name, value in source[index].items():
        assert batch[name].dtype == value.dtype
        np.testing.assert_array_equal(batch[name][row], value)
  assert seen == {True, False}


def test_unreadable_images_are_tolerated_as_alone(
  people_folder, data_config, path
):
  (people_folder / "05.jpg").write_bytes(b"no image")
  framed = sources.open_source(
    data_config(path=str(people_folder), cache=False)
  )
  source = FeaturePools(framed, [Pool(path)])
  batches = list(
    pipeline.epoch(
      source, np.arange(31), batch_size=31, process_index=0, process_count=1
    )
  )
  np.testing.assert_array_equal(np.flatnonzero(batches[0]["padding"]), 5)
  assert len(source.unreadable) == 1 and "05.jpg" in source.unreadable[0]
  allowed = framed.max_bad_share * len(framed)
  assert source.max_bad_share * len(source) == pytest.approx(allowed)


def test_a_damaged_pool_ends_a_run(own, path):
  source = FeaturePools(own, [Pool(path)])
  for file in path.glob("*.array_record"):
    file.write_bytes(b"")
  stream = pipeline.batches(
    source, np.arange(24, 31), batch_size=4, seed=0, process_index=0,
    process_count=1,
  )  # fmt: skip
  with pytest.raises(DataError, match="pool, record ., is damaged"):
    next(stream)


def test_pools_train_and_are_in_no_other_split(own, path):
  data = dataset.split_data(FeaturePools(own, [Pool(path)]), SHARES, seed=0)
  assert set(range(24, 31)) <= set(data.splits["train"].tolist())
  assert data.num_people == dataset.split_data(own, SHARES, seed=0).num_people
  for split in ("attack", "test"):
    assert data.splits[split].max() < 24
    assert not any(b["pooled"].any() for b in data.epoch(split, batch_size=8))
  (batch,) = data.epoch("train", batch_size=len(data.splits["train"]))
  np.testing.assert_array_equal(batch["identity"] == -1, batch["pooled"])
  assert batch["pooled"].sum() == 7


def test_pools_survive_pickling(own, path):
  source = FeaturePools(own, [Pool(path)])
  source[25]
  copy = pickle.loads(pickle.dumps(source))
  for index in (3, 25, 30):
    for name, value in source[index].items():
      np.testing.assert_array_equal(copy[index][name], value)


@pytest.mark.parametrize(
  "options, message",
  [
    # The last digit counts as well.
    (dict(featurizer=SHA[:-1] + "0"), f"their featurizer is 0.*0 and {SHA}"),
    (dict(layer="conv3"), "their layer is conv3 and conv2"),
    (dict(align="box"), "their align is box and landmarks"),
    (
      dict(records=[dict(features=np.zeros((4, 4, 5), np.float16),
                         attributes=np.zeros(2, np.int8))]),
      r"their shape is \(4, 4, 5\) and \(4, 3, 5\)",
    ),
    (dict(attribute_names=("Male", "Bald")), "attribute_names is .'Bald', "),
  ],
)  # fmt: skip
def test_pools_that_disagree_are_named(own, path, tmp_path, options, message):
  _write(tmp_path / "other", **options)
  message = f"pool .*other and pool .*pool do not go together: .*{message}"
  with pytest.raises(DataError, match=message):
    FeaturePools(own, [Pool(path), Pool(tmp_path / "other")])


def test_pools_without_a_shared_attribute_are_refused(own, tmp_path):
  _write(tmp_path / "pool", attribute_names=("Bald", "Wearing_Hat"))
  message = "none of the attributes.*it has Bald, Wearing_Hat, they have Male"
  with pytest.raises(DataError, match=message):
    FeaturePools(own, [Pool(tmp_path / "pool")])
  with pytest.raises(DataError, match="no feature pools"):
    FeaturePools(own, [])


def test_another_featurizer_is_refused(own, path):
  source = FeaturePools(own, [Pool(path)])
  source.check_featurizer(SHA)
  message = (
    r"pool .*pool was made by featurizer 0123456789ab\.\.\., and this run's is"
    r" ffffffffffff\.\.\.: features of another featurizer mean nothing"
  )
  with pytest.raises(DataError, match=message):
    source.check_featurizer("f" * 64)


@pytest.mark.parametrize(
  "fields, message",
  [
    (dict(pools=()), "data.pools is empty"),
    (dict(pools=("nowhere",)), "There is no folder nowhere"),
    (dict(align="box"), "were framed by landmarks: .*--config.data.align=lan"),
    (dict(own="feature_pools"), "data.own is 'feature_pools'; .*must be one"),
    (dict(own="web"), "data.own is 'web'; .*one of procedural, folder"),
  ],
)
def test_configs_without_pools_or_images_are_refused(
  data_config, path, fields, message
):
  config = data_config(
    **(dict(source="feature_pools", own="folder", pools=(str(path),)) | fields)
  )
  with pytest.raises(DataError, match=message):
    sources.open_source(config)
