"""Settings of a run directory that may change, and those that may not."""

import json
import math

import pytest

import jaxpriv
from configs import common
from jaxpriv.data.records import DataError
from jaxpriv.training import workdir
from tests.training.toys import config, trained


def test_config_survives_json(tmp_path):
  made = config()
  made.data.sets = ("london", "orl")
  workdir.save_config(tmp_path, made)
  again = workdir.load_config(tmp_path)
  assert again.to_dict() == made.to_dict()
  assert isinstance(again.data.sets, tuple)
  # No budget is infinite, and JSON has no infinity.
  assert again.dp.epsilon == math.inf
  text = (tmp_path / "config.json").read_text()
  content = json.loads(text, parse_constant=lambda name: pytest.fail(name))
  assert content["version"] == jaxpriv.__version__


@pytest.mark.parametrize("version", [None, "0.1.3", "1.2.0"])
def test_a_run_of_another_version_is_refused_in_one_sentence(tmp_path, version):
  workdir.save_config(tmp_path, config())
  path = tmp_path / "config.json"
  content = json.loads(path.read_text())
  del content["version"]
  path.write_text(
    json.dumps(content | ({"version": version} if version else {}))
  )
  # Until something is trained there, any run may take the directory over.
  workdir.check_config(tmp_path, config())
  trained(tmp_path, step=4)
  for refuse in (
    lambda: workdir.load_config(tmp_path),
    lambda: workdir.check_config(tmp_path, config()),
  ):
    with pytest.raises(workdir.ConfigMismatchError) as error:
      refuse()
    message = str(error.value)
    assert f"written by jaxpriv {version or '0.1'}, whose runs" in message
    assert ". " not in message and "\n" not in message


def test_a_run_of_the_same_series_is_read(tmp_path, monkeypatch):
  workdir.save_config(tmp_path, config())
  monkeypatch.setattr(jaxpriv, "__version__", "0.2.17")
  assert workdir.load_config(tmp_path).to_dict() == config().to_dict()


def test_a_public_config_tells_no_secrets_and_no_paths():
  made = config(pretrained="/home/anna/runs/first")
  made.data.path, made.data.pools = "/home/anna/faces", ("/a/one", "b/two")
  made.attacks.d = dict(folders=("/a/val=/b/l.mat", "/c/faces:group"))
  made.model = dict(secret=7, name="x", rate=0.5, wide=True, folders=("/f",))
  made.release.withheld = tuple(
    f"model.{name}" for name in ("secret", "rate", "wide", "folders")
  )
  public = workdir.public_config(made)
  assert public["model"] == dict(
    secret=0, name="x", rate=0.0, wide=False, folders=()
  )
  assert public["data"]["path"] == "faces" and public["pretrained"] == "first"
  assert public["data"]["pools"] == ("one", "two")
  assert public["attacks"]["d"]["folders"] == ("val=l.mat", "faces:group")
  assert made.model.secret == 7  # of which it is a copy
  made.release.withheld = ("model.secrets",)
  with pytest.raises(DataError, match=r"names model\.secrets, and there is no"):
    workdir.public_config(made)


def test_another_config_in_a_used_directory_is_refused(tmp_path):
  workdir.save_config(tmp_path, config())
  trained(tmp_path, step=4)  # to its end
  workdir.check_config(tmp_path, config())
  changed = config(seed=3)
  changed.phases.toy.learning_rate = 0.5
  with pytest.raises(workdir.ConfigMismatchError) as error:
    workdir.check_config(tmp_path, changed)
  assert "config.seed: 0 there, 3 now" in str(error.value)
  assert "config.phases.toy.learning_rate: 0.001 there, 0.5 now" in str(
    error.value
  )
  free = config()
  free.train.log_every = 1
  free.evaluation.batch_size = 7
  workdir.check_config(tmp_path, free)


def test_options_of_an_unfinished_phase_may_change(tmp_path):
  made = config()
  made.phases.later = common.phase(6, 16)
  workdir.save_config(tmp_path, made)
  trained(tmp_path, "toy", 4)
  trained(tmp_path, "later", 2)

  def check(phase, **changes):
    changed = made.copy_and_resolve_references()
    changed.phases[phase].update(changes)
    workdir.check_config(tmp_path, changed)

  check("later", learning_rate=1e-4, clip_norm=1.0, batch_size=8, steps=9)
  check("toy", evaluate_every=2)
  for phase, changes in (
    ("toy", dict(learning_rate=1e-4)),  # finished
    ("toy", dict(steps=5)),
    ("later", dict(steps=2)),  # would be finished at once, unlike it was made
    ("later", dict(optimizer="sgd")),  # its checkpoint holds another one's
    ("later", dict(ema=0.9)),
  ):
    with pytest.raises(workdir.ConfigMismatchError) as error:
      check(phase, **changes)
    (option,) = changes
    (line,) = str(error.value).splitlines()[1:-1]
    assert line.strip().startswith(f"config.phases.{phase}.{option}: ")


def test_no_config_says_what_to_run(tmp_path):
  with pytest.raises(FileNotFoundError, match=r"launch\.train --workdir="):
    workdir.load_config(tmp_path)


@pytest.mark.parametrize("text", [b"", b'{"data": {"pa', b"[]", b"{}", b"\xff"])
def test_a_damaged_config_is_named(text, tmp_path):
  workdir.save_config(tmp_path, config())
  path = tmp_path / "config.json"
  path.write_bytes(text)
  for use in (
    lambda: workdir.load_config(tmp_path),
    lambda: workdir.check_config(tmp_path, config()),
  ):
    with pytest.raises(workdir.DamagedError) as error:
      use()
    assert f"{path} is damaged" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "0011", "xy" * 16])
def test_a_damaged_secret_is_named(text, tmp_path):
  made = workdir.secret(tmp_path)
  assert len(made) == 16 and workdir.secret(tmp_path) == made
  (tmp_path / "noise_secret").write_text(text)
  with pytest.raises(workdir.DamagedError, match="noise_secret is damaged"):
    workdir.secret(tmp_path)
