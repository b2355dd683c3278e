"""The card of a released model says first what it promises, if anything."""

from jaxpriv.reports import card as card_lib

SCORE = {
  "mechanism": "dp_multitask",
  "score": "gender_accuracy",
  "value": 0.72,
  "low": 0.7,
  "high": 0.74,
  "total": 900,
  "constant": 0.5,
}
PRIVACY = {
  "epsilon": 2.99,
  "delta": 1e-5,
  "relation": "add_or_remove_one",
  "accountant": "pld",
  "unit": "person",
  "units": 1600,
  "phases": [
    {
      "phase": "multi_task",
      "sampling_probability": 0.064,
      "noise_multiplier": 2.346,
      "steps": 600,
      "clip_norm": 1.0,
      "group_clip_norms": {"log_variances": 0.3},
      "rows_per_unit": 4,
    }
  ],
  "not_private_phases": [],
  "pretrained": "another run",
}


def card(privacy, audits=()):
  return {
    "mechanism": "dp_multitask",
    "model": {
      "parameters": 22219,
      "functions": ["detect"],
      "sha256": {"parameters.npz": "cd" * 32},
    },
    "audits": list(audits),
    "results": {
      "mechanism": "dp_multitask",
      "data": {"source": "folder"},
      "tasks": [SCORE],
      "privacy": privacy,
    },
  }


def test_a_private_model(tmp_path):
  audit = {"audit": "one run", "phase": "m", "epsilon": 0.4, "claimed": 2.99}
  clip = {"audit": "clip search", "phase": "m", "ratio": 1.00000011}
  audits = [audit, {**clip, "examples": 40}]
  text = card_lib.write(tmp_path, card(PRIVACY, audits)).read_text()
  # Rounded up, as all that is promised.
  assert "found no example, of 40, that adds more than 1.000001 times" in text
  assert text.startswith("# Released model: DP multitask\n")
  assert "private for each person: epsilon 2.99, delta 1e-05.**" in text
  assert (
    "| multi\\_task | 0.0640 | 2.346 | 600 | 1.00; `log_variances` 0.300 | 4 |"
    in text
  )
  assert "from the parameters of another run; the data of that run" in text
  assert "| Gender, accuracy | 72.0% | 70.0% – 74.0% | 50.0% | 900 |" in text
  assert "epsilon at least 0.400, of the 2.99 claimed" in text
  assert "people whom the model is shown later are not protected" in text
  assert "22,219 parameters" in text and "None were given" in text
  assert "outputs.detect" in text and "cd" * 32 in text
  assert "they were taken on (folder)" in text


def test_a_promise_is_never_rounded_down(tmp_path):
  given = card({**PRIVACY, "epsilon": 8.0041, "delta": 1.42e-5})
  text = card_lib.write(tmp_path, given).read_text()
  assert "epsilon 8.01, delta 1.42e-05" in text


def test_a_model_without_privacy_says_so(tmp_path):
  text = card_lib.write(tmp_path, card(None)).read_text()
  assert "**This model was trained without differential privacy.**" in text
  assert "Nothing bounds what the parameters tell" in text
  assert "- Nobody in the training data is protected" in text
  assert "No audit was run.\n" in text and "guarantee" not in text
