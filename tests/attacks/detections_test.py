"""Average precision of a detector on scenes, by hand and by its findings."""

import types

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxpriv.attacks import detections
from jaxpriv.data import detection_labels, labelled_pictures, pretrained
from jaxpriv.data.labelled_pictures import Truth
from jaxpriv.data.memory import InMemory
from jaxpriv.data.records import DataError, UnreadableImageError
from jaxpriv.metrics import finding, wider
from jaxpriv.training import detection, witnesses
from jaxpriv.training import mesh as mesh_lib
from jaxpriv.training.mechanism import Target, Trained
from jaxpriv.training.method import Method, Outputs, Phase
from tests import tiny


def test_rows_are_sorted_and_without_what_is_no_face():
  found = {
    "boxes": np.array([[[1.0, 2, 5, 9], [0, 0, 0, 0], [3, 3, 4, 4]]]),
    "scores": np.array([[0.2, 0.0, 0.7]]),
  }
  (rows,) = detections.rows_of(found)
  np.testing.assert_allclose(rows, [[3, 3, 1, 1, 0.7], [1, 2, 4, 7, 0.2]])


def test_faces_are_wanted_by_their_height():
  boxes = np.array([[0.0, 0, 40, 11], [5, 5, 9, 17], [1, 1, 2, 30]])
  none = np.zeros(3, bool)
  ((given, kept),) = detections.wanted([Truth(boxes, none, {})], "easy", 12)
  np.testing.assert_array_equal(kept, [1, 2])
  np.testing.assert_array_equal(given[1], [5, 5, 4, 12])
  # One that is ignored is not wanted, unless a list of the setting has it.
  last = np.array([False, False, True])
  ((_, kept),) = detections.wanted([Truth(boxes, last, {})], "easy", 12)
  np.testing.assert_array_equal(kept, [1])
  listed = Truth(boxes, last, {"easy": last})
  ((_, kept),) = detections.wanted([listed], "easy", 12)
  np.testing.assert_array_equal(kept, [2])


def scenes(count=12):
  """Two faces a scene, 20 and 10 px high, in places of their own."""
  boxes = np.zeros((count, 3, 4), np.float32)
  for i in range(count):
    boxes[i, 0] = [4 * i, 0, 4 * i + 20, 20]
    boxes[i, 1] = [4 * i, 40, 4 * i + 10, 50]
  valid = np.tile([True, True, False], (count, 1))
  return boxes, valid


class Setup:
  """A detector that answers what is written for each scene."""

  def __init__(self, found, scores, boxes, valid):
    def detect(state, frozen, batch):
      rows = batch["image"][:, 0, 0, 0].astype(jnp.int32)
      return {"boxes": state["boxes"][rows], "scores": state["scores"][rows]}

    method = Method(None, None, Outputs(detect=detect))
    phase = Phase("d", (), method)
    state = {"boxes": jnp.array(found), "scores": jnp.array(scores)}
    self.target = Target("m", None, Trained((phase,), {"d": state}), ("model",))
    arrays = tiny.batch(len(boxes), side=8)
    image = np.zeros((len(boxes), 8, 8, 3), np.float32)
    image[:, 0, 0, 0] = np.arange(len(boxes))
    arrays |= {"image": image, "boxes": boxes, "valid": valid}
    del arrays["index"], arrays["padding"]
    self.people = types.SimpleNamespace(
      test=InMemory(arrays), mesh=mesh_lib.make_mesh()
    )

  def findings(self, **options):
    yielded = detections.attack(self.target, self.people, **options)
    return {f.where["faces"]: f for f in yielded}


def test_a_perfect_detector_keeps_all_and_a_blind_one_nothing():
  boxes, valid = scenes()
  scores = np.where(valid, 0.9, 0).astype(np.float32)
  got = Setup(boxes, scores, boxes, valid).findings()
  assert list(got) == ["easy", "medium", "hard"]
  for one in got.values():
    assert (one.value, one.low, one.high) == (1, 1, 1)
    assert (one.claim, one.metric, one.wanted) == ("detection", "AP", "kept")
    assert one.subject == "m" and one.total == 12
    assert finding.problems(one) is None
    assert finding.judge(one).level == finding.GOOD
    # Boxes of the next scene lie 4 px apart: of 20 px they still overlap.
    assert one.floor < 1
  assert [one.where["number"] for one in got.values()] == [12, 12, 24]
  still = np.roll(boxes, 6, 0)  # those of another scene, far away
  blind = Setup(still, scores, boxes, valid).findings(hard=15)["hard"]
  assert blind.value == 0 and finding.judge(blind).level == finding.BAD


