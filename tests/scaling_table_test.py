from tools.scaling_table import row, tables

PROGRAM = {
  "name": "poisoning",
  "batch": 1024,
  "examples": 1024,
  "devices": 8,
  "parameters": 3 * 2**20,
  "held": 2**29,
  "fits": True,
  "flops": 8e12,
  "collectives": {"all-reduce": {"number": 25, "bytes": 3 * 2**20}},
  "bounds": {"compute": 0.5, "memory": 0.1, "communication": 0.2},
  "efficient_batch": 3687,
}


def test_a_row_says_all():
  assert row("deep_poisoning", PROGRAM) == (
    "| deep_poisoning | poisoning | 1,024 | 3.0 MiB | 0.50 GiB | 1.000"
    " | 25 reduce 3.0 MiB | 2,048 images/s, compute | 3,687 |"
  )
  other = {**PROGRAM, "fits": False, "collectives": {}, "bounds": {}}
  shown = row("a", {**other, "efficient_batch": None})
  assert "**does not fit**" in shown and shown.endswith("|  |  |  |")


def test_each_topology_has_its_table():
  contents = [
    {
      "arguments": [f"--config={name}:gpu", "--config.dp.epsilon=8"],
      "topology": topology,
      **({"tuned": name != "d"} if name != "a" else {}),
      "programs": [PROGRAM],
    }
    for name, topology in (
      ("a", "h200:8"),
      ("b", "h200:8"),
      ("c", "v5e"),
      ("d", "v5e"),
    )
  ]
  first, second, third = tables(contents)
  assert first.startswith("h200:8:\n") and second.startswith("v5e:\n")
  assert first.index("| `a:gpu`, ") < first.index("| `b:gpu`, ")
  assert "| `c:gpu`, `dp.epsilon=8` | poisoning |" in second
  assert third.startswith("v5e, by a compiler that tries little:\n")
  assert "`d:gpu`" in third and "`d:gpu`" not in second
