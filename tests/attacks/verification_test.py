"""Situations say which side is protected, and what is good is told as good."""

import numpy as np
import pytest
from PIL import Image

from jaxpriv.attacks import verification
from jaxpriv.attacks.threat import People, Reader
from jaxpriv.data.memory import InMemory
from jaxpriv.data.records import DataError
from jaxpriv.metrics import finding
from jaxpriv.training.mechanism import Target, Trained
from tests import tiny


class Source:
  def describe(self, index):
    return f"faces/P{index // 4:02d}_{index % 4 + 1:04d}.jpg"


class Data:
  source = Source()


@pytest.fixture
def people(monkeypatch):
  rng = np.random.default_rng(0)
  identities = np.repeat(np.arange(24), 4)
  centres = rng.integers(0, 256, (24, 4, 4, 3))
  image = np.clip(
    centres[identities] + rng.integers(-9, 9, (96, 4, 4, 3)), 0, 255
  )
  photographs = InMemory(
    {
      "image": image.astype(np.uint8),
      "identity": identities,
      "row": np.arange(96, dtype=np.int32),
    },
    (),
  )
  made = People(tiny.embedded_autoencoder(), "", None, photographs, photographs)
  made.data = Data()

  def flat(shown):
    rows = shown.arrays["image"].reshape(len(shown), -1).astype(np.float32)
    return rows - rows.mean(1, keepdims=True)

  made.once("recogniser", lambda: (Reader("eyes", flat), None))
  noise = photographs.replace(image=rng.integers(0, 256, image.shape, np.uint8))
  monkeypatch.setattr(made, "image", lambda target, shown: noise)
  return made


def findings(people, **options):
  target = Target("noise", people.config, Trained((), {}), ("image",))
  return list(verification.attack(target, people, counterpart=False, **options))


def test_noise_is_good_for_nothing_and_originals_are(people):
  rows = findings(people, folds=4)
  assert [row.where["situation"] for row in rows] == [
    *("1: both protected", "2: query original", "3: both original"),
  ]
  both, one, neither = rows
  assert neither.value == 1.0 == both.ceiling.value and both.floor == 0.5
  assert abs(both.value - 0.5) < 0.15 and abs(one.value - 0.5) < 0.15
  assert [row.wanted for row in rows] == [finding.KEPT] * 2 + [finding.TOLD]
  assert finding.judge(both).level == finding.BAD
  assert not any(map(finding.problems, rows))


def test_each_target_has_its_own_counterpart(people, monkeypatch):
  """They have one name, and only what they read tells them apart."""
  right, wrong = (
    lambda shown, sign=sign: sign * np.eye(24)[shown.identities] + 0.0
    for sign in (1, 0)
  )
  readers = iter([Reader("learned", right), Reader("learned", wrong)])
  monkeypatch.setattr(
    verification, "_counterpart", lambda target, people: next(readers)
  )

  def neither(name):
    target = Target(name, people.config, Trained((), {}), ("image",))
    rows = list(verification.attack(target, people, folds=4))
    return {r.by: r.value for r in rows if r.where["situation"][0] == "3"}

  assert neither("first") == {"eyes": 1.0, "learned": 1.0}
  assert neither("second")["learned"] == pytest.approx(0.5, abs=0.1)


def test_the_floor_is_the_commoner_kind_of_pairs(people, tmp_path):
  same = [f"P{i:02d} 1 2" for i in range(6)]
  lines = ["2 3", *same[:3], "P00 1 P01 1", "P00 1 P99 1", "P00 1 P98 1"]
  lines += [*same[3:], "P04 1 P05 1", "P04 1 P98 1", "P04 1 P97 1"]
  path = tmp_path / "pairs.txt"
  path.write_text("\n".join(lines))
  rows = findings(people, pairs=str(path))
  assert {row.floor for row in rows} == {0.75}
  path.write_text("\n".join(lines).replace("P04 1 P05", "P04 1 P96"))
  people._shared.clear()
  with pytest.raises(DataError, match="7 of its 12 pairs are of the test"):
    findings(people, pairs=str(path))


def test_pairs_of_a_file(people, tmp_path, caplog):
  lines = ["2 2"]
  for fold in (0, 2):
    a, b = f"P{fold:02d}", f"P{fold + 1:02d}"
    lines += [f"{a} 1 2", f"{b} 1 4", f"{a} 1 {b} 1", f"{a} 3 {b} 3"]
  lines[-1] = "P02 3 Absent 1"
  path = tmp_path / "pairs.txt"
  path.write_text("\n".join(lines))
  rows = findings(people, pairs=str(path))
  assert rows[-1].total == 7 and rows[-1].value == 1.0
  assert "1 of 8 pairs name photographs that are not of the test" in caplog.text