def test_values_are_those_of_the_protocol():
  boxes, valid = scenes()
  rng = np.random.default_rng(0)
  found = boxes + rng.normal(0, 2.5, boxes.shape).astype(np.float32)
  scores = np.where(valid, rng.uniform(0.1, 1, valid.shape), 0)
  setup = Setup(found, scores.astype(np.float32), boxes, valid)
  got = setup.findings(easy=15, medium=15, hard=8)
  rows, truth = [], []
  for i in range(12):
    order = np.argsort(-scores[i, :2])
    low, high = found[i, order, :2], found[i, order, 2:]
    rows.append(np.c_[low, high - low, scores[i, order].astype(np.float32)])
    truth.append((np.c_[boxes[i, :2, :2], [[20, 20], [10, 10]]], [0, 1]))
  expected = wider.wider_average_precision(rows, truth)
  assert 0.3 < expected < 0.95
  assert got["hard"].value == pytest.approx(expected, abs=1e-6)
  assert got["hard"].low < expected < got["hard"].high
  large = wider.wider_average_precision(rows, [(b, [0]) for b, _ in truth])
  assert got["easy"].value == pytest.approx(large, abs=1e-6)
  others = wider.wider_average_precision(rows[1:] + rows[:1], truth)
  assert got["hard"].floor == pytest.approx(others, abs=1e-6)
  few = setup.findings(images=5, hard=8)["hard"]
  first = wider.wider_average_precision(rows[:5], truth[:5])
  assert few.total == 5 and few.value == pytest.approx(first, abs=1e-6)


def test_nothing_is_measured_where_there_is_nothing():
  boxes, valid = scenes(4)
  setup = Setup(boxes, np.where(valid, 0.9, 0), boxes, valid)
  assert not setup.findings(images=0)
  assert list(setup.findings(easy=100, medium=100)) == ["hard"]
  del setup.people.test.arrays["boxes"]
  assert not setup.findings()
  blind = Setup(boxes, np.where(valid, 0.9, 0), boxes, valid)
  (phase,) = blind.target.trained.phases
  method = phase.method._replace(outputs=Outputs())
  trained = Trained((phase._replace(method=method),), {"d": {}})
  blind.target = blind.target._replace(trained=trained)
  assert not blind.findings()


def test_draws_without_a_face_do_not_fail():
  boxes, valid = scenes(2)
  valid[1] = False
  setup = Setup(boxes, np.where(valid, 0.9, 0), boxes, valid)
  one = setup.findings()["hard"]
  assert 0 <= one.low <= one.value <= one.high <= 1


