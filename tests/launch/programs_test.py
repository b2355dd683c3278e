"""The programs end to end, as a user starts them, on a folder of images."""

import csv
import json
import os
import pathlib
import shutil
import signal
import subprocess
import time

import jax
import numpy as np
import pytest
from PIL import Image

from configs import baseline
from jaxpriv.attacks.threat import People
from jaxpriv.data import alignment
from jaxpriv.data.memory import InMemory
from jaxpriv.training import export, mechanism
from jaxpriv.training import mesh as mesh_lib
from jaxpriv.training import run as run_lib
from jaxpriv.training import workdir as workdir_lib
from tests import tiny
from tests.launch.programs import ROOT, UNCACHED, refusal, run, short, start

TRAIN = [
  "--config=tests/launch/small_faces.py",
  "--config.data.source=folder",
  "--config.data.image_size=32",
  "--config.data.max_bad_share=0.1",
  "--config.data.attributes=Male,Eyeglasses",
  "--config.model.fsn.widths=8,8,8,8,8,8",
  "--config.model.pen.depths=1,1",
  "--config.model.external.widths=8,8,8,8,8",
  "--config.model.code.widths=8,8,8,8,8",
  *short("phases", 4, "fsn", "pen", "external", "internal"),
  *short("evaluation.phases", 2, "recogniser", "parrot", "fsn", "vgg"),
  *short("evaluation.phases", 2, "repair"),
  "--config.release.batch_size=4",
]


@pytest.fixture(scope="module")
def workdir(folder, tmp_path_factory):
  """A run, trained and evaluated."""
  path = tmp_path_factory.mktemp("run")
  output = run(
    "launch.train", *TRAIN, f"--config.data.path={folder}", f"--workdir={path}"
  )
  assert "person_003/2.png" in output, "the bad file is not named in the log"
  output = run("launch.evaluate", f"--workdir={path}")
  assert "report.html" in output
  return path


def test_evaluation_reports_every_attack_on_every_mechanism(workdir):
  results = json.loads((workdir / "evaluation/metrics.json").read_text())
  assert any("person_003" in name for name in results["data"]["unreadable"])
  findings = results["findings"]
  subjects = {"embedded_autoencoder", "black_box", "k_same", "none"}
  assert {f["subject"] for f in findings} == subjects
  identity = [f for f in findings if f["claim"] == "identity"]
  mapped = [f for f in identity if f["by"].startswith("embedding map")]
  assert {(f["by"].split(", ")[1], f["where"]["pairs"]) for f in mapped} == {
    ("ridge", 8), ("ridge", 16), ("network", 16),
  }  # fmt: skip
  repaired = [f for f in identity if f["by"].startswith("repair")]
  for by in ("least squares", "U-Net"):
    rows = [f for f in repaired if f["by"].startswith(f"repair, {by}, ")]
    assert len(rows) == 5
  identity = [f for f in identity if f not in mapped + repaired]
  for recogniser in ("PEN of the loss", "independent vgg"):
    seen = {
      (f["by"], f["where"]["gallery"], f["subject"])
      for f in identity
      if f["subject"] in ("none", "embedded_autoencoder")
      and f["where"]["recogniser"] == recogniser
    }
    protected = "embedded_autoencoder"
    assert seen == {
      (attack, gallery, "none" if attack == "undisguised" else protected)
      for attack in ("undisguised", "naive", "reverse", "parrot")
      for gallery in ("other photograph", "all other photographs")
    } | {
      (attack, "same photograph", protected) for attack in ("naive", "reverse")
    }  # fmt: skip
  retrained = [
    f for f in identity if "trained on protected" in f["where"]["recogniser"]
  ]
  assert [f["by"] for f in retrained] == ["parrot", "parrot"]
  for f in identity:
    assert f["low"] <= f["value"] <= f["high"]
    if f["metric"] == "rank-1" and f["where"]["gallery"][0] in "so":
      people = results["data"]["people"]["test"]
      assert f["floor"] == pytest.approx(1 / people)
    assert (f["ceiling"] is None) == (f["wanted"] == "told")
  predictors = {
    f["by"] for f in findings if f["claim"].startswith("attribute ")
  }
  assert predictors == {"FSN of the loss", "fresh FSN", "fresh VGG"}
  # k-Same with k = 2 halves the distinct people.
  outputs = {f["subject"]: f for f in findings if f["claim"] == "outputs"}
  people = results["data"]["people"]["test"]
  assert outputs["k_same"]["hits"] <= people // 2
  page = (workdir / "evaluation/report.html").read_text()
  assert "http://" not in page and "https://" not in page
  assert "independent vgg" in page and "data:image/png" in page


