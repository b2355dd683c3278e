"""A further folder is read once, even while a state is only traced."""

import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import common
from jaxpriv.data.procedural import ProceduralFaces
from jaxpriv.data.records import DataError
from jaxpriv.training import extra_folder, unlabelled
from tools import faces_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  path = tmp_path_factory.mktemp("faces")
  faces_folder.write_faces(path, ProceduralFaces(3, 2, 64))
  return str(path)


def settings():
  data = common.base("face_replacement").data
  data.image_size = 32
  return data


@pytest.fixture(autouse=True)
def anew():
  extra_folder._read.cache_clear()


def extra(folder, most=6, **options):
  return extra_folder.Extra(settings(), "config.x", folder, most, **options)


def read(folder, **options):
  return extra_folder.read(extra(folder, **options))


def test_photographs_are_read_once(folder, monkeypatch):
  arrays = read(folder, attributes=("Male",))
  assert arrays["image"].shape == (6, 32, 32, 3)
  assert arrays["image"].dtype == np.uint8
  assert arrays["attributes"].shape == (6, 1)
  monkeypatch.setattr(unlabelled, "find", None)
  assert read(folder, attributes=("Male",)) is arrays


def test_more_than_are_asked_for_are_refused(folder, monkeypatch):
  monkeypatch.setattr(unlabelled, "find", None)
  with pytest.raises(DataError, match="config.x = .*6 photographs, and conf"):
    read(folder, most=5)


def test_more_faces_than_photographs_are_refused_too(folder, tmp_path):
  """Three rows of one photograph are three faces."""
  source = pathlib.Path(folder)
  shutil.copy(source / "person_000/0.png", tmp_path / "0.png")
  lines = (source / "labels.csv").read_text().splitlines()
  row = lines[1].replace("person_000/0.png", "0.png")
  (tmp_path / "labels.csv").write_text("\n".join([lines[0], row, row, row]))
  assert len(read(str(tmp_path), most=3)["image"]) == 3
  with pytest.raises(DataError, match="3 faces, and config.model.most = 2"):
    read(str(tmp_path), most=2)


def test_processes_read_the_same_photographs(folder, monkeypatch):
  monkeypatch.setattr(jax, "process_count", lambda: 2)
  other = []
  gather = lambda own: np.stack([own, own + len(other)])
  monkeypatch.setattr(extra_folder.multihost_utils, "process_allgather", gather)
  monkeypatch.setattr(unlabelled, "find", lambda data: None)
  extra_folder.check(extra(folder))
  other.append(1)
  with pytest.raises(DataError, match="processes read other photographs"):
    extra_folder.check(extra(folder))


def test_faces_are_found_while_a_state_is_traced(folder, monkeypatch):
  """A network that looks for them computes, and does not trace."""
  seen = []

  def find(data):
    seen.append((float(jax.jit(jnp.sum)(jnp.ones(3))), data.face_threshold))

  monkeypatch.setattr(unlabelled, "find", find)
  image = lambda key: jnp.asarray(read(folder)["image"])
  shape = jax.eval_shape(image, jax.random.key(0))
  assert shape.shape == (6, 32, 32, 3)
  read(folder, faces=False)
  assert [total for total, _ in seen] == [3, 3]
  assert seen[0][1] > 0 and seen[1][1] == 0


def test_a_folder_that_is_not_there_is_named_by_its_setting(tmp_path):
  with pytest.raises(DataError, match="config.x = .*none: .*config.x"):
    read(str(tmp_path / "none"))
