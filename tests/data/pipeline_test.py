"""A batch is a function of (seed, step), however and wherever it is read."""

import itertools

import numpy as np
import pytest

from jaxpriv.data import pipeline, sources
from jaxpriv.data.folder import FolderSource
from jaxpriv.data.records import DataError

BATCH = 8


@pytest.fixture(params=["memory", "streamed"])
def source(request, people_folder, data_config):
  cache = request.param == "memory"
  return sources.open_source(data_config(path=str(people_folder), cache=cache))


def _take(source, count, indices=None, **options):
  options = dict(process_index=0, process_count=1, seed=3) | options
  indices = np.arange(len(source)) if indices is None else indices
  batches = pipeline.batches(source, indices, batch_size=BATCH, **options)
  result = list(itertools.islice(batches, count))
  batches.close()
  return result


def _assert_equal(first, second):
  assert len(first) == len(second)
  for a, b in zip(first, second):
    assert a.keys() == b.keys()
    for name in a:
      assert a[name].dtype == b[name].dtype
      np.testing.assert_array_equal(a[name], b[name])


@pytest.mark.parametrize("count", [2, 4])
def test_processes_together_read_the_batch_of_one(source, count):
  whole = _take(source, 5)
  parts = [
    _take(source, 5, process_index=i, process_count=count) for i in range(count)
  ]
  joined = [
    {name: np.concatenate([part[name] for part in step]) for name in step[0]}
    for step in zip(*parts)
  ]
  _assert_equal(joined, whole)
  assert all(len(part[0]["index"]) == BATCH // count for part in parts)


def test_a_run_resumes_at_a_step(source):
  whole = _take(source, 7)
  _assert_equal(_take(source, 3, first_step=4), whole[4:])
  # The number of processes differs from that before the interruption.
  half = _take(source, 3, first_step=4, process_index=1, process_count=2)
  np.testing.assert_array_equal(half[0]["index"], whole[4]["index"][4:])


def test_a_late_step_costs_no_more(source):
  assert len(_take(source, 1, first_step=10**12)) == 1


def test_memory_and_streaming_agree(people_folder, data_config):
  held, streamed = (
    sources.open_source(data_config(path=str(people_folder), cache=cache))
    for cache in (True, False)
  )
  _assert_equal(_take(held, 4), _take(streamed, 4))


def test_worker_processes_read_the_same(people_folder):
  source = sources.Framed(FolderSource(people_folder), 32)
  _assert_equal(_take(source, 5, num_workers=2), _take(source, 5))
  resumed = _take(source, 2, num_workers=1, first_step=3)
  _assert_equal(resumed, _take(source, 5)[3:])


def test_every_epoch_holds_every_record_in_an_order_of_its_own(source):
  drawn = np.concatenate([batch["index"] for batch in _take(source, 6)])
  first, second = drawn[:24], drawn[24:]
  np.testing.assert_array_equal(np.sort(first), np.arange(24))
  np.testing.assert_array_equal(np.sort(second), np.arange(24))
  assert (first != second).any() and (first != np.arange(24)).any()


def test_the_seed_makes_the_order(source):
  first, second = (
    np.concatenate([b["index"] for b in _take(source, 3, seed=seed)])
    for seed in (0, 1)
  )
  assert (first != second).any()


def test_only_the_indices_given_are_drawn(source):
  indices = np.array([1, 2, 3, 5, 8, 13, 21, 22, 23])
  for batch in _take(source, 9, indices):
    assert set(batch["index"]) <= set(indices)
    for row, index in enumerate(batch["index"]):
      np.testing.assert_array_equal(batch["image"][row], source[index]["image"])
      assert batch["identity"][row] == source.identities[index]


def test_batches_are_of_the_contract(source):
  (batch,) = _take(source, 1)
  assert batch["image"].dtype == np.uint8
  assert batch["image"].shape == (BATCH, 48, 48, 3)
  assert batch["index"].dtype == np.int64
  assert batch["padding"].dtype == bool and not batch["padding"].any()
  assert all(type(value) is np.ndarray for value in batch.values())


@pytest.mark.parametrize("count", [1, 2])
def test_an_epoch_ends_with_padding(source, count):
  indices = np.arange(3, 22)
  parts = [
    list(
      pipeline.epoch(
        source,
        indices,
        batch_size=BATCH,
        process_index=i,
        process_count=count,
      )
    )
    for i in range(count)
  ]
  steps = [np.concatenate([b["index"] for b in step]) for step in zip(*parts)]
  padding = [
    np.concatenate([b["padding"] for b in step]) for step in zip(*parts)
  ]
  assert len(steps) == 3
  np.testing.assert_array_equal(np.concatenate(steps)[:19], indices)
  np.testing.assert_array_equal(np.concatenate(steps)[19:], -1)
  np.testing.assert_array_equal(np.concatenate(padding), np.arange(24) >= 19)
  last = parts[-1][-1]
  assert last["image"].shape[0] == BATCH // count
  assert (last["image"][last["padding"]] == 0).all()
  assert last["image"][~last["padding"]].size == 0 or last["image"].any()


def test_a_process_whose_part_is_all_padding_has_its_shapes(source):
  (batch,) = pipeline.epoch(
    source, np.array([4]), batch_size=4, process_index=1, process_count=2
  )
  assert batch["padding"].all() and batch["image"].shape == (2, 48, 48, 3)


def test_an_epoch_of_nothing_is_empty(source):
  none = np.array([], np.int64)
  assert not list(
    pipeline.epoch(source, none, batch_size=4, process_index=0, process_count=1)
  )


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_image_is_a_padding_row_named_once(
  people_folder, caplog, workers
):
  (people_folder / "05.jpg").write_text("text")
  source = sources.Framed(FolderSource(people_folder), 32, max_bad_share=0.1)
  for batch in _take(source, 6, num_workers=workers):
    bad = batch["index"] == 5
    np.testing.assert_array_equal(batch["padding"], bad)
    assert not batch["image"][bad].any() and batch["image"][~bad].any()
  _take(source, 3)  # another iterator over the same source
  assert len(source.unreadable) == 1 and "05.jpg" in source.unreadable[0]
  assert caplog.text.count("05.jpg") == 1


def test_a_stream_of_too_many_unreadable_images_stops(people_folder):
  for i in range(4):
    (people_folder / f"{i:02d}.jpg").write_text("text")
  source = sources.Framed(FolderSource(people_folder), 32, max_bad_share=0.1)
  with pytest.raises(DataError, match="3 of 24 images.*max_bad_share"):
    _take(source, 9)


def test_sizes_that_do_not_fit_are_errors(source):
  with pytest.raises(DataError, match="batch_size = 8.*3 processes"):
    _take(source, 1, process_count=3)
  with pytest.raises(DataError, match="8 rows but the split only 5"):
    _take(source, 1, np.arange(5))


def drawn(step):
  """Two records of each step, and a row of padding between them."""
  return np.array([step % 5, -1, 5 + step % 4, -1])


def test_drawn_batches_are_those_drawn_from_any_step_on(source):
  whole = list(
    itertools.islice(
      pipeline.drawn_batches(source, drawn, process_index=0, process_count=1),
      5,
    )
  )
  for step, batch in enumerate(whole):
    np.testing.assert_array_equal(batch["index"], drawn(step))
    np.testing.assert_array_equal(batch["padding"], drawn(step) < 0)
    for row, index in ((0, step % 5), (2, 5 + step % 4)):
      np.testing.assert_array_equal(batch["image"][row], source[index]["image"])
    assert not batch["image"][1].any()
  parts = [
    pipeline.drawn_batches(
      source, drawn, first_step=3, process_index=p, process_count=2
    )
    for p in range(2)
  ]
  for step in (3, 4):
    halves = [next(part) for part in parts]
    joined = {k: np.concatenate([h[k] for h in halves]) for k in halves[0]}
    _assert_equal([joined], [whole[step]])


def test_a_batch_of_nobody_is_a_batch(source):
  nobody = lambda step: np.full(4, -1)
  batch = next(
    pipeline.drawn_batches(source, nobody, process_index=0, process_count=1)
  )
  assert batch["padding"].all() and not batch["image"].any()
