"""Pools and one's own images are read as one source."""

import itertools
import pickle

import numpy as np
import pytest

from jaxpriv.data import dataset, pipeline, sources
from jaxpriv.data.feature_pools import FeaturePools
from jaxpriv.data.pool import Pool
from jaxpriv.data.records import DataError
from tests.people import SHARES
from tests.pools import SHA
from tests.pools import rows as _records
from tests.pools import write as _write


@pytest.fixture
def path(tmp_path):
  _write(tmp_path / "pool", records_per_shard=4)
  return tmp_path / "pool"


@pytest.fixture
def own(people_folder, data_config):
  """24 images of eight people; Male and Young are known."""
  return sources.open_source(data_config(path=str(people_folder)))


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
  # The images have no Bald, and the pool has no Young.
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
    # A difference in the last digit counts, too.
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