def test_two_processes_evaluate_as_one(workdir, tmp_path):
  copy = shutil.copytree(
    workdir, tmp_path / "run", ignore=shutil.ignore_patterns("evaluation")
  )
  # All but fresh readers of attributes, whose training is that of the others.
  config = workdir_lib.load_config(copy)
  config.evaluation.attacks = tuple(
    name for name in config.attacks if name != "attributes"
  )
  workdir_lib.save_config(copy, config)
  # The variables that Slurm sets for two tasks of one node.
  job = {
    "SLURM_JOB_ID": str(os.getpid()),
    "SLURM_STEP_NODELIST": "localhost",
    "SLURM_NTASKS": "2",
  }
  tasks = [
    start(
      "launch.evaluate",
      f"--workdir={copy}",
      **job,
      SLURM_PROCID=str(i),
      SLURM_LOCALID=str(i),
      **UNCACHED,
    )
    for i in range(2)
  ]
  try:
    outputs = [task.communicate(timeout=600)[0] for task in tasks]
  finally:
    for task in tasks:
      task.kill()
  assert [task.returncode for task in tasks] == [0, 0], outputs
  assert sum("Report:" in output for output in outputs) == 1
  one, two = (
    json.loads((path / "evaluation/metrics.json").read_text())
    for path in (workdir, copy)
  )
  assert two["environment"]["processes"] == 2
  assert two["data"] == one["data"]
  keys = ("subject", "claim", "wanted", "by", "metric", "total", "where")
  expected = [f for f in one["findings"] if not f["by"].startswith("fresh")]
  for a, b in zip(expected, two["findings"], strict=True):
    assert [a[key] for key in keys] == [b[key] for key in keys]
    # Those of the loss were trained once; attackers anew, in another order.
    if a["where"].get("used_in_loss"):
      assert abs(a["hits"] - b["hits"]) <= 1
    if a["claim"] == "outputs":
      assert a == b


def test_samples_and_curves_are_written(workdir):
  assert list((workdir / "samples/internal").glob("*.png"))
  for phase in ("fsn", "pen", "external", "internal"):
    assert (workdir / f"metrics/{phase}.jsonl").exists()


def test_release_protects_all_and_gives_nothing_away(workdir, folder, tmp_path):
  whole = tmp_path / "whole"
  flags = [f"--workdir={workdir}", f"--input={folder}"]
  log = run("launch.release", *flags, f"--output={whole}")
  assert "person_003/2.png" in log, "the bad file is not named in the log"
  assert "46 by their landmarks, 1 by a box" in log
  rows = list(csv.DictReader((whole / "labels.csv").open()))
  assert len(rows) == 47
  assert set(rows[0]) == {"file", "Male", "Eyeglasses"}
  files = {p.relative_to(whole).as_posix() for p in whole.rglob("*")}
  assert files == {
    "images", "labels.csv", "card.json", "CARD.md", *(r["file"] for r in rows)
  }  # fmt: skip
  card = json.loads((whole / "card.json").read_text())
  assert card["counts"] == {"read": 48, "written": 47, "unreadable": 1}
  # The gap in the numbers of the release, not a place in the input.
  numbers = {int(pathlib.Path(row["file"]).stem) for row in rows}
  (gap,) = set(range(48)) - numbers
  assert card["unreadable"] == [f"images/{gap:08d}.png is left out"]
  assert card["framing"] == {"landmarks": 46, "box": 1}
  assert "path" not in card["results"]["data"]
  assert "unreadable" not in card["results"]["data"]
  limits = " ".join(card["not_protected"])
  assert "people were in the test" in limits
  assert "crops need their own measurement" in limits
  assert "not framed by their landmarks" in limits
  text = (whole / "card.json").read_text() + (whole / "CARD.md").read_text()
  assert str(folder) not in text and "person_" not in text
  assert "parrot" in text
  originals = {p.read_bytes() for p in folder.rglob("*.png")}
  for row in rows:
    image = Image.open(whole / row["file"])
    assert image.size == (32, 32) and not image.info
    assert (whole / row["file"]).read_bytes() not in originals
  # The numbers are not in the order of the folder, which is by person.
  labels = list(csv.DictReader((folder / "labels.csv").open()))
  kept = [r["Male"] for r in labels if r["file"] != "person_003/2.png"]
  assert [r["Male"] for r in rows] != kept
  assert sorted(r["Male"] for r in rows) == sorted(kept)
  # A kill just after the renaming leaves this state.
  (tmp_path / "whole.partial.json").write_text("{}")
  refused = run("launch.release", *flags, f"--output={whole}", status=1)
  assert "error:" in refused and "exists" in refused
  assert not (tmp_path / "whole.partial.json").exists()

  killed = tmp_path / "killed"
  process = start("launch.release", *flags, f"--output={killed}")
  images = tmp_path / "killed.partial/images"
  deadline = time.time() + 300
  while not (images.exists() and len(list(images.glob("*.png"))) >= 4):
    assert time.time() < deadline
    time.sleep(0.01)
  process.send_signal(signal.SIGKILL)
  process.communicate()
  early = {p.name: p.read_bytes() for p in images.glob("*.png")}
  journal = tmp_path / "killed.partial.json"
  secret = json.loads(journal.read_text())["secret"]
  run("launch.release", *flags, f"--output={killed}")
  for name, content in early.items():
    assert (killed / "images" / name).read_bytes() == content
  made = [p for p in killed.rglob("*") if p.is_file()]
  assert len(made) == 47 + 3
  assert not any(secret.encode() in p.read_bytes() for p in made)
  assert not journal.exists() and not images.parent.exists()