@pytest.fixture
def folder(tmp_path, monkeypatch):
  """Two photographs of other sizes, whose red value names a row of answers."""
  monkeypatch.setattr(pretrained, "missing", lambda names: tuple(names))
  rows = ["file,set,x0,y0,x1,y1", "0.png,a,10,10,30,30", "0.png,a,40,10,60,30"]
  rows += ["1.png,a,5,5,45,45", "2.png,b,,,,"]
  (tmp_path / "labels.csv").write_text("\n".join(rows))
  for i, size in enumerate([(70, 40), (50, 90), (20, 20)]):
    Image.new("RGB", size, (255 * i // 2, 0, 0)).save(tmp_path / f"{i}.png")
  return tmp_path


def answers():
  """The first face, both a second time, and one found beside a photograph."""
  found = np.zeros((3, 3, 4), np.float32)
  scores = np.zeros((3, 3), np.float32)
  found[0, :2] = [[11, 10, 31, 30], [40, 60, 60, 80]]
  scores[0, :2] = 0.9, 0.8
  found[1, :2] = [[5, 5, 45, 45], [5, 50, 45, 89]]
  scores[1, :2] = 0.7, 0.6
  return found, scores


def setup_of(found, scores):
  """A detector that answers by the red value of the first pixel."""

  def detect(state, frozen, batch):
    rows = (batch["image"][:, 0, 0, 0] * 2 + 0.1).astype(jnp.int32)
    return {"boxes": state["boxes"][rows], "scores": state["scores"][rows]}

  boxes, valid = scenes(3)
  setup = Setup(found, scores, boxes, valid)
  phase = Phase("d", (), Method(None, None, Outputs(detect=detect)))
  setup.target = setup.target._replace(
    trained=Trained((phase,), {"d": setup.target.trained.states["d"]})
  )
  setup.people.once = lambda key, make: make()
  return setup


def elsewhere(setup, entry, **options):
  got = detections.attack(
    setup.target, setup.people, folders=(entry,), **options
  )
  return [f for f in got if "scenes" in f.where]


def test_photographs_of_a_folder_are_looked_at_as_they_are(folder):
  found = elsewhere(setup_of(*answers()), f"{folder}:a", easy=30)
  names = [f.where["faces"] for f in found]
  assert names == ["easy", "medium", "hard", "all"]
  assert all(finding.problems(one) is None for one in found)
  # The box beside the photograph of 40 rows is not counted: 1, 1, 0 are right.
  easy, medium, hard, every = found
  assert [f.where["number"] for f in (easy, medium, hard)] == [1, 3, 3]
  assert easy.value == 1
  assert hard.value == pytest.approx(2 / 3)
  assert (every.hits, every.total) == (2, 3)
  assert every.low < 2 / 3 < every.high
  assert every.metric == "recall at precision 90%" and every.wanted == "kept"
  assert every.where["scenes"] == f"{folder.parent.name}/{folder.name}/a"
  # Those of the next photograph overlap none of these.
  assert every.floor == hard.floor == 0


def test_only_so_many_photographs_and_only_of_a_set_are_read(folder):
  read = labelled_pictures.read
  both = read(str(folder), 2)
  assert [image.shape for image in both.images] == [(40, 70, 3), (90, 50, 3)]
  np.testing.assert_array_equal(both.truth[1].boxes, [[5, 5, 45, 45]])
  assert len(read(f"{folder}:a", 9).images) == 2
  with pytest.raises(DataError, match="no set 'c'"):
    read(f"{folder}:c", 9)


def test_faces_of_the_lists_of_wider_count_and_others_are_ignored(
  folder, tmp_path
):
  """Of 0.png the second face is hard alone; that of 1.png is invalid."""
  lists = [
    detection_labels.annotation(
      "x/0.jpg",
      [
        detection_labels.Face(
          [10, 10, 30, 30], keep={"easy": True, "hard": True}
        ),
        detection_labels.Face([40, 10, 60, 30], keep={"hard": True}),
      ],
    ),
    detection_labels.annotation(
      "x/1.jpg",
      [
        detection_labels.Face(
          [5, 5, 45, 45], attributes={"invalid": 1}, keep={"hard": False}
        )
      ],
    ),
  ]
  (tmp_path / "x").mkdir()
  for i in range(2):
    image = Image.open(folder / f"{i}.png")
    image.save(tmp_path / f"x/{i}.jpg", quality=100)
  mat = tmp_path / "wider_face_val.mat"
  detection_labels.write(mat, lists, "wider_mat")
  entry = f"{tmp_path}={mat}"
  found = elsewhere(setup_of(*answers()), entry, easy=1, medium=100)
  # There is no list of medium, and no face is so high.
  assert [f.where["faces"] for f in found] == ["easy", "hard", "all"]
  assert {f.where["height"] for f in found[:2]} == {"as labelled"}
  easy, hard, every = found
  assert [f.where["number"] for f in (easy, hard)] == [1, 2]
  rows = [
    np.array([[11.0, 10, 20, 20, 0.9]]),
    np.array([[5.0, 5, 40, 40, 0.7], [5, 50, 40, 39, 0.6]]),
  ]
  boxes = [
    np.array([[10.0, 10, 20, 20], [40, 10, 20, 20]]),
    np.array([[5.0, 5, 40, 40]]),
  ]
  for one, keep in (easy, [0]), (hard, [0, 1]):
    truth = [*zip(boxes, (keep, []), strict=True)]
    expected = wider.wider_average_precision(rows, truth)
    assert one.value == pytest.approx(expected, abs=1e-9)
  # The invalid face is neither missing nor found; one below it is wrong.
  assert (every.hits, every.total) == (1, 2)
  labels = folder / "labels.csv"
  detection_labels.write(labels, lists, "labels")
  (again, *_) = labelled_pictures.read(str(tmp_path), 9).truth
  np.testing.assert_array_equal(again.keep["hard"], [True, True])
  np.testing.assert_array_equal(again.keep["easy"], [True, False])
  with pytest.raises(DataError, match=r"not in .*: x/0.jpg, x/1.jpg"):
    labelled_pictures.read(f"{tmp_path / 'x'}={mat}", 9)
  named = tmp_path / "date=2020"
  (tmp_path / "x").rename(tmp_path / "y")
  named.mkdir()
  (tmp_path / "y").rename(named / "x")
  whole = labelled_pictures.read(f"{named}={mat}", 9)
  assert len(whole.images) == 2 and whole.name.endswith("date=2020/" + mat.name)
  (named / "x/1.jpg").write_bytes(b"no image")
  with pytest.raises(UnreadableImageError, match="1.jpg"):
    labelled_pictures.read(f"{named}={mat}", 9)


def test_a_wrong_folder_is_refused_before_anything_is_found(folder):
  setup = setup_of(*answers())
  with pytest.raises(DataError, match="no folder"):
    next(
      detections.attack(
        setup.target, setup.people, folders=(f"{folder / 'none'}",)
      )
    )


def test_others_stand_beside_it_and_are_not_judged(folder, monkeypatch):
  monkeypatch.setattr(pretrained, "missing", lambda names: ())
  monkeypatch.setattr(witnesses, "load", lambda name: name)

  def find(detector, marker, photographs, threshold):
    assert (detector, marker) == ("blazeface", "landmarks") and threshold < 0.5
    right = {(70, 40): [[10, 10, 30, 30], [40, 10, 60, 30]]}
    return [
      detection.Faces(
        np.array(right.get(p.size, []), float).reshape(-1, 4),
        np.array([0.9, 0.8] if p.size in right else []),
        np.zeros((0, 68, 2)),
      )
      for p in photographs
    ]

  monkeypatch.setattr(detection, "find", find)
  found = elsewhere(setup_of(*answers()), f"{folder}:a")
  others = [f for f in found if f.by == "blazeface"]
  assert len(others) == 4 and len(found) == 8
  assert {(f.subject, f.wanted) for f in others} == {("none", "told")}
  assert (others[-1].hits, others[-1].total) == (2, 3)
  assert others[0].value == pytest.approx(2 / 3)


def test_recall_stops_before_a_tenth_is_wrong():
  """Ten right, one wrong, one right: 10 of 11 is enough; 11 of 12 is, too."""
  boxes = [np.array([[100.0 * i, 0, 100 * i + 20, 20]]) for i in range(13)]
  rows = [np.array([[100.0 * i, 0, 20, 20, 0.9 - i / 100]]) for i in range(10)]
  wrong = np.array([5000.0, 0, 20, 20, 0.5])
  rows += [wrong[None], np.array([[1100.0, 0, 20, 20, 0.4]])]
  rows += [np.array([wrong, wrong + (0, 50, 0, 0, -0.2)])]
  got = detections.recall(rows, boxes)
  # Then one more at 0.5 and one at 0.3 are wrong: 10 of 12, 11 of 13.
  assert (got.hits, got.total) == (10, 13)
  assert detections.recall(rows[:12], boxes[:12]).hits == 11
  nothing = detections.recall([np.zeros((0, 5))] * 13, boxes)
  assert nothing.hits == 0 and nothing.low == 0 and nothing.high > 0.1
