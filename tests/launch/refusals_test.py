"""What evaluation or release would refuse is refused before training."""

import os
import shutil

import pytest

from jaxpriv.errors import UserError
from launch import common
from tests.launch.programs import refusal

FACES = (
  "--config=embedded_autoencoder:demo",
  "--config.data.num_identities=20",
  "--config.data.images_per_identity=3",
  "--config.data.image_size=32",
  "--config.data.attributes=Male,Smiling",
  "--config.phases.fsn.batch_size=8",
)
MODEL = (
  "--config=dp_multitask:demo",
  "--config.data.num_identities=60",
  "--config.data.image_size=32",
  "--config.model.side=16",
  "--config.phases.multi_task.batch_size=8",
)


@pytest.mark.parametrize(
  "flag,message",
  [
    ("data.images_per_identity=1", "two people with two photographs each"),
    ("controls.k_same.model.k=0", "config.model.k is at least 2, not 0"),
    ("controls.black_box.model.strength=0.", "in (0, 1], not 0.0"),
    ("release.withheld=model.nothing", "withheld names model.nothing"),
    ("evaluation.attacks=scores", "no attack applies to what"),
    ("evaluation.attacks=parot", "names parot: choose of"),
    ("attacks.embedding_map.pairs=0,8", "config.attacks.embedding_map.pairs ="),
    ("attacks.embedding_map.network=-1", "embedding_map.network = -1: it is"),
    ("attacks.repair.rounds=-1", "config.attacks.repair.rounds = -1: it is a"),
    ("attacks.attributes.by=ear", "by = 'ear': it is one of loss, fresh, othe"),
    ("attacks.parrot.controls=blurr", "parrot.controls names blurr"),
    ("attacks.parrot.type=parott", "there is no module jaxpriv.attacks.parott"),
    ("evaluation.recogniser.architecture=gg", "config.evaluation.recogniser: "),
    ("evaluation.head.kind=face", "config.evaluation.recogniser: "),
    ("evaluation.predictors.vgg.architecture=v", "evaluation.predictors.vgg: "),
    ("evaluation.phases.fsn.optimizer=adm", "evaluation.predictors.fsn: "),
    ("evaluation.phases.map.batch_size=-1", "map.batch_size = -1: it is a "),
    ("dp.accountant=prv", "config.dp.accountant = 'prv': it is pld or rdp"),
    ("data.image_size=0", "config.data.image_size = 0: it is"),
  ],
)
def test_a_run_that_could_not_be_used_is_not_trained(flag, message, tmp_path):
  said = refusal(tmp_path / "run", *FACES, f"--config.{flag}")
  assert message in said and "\n" not in said
  assert not (tmp_path / "run").exists()


def test_a_disk_that_cannot_hold_the_last_phase_is_told_at_once(
  tmp_path, monkeypatch
):
  """States are counted as training makes them: a search keeps photographs."""
  flags = (
    "--config=mask_desensitization:demo",
    *FACES[1:4],
    "--config.model.backbone.width=1",
    "--config.model.backbone.features=1",
    "--config.model.search.photographs=64",
  )
  shot = 32 * 32 * 3 * 4
  disk = lambda free: lambda path: shutil._ntuple_diskusage(0, 0, free)
  monkeypatch.setattr(shutil, "disk_usage", disk(2 * 64 * shot))
  said = refusal(tmp_path / "run", *flags)
  assert "checkpoints will need" in said and "search 0.9 MB" in said
  assert "masknet" in said and not (tmp_path / "run").exists()


def test_a_baseline_of_too_many_people_is_not_trained(tmp_path):
  flags = ("--config=baseline:demo,k_same", *FACES[1:4], "--config.model.k=9")
  assert "it averages 9 people and there are 4" in refusal(tmp_path, *flags)


@pytest.mark.parametrize(
  "flags,message",
  [
    (("noise_multiplier=1.", "accountant=prv"), "it is pld or rdp"),
    (("noise_multiplier=inf",), "config.dp.noise_multiplier = inf: it is"),
    (("epsilon=1e-6",), "config.dp.epsilon = 1e-06: it is a budget"),
    (("epsilon=8", "delta=1e-30"), "config.dp.delta = 1e-30: it is a probab"),
    (("epsilon=8", "clip_norm=0"), "config.dp.clip_norm = 0.0: it is a finite"),
  ],
)
def test_a_budget_that_cannot_be_reckoned_is_refused(flags, message, tmp_path):
  given = [f"--config.dp.{flag}" for flag in flags]
  said = refusal(tmp_path / "run", *MODEL, *given)
  assert message in said and not (tmp_path / "run").exists()


def test_a_model_needs_one_photograph_of_a_person(tmp_path, monkeypatch):
  """Nobody is looked up by another one, so that training begins."""

  class Begun(UserError):
    pass

  def begin(*arguments):
    raise Begun("begun")

  monkeypatch.setattr(common.run_lib, "begin", begin)
  assert refusal(tmp_path, *MODEL) == "begun"


def test_home_is_written_out_in_settings(tmp_path, monkeypatch):
  monkeypatch.setenv("HOME", str(tmp_path))
  said = refusal(
    tmp_path / "run", *FACES, "--config.data.source=folder",
    "--config.data.path=~/faces",
  )  # fmt: skip
  assert f"{tmp_path}{os.sep}faces" in said