def baseline_run(path, kind, **data):
  """The run directory of a baseline, which needs no training."""
  config = baseline.get_config(f"demo,{kind}")
  config.data.update(
    source="folder", image_size=32, attributes=("Male", "Eyeglasses"),
    max_bad_share=0.1, **data,
  )  # fmt: skip
  config.release.batch_size = 16
  workdir_lib.save_config(path, config)
  return f"--workdir={path}"


def controls(config, people, mesh):
  """The controls of a run that can be made of these people."""
  trained = mechanism.Trained(
    tuple(mechanism.phases(config)), {"baseline": {}, "k_same": {}}
  )
  targets = mechanism.targets(config, trained)
  assert not targets[0].control
  return mechanism.fitting(targets, people.test.arrays)[1:]


def two_of_each(config, mesh, people=6):
  batch = tiny.batch(2 * people, side=16)
  rng = np.random.default_rng(0)
  five = alignment.arcface_template(16) + rng.normal(size=(2 * people, 5, 2))
  batch["landmarks"][:, :5] = five
  identities = np.repeat(np.arange(people, dtype=np.int32), 2)
  photographs = InMemory({**batch, "identity": identities}, ("Male", "Smiling"))
  return People(config, "", mesh, photographs, photographs)


def test_every_baseline_can_be_attacked(mesh):
  """Programs are tested with two baselines; the others are attacked here."""
  config = baseline.get_config("demo,gaussian_blur")
  config.mechanism = "another"
  for name in ("k_same", "k_same_eigen", "k_same_select", "k_same_m"):
    config.controls[name].model.k = 2
  people = two_of_each(config, mesh)
  images = people.test.arrays["image"]
  targets = controls(config, people, mesh)
  assert {target.name for target in targets} == set(config.controls)
  for target in targets:
    shown = people.image(target, people.test).arrays["image"]
    assert shown.shape == images.shape and shown.dtype == np.uint8
    assert not np.array_equal(shown, images)
    distinct = len(np.unique(shown.reshape(12, -1), axis=0))
    # k-Same with k = 2 halves the distinct people at least.
    most = 3 if target.name.startswith("k_same") else 12
    assert distinct <= most and (most == 3 or distinct == 12), target.name


def test_a_control_that_cannot_be_made_is_left_out_and_named(mesh, caplog):
  config = baseline.get_config("demo,gaussian_blur")
  config.mechanism = "another"  # k is 5, and there are
  names = {t.name for t in controls(config, two_of_each(config, mesh, 3), mesh)}
  assert names == {"black_box", "gaussian_blur", "pixelation"}
  assert (
    "k_same is left out: it averages 5 people and there are 3" in caplog.text
  )


def test_a_baseline_under_test_is_not_replaced_by_one_compared(mesh):
  config = baseline.get_config("demo,k_same_eigen")
  config.model.k = 2
  assert config.mechanism == "k_same_eigen"
  names = {t.name for t in controls(config, two_of_each(config, mesh), mesh)}
  assert "k_same_eigen" not in names
  assert {"k_same", "k_same_select", "pixelation"} < names


