"""CelebA and LFW from mocks, and a CelebA prepared from generated files."""

import importlib.resources
import importlib.resources.abc  # noqa: F401  (TFDS asks for its members)
import pathlib
import sys
from unittest import mock

import numpy as np
import pytest
import tensorflow_datasets as tfds
from tensorflow_datasets.testing import mocking

from configs import deep_poisoning as deep_poisoning_config
from jaxpriv.data import alignment, images, pipeline, sources
from jaxpriv.data.records import DataError
from jaxpriv.data.tfds_source import TfdsScenes, TfdsSource
from jaxpriv.methods import deep_poisoning

FIVE = np.array([[69, 109], [106, 113], [88, 135], [73, 152], [103, 154]])


def _undecoded(builder, split, decoders=None, **kwargs):
  """Fake examples of the builder's features, images as encoded bytes.

  The fake that TFDS makes itself needs TensorFlow to encode images.
  """
  del split, kwargs
  assert isinstance(decoders["image"], tfds.decode.SkipDecoding)
  fake = mocking.RandomFakeGenerator(builder.info.features, num_examples=6)
  examples = list(fake)
  for example in examples:
    example["image"] = images.encode(example["image"])
  return examples


def _mocked():
  return tfds.testing.mock_data(as_data_source_fn=_undecoded)


def test_mocked_celeb_a_has_identity_attributes_and_landmarks(data_config):
  with _mocked():
    source = TfdsSource("celeb_a", "train")
    examples = _undecoded(
      tfds.builder("celeb_a"), "", {"image": tfds.decode.SkipDecoding()}
    )
    config = data_config(
      source="tfds",
      name="celeb_a",
      image_size=32,
      align="box",  # mocked points are anywhere
    )
    opened = sources.open_source(config)
  assert len(source) == 6 and len(source.attribute_names) == 40
  assert source.default_attributes == (
      "Male", "Smiling", "Big_Nose", "Eyeglasses")  # fmt: skip
  assert opened.attribute_names == source.default_attributes
  column = source.attribute_names.index("Smiling")
  for index, example in enumerate(examples):
    record = source[index]
    assert record["image"].shape == (218, 178, 3)
    assert record["identity"] == example["identity"]["Identity_No"]
    assert record["attributes"][column] == example["attributes"]["Smiling"]
    points = example["landmarks"]
    assert tuple(record["landmarks"][2]) == (points["nose_x"], points["nose_y"])
    assert np.isnan(record["landmarks"][5:]).all()
    assert opened[index]["attributes"][1] == example["attributes"]["Smiling"]
    assert opened[index]["image"].shape == (32, 32, 3)


def test_the_attributes_of_celeb_a_are_halved_as_deep_poisoning_does(
  data_config,
):
  """Table 4 of Guo et al. 2021: the first 20 are the task, the last 20 not."""
  with _mocked():
    config = data_config(
      source="tfds",
      name="celeb_a",
      image_size=32,
      align="box",  # mocked points are anywhere
    )
    config.attributes = ("all",)
    opened = sources.open_source(config)
  run = deep_poisoning_config.get_config("paper")
  with run.unlocked():
    run.data.attributes = opened.attribute_names
  task, hidden = deep_poisoning.split_attributes(run)
  assert len(task) == len(hidden) == 20
  assert (task[0], task[-1]) == ("5_o_Clock_Shadow", "High_Cheekbones")
  assert (hidden[0], hidden[-1]) == ("Male", "Young")


def test_mocked_lfw_has_people():
  with _mocked():
    source = TfdsSource("lfw", "train")
    decoders = {"image": tfds.decode.SkipDecoding()}
    labels = [e["label"] for e in _undecoded(tfds.builder("lfw"), "", decoders)]
  assert source.attribute_names == () and len(source) == 6
  names = [source.identity_names[number] for number in source.identities]
  assert names == [label.decode() if isinstance(label, bytes)
                   else label for label in labels]  # fmt: skip
  assert source[1]["image"].shape == (250, 250, 3)


