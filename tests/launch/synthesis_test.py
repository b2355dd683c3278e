"""Face synthesis end to end: people become cats, and a folder of them."""

import json
import shutil

import pytest

from jaxpriv.data import folder as folder_source
from tests.launch.programs import run, short

TRAIN = [
  "--config=configs/face_synthesis.py:demo",
  "--config.data.image_size=32",
  "--config.data.num_identities=36",
  "--config.data.images_per_identity=2",
  "--config.model.generator.width=4",
  "--config.model.generator.most=8",
  "--config.model.generator.halvings=1",
  "--config.model.encoder.width=4",
  "--config.model.encoder.most=8",
  "--config.model.mapping.hidden=8",
  *short("phases", 8, "stargan"),
  *short("evaluation.phases", 4, "recogniser", "domains"),
  "--config.evaluation.attacks=reidentification,domains",
  "--config.evaluation.controls=black_box",
  "--config.evaluation.recogniser.depths=1,1",
  "--config.evaluation.recogniser.width=4",
]


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
  path = tmp_path_factory.mktemp("run")
  run("launch.train", *TRAIN, f"--workdir={path}")
  run("launch.evaluate", f"--workdir={path}")
  return path


def test_people_are_attacked_and_the_domain_is_read(workdir):
  results = json.loads((workdir / "evaluation/metrics.json").read_text())
  assert results["products"] == ["image"]
  mine = [f for f in results["findings"] if f["subject"] == "face_synthesis"]
  claims = {f["claim"]: f for f in mine}
  assert {"identity", "domain cat", "landmarks"} <= set(claims)
  # A third of 36 test people are human, and cats count for the ceiling alone.
  total = claims["domain cat"]["total"]
  assert 0 < total < 36 and total == claims["landmarks"]["total"]
  assert claims["domain cat"]["ceiling"]["value"] is not None
  assert list((workdir / "samples/stargan").glob("*.png"))


def test_a_folder_of_people_is_released(workdir, folder, tmp_path):
  output = tmp_path / "out"
  run(
    "launch.release",
    f"--workdir={workdir}",
    f"--input={folder}",
    f"--output={output}",
    "--max_bad_share=0.5",
  )
  released = list((output / "images").glob("*.png"))
  source = folder_source.FolderSource(folder)
  assert 0 < len(released) <= len(source)
  card = json.loads((output / "card.json").read_text())
  assert card["counts"]["written"] == len(released)
  assert "passes through the generator" in " ".join(card["not_protected"])


def test_faces_of_whole_photographs_are_replaced(folder, tmp_path):
  """Nothing is to be trained; people are drawn by their codes."""
  flags = [
    "--config=configs/face_replacement.py:demo",
    "--config.data.image_size=32",
    "--config.data.num_identities=24",
    "--config.data.images_per_identity=2",
    "--config.model.secret=9",
    "--config.evaluation.attacks=reidentification,codes",
    "--config.evaluation.controls=black_box",
    "--config.evaluation.recogniser.depths=1,1",
    "--config.evaluation.recogniser.width=4",
    *short("evaluation.phases", 4, "recogniser"),
    f"--workdir={tmp_path / 'run'}",
  ]
  run("launch.train", *flags)
  run("launch.evaluate", flags[-1])
  results = json.loads((tmp_path / "run/evaluation/metrics.json").read_text())
  (bound,) = [f for f in results["findings"] if f["by"] == "bound of codes"]
  assert 1 <= bound["where"]["codes"] <= 9
  assert bound["floor"] <= bound["value"] <= bound["high"]
  output = tmp_path / "out"
  log = run(
    "launch.release",
    flags[-1],
    f"--input={folder}",
    f"--output={output}",
    "--max_bad_share=0.5",
    "--whole",
    "--visible=mouth",
    "--smallest=4",
  )
  assert "a second, on" in log
  card = json.loads((output / "card.json").read_text())
  assert "at most 9/N" in card["proven"][0]
  facts = card["products"]["image"]
  assert facts["faces"] > 0 and facts["visible"] == ["mouth"]
  released = [p for p in (output / "photographs").rglob("*.*") if p.is_file()]
  released.remove(output / "photographs/labels.csv")
  assert len(released) == facts["count"]
  source = folder_source.FolderSource(folder)
  names = {source.name(i) for i in range(len(source))}
  assert {str(p.relative_to(output / "photographs")) for p in released} <= names
  log = run(
    "launch.sets",
    f"--input={folder}",
    f"--output={tmp_path / 'sets'}",
    f"--runs=gb:{tmp_path / 'run'}",
    "--max_bad_share=0.5",
    "--blend=multi_band",
  )
  card = json.loads((tmp_path / "sets/gb/card.json").read_text())
  assert card["products"]["image"]["blend"] == "multi_band"
  for name in ("std", "gb", "grb"):
    assert f"{name}: " in log
  assert (tmp_path / "sets/grb/photographs/labels.csv").exists()
  refused = run(
    "launch.sets", f"--input={folder}", f"--output={tmp_path / 'more'}",
    "--runs=gb", status=1,
  )  # fmt: skip
  assert "is not NAME:RUN" in refused


