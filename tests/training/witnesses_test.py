"""Witnesses: batches, crops of photographs, and real people."""

import numpy as np
import pytest
from PIL import Image

from jaxpriv.data import alignment, images
from jaxpriv.data.folder import FolderSource
from jaxpriv.metrics import identification
from jaxpriv.models.pretrained import frames
from jaxpriv.models.pretrained.catalogue import NETWORKS, Network
from jaxpriv.training import witnesses

SIZE = 12


def _colour(params, x):
  return {"embedding": x.mean((1, 2)) * params["factor"], "first": x[:, 0, 0]}


@pytest.fixture
def witness(monkeypatch):
  """Reads the mean colour, and what stands in the corner."""
  traces = []

  def apply(params, x):
    traces.append(x.shape)
    return _colour(params, x)

  frame = frames.Frame(size=SIZE, points=frames.ARCFACE, box=(0.0, 0.1, 1.3))
  networks = {**NETWORKS, "colour": Network(frame, apply)}
  monkeypatch.setattr(witnesses, "NETWORKS", networks)
  witnesses._read.clear_cache()
  yield witnesses.Witness("colour", {"factor": np.float32(2)}), traces
  witnesses._read.clear_cache()


def _images(count, size=SIZE):
  rng = np.random.default_rng(0)
  return rng.integers(0, 256, (count, size, size, 3), np.uint8)


def test_filling_the_last_batch_changes_no_row_and_compiles_once(witness):
  reader, traces = witness
  pixels = _images(7)
  rows = witnesses.embed(reader, pixels, batch_size=3)
  assert rows.shape == (7, 3)
  np.testing.assert_allclose(
    rows, 2 * pixels.mean((1, 2)) / 255, rtol=1e-5, atol=1e-6
  )
  assert traces == [(3, SIZE, SIZE, 3)]
  for count in (1, 3, 5):
    part = witnesses.embed(reader, pixels[:count], batch_size=3)
    np.testing.assert_array_equal(part, rows[:count])
  assert len(traces) == 1


def test_bytes_and_shares_read_the_same(witness):
  reader, _ = witness
  pixels = _images(2)
  np.testing.assert_allclose(
    witnesses.embed(reader, pixels),
    witnesses.embed(reader, pixels.astype(np.float32) / 255),
    atol=1e-6,
  )


def test_aligned_images_are_brought_into_the_frame(witness):
  reader, _ = witness
  pixels = _images(2, 30)
  actual = witnesses.read(reader, pixels, align="landmarks")
  framed = frames.from_aligned(reader.frame, pixels.astype(np.float32) / 255)
  np.testing.assert_allclose(
    actual["first"], framed[:, 0, 0], rtol=1e-5, atol=1e-6
  )


@pytest.mark.parametrize("shape", ((0, SIZE, SIZE, 3), (2, SIZE, SIZE + 1, 3),
                                   (2, SIZE, SIZE, 1)))  # fmt: skip
def test_images_of_another_size_are_refused(witness, shape):
  with pytest.raises(ValueError, match=r"colour reads images \[N, 12, 12, 3\]"):
    witnesses.read(witness[0], np.zeros(shape, np.uint8))


def test_points_and_boxes_land_at_their_places(witness):
  frame = witness[0].frame
  rng = np.random.default_rng(1)
  turn = np.array([[0.8, -0.6, 30.0], [0.6, 0.8, 5.0]]) * 3
  five = alignment.transform_points(
    np.stack([turn, turn * 2]), np.array(frames.ARCFACE)
  )
  placed = witnesses.matrices(frame, five=five)
  np.testing.assert_allclose(
    alignment.transform_points(placed, five),
    np.broadcast_to(np.array(frames.ARCFACE) * SIZE, five.shape),
    atol=1e-9,
  )
  boxes = np.array([[10, 20, 50, 100.0]])
  (placed,) = witnesses.matrices(frame, boxes=boxes)
  # Its centre is (30, 68) with the shift, its side 1.3 sqrt(40 * 80).
  side = 1.3 * np.sqrt(40 * 80)
  np.testing.assert_allclose(
    alignment.transform_points(
      placed, np.array([[30, 68], [30 + side / 2, 68]])
    ),
    [[SIZE / 2, SIZE / 2], [SIZE, SIZE / 2]],
  )
  photograph = Image.fromarray(rng.integers(0, 256, (120, 90, 3), np.uint8))
  cut = witnesses.crops(frame, [photograph], placed[None])
  assert cut.shape == (1, SIZE, SIZE, 3) and cut.dtype == np.uint8


def test_a_whole_photograph_lies_between_bars(witness):
  photograph = Image.new("RGB", (100, 50), "white")
  placed = witnesses.whole(witness[0].frame, [photograph])
  cut = witnesses.crops(witness[0].frame, [photograph], placed)[0]
  assert (cut[4:8] == 255).all() and (cut[:2] == 0).all()


def test_a_frame_needs_points_or_a_box():
  frame = NETWORKS["landmarks"].frame
  with pytest.raises(ValueError, match="finds a face by box"):
    witnesses.matrices(frame, five=np.zeros((1, 5, 2)))


@pytest.mark.faces
@pytest.mark.networks
def test_real_people_are_found_and_recognised(faces):
  source = FolderSource(faces, sets=("london",))
  rows = [i for i in range(len(source)) if source.identities[i] < 6]
  photographs = [source.photograph(i) for i in rows]
  pictures = [p.image for p in photographs]
  found = witnesses.find(
    witnesses.load("blazeface"), witnesses.load("landmarks"), pictures
  )
  assert (found.scores > witnesses.FACE).all()
  labelled = np.stack([p.fields["landmarks"][:5] for p in photographs])
  known = np.isfinite(labelled).all((1, 2))
  between = np.linalg.norm(labelled[:, 0] - labelled[:, 1], axis=-1)
  error = np.linalg.norm(found.five - labelled, axis=-1).mean(1) / between
  assert known.sum() == 6 and (error[known] < 0.08).all()
  people = source.identities[rows]
  for name in ("faceres", "dlib"):
    reader = witnesses.load(name)
    placed = witnesses.matrices(reader.frame, five=found.five)
    rows_of = witnesses.embed(
      reader, witnesses.crops(reader.frame, pictures, placed)
    )
    smiling = ~known
    result = identification.rank1(
      rows_of[known], people[known], rows_of[smiling], people[smiling]
    )
    assert result.hits == 6, name


@pytest.mark.faces
@pytest.mark.networks
def test_women_and_men_are_told_apart(faces):
  source = FolderSource(faces, sets=("canada",))
  photographs = [source.photograph(i) for i in range(0, len(source), 2)]
  pictures = [images.open_image(p.image.filename) for p in photographs]
  five = np.stack([p.fields["landmarks"][:5] for p in photographs])
  male = np.array([p.fields["attributes"][0] for p in photographs])
  assert source.attribute_names[0] == "Male"
  for name in ("faceres", "age_gender"):
    reader = witnesses.load(name)
    placed = witnesses.matrices(reader.frame, five=five)
    outputs = witnesses.read(
      reader, witnesses.crops(reader.frame, pictures, placed), batch_size=19
    )
    assert ((outputs["male"] > 0.5) == male).mean() > 0.8, name
    assert 15 < np.median(outputs["age"]) < 40