def test_a_stopped_release_names_flags_and_goes_on(folder, tmp_path):
  flags = [
    # Looking for copies would meet the unreadable file before work starts.
    baseline_run(tmp_path / "run", "black_box", copies="keep"),
    f"--input={folder}",
    f"--output={tmp_path / 'out'}",
  ]
  stopped = run("launch.release", *flags, "--max_bad_share=0", status=1)
  assert "raise --max_bad_share" in stopped and "data.max" not in stopped
  assert "going on with" in run("launch.release", *flags)
  assert len(list((tmp_path / "out/images").iterdir())) == 47


def test_the_demo_is_not_released_twice(tmp_path):
  python = tmp_path / "python"
  python.write_text('#!/bin/sh\necho "$@"\n')
  python.chmod(0o755)

  def demo():
    return subprocess.run(
      [ROOT / "tools/demo.sh", tmp_path],
      env={**os.environ, "PYTHON": str(python)},
      capture_output=True,
      text=True,
      check=True,
    ).stdout

  assert "launch.release" in demo()
  (tmp_path / "release").mkdir()
  again = demo()
  assert "launch.release" not in again and "report.html" in again


@pytest.mark.parametrize(
  ("flag", "message"),
  [
    ("--config.data.attributes=Male,Horns", "'Horns'"),
    ("--config.data.path=/nowhere", "no folder /nowhere"),
    ("--config.data.sets=moon", "moon"),
    ("--config.method=magic", "there is no module jaxpriv.methods.magic"),
    ("--config.data.max_bad_share=0", "max_bad_share"),
  ],
)
def test_bad_input_is_refused_before_any_work(folder, tmp_path, flag, message):
  said = refusal(tmp_path / "run", *TRAIN, f"--config.data.path={folder}", flag)
  assert message in said
  assert not (tmp_path / "run" / "phases").exists()


def test_a_refusal_is_one_line(tmp_path):
  output = run(
    "launch.train", *TRAIN, "--config.data.path=/nowhere",
    f"--workdir={tmp_path / 'run'}", status=1,
  )  # fmt: skip
  assert "no folder /nowhere" in output
  assert "error:" in output and "Traceback" not in output
  assert not (tmp_path / "run" / "phases").exists()


def test_a_mistyped_setting_is_named():
  output = run(
    "launch.train",
    "--config=configs/embedded_autoencoder.py:demo",
    "--config.phases.fsn.learning_rat=1",
    "--workdir=unused",
    status=1,
  )
  assert "learning_rate" in output
  output = run(
    "launch.train",
    "--config=configs/embedded_autoencoder.py:demmo",
    "--workdir=unused",
    status=1,
  )
  assert "demmo" in output and "paper" in output


PRIVATE = [
  "--config=configs/dp_multitask.py:demo",
  "--config.data.num_identities=60",
  "--config.data.image_size=32",
  "--config.model.side=16",
  "--config.model.small.widths=8,16",
  "--config.phases.multi_task.steps=3",
  "--config.phases.multi_task.batch_size=8",
  "--config.attacks.scores.detection_images=8",
  "--config.dp.delta=1e-3",
]


@pytest.fixture(scope="module")
def private_run(tmp_path_factory):
  """A model trained with a budget, scored."""
  path = tmp_path_factory.mktemp("private")
  output = run(
    "launch.train", *PRIVATE, "--config.dp.epsilon=8", f"--workdir={path}"
  )
  assert "private, noise multiplier" in output
  output = run("launch.evaluate", f"--workdir={path}")
  assert "differentially private for each image" in output
  assert "Gender" in output
  return path


def test_a_private_model_is_reported_with_its_budget(private_run):
  results = json.loads((private_run / "evaluation/metrics.json").read_text())
  privacy = results["privacy"]
  assert 7.9 < privacy["epsilon"] <= 8 and privacy["units"] == 48
  (phase,) = privacy["phases"]
  assert phase["steps"] == 3 and phase["sampling_probability"] == 8 / 48
  scores = {(f["claim"], f["metric"]): f for f in results["findings"]}
  assert set(scores) == {
    ("detection", "AP"),
    ("landmarks", "error / box side"),
    ("visibility", "accuracy"),
    ("pose", "mean error"),
    ("pose", "within 15°"),
    ("gender", "accuracy"),
  }
  assert scores["gender", "accuracy"]["floor"] >= 0.5
  page = (private_run / "evaluation/report.html").read_text()
  assert "add_or_remove_one" in page and "noise_multiplier" in page
  assert (private_run / "samples/multi_task/00000003.png").exists()