def test_faces_of_a_source_that_was_trained_are_shown(folder, tmp_path):
  """The source is a run of its own, and taken over by its name."""
  size = [
    "--config.data.image_size=32",
    "--config.data.num_identities=24",
    "--config.data.images_per_identity=2",
    "--config.data.align=head",
    "--config.model.latent=8",
    "--config.model.mapping.width=8",
    "--config.model.synthesis.most=8",
    "--config.model.discriminator.most=8",
  ]
  source, nobody = tmp_path / "source", f"--workdir={tmp_path / 'nobody'}"
  run(
    "launch.train", "--config=configs/face_source.py:demo", *size,
    *short("phases", 2, "source"), f"--workdir={source}",
  )  # fmt: skip
  flags = [
    "--config=configs/face_replacement.py:demo,learned",
    *size,
    "--config.model.secret=9",
    "--config.phases.source.steps=0",
    f"--config.pretrained={source}",
    nobody,
  ]
  refused = run("launch.train", *flags, status=1)
  assert "a run of face_source, and this one of face_replacement" in refused
  run("launch.train", *flags, "--config.pretrained_phases=source")
  output = tmp_path / "out"
  run(
    "launch.release", nobody, f"--input={folder}", f"--output={output}",
    "--max_bad_share=0.5", "--whole", "--smallest=4",
  )  # fmt: skip
  card = json.loads((output / "card.json").read_text())
  told = " ".join(card["not_protected"])
  assert "learned from photographs of people" in told
  assert card["products"]["image"]["faces"] > 0

  # The same source fills a folder, out of which faces are chosen by codes.
  faces, shown = tmp_path / "faces", tmp_path / "shown"
  log = run(
    "launch.curate", f"--workdir={source}", f"--output={faces}", "--count=6",
    "--by=skin", "--skin=", "--most=70",
  )  # fmt: skip
  assert "any skin: 6 of " in log and "6 faces of 64 candidates" in log
  given = [
    "--config=configs/face_replacement.py:demo,given",
    *size[:4],
    "--config.data.face_threshold=0",
    "--config.model.secret=9",
    f"--config.model.folder={faces}",
    f"--workdir={shown}",
  ]
  run("launch.train", *given)
  assert list((shown / "samples/given").glob("*.png"))
  # What is shown is part of the run.
  shutil.rmtree(faces)
  output = tmp_path / "released"
  run(
    "launch.release", given[-1], f"--input={folder}", f"--output={output}",
    "--max_bad_share=0.5", "--whole", "--smallest=4",
  )  # fmt: skip
  card = json.loads((output / "card.json").read_text())
  assert "those of a folder" in " ".join(card["not_protected"])
  assert str(tmp_path) not in json.dumps(card)
  assert card["config"]["model"]["folder"] == ""
  refused = run("launch.curate", f"--output={faces}", status=1)
  assert "give either --workdir or --arrays" in refused