@pytest.fixture(scope="module")
def celeb_a(tmp_path_factory) -> pathlib.Path:
  """A CelebA of six generated pictures, prepared by its TFDS builder."""
  folder = tmp_path_factory.mktemp("celeb_a")
  builder = tfds.builder(
    "celeb_a", data_dir=str(folder / "data"), file_format="array_record"
  )
  files = [f"{i:06d}.jpg" for i in range(1, 7)]
  rng = np.random.default_rng(0)
  for file in files:
    pixels = rng.integers(0, 255, (218, 178, 3)).astype(np.uint8)
    (folder / file).write_bytes(images.encode(pixels))
  names = tuple(builder.info.features["attributes"])
  male = names.index("Male")
  values = -np.ones((6, 40), int)
  values[:, male] = [1, 1, -1, -1, 1, 1]
  points = [f"{p}_{c}" for p in ("lefteye", "righteye", "nose", "leftmouth",
                                 "rightmouth") for c in "xy"]  # fmt: skip
  tables = dict(
    list_attr_celeba=_table(names, files, values),
    landmarks_celeba=_table(points, files, [FIVE.ravel()] * 6),
    identity_celeba="".join(
      f"{f} {70 + i // 2}\n" for i, f in enumerate(files)
    ),
    list_eval_partition="".join(
      f"{f} {int(i > 3) + int(i > 4)}\n" for i, f in enumerate(files)
    ),
  )
  for name, text in tables.items():
    (folder / name).write_text(text)

  def archive(manager, path):
    del manager, path
    return [(f"img_align_celeba/{f}", open(folder / f, "rb")) for f in files]

  manager = tfds.download.DownloadManager
  download = lambda self, urls: {name: folder / name for name in urls}
  # TFDS asks for this backport although the standard library has it.
  backport = {"importlib_resources": importlib.resources}
  with (
    mock.patch.dict(sys.modules, backport),
    mock.patch.object(manager, "download", download),
    mock.patch.object(manager, "iter_archive", archive),
  ):
    builder.download_and_prepare()
  return folder / "data"


def _table(names, files, rows) -> str:
  lines = [str(len(files)), " ".join(names)]
  lines += [f"{f} {' '.join(map(str, row))}" for f, row in zip(files, rows)]
  return "\n".join(lines) + "\n"


def test_prepared_celeb_a_is_read_from_its_files(celeb_a, data_config):
  source = TfdsSource("celeb_a", "train", str(celeb_a))
  assert len(source) == 4
  assert sorted(source.identities) == [70, 70, 71, 71]
  male = source.attribute_names.index("Male")
  for index in range(4):
    record = source[index]
    np.testing.assert_array_equal(record["landmarks"][:5], FIVE)
    assert record["attributes"][male] == (record["identity"] == 70)
    assert record["attributes"].sum() == record["attributes"][male]
  config = data_config(
      source="tfds", name="celeb_a", path=str(celeb_a), split="train",
      image_size=112, cache=False)  # fmt: skip
  opened = sources.open_source(config)
  expected = alignment.arcface_template(112)
  assert np.abs(opened[0]["landmarks"][:5] - expected).max() < 8
  (batch,) = pipeline.epoch(
    opened, np.arange(4), batch_size=4, process_index=0, process_count=1
  )
  assert batch["image"].shape == (4, 112, 112, 3)
  assert "celeb_a, split train, record 2" in opened.describe(2)


def test_without_a_split_all_are_read(celeb_a):
  source = TfdsSource("celeb_a", "", str(celeb_a))
  assert sorted(source.identities) == [70, 70, 71, 71, 72, 72]


def test_what_cannot_be_opened_is_explained(celeb_a, tmp_path):
  with pytest.raises(DataError, match="'trian'.*train.*validation.*test"):
    TfdsSource("celeb_a", "trian", str(celeb_a))
  with pytest.raises(DataError, match="'mnist'.*celeb_a, lfw"):
    TfdsSource("mnist", "train", str(tmp_path))
  with pytest.raises(DataError, match="(?s)not prepared.*download_and_prepare"):
    TfdsSource("celeb_a", "train", str(tmp_path))
  with pytest.raises(
    DataError, match="(?s)not prepared.*launch.pack.*needs Ten"
  ):
    TfdsSource("lfw", "train", str(tmp_path))
  with pytest.raises(DataError, match="9.9.9"):
    TfdsSource("celeb_a:9.9.9", "train", str(tmp_path))


