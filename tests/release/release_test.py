"""A release holds all that it should, nothing else, and what was measured."""

import csv
import json
import pathlib
import shutil

import numpy as np
import pytest
from etils import epath
from PIL import Image

from jaxpriv.data import pool as pool_lib
from jaxpriv.data.procedural import ProceduralFaces
from jaxpriv.data.records import DataError
from jaxpriv.metrics.finding import Finding
from jaxpriv.release import card, images, release
from jaxpriv.release.features import FEATURES
from jaxpriv.release.photographs import Input, secret_order
from jaxpriv.release.product import Job
from jaxpriv.reports import results as results_lib
from jaxpriv.training import export, mechanism, pictures
from jaxpriv.training import mesh as mesh_lib
from jaxpriv.training import workdir as workdir_lib
from tests.release import toy
from tools import faces_folder

IMAGES = 9  # one of which cannot be read
MODEL_FILES = {"parameters.npz", "config.json", "card.json", "CARD.md"}


@pytest.fixture(scope="module")
def mesh():
  return mesh_lib.make_mesh(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> pathlib.Path:
  """3 people, 3 photographs each; of one only the box is known."""
  path = tmp_path_factory.mktemp("photographs")
  faces_folder.write_faces(path, ProceduralFaces(3, 3, 48, 5))
  (path / "person_001" / "2.png").write_bytes(b"not an image")
  with open(path / "labels.csv", newline="") as stream:
    rows = list(csv.DictReader(stream))
  rows[7].update(n_points="", points="")
  with open(path / "labels.csv", "w", newline="") as stream:
    writer = csv.DictWriter(stream, rows[0])
    writer.writeheader()
    writer.writerows(rows)
  return path


@pytest.fixture
def photographs(folder) -> Input:
  return Input(str(folder), max_bad_share=0.2)


def evaluate(workdir, mesh, *products, **changes):
  """Writes what launch.evaluate would: one finding, and the people."""
  config = workdir_lib.load_config(workdir)
  header = {
    "mechanism": "toy",
    "products": list(products),
    "parameters_sha256": release.load(workdir, mesh).trained.sha256(),
    "config": mechanism.public_config(config),
    "data": {"source": "folder", "path": "anna", "unreadable": ["anna.png"]},
    **changes,
  }
  finding = Finding("toy", "identity", "told", "eyes", "rank-1", 0, 0, 0.1, 99)
  results_lib.write(
    workdir / "evaluation" / "metrics.json",
    results_lib.collect(header, [finding]),
  )


def labels(output):
  return list(csv.DictReader((output / "labels.csv").open()))


def names(output):
  files = (path for path in output.rglob("*") if path.is_file())
  return {path.relative_to(output).as_posix() for path in files}


def test_two_products_are_one_folder_with_one_card(
  tmp_path, mesh, folder, photographs, caplog
):
  caplog.set_level("INFO")
  workdir, output = epath.Path(tmp_path / "run"), tmp_path / "out"
  toy.make_run(workdir, "image", "model")
  evaluate(workdir, mesh, "image", "model")
  release.release(workdir, output, mesh, photographs)

  rows = labels(output)
  assert set(rows[0]) == {"file", "Male"}  # Smiling is to stay hidden
  assert len(rows) == IMAGES - 1
  images = {row["file"] for row in rows}
  assert names(output) == images | MODEL_FILES | {"labels.csv"}
  assert {path.name for path in tmp_path.iterdir()} == {"run", "out"}
  brightest = max(np.asarray(Image.open(output / f)).max() for f in images)
  assert 100 < brightest <= 128  # darkened by half
  states = export.read(output / "parameters.npz")
  np.testing.assert_array_equal(states["toy"]["params"]["gain"], [toy.GAIN] * 3)

  card = json.loads((output / "card.json").read_text())
  assert list(card["products"]) == ["image", "model"]
  assert card["products"]["model"]["functions"] == ["embed", "image"]
  assert card["counts"] == {"read": 9, "written": 8, "unreadable": 1}
  assert card["framing"] == {"landmarks": 7, "box": 1}
  (gap,) = set(range(IMAGES)) - {int(pathlib.Path(f).stem) for f in images}
  assert card["unreadable"] == [f"images/{gap:08d}.png is left out"]
  text = (output / "CARD.md").read_text()
  assert "8 protected images" in text and "The model has 3 parameters" in text
  assert 'trained.bound("image")' in text
  private = ("hunter2", "anna", "person_", str(folder))
  for name in ("card.json", "CARD.md", "config.json", "labels.csv"):
    content = (output / name).read_text()
    assert not [word for word in private if word in content], name
  assert "mind the gain" in caplog.text
  assert "7 by their landmarks, 1 by a box" in caplog.text
  assert "NOT private" in caplog.text


def test_masks_that_are_public_stand_beside_their_images(
  tmp_path, mesh, photographs
):
  workdir, output = epath.Path(tmp_path / "run"), tmp_path / "out"
  toy.make_run(workdir, "image", masked=True)
  release.release(workdir, output, mesh, photographs)
  images = [row["file"] for row in labels(output)]
  masks = {file.replace("images", "masks") for file in images}
  others = {"labels.csv", "card.json", "CARD.md"}
  assert names(output) == {*images, *masks, *others}
  differ = set()
  for file in images:
    image = np.asarray(Image.open(output / file))
    mask = np.asarray(Image.open(output / file.replace("images", "masks")))
    assert set(np.unique(mask)) <= {0, 255}
    np.testing.assert_array_equal(image.any(-1), mask[..., 0] == 255)
    differ.add(mask.tobytes())
  assert len(differ) > 1
  assert "says which of their pixels" in (output / "CARD.md").read_text()


def test_the_card_says_how_to_load_the_model(tmp_path, mesh):
  workdir, output = epath.Path(tmp_path / "run"), tmp_path / "out"
  toy.make_run(workdir, "model")
  evaluate(workdir, mesh, "model")
  release.release(workdir, output, mesh)
  text = (output / "CARD.md").read_text()
  (block,) = text.split("```python\n")[1:]
  code = block.split("```")[0].replace("FOLDER", str(output))
  scope = {"images": np.ones((2, 8, 8, 3), np.float32)}
  exec(code, scope)
  np.testing.assert_allclose(scope["output"], toy.GAIN * scope["images"])


def test_an_interrupted_release_goes_on(
  tmp_path, mesh, photographs, monkeypatch
):
  workdir, output = epath.Path(tmp_path / "run"), tmp_path / "out"
  toy.make_run(workdir, "image", "model")
  evaluate(workdir, mesh, "image", "model")
  save, left = pictures.save_png, iter(range(4))

  def killed(path, image):
    if next(left, None) is None:
      raise KeyboardInterrupt
    save(path, image)

  monkeypatch.setattr(pictures, "save_png", killed)
  with pytest.raises(KeyboardInterrupt):
    release.release(workdir, output, mesh, photographs)
  partial, journal = tmp_path / "out.partial", tmp_path / "out.partial.json"
  secret = json.loads(journal.read_text())["secret"]
  early = {p: p.stat().st_mtime_ns for p in partial.rglob("*.png")}
  assert len(early) == 4 and not output.exists()

  monkeypatch.setattr(pictures, "save_png", save)
  monkeypatch.setattr(toy, "GAIN", 0.25)
  other = epath.Path(tmp_path / "other")
  toy.make_run(other, "image", "model")
  evaluate(other, mesh, "image", "model")
  with pytest.raises(DataError, match=r"\(parameters differ\)"):
    release.release(other, output, mesh, photographs)
  journal.rename(tmp_path / "aside")
  with pytest.raises(DataError, match=r"out\.partial\.json, which says of"):
    release.release(workdir, output, mesh, photographs)
  (tmp_path / "aside").rename(journal)

  release.release(workdir, output, mesh, photographs)
  kept = {p: output / p.relative_to(partial) for p in early}
  written = {path: kept[path].stat().st_mtime_ns for path in early}
  # Whole batches are written anew, or left alone.
  assert sum(written[path] == early[path] for path in early) >= 3
  assert len(labels(output)) == IMAGES - 1
  assert not journal.exists() and not partial.exists()
  assert not any(
    secret.encode() in p.read_bytes() for p in output.rglob("*") if p.is_file()
  )


def test_releases_do_not_mix(tmp_path, mesh, folder, monkeypatch):
  workdir, output = epath.Path(tmp_path / "run"), tmp_path / "out"
  toy.make_run(workdir, "image")
  path = shutil.copytree(folder, tmp_path / "photographs")
  with pytest.raises(DataError, match="cannot be read"):
    release.release(workdir, output, mesh, Input(str(path), max_bad_share=0))
  assert not list(tmp_path.glob("out*"))  # before anything is written
  with monkeypatch.context() as patch:
    patch.setattr(images, "_write_labels", None)
    with pytest.raises(TypeError):
      release.release(workdir, output, mesh, Input(str(path), max_bad_share=1))

  def refused(what):
    with pytest.raises(DataError, match=rf"\({what} differ\)"):
      release.release(workdir, output, mesh, Input(str(path), max_bad_share=1))

  labels_csv = (path / "labels.csv").read_text()
  (path / "a.png").symlink_to(path / "person_000/0.png")
  (path / "labels.csv").write_text(labels_csv.replace("person_000/0", "a"))
  refused("list of images")
  (path / "labels.csv").write_text(labels_csv)
  config = workdir_lib.load_config(workdir)
  config.toy.password = "another"
  workdir_lib.save_config(workdir, config)
  refused("config")
  config.toy.password = "hunter2"
  workdir_lib.save_config(workdir, config)
  release.release(workdir, output, mesh, Input(str(path), max_bad_share=1))
  assert len(labels(output)) == IMAGES - 1


@pytest.mark.parametrize("below", ["out", "deep/er/out", ".", "link/out"])
def test_a_release_does_not_go_among_the_photographs(
  tmp_path, mesh, folder, below
):
  workdir = epath.Path(tmp_path / "run")
  toy.make_run(workdir, "image")
  path = shutil.copytree(folder, tmp_path / "photographs")
  (path / "link").symlink_to(path / "person_000")
  before = sorted(path.rglob("*"))
  with pytest.raises(DataError, match="inside of --input|exists"):
    release.release(workdir, path / below, mesh, Input(str(path)))
  assert sorted(path.rglob("*")) == before


def test_a_second_release_does_not_take_the_first_for_photographs(
  tmp_path, mesh, folder
):
  workdir = epath.Path(tmp_path / "run")
  toy.make_run(workdir, "image")
  path = shutil.copytree(folder, tmp_path / "photographs")
  place = Input(str(path), max_bad_share=1)
  release.release(workdir, tmp_path / "out", mesh, place)
  (tmp_path / "out").rename(path / "out")
  release.release(workdir, tmp_path / "second", mesh, place)
  assert len(labels(tmp_path / "second")) == IMAGES - 1
  card = json.loads((tmp_path / "second" / "card.json").read_text())
  assert card["files"]["left_out"]["a release of protected images"] == 1
  with pytest.raises(DataError, match="its images are protected ones"):
    release.release(workdir, tmp_path / "third", mesh, Input(str(path / "out")))


def test_the_order_is_that_of_the_secret_alone(tmp_path, mesh, photographs):
  workdir = epath.Path(tmp_path / "run")
  toy.make_run(workdir, "image")
  content = []
  for name in ("one", "two"):
    release.release(workdir, tmp_path / name, mesh, photographs)
    content.append(
      [
        (tmp_path / name / r["file"]).read_bytes()
        for r in labels(tmp_path / name)
      ]
    )
  assert content[0] != content[1] and sorted(content[0]) == sorted(content[1])
  order = secret_order("secret", 50)
  assert sorted(order.tolist()) == list(range(50))
  assert order.tolist() == secret_order("secret", 50).tolist()
  assert order.tolist() != secret_order("secrets", 50).tolist()


def test_features_are_a_pool(tmp_path, mesh, folder, photographs):
  workdir, output = epath.Path(tmp_path / "run"), tmp_path / "pool"
  toy.make_run(workdir, "features")
  partial = tmp_path / "pool.partial"
  partial.mkdir()
  (partial / "holiday.png").write_bytes(b"not ours")
  with pytest.raises(DataError, match="holds what is not of features"):
    release.release(workdir, output, mesh, photographs)
  # A kill leaves this state; the release is made anew.
  (partial / "holiday.png").rename(partial / "features-00000-of-00001.x")
  release.release(workdir, output, mesh, photographs)
  pool = pool_lib.Pool(output)
  assert len(pool) == IMAGES - 1
  assert pool.layer == "eighth" and pool.shape == (4, 4, 3)
  assert pool.attribute_names == ("Male",)
  assert set(export.read(output / "parameters.npz")) == {"toy"}
  card = json.loads((output / "card.json").read_text())
  assert card["counts"]["unreadable"] == 1 and card["unreadable"] == []
  assert card["not_protected"][0] == "The gain is small."
  text = (output / "CARD.md").read_text()
  assert "8 feature maps of shape 4 × 4 × 3 at layer `eighth`" in text
  assert "1 image could not be read" in text
  assert workdir_lib.load_config(output).toy.password == ""
  for path in output.iterdir():
    assert str(folder).encode() not in path.read_bytes()


@pytest.mark.parametrize(
  ("products", "changes", "given", "message"),
  [
    (("image",), {}, False, "--input: .*toy protects images; which ones"),
    (("features",), {}, False, "--input: .*toy protects features; of what"),
    (("model",), {}, True, "what it releases is the model. Leave --input out"),
    (("model",), {"withheld": "has no more"}, False, "run has no more"),
    (("model",), {}, False, "was never evaluated on its own test people"),
    (("image", "model"), {}, True, "was never evaluated on its own test"),
    (("features", "model"), {}, True, "both write parameters.npz"),
  ],
)
def test_what_is_refused_before_anything_is_written(
  tmp_path, mesh, photographs, products, changes, given, message
):
  workdir, output = epath.Path(tmp_path / "run"), tmp_path / "out"
  toy.make_run(workdir, *products, **changes)
  with pytest.raises(DataError, match=message):
    release.release(workdir, output, mesh, photographs if given else None)
  assert {path.name for path in tmp_path.iterdir()} == {"run"}


def test_figures_must_be_of_these_parameters_and_products(tmp_path, mesh):
  workdir, output = epath.Path(tmp_path / "run"), tmp_path / "out"
  toy.make_run(workdir, "model")
  config = mechanism.public_config(workdir_lib.load_config(workdir))
  for wrong in (
    {"parameters_sha256": "0" * 64},
    {"config": {**config, "dtype": "bfloat16"}},
    {"config": {**config, "toy": {**config["toy"], "withheld": "x"}}},
  ):
    evaluate(workdir, mesh, "model", **wrong)
    with pytest.raises(DataError, match="other parameters or settings"):
      release.release(workdir, output, mesh)
  evaluate(workdir, mesh, "image")
  with pytest.raises(DataError, match="was never evaluated"):
    release.release(workdir, output, mesh)
  # Settings of attacks and terms do not change what is released.
  config = {**config, "evaluation": {}, "train": {}}
  config["release"] = {**config["release"], "terms": "other"}
  evaluate(workdir, mesh, "model", config=config)
  release.release(workdir, output, mesh)
  with pytest.raises(DataError, match="a finished release is not written over"):
    release.release(workdir, output, mesh)


def test_audits_of_this_plan_are_on_the_card(tmp_path, mesh, caplog):
  workdir, output = epath.Path(tmp_path / "run"), tmp_path / "out"
  toy.make_run(workdir, "model")
  privacy = dict.fromkeys(results_lib.GUARANTEE, 1) | {
    "unit": "person", "relation": "add", "accountant": "pld", "phases": [],
    "pretrained": "anna_smith",
  }  # fmt: skip
  people = {"source": "folder", "images": {"train": 1234}}
  evaluate(workdir, mesh, "model", privacy=privacy, data=people)
  audit = {
    "audit": "one run", "phase": "toy", "epsilon": 0.4, "claimed": 8.0,
    "right": 12, "noise_multiplier": 0.0, "faults": [],
  }  # fmt: skip
  wrong = {**audit, "faults": ["members are told from others"]}

  def audited(*rows):
    (workdir / "audit").mkdir(exist_ok=True)
    (workdir / "audit/audit.json").write_text(json.dumps(rows))

  audited(wrong)
  with pytest.raises(DataError, match="not hold: members are told from"):
    release.release(workdir, output, mesh)
  audited(audit, {**wrong, "noise_multiplier": -1.0})
  release.release(workdir, output, mesh)
  assert "audits of another plan are left out" in caplog.text
  text = "".join(
    (output / name).read_text() for name in ("CARD.md", "card.json")
  )
  assert "epsilon at least 0.400, of the 8.00 claimed" in text
  assert "another run" in text
  for word in ("anna", "members are told", '"right"', '"images"'):
    assert word not in text


def test_an_attribute_that_is_not_there_is_named(tmp_path, mesh, photographs):
  workdir = epath.Path(tmp_path / "run")
  config = toy.make_run(workdir, "image")
  config.release.attributes = ("Male", "Horns")
  workdir_lib.save_config(workdir, config)
  with pytest.raises(DataError, match="labelled with Horns, which"):
    release.release(workdir, tmp_path / "out", mesh, photographs)


def test_a_setting_to_withhold_that_is_not_there_is_refused(tmp_path, mesh):
  workdir = epath.Path(tmp_path / "run")
  config = toy.make_run(workdir, "model")
  config.release.withheld = ("toy.passwort",)
  workdir_lib.save_config(workdir, config)
  with pytest.raises(DataError, match=r"withheld names toy\.passwort"):
    release.release(workdir, tmp_path / "out", mesh)


def test_an_interrupted_release_of_images_is_not_taken_over(tmp_path, mesh):
  workdir = epath.Path(tmp_path / "run")
  toy.make_run(workdir, "model")
  evaluate(workdir, mesh, "model")
  (tmp_path / "out.partial.json").write_text("{}")
  with pytest.raises(DataError, match="holds an interrupted release of images"):
    release.release(workdir, tmp_path / "out", mesh)


def test_every_product_of_a_mechanism_can_be_released():
  assert set(release.PRODUCTS) == set(mechanism.PRODUCTS)


def test_secrets_of_a_mechanism_are_withheld_whatever_the_setting(tmp_path):
  config = toy.make_run(tmp_path, "model")
  config.release.withheld = ("release.terms",)
  assert mechanism.public_config(config)["toy"]["password"] == ""


def test_photographs_that_cannot_be_protected_are_refused_first(
  tmp_path, mesh, photographs
):
  workdir = epath.Path(tmp_path / "run")
  toy.make_run(workdir, "image", unfit="it is for cats")
  with pytest.raises(DataError, match="it is for cats"):
    release.release(workdir, tmp_path / "out", mesh, photographs)
  assert {path.name for path in tmp_path.iterdir()} == {"run"}


def test_features_do_not_go_to_a_bucket(tmp_path, mesh):
  toy.make_run(tmp_path, "features")
  target = release.load(tmp_path, mesh)
  job = Job(target, tmp_path, epath.Path("gs://bucket/out.partial"), mesh)
  with pytest.raises(DataError, match="folder of this machine, not to gs://"):
    FEATURES.check(job)
  with pytest.raises(DataError, match="no pool to release its features in"):
    FEATURES.check(job._replace(target=target._replace(pool=None)))


def test_no_number_of_photographs_is_told_where_people_are_protected():
  privacy = dict.fromkeys(results_lib.GUARANTEE, 1) | {"unit": "person"}
  counts = {"people": 3, "images": 12}
  data = {"people": {"train": 3}, "images": {"train": 12}, "attackers": counts}
  header = {"mechanism": "m", "products": ["model"], "data": data}
  results = results_lib.Results({**header, "privacy": privacy}, {}, [])
  public = card.public_results(results).header["data"]
  assert public == {"people": {"train": 3}, "attackers": {"people": 3}}