def test_a_private_run_is_audited(private_run):
  output = run(
    "launch.audit", f"--workdir={private_run}", "--canaries=64",
    "--clip_steps=8",
  )  # fmt: skip
  assert "gradient canaries" in output
  row, clip = json.loads((private_run / "audit/audit.json").read_text())
  assert row["faults"] == [] and row["epsilon"] <= row["claimed"]
  assert clip["audit"] == "clip search" and clip["faults"] == []
  assert 0.9 < clip["ratio"] <= 1.00001 and clip["examples"] >= 8
  run(
    "launch.audit", f"--workdir={private_run}", "--black_box", "--canaries=16"
  )
  rows = json.loads((private_run / "audit/audit.json").read_text())
  names = ["gradient canaries", "clip search", "one run"]
  assert [r["audit"] for r in rows] == names
  row = rows[2]
  assert row["guesses"] == 16 and row["epsilon"] <= row["claimed"] <= 8


def test_a_model_is_released_with_its_guarantee(private_run, folder, tmp_path):
  flags = [f"--workdir={private_run}", f"--output={tmp_path / 'out'}"]
  output = run("launch.release", *flags, f"--input={folder}", status=1)
  assert "error: dp_multitask protects the people it has learned from" in output
  assert not (tmp_path / "out").exists()
  run("launch.release", *flags)
  assert {p.name for p in (tmp_path / "out").iterdir()} == {
    "parameters.npz", "config.json", "card.json", "CARD.md"
  }  # fmt: skip
  assert not (tmp_path / "out.partial").exists()
  card = json.loads((tmp_path / "out/card.json").read_text())
  results = json.loads((private_run / "evaluation/metrics.json").read_text())
  assert card["results"]["privacy"] == results["privacy"]
  text = (tmp_path / "out/CARD.md").read_text()
  assert "differentially private for each image: epsilon 8.00" in text
  assert "Gender" in text
  # The model is used as its card says.
  config = workdir_lib.load_config(tmp_path / "out")
  (phase,) = mechanism.phases(config)
  states = export.read(tmp_path / "out/parameters.npz")
  model = card["products"]["model"]
  assert model["parameters"] == sum(x.size for x in jax.tree.leaves(states))
  (original,) = run_lib.load_phases(
    [phase], config, private_run, mesh_lib.make_mesh()
  ).values()
  jax.tree.map(
    np.testing.assert_array_equal,
    states[phase.name]["params"],
    mesh_lib.fetch(original["ema"]),
  )
  batch = tiny.faces(2, size=32)
  batch["image"] = batch["image"].astype(np.float32) / 255
  for name in ("read", "detect"):
    assert name in model["functions"] and f"`{name}`" in text
    ours, theirs = (
      getattr(phase.method.outputs, name)(state, {}, batch)
      for state in (states[phase.name], original)
    )
    for key, value in ours.items():
      # The same numbers, but from NumPy: a sum may be rounded otherwise.
      np.testing.assert_allclose(value, theirs[key], rtol=1e-5, atol=1e-5)
  again = run("launch.release", *flags, status=1)
  assert "exists: a finished release is not written over" in again


@pytest.mark.parametrize(
  "flag,message",
  [
    ("--config.dp.delta=0.5", "must be above 0 and below 1 / n"),
    ("--config.phases.multi_task.batch_size=99", "there are only 48"),
    ("--config.data.attributes=Smiling", "gender is learned from"),
    ("--config.dp.epsilon=4", "config.dp.epsilon: 8.0 there, 4.0 now"),
  ],
)
def test_settings_that_void_a_budget_are_refused(private_run, flag, message):
  assert message in refusal(
    private_run, *PRIVATE, "--config.dp.epsilon=8", flag
  )


def test_a_voided_budget_is_one_line(private_run):
  output = run(
    "launch.train", *PRIVATE, "--config.dp.epsilon=0",
    f"--workdir={private_run}", status=1,
  )  # fmt: skip
  assert "a budget is above 0" in output
  assert "error:" in output and "Traceback" not in output
