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
from jaxpriv.attacks import learning
from jaxpriv.reports import results as results_lib
from jaxpriv.training import export
from jaxpriv.training import mesh as mesh_lib
from jaxpriv.training import run as run_lib
from jaxpriv.training import workdir as workdir_lib
from launch import common, evaluate
from tests import tiny
from tests.launch.programs import ROOT, UNCACHED, refusal, run, short, start
from tests.reports import examples

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
  "--config.evaluation.attack_in_full=",
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
  mechanisms = {"embedded_autoencoder", "black_box", "k_same"}
  rows = results["identification"]
  assert {row["mechanism"] for row in rows} == mechanisms
  for recogniser in ("PEN of the loss", "independent vgg"):
    seen = {
      (row["attack"], row["gallery"])
      for row in rows
      if row["mechanism"] == "embedded_autoencoder"
      and row["recogniser"] == recogniser
    }
    assert seen == {
      ("undisguised", "other photograph"),
      ("naive", "same photograph"),
      ("naive", "other photograph"),
      ("reverse", "same photograph"),
      ("reverse", "other photograph"),
      ("parrot", "other photograph"),
    }
  retrained = [r for r in rows if "trained on protected" in r["recogniser"]]
  assert len(retrained) == 1 and retrained[0]["attack"] == "parrot"
  for row in rows:
    assert row["low"] <= row["rate"] <= row["high"]
    assert row["chance"] == pytest.approx(1 / results["data"]["people"]["test"])
  predictors = {row["predictor"] for row in results["attributes"]}
  assert predictors == {"FSN of the loss", "fresh FSN", "fresh VGG"}
  # k-Same with k = 2 halves the distinct people.
  outputs = {row["mechanism"]: row for row in results["outputs"]}
  people = results["data"]["people"]["test"]
  assert outputs["k_same"]["distinct"] <= people // 2
  page = (workdir / "evaluation/report.html").read_text()
  assert "http://" not in page and "https://" not in page
  assert "independent vgg" in page and "data:image/png" in page


def test_two_processes_evaluate_as_one(workdir, tmp_path):
  copy = shutil.copytree(
    workdir, tmp_path / "run", ignore=shutil.ignore_patterns("evaluation")
  )
  # What Slurm tells two tasks of one node.
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
  assert two["outputs"] == one["outputs"]
  keys = ("mechanism", "attack", "gallery", "recogniser", "total")
  for a, b in zip(one["identification"], two["identification"], strict=True):
    assert [a[key] for key in keys] == [b[key] for key in keys]
    # Those of the loss were trained once; attackers anew, in another order.
    if a["used_in_loss"]:
      assert abs(a["hits"] - b["hits"]) <= 1
  for a, b in zip(one["attributes"], two["attributes"], strict=True):
    assert [a["attribute"], a["total"]] == [b["attribute"], b["total"]]
    if a["predictor"] == "FSN of the loss":
      assert abs(a["hits"] - b["hits"]) <= 1


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
  # As a kill just after the renaming leaves it.
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


def baseline_run(path, kind):
  """The run directory of a baseline, which needs no training."""
  config = baseline.get_config(f"demo,{kind}")
  config.data.update(
    source="folder", image_size=32, attributes=("Male", "Eyeglasses"),
    max_bad_share=0.1,
  )  # fmt: skip
  config.release.batch_size = 16
  workdir_lib.save_config(path, config)
  return f"--workdir={path}"


def test_every_baseline_can_be_attacked(mesh):
  """What the programs, with two of them, do not go through."""
  config = baseline.get_config("demo,gaussian_blur")
  config.mechanism = "another"
  config.evaluation.compare.update(k_same=2, k_same_eigen=2, k_same_select=2)
  batch = tiny.batch(12, side=16)
  identities = np.repeat(np.arange(6, dtype=np.int32), 2)
  test = learning.Photographs(
    {**batch, "identity": identities}, ("Male", "Smiling")
  )
  made = evaluate._baselines(config, mesh, test)
  assert made.keys() == {
    "black_box", "gaussian_blur", "pixelation", "k_same", "k_same_eigen",
    "k_same_select",
  }  # fmt: skip
  for name, protect in made.items():
    shown = protect(test)
    assert shown.shape == batch["image"].shape and shown.dtype == np.uint8
    assert not np.array_equal(shown, batch["image"])
    people = len(np.unique(shown.reshape(12, -1), axis=0))
    # k-Same with k = 2 halves the distinct people at least.
    assert people <= 3 if name.startswith("k_same") else people == 12, name


