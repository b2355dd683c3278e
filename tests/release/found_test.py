"""Labels of faces that a run's detector finds, in pixels of the photographs."""

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxpriv.data import detection_labels, folder
from jaxpriv.data.records import DataError
from jaxpriv.release import found
from jaxpriv.training import mesh as mesh_lib
from jaxpriv.training.mechanism import Target, Trained
from jaxpriv.training.method import Outputs, Phase, untrained
from tests.release import toy


def detect(state, frozen, batch):
  """The red square, if there is one, and half of it, of less score."""
  red = (batch["image"][..., 0] > 0.5) & (batch["image"][..., 1] < 0.5)
  rows, columns = red.any(2), red.any(1)
  first = lambda x: jnp.argmax(x, 1)
  end = lambda x: x.shape[1] - jnp.argmax(x[:, ::-1], 1)
  box = jnp.stack([first(columns), first(rows), end(columns), end(rows)], 1)
  box = box.astype(jnp.float32)
  half = box.at[:, 3].set(box[:, 1::2].mean(1))
  there = red.any((1, 2))
  scores = there[:, None] * jnp.array([0.4, 0.9])
  boxes = jnp.stack([half, box], 1)
  points = boxes[:, :, None, :2] + jnp.arange(10.0).reshape(5, 2)
  return {"boxes": boxes, "scores": scores, "landmarks": points}


@pytest.fixture(autouse=True)
def run(monkeypatch):
  phase = Phase("d", (), untrained(Outputs(detect=detect)))
  target = Target("m", None, Trained((phase,), {"d": {}}), ("model",))
  monkeypatch.setattr(found.release, "load", lambda workdir, mesh: target)


@pytest.fixture
def photographs(tmp_path):
  """One with a face, one large one with one, one without, and no image."""
  for name, size, box in (
    ("a.png", (60, 40), (10, 5, 30, 25)),
    ("more/b.png", (400, 200), (200, 40, 280, 120)),
    ("c.png", (50, 50), None),
  ):
    image = Image.new("RGB", size)
    if box:
      image.paste((255, 0, 0), box)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    image.save(tmp_path / name)
  (tmp_path / "d.png").write_bytes(b"no image")
  return tmp_path


def look(photographs, threshold=0.5, longest=200):
  return found.find("", str(photographs), threshold, longest,
                    mesh_lib.make_mesh(1))  # fmt: skip


def test_faces_are_found_in_pixels_of_their_photographs(photographs):
  result = look(photographs)
  boxes = {one.file: one.boxes.tolist() for one in result.annotations}
  assert boxes["a.png"] == [[10, 5, 30, 25]] and boxes["c.png"] == []
  np.testing.assert_allclose(boxes["more/b.png"], [[200, 40, 280, 120]], atol=3)
  assert list(result.unreadable) == ["d.png"]
  (points,) = result.annotations[0].landmarks
  np.testing.assert_allclose(points, [10, 5] + np.arange(10).reshape(5, 2))
  both = look(photographs, threshold=0.4)
  assert [len(one.boxes) for one in both.annotations] == [2, 0, 2]
  # Best first.
  assert both.annotations[0].boxes[0].tolist() == [10, 5, 30, 25]


def test_a_folder_takes_the_labels(photographs):
  result = look(photographs)
  path = photographs / "labels.csv"
  detection_labels.write(path, result.annotations, "labels")
  (photographs / "d.png").unlink()
  source = folder.FolderSource(photographs)
  np.testing.assert_allclose(source.points["box"][0], [10, 5, 30, 25])


def test_nothing_to_look_at_is_named(photographs, tmp_path, monkeypatch):
  with pytest.raises(DataError, match="no folder"):
    look(tmp_path / "none")
  (tmp_path / "empty").mkdir()
  with pytest.raises(DataError, match="no photographs"):
    look(tmp_path / "empty")
  monkeypatch.undo()
  toy.make_run(tmp_path / "run", "image")
  with pytest.raises(DataError, match="has no detector"):
    found.find(
      tmp_path / "run", str(photographs), 0.5, 99, mesh_lib.make_mesh(1)
    )