FACES = dict(  # ymin, xmin, ymax, xmax, in shares of 80 by 40 pixels
  bbox=[[0.25, 0.1, 0.5, 0.2], [0.1, 0.5, 0.1, 0.5], [0.0, 0.5, 1.0, 1.0]],
  blur=[0, 0, 2],
  expression=[False, False, True],
  illumination=[True, False, False],
  invalid=[False, True, False],
  occlusion=[1, 0, 2],
  pose=[False, False, True],
)


@pytest.fixture(scope="module")
def wider_face(tmp_path_factory):
  """A wider_face of two pictures, of three faces and of none."""
  folder = tmp_path_factory.mktemp("wider_face")
  builder = tfds.builder(
    "wider_face", data_dir=str(folder), file_format="array_record"
  )
  rng = np.random.default_rng(0)
  pixels = rng.integers(0, 255, (40, 80, 3)).astype(np.uint8)
  (folder / "a.jpg").write_bytes(images.encode(pixels))
  feature = tfds.features.BBox

  def examples(count, faces):
    for i in range(count):
      rows = [
        {**{k: v[n] for k, v in FACES.items()}, "bbox": feature(*box)}
        for n, box in enumerate(FACES["bbox"][:faces])
      ]
      yield (
        str(i),
        {
          "image": str(folder / "a.jpg"),
          "image/filename": f"event/{i}.jpg",
          "faces": rows,
        },
      )

  splits = lambda self, manager: {
    "train": examples(2, 3),
    "validation": examples(1, 1),
    "test": examples(3, 0),
  }
  backport = {"importlib_resources": importlib.resources}
  with (
    mock.patch.dict(sys.modules, backport),
    mock.patch.object(type(builder), "_split_generators", splits),
  ):
    builder.download_and_prepare()
  return folder


def test_scenes_of_wider_face_have_their_boxes_in_pixels(
  wider_face, data_config
):
  source = TfdsScenes("wider_face", "train", str(wider_face), max_faces=4)
  assert len(source) == 2 and source.identities.tolist() == [-1, -1]
  record = source[0]
  assert record["image"].shape == (40, 80, 3)
  # The second one has no area.
  np.testing.assert_allclose(
    record["boxes"][:2], [[8, 10, 16, 20], [40, 0, 80, 40]], rtol=1e-6
  )
  assert record["valid"].tolist() == [True, True, False, False]
  assert record["left_out"] == 0
  said = dict(zip(source.attribute_names, record["attributes"].T, strict=True))
  expected = dict(
    blurred=[0, 1],
    heavily_blurred=[0, 1],
    exaggerated_expression=[0, 1],
    extreme_illumination=[1, 0],
    invalid=[0, 0],
    occluded=[1, 1],
    heavily_occluded=[0, 1],
    atypical_pose=[0, 1],
  )
  assert {k: v[:2].tolist() for k, v in said.items()} == expected
  assert (record["attributes"][2:] == -1).all()
  assert np.isnan(record["landmarks"]).all()
  config = data_config(
    source="tfds", name="wider_face", path=str(wider_face), max_faces=1,
    image_size=32, align="whole", split="train",
  )  # fmt: skip
  opened = sources.open_source(config)
  # The larger one is kept; the picture is framed whole, with bars.
  assert opened[0]["left_out"] == 1
  np.testing.assert_allclose(opened[0]["boxes"], [[16, 8, 32, 24]], atol=0.6)


def test_without_a_split_scenes_are_those_that_name_faces(wider_face):
  source = TfdsScenes("wider_face", "", str(wider_face))
  assert [source[i]["valid"].sum() for i in range(len(source))] == [2, 2, 1]
  test = TfdsScenes("wider_face", "test", str(wider_face))
  assert not test[0]["valid"].any() and test[0]["boxes"].shape == (32, 4)
  assert "wider_face, split test, record 1" in test.describe(1)


def test_scenes_and_single_faces_are_not_taken_for_each_other(tmp_path):
  with pytest.raises(DataError, match="several people: set data.max_faces to"):
    TfdsSource("wider_face", "", str(tmp_path))
  with pytest.raises(DataError, match="one face each: set data.max_faces to 0"):
    TfdsScenes("celeb_a:2.1.0", "", str(tmp_path))
  with pytest.raises(DataError, match="'coco'.*can be read are wider_face"):
    TfdsScenes("coco", "", str(tmp_path))
  with pytest.raises(DataError, match="(?s)not prepared.*launch.labels"):
    TfdsScenes("wider_face", "", str(tmp_path))
