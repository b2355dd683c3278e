import pytest

from configs import embedded_autoencoder
from jaxpriv.data.records import DataError
from jaxpriv.training import run
from launch import evaluate


@pytest.fixture
def other(tmp_path):
  config = embedded_autoencoder.get_config("gpu")
  config.data.update(source="folder", path="photographs", image_size=112)
  run.save_config(tmp_path / "other", config)
  return tmp_path / "other"


def test_data_of_another_run_comes_in_the_size_of_this_one(other):
  config = embedded_autoencoder.get_config("demo")
  data = evaluate.other_data(config, other)
  assert (data.source, data.path) == ("folder", "photographs")
  assert data.image_size == config.data.image_size == 64


def test_data_of_the_same_source_is_refused(other):
  config = embedded_autoencoder.get_config("demo")
  config.data.update(source="folder", path="photographs")
  with pytest.raises(DataError, match="could be among its test people"):
    evaluate.other_data(config, other)
