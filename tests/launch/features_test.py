"""Deep poisoning end to end: trained, attacked, released, trained on."""

import json

import pytest

from jaxpriv.data.pool import Pool
from jaxpriv.training import export
from tests.launch.programs import refusal, run, short

TRAIN = [
  "--config=tests/launch/small_features.py",
  "--config.data.source=folder",
  "--config.data.image_size=32",
  "--config.data.max_bad_share=0.1",
  "--config.data.attributes=Male,Eyeglasses",
  "--config.model.dpm.blocks=1",
  "--config.model.reconstructor.blocks=1",
  "--config.evaluation.controls=noise_alone",
  "--config.model.secret=7",
  *short("phases", 4, "classifier", "reconstructor", "poisoning"),
  *short("evaluation.phases", 2, "recogniser", "vgg", "inverter", "module"),
  *short("evaluation.phases", 2, "probe", "map"),
  "--config.attacks.embedding_map.pairs=(4,8)",
  "--config.attacks.embedding_map.network=4",
  "--config.attacks.A1.pairs=(1,8)",
  "--config.attacks.A1.fewest_pairs=8",
  "--config.attacks.A0.unseen=1",
  "--config.attacks.A3.modules=1",
  "--config.evaluation.recogniser.depths=1,1",
  "--config.evaluation.recogniser.width=4",
  "--config.evaluation.predictors.vgg.depths=1,1",
  "--config.evaluation.predictors.vgg.width=4",
  "--config.release.batch_size=4",
]


@pytest.fixture(scope="module")
def workdir(folder, tmp_path_factory):
  """A run, trained and evaluated; it colludes with itself."""
  path = tmp_path_factory.mktemp("run")
  run(
    "launch.train", *TRAIN, f"--config.data.path={folder}",
    f"--config.evaluation.colluders={path}", f"--workdir={path}",
  )  # fmt: skip
  output = run("launch.evaluate", f"--workdir={path}")
  assert "report.html" in output
  return path


@pytest.fixture(scope="module")
def pool(workdir, folder, tmp_path_factory):
  path = tmp_path_factory.mktemp("released") / "pool"
  run(
    "launch.release",
    f"--workdir={workdir}",
    f"--input={folder}",
    f"--output={path}",
    "--max_bad_share=0.1",
  )
  return path


def test_every_attack_is_in_the_results(workdir):
  results = json.loads((workdir / "evaluation/metrics.json").read_text())
  findings = results["findings"]
  rebuilt = [f for f in findings if f["metric"] == "SSIM"]
  mine = {
    f["by"].split()[0] for f in rebuilt if f["subject"] == "deep_poisoning"
  }
  assert mine == {f"A{i}" for i in range(7)}
  assert {f["by"] for f in rebuilt if f["subject"] == "none"} == {
    "clean features", "mean image", "another photograph",
  }  # fmt: skip
  assert {f["subject"] for f in rebuilt} == {
    "deep_poisoning", "noise_alone", "none",
  }  # fmt: skip
  # A6 is of so few people that it may be none with or none without glasses.
  read = [
    f for f in findings
    if f["metric"] == "balanced accuracy" and f["by"][:2] != "A6"
  ]  # fmt: skip
  assert {f["where"]["what"] for f in read} == {"hidden"}
  assert {f["total"] for f in read} == {rebuilt[0]["total"]}
  mine = [f for f in findings if f["subject"] == "deep_poisoning"]
  leaks = {(f["by"][:2], f["claim"]) for f in mine}
  assert {
    ("A7", "attribute Eyeglasses"), ("A7", "identity"), ("A8", "linkage"),
  } <= leaks  # fmt: skip
  precision = {
    (f["by"], f["where"]["what"]) for f in mine if f["metric"] == "mAP"
  }
  assert precision == {
    ("decider", "kept"), ("A7 linear probe", "hidden"),
    ("A7 MLP probe", "hidden"),
  }  # fmt: skip
  kept = {f["claim"] for f in findings if f["wanted"] == "kept"}
  assert kept == {"attribute Male"}
  assert (workdir / "evaluation/report.html").stat().st_size > 10_000


def test_a_pool_is_released_without_what_is_secret(workdir, pool, folder):
  made = Pool(pool)
  images = len(list(folder.glob("*/*.png"))) - 1  # one file is no image
  assert len(made) == images and made.attribute_names == ("Male",)
  assert set(export.read(pool / "parameters.npz")) == {"classifier"}
  assert not list(pool.parent.glob("*.partial"))
  card = json.loads((pool / "card.json").read_text())
  assert card["products"]["features"]["count"] == images
  assert card["counts"]["unreadable"] == 1
  assert "person_" not in (pool / "CARD.md").read_text()
  for path in pool.iterdir():
    assert str(folder).encode() not in path.read_bytes()
  config = json.loads((pool / "config.json").read_text())
  assert config["model"]["secret"] == 0
  mine = json.loads((workdir / "config.json").read_text())
  assert mine["model"]["secret"] == 7
  results = json.loads((workdir / "evaluation/metrics.json").read_text())
  assert results["config"]["model"]["secret"] == 0


def test_another_entity_trains_on_the_pool_and_its_own_photographs(
  workdir,
  folder,
  pool,
  tmp_path,
):
  settings = [
    *TRAIN,
    "--config.data.source=feature_pools",
    "--config.data.own=folder",
    f"--config.data.path={folder}",
    f"--config.data.pools={pool}",
    "--config.data.attributes=Male,Eyeglasses",
    "--config.model.kept=Male",
    "--config.phases.reconstructor.steps=0",
    "--config.phases.poisoning.steps=0",
  ]
  assert "--config.model.kept=Male" in refusal(
    tmp_path / "z", *settings, "--config.model.kept=Eyeglasses",
    f"--config.pretrained={pool}",
  )  # fmt: skip
  assert "--config.pretrained=POOL" in refusal(tmp_path / "a", *settings)
  # Other phases of the run are copied, which makes it no mechanism.
  output = run(
    "launch.train", *settings, f"--config.pretrained={workdir}",
    f"--workdir={tmp_path / 'b'}",
  )  # fmt: skip
  assert "parameters taken over" in output
  # It protects nothing: what there is to measure is how well it decides.
  run("launch.evaluate", f"--workdir={tmp_path / 'b'}")
  results = json.loads((tmp_path / "b/evaluation/metrics.json").read_text())
  (score,) = results["findings"]
  assert (score["claim"], score["by"]) == ("attribute Male", "model")
  shown = json.dumps(results["config"])
  assert str(pool) not in shown and pool.name in shown
  output = run(
    "launch.release", f"--workdir={tmp_path / 'b'}", f"--input={folder}",
    f"--output={tmp_path / 'again'}", status=1,
  )  # fmt: skip
  assert "has trained a decider and no more" in output
  index = json.loads((pool / "index.json").read_text())
  index["featurizer"] = "0" * 64
  (pool / "index.json").write_text(json.dumps(index))
  said = refusal(tmp_path / "c", *settings, f"--config.pretrained={pool}")
  assert "000000000000" in said and "mean nothing" in said