def test_a_baseline_under_test_is_not_replaced_by_one_compared(mesh):
  config = baseline.get_config("demo,k_same_eigen")
  config.model.k = 2
  assert config.mechanism == "k_same_eigen"
  identities = np.repeat(np.arange(6, dtype=np.int32), 2)
  test = learning.Photographs({"identity": identities}, ("Male",))
  compared = evaluate._baselines(config, mesh, test)
  assert "k_same_eigen" not in compared
  assert {"k_same", "k_same_select", "pixelation"} < compared.keys()


def test_figures_of_other_settings_are_not_put_on_a_card(folder, tmp_path):
  flag = baseline_run(tmp_path / "run", "gaussian_blur")
  config = workdir_lib.load_config(tmp_path / "run")
  config.data.path = str(folder)
  workdir_lib.save_config(tmp_path / "run", config)
  results = {
    **examples.results(),
    "parameters_sha256": common.parameters_sha256({"baseline": {}}),
    "config": {**config.to_dict(), "model": {**config.model, "strength": 0.3}},
  }
  metrics = tmp_path / "run/evaluation/metrics.json"
  metrics.parent.mkdir()
  results_lib.write(metrics, results)
  flags = [flag, f"--input={folder}", f"--output={tmp_path / 'out'}"]
  refused = run("launch.release", *flags, status=1)
  assert "other parameters or settings" in refused
  results_lib.write(metrics, {**results, "config": config.to_dict()})
  run("launch.release", *flags)
  card = (tmp_path / "out/card.json").read_text()
  assert folder.name not in card


def released(output):
  """What is known of every image of a release, in its order."""
  rows = csv.DictReader((output / "labels.csv").open())
  return [
    ((output / r["file"]).read_bytes(), r["Male"], r["Eyeglasses"])
    for r in rows
  ]


def test_interrupted_releases_do_not_mix(folder, tmp_path):
  photographs = shutil.copytree(folder, tmp_path / "photographs")
  black_box = baseline_run(tmp_path / "run", "black_box")
  pixelation = baseline_run(tmp_path / "other", "pixelation")
  flags = [f"--input={photographs}", f"--output={tmp_path / 'one'}"]
  stopped = run(
    "launch.release", black_box, *flags, "--max_bad_share=0", status=1
  )
  assert "raise --max_bad_share" in stopped and "data.max" not in stopped

  refused = run("launch.release", pixelation, *flags, status=1)
  assert "error:" in refused and "(config differ)" in refused
  labels = (photographs / "labels.csv").read_text()
  (photographs / "a.png").symlink_to(photographs / "person_000/0.png")
  (photographs / "labels.csv").write_text(
    labels.replace("person_000/0.png", "a.png")
  )
  refused = run("launch.release", black_box, *flags, status=1)
  assert "error:" in refused and "(list of images differ)" in refused
  (photographs / "labels.csv").write_text(labels)
  journal = tmp_path / "one.partial.json"
  journal.rename(tmp_path / "aside")
  refused = run("launch.release", black_box, *flags, status=1)
  assert "error:" in refused and "one.partial.json" in refused
  (tmp_path / "aside").rename(journal)
  run("launch.release", black_box, *flags)

  # The same run, images and seed, and so the same card: not the same order.
  flags[1] = f"--output={tmp_path / 'two'}"
  run("launch.release", black_box, *flags)
  one, two = released(tmp_path / "one"), released(tmp_path / "two")
  assert one != two and sorted(one) == sorted(two)
  cards = [
    json.loads((tmp_path / name / "card.json").read_text())
    for name in ("one", "two")
  ]
  assert cards[0]["config"] == cards[1]["config"]


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
    ("--config.method=magic", "there is no jaxpriv.methods.magic"),
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
  "--config.evaluation.max_detection_images=8",
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
  assert "Gender, accuracy" in output
  return path


