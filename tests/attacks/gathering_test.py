"""Which photographs an evaluation takes."""

import pytest

from jaxpriv.attacks import gathering
from jaxpriv.data import dataset
from jaxpriv.data.procedural import ProceduralFaces
from jaxpriv.data.records import DataError
from jaxpriv.training.mechanism import Trained
from jaxpriv.training.method import Outputs, Phase, untrained
from tests import tiny


@pytest.mark.parametrize(
  "sizes, limit, taken",
  [
    ({"train": 100, "attack": 20}, 60, {"train": 40, "attack": 20}),
    ({"train": 100, "attack": 20}, 20, {"train": 10, "attack": 10}),
    ({"attack": 5, "train": 7}, 100, {"attack": 5, "train": 7}),
    ({"test": 9}, 4, {"test": 4}),
  ],
)
def test_what_one_split_lacks_another_gives(sizes, limit, taken):
  assert gathering.dealt(sizes, limit) == taken


@pytest.mark.parametrize(
  "outputs, products, read",
  [
    (Outputs(), ("model",), False),
    (Outputs(), ("image",), True),
    (Outputs(drawn=lambda s, f, b: b["image"]), ("model",), True),
  ],
)
def test_readers_of_a_model_that_draws_learn_from_photographs(
  outputs, products, read
):
  source = ProceduralFaces(12, 1, tiny.SIDE)
  data = dataset.split_data(source, dict(train=0.5, attack=0.25, test=0.25), 0)
  trained = Trained((Phase("p", (), untrained(outputs)),), {"p": {}})
  found = gathering.gather(
    tiny.face_source(), "", None, data, trained, products, ()
  )
  assert len(found.known) == 9 * read and len(found.test) == 3


def test_photographs_of_two_runs_of_one_name_are_not_mixed(tmp_path):
  place = tmp_path / "evaluation_on_real"
  for _ in range(2):
    gathering.claim(place, tmp_path / "first/real")
  gathering.claim(place, tmp_path / "second/../first/real")
  with pytest.raises(DataError, match="first/real, and --data_of.*second/real"):
    gathering.claim(place, tmp_path / "second/real")
