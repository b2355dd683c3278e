"""A run directory in a bucket: its files but for checkpoints, Orbax's own."""

import json
import sys
import types

import fsspec
import numpy as np
import pytest
from etils import epath
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import _registry

from jaxpriv import files
from jaxpriv.training import (
  checkpoints,
  lock,
  people,
  pictures,
  workdir,
  writers,
)
from tests.people import PEOPLE, named
from tests.training import toys

RUN = "gs://bucket/run"


class Bucket(MemoryFileSystem):
  """In memory; as in Google's, nothing can be added to a file."""

  store: dict = {}
  pseudo_dirs = [""]

  def __init__(self, *args, finalize_on_close=None, **kwargs):
    super().__init__(*args, **kwargs)

  def _open(self, path, mode="rb", **kwargs):
    assert "a" not in mode, "gcsfs writes the file anew"
    return super()._open(path, mode, **kwargs)


class Events:
  """In place of TensorBoard's, which open buckets by another package."""

  def __init__(self, logdir, **kwargs):
    assert logdir.startswith("gs://")

  def add_scalar(self, *args):
    pass

  def close(self):
    pass


@pytest.fixture(autouse=True)
def bucket(monkeypatch):
  for name in ("gs", "gcs"):
    fsspec.register_implementation(name, Bucket, clobber=True)
  monkeypatch.setitem(
    sys.modules, "tensorboardX", types.SimpleNamespace(SummaryWriter=Events)
  )
  yield
  Bucket.store.clear()
  Bucket.pseudo_dirs[:] = [""]
  for name in ("gs", "gcs"):
    _registry.pop(name)


def test_one_writes_there_at_a_time():
  with lock.hold(RUN):
    assert epath.Path(RUN, lock.NAME).exists()
    with (
      pytest.raises(lock.LockError, match="gs://bucket/run is being"),
      lock.hold(RUN),
    ):
      pass
  assert not epath.Path(RUN, lock.NAME).exists()
  with lock.hold(RUN):
    pass


def test_metrics_are_added_to_though_files_cannot_be(monkeypatch):
  with writers.metric_writer(RUN, "toy") as write:
    for step in range(4):
      write(step, {"loss": step / 2})
    assert not writers.read_metrics(RUN, "toy")  # not every line is written
    monkeypatch.setattr(writers, "REWRITTEN", 0.0)
    write(4, {"loss": 2.0})
    assert len(writers.read_metrics(RUN, "toy")) == 5
  monkeypatch.setattr(writers, "REWRITTEN", 30.0)
  with (
    pytest.raises(RuntimeError),
    writers.metric_writer(RUN, "toy", first_step=3) as write,
  ):
    write(3, {"loss": 9.0})
    raise RuntimeError("lines are kept of a run that fails, too")
  read = writers.read_metrics(RUN, "toy")
  assert [line["step"] for line in read] == [0, 1, 2, 3]
  assert [line["loss"] for line in read] == [0.0, 0.5, 1.0, 9.0]


def test_config_people_and_pictures_are_written_and_read(mesh):
  config = toys.config()
  workdir.save_config(RUN, config)
  assert workdir.load_config(RUN).to_dict() == config.to_dict()
  workdir.check_config(RUN, toys.config(seed=9))  # nothing is trained yet
  people.write(RUN, "", named(PEOPLE))
  people.check_same(RUN, named(PEOPLE))
  with pytest.raises(people.DataError, match="have changed since training"):
    people.check_same(RUN, named(PEOPLE[:12]))
  pictures.save_png(f"{RUN}/a/b.png", np.zeros((4, 4, 3), np.uint8))
  assert epath.Path(RUN, "a", "b.png").read_bytes()[:4] == b"\x89PNG"
  files.atomic_write(f"{RUN}/c.json", json.dumps({"x": 1}))
  assert files.read_json(f"{RUN}/c.json") == {"x": 1}
  names = {path.name for path in epath.Path(RUN).iterdir()}
  assert names == {"config.json", "people.json", "a", "c.json"}
  # There is always room.
  checkpoints.check_room(RUN, {"toy": np.zeros(10**6)}, keep=2)