def test_a_private_model_is_reported_with_its_budget(private_run):
  results = json.loads((private_run / "evaluation/metrics.json").read_text())
  privacy = results["privacy"]
  assert 7.9 < privacy["epsilon"] <= 8 and privacy["units"] == 48
  (phase,) = privacy["phases"]
  assert phase["steps"] == 3 and phase["sampling_probability"] == 8 / 48
  scores = {row["score"]: row for row in results["tasks"]}
  assert set(scores) == {
    "detection_ap",
    "landmark_error",
    "visibility_accuracy",
    "pose_error",
    "yaw_within_15",
    "gender_accuracy",
  }
  assert scores["gender_accuracy"]["constant"] >= 0.5
  page = (private_run / "evaluation/report.html").read_text()
  assert "add_or_remove_one" in page and "noise_multiplier" in page
  assert (private_run / "samples/multi_task/00000003.png").exists()


def test_a_private_run_is_audited(private_run):
  output = run("launch.audit", f"--workdir={private_run}", "--canaries=64")
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
  assert "| Gender, accuracy |" in text
  # As the card says it is used.
  config = workdir_lib.load_config(tmp_path / "out")
  (phase,) = common.phases_of(config)
  states = export.read(tmp_path / "out/parameters.npz")
  assert card["model"]["parameters"] == sum(
    x.size for x in jax.tree.leaves(states)
  )
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
    assert name in card["model"]["functions"] and f"`{name}`" in text
    ours, theirs = (
      phase.method.predict[name](state, {}, batch)
      for state in (states[phase.name], original)
    )
    for key, value in ours.items():
      # The same numbers, but from NumPy: a sum may be rounded otherwise.
      np.testing.assert_allclose(value, theirs[key], rtol=1e-5, atol=1e-5)
  again = run("launch.release", *flags, status=1)
  assert "exists: a finished release is not written over" in again


def test_what_a_model_is_not_released_with(private_run, tmp_path):
  """Not the name of the run it began from, a broken promise, or none at all."""
  copy, out = tmp_path / "run", tmp_path / "out"
  shutil.copytree(private_run, copy)
  flags = [f"--workdir={copy}", f"--output={out}"]
  metrics = copy / "evaluation/metrics.json"
  results = json.loads(metrics.read_text())
  results["privacy"] |= {"pretrained": "anna_smith", "unit": "person"}
  metrics.write_text(json.dumps(results))
  audit = {
    "audit": "one run",
    "phase": "multi_task",
    "epsilon": 0.4,
    "claimed": 8.0,
    "right": 12,
    "noise_multiplier": workdir_lib.load_config(copy).dp.noise_multiplier,
    "faults": [],
  }
  wrong = {**audit, "epsilon": 9.0, "faults": ["members are told from others"]}
  of_another_plan = {**wrong, "noise_multiplier": -1.0}

  def audited(*rows):
    (copy / "audit").mkdir(exist_ok=True)
    (copy / "audit/audit.json").write_text(json.dumps(rows))

  audited(audit, of_another_plan)
  assert "audits of another plan are left out" in run("launch.release", *flags)
  texts = "".join((out / n).read_text() for n in ("CARD.md", "card.json"))
  assert "another run" in texts and "epsilon at least 0.400" in texts
  for name in ("anna", "members are told", '"right"', '"images"'):
    assert name not in texts
  shutil.rmtree(out)

  audited(wrong)
  output = run("launch.release", *flags, status=1)
  assert "its claim does not hold: members are told" in output

  (tmp_path / "out.partial.json").write_text("{}")
  output = run("launch.release", *flags, status=1)
  assert "holds an interrupted release of images" in output
  (tmp_path / "out.partial.json").unlink()

  audited(audit)
  partial = tmp_path / "out.partial"
  partial.mkdir()
  (partial / "holiday.png").write_bytes(b"not ours")
  output = run("launch.release", *flags, status=1)
  assert "holds what is not of a model" in output
  # As a kill leaves it: made anew.
  (partial / "holiday.png").rename(partial / "parameters.npz.partial")
  run("launch.release", *flags)
  assert not partial.exists() and len(list(out.iterdir())) == 4
  shutil.rmtree(out)

  shutil.rmtree(copy / "evaluation")
  output = run("launch.release", *flags, status=1)
  assert "was never evaluated" in output and not out.exists()


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