@pytest.mark.parametrize("count,folds", [(24, 10), (7, 3), (4, 2), (3, 0)])
def test_few_people_make_fewer_folds(people, count, folds):
  people.test = people.test.take(np.arange(4 * count))
  chosen = verification.drawn(people)
  if not folds:
    assert chosen is None
    return
  assert len(np.unique(chosen.fold)) == folds


def test_recovered_images_are_told_by_another_photograph(people):
  """Of the first half of the people; chance of the others."""
  eyes = people.recogniser()
  originals = eyes.read(people.test)
  noise = eyes.read(people.image(None, people.test))
  half = people.test.identities < 12
  images = np.where(half[:, None], originals, noise)
  chosen = verification.drawn(people)
  target = Target("noise", people.config, None, ("image",))
  row = verification.recovered(
    target, eyes, "repair", images, originals, chosen
  )
  assert row.ceiling.value == 1 and row.floor == 0.5
  assert 0.65 < row.value < 0.9 and row.hits == round(row.value * row.total)
  assert finding.judge(row).level == finding.BAD and not finding.problems(row)


def levels(rows):
  return [
    row for row in rows if row.where["situation"].startswith("irregular masks")
  ]


def with_sides(people, side=32):
  """The same people, in photographs that masks can hide a hundredth of."""
  scale = side // 4
  image = people.test.arrays["image"].repeat(scale, 1).repeat(scale, 2)
  people.test = people.test.replace(image=image)
  people.image = lambda target, shown: shown


def test_masks_that_hide_more_leave_less_to_tell_people_by(people, monkeypatch):
  with_sides(people)
  monkeypatch.setattr(verification, "MASKS", 20)
  rows = levels(findings(people, folds=4, levels="drawn"))
  assert [row.where["situation"][17:] for row in rows] == [
    *("1% to 10% hidden", "10% to 20% hidden", "20% to 30% hidden"),
    *("30% to 40% hidden", "40% to 50% hidden", "50% to 60% hidden"),
  ]
  values = [row.value for row in rows]
  assert values[0] > values[2] > values[5] > 0.5
  assert {row.subject for row in rows} == {finding.NOBODY}
  assert not any(map(finding.problems, rows))


def test_masks_of_a_folder_are_sorted_by_what_they_hide(people, tmp_path):
  """Two of them hide a part of the right edge, and one more than a level."""
  with_sides(people)
  for name, columns in (("a", 5), ("b", 12), ("c", 30)):
    holes = np.zeros((32, 32), np.uint8)
    holes[:, :columns] = 255
    Image.fromarray(holes).save(tmp_path / f"{name}.png")
  shown = []
  read = people.recogniser().read

  def remember(photographs):
    shown.append(photographs)
    return read(photographs)

  people._shared.clear()
  people.once("recogniser", lambda: (Reader("eyes", remember), None))
  rows = levels(findings(people, folds=4, levels=str(tmp_path)))
  assert [row.where["situation"][17:] for row in rows] == [
    *("10% to 20% hidden", "30% to 40% hidden"),
  ]
  masked = [x for x in shown if "keep" in x.arrays]
  for photographs, columns in zip(masked, (5, 12), strict=True):
    image, keep = photographs.arrays["image"], photographs.arrays["keep"]
    assert not image[:, :, :columns].any() and not keep[:, :, :columns].any()
    np.testing.assert_array_equal(
      image[:, :, columns:], people.test.arrays["image"][:, :, columns:]
    )


def test_files_are_refused_before_anything_is_attacked(people, tmp_path):
  target = Target("noise", people.config, Trained((), {}), ("image",))
  people.data.splits = {"test": np.arange(96)}
  check = lambda **options: verification.ready(
    target, people.data, None, folds=4, **options
  )
  check()
  check(levels="drawn")
  (tmp_path / "pairs.txt").write_text("1 1\nNobody 1 2\nNobody 1 Noone 1")
  with pytest.raises(DataError, match="none of its 2 pairs is among the 96"):
    check(pairs=str(tmp_path / "pairs.txt"))
  with pytest.raises(DataError, match="holds no picture"):
    check(levels=str(tmp_path))
  Image.fromarray(np.eye(32, dtype=bool)[:, ::-1] < 1).save(tmp_path / "a.png")
  with pytest.raises(DataError, match="none of its 1 masks hides 1% to 60%"):
    check(levels=str(tmp_path))
