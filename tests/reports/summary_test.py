"""The sentences say what the figures say, and what they do not."""

import pytest

from jaxpriv.metrics.finding import BAD, GOOD, HIDDEN, KEPT, TOLD, UNCLEAR
from jaxpriv.reports import claims, summary
from tests.reports import examples
from tests.reports.examples import attack, attribute, finding, leak, rebuilt


def headline(results):
  return tuple(summary.headline(results))


def cards(results):
  return {card.title: card for card in summary.cards(results)}


def limits(results):
  return " ".join(summary.limits(results.products, results))


def test_everything_hidden_and_kept():
  assert headline(examples.images()) == (
    "Identity is hidden from every attack that was run",
    GOOD,
  )


def test_one_attack_spoils_the_whole():
  rows = [*examples.image_findings(), attack("shuffle", 90)]
  text, level = headline(examples.images(rows))
  assert level == BAD
  assert text == (
    "Identity is not hidden: shuffle, independent VGG, other photograph reaches"
    " rank-1 9.0%, where knowing nothing scores 0.5% and the same reader"
    " without protection 87.1%"
  )
  card = cards(examples.images(rows))["Identity"]
  assert (card.figure, card.word, card.level) == ("9.0%", "not hidden", BAD)
  assert card.sentence.startswith("5 of 6 attacks are held off. The strongest")
  assert "(95% interval 7.4 – 10.9%; 90 of 1,000)" in card.sentence


def test_controls_do_not_count():
  rows = [attack("naive", 6), attack("naive", 900, subject="blur")]
  assert headline(examples.images(rows))[1] == GOOD
  rows.append(attack("undisguised", 900, subject="none"))
  assert headline(examples.images(rows))[1] == GOOD


def test_a_doubt_outweighs_a_higher_rate_that_is_settled():
  rows = [attack("naive", 5), attack("parrot", 0, total=40)]
  text, level = headline(examples.images(rows))
  assert level == UNCLEAR
  assert text == "The attacks do not settle whether identity is hidden"
  card = cards(examples.images(rows))["Identity"]
  assert "The strongest is parrot" in card.sentence
  assert card.sentence.endswith(
    "Unclear: the interval spans the limit of 1.5%."
  )


@pytest.mark.parametrize("name", ["images", "features"])
def test_nothing_measured_is_not_protection(name):
  results = examples.ALL[name]([])
  text = "Whether anything is hidden was not measured"
  assert headline(results) == (text, UNCLEAR)
  assert summary.cards(results) == []


def test_the_worst_comes_first_and_the_others_after_it():
  text, level = headline(examples.features())
  assert level == BAD
  assert text.startswith("Linkage is not hidden: A8 released twice reaches")
  assert text.endswith(
    ". Neither are attributes together, appearance, identity and attribute"
    " Young"
  )
  rows = rebuilt("A1", 0.6, 9) + [attack("A7", 90, subject=examples.POISONING)]
  text, _ = headline(examples.features(rows))
  assert text.startswith("Appearance is not hidden: A1, 9 pairs reaches SSIM")
  assert text.endswith(". Neither is identity")


def test_several_that_are_hidden():
  rows = rebuilt("A1", 0.1, 9, hits=5)
  assert headline(examples.features(rows)) == (
    "Appearance and identity are hidden from every attack that was run",
    GOOD,
  )


def test_what_is_lost_counts_after_what_is_hidden():
  rows = [attack("naive", 6), attribute("Male", 500), attribute("Young", 890)]
  assert headline(examples.images(rows)) == (
    "Identity is hidden from every attack that was run, but some of what it"
    " should keep is lost: attribute Male",
    BAD,
  )
  rows[1] = attribute("Male", 800)
  assert headline(examples.images(rows)) == (
    "Identity is hidden from every attack that was run, but whether it keeps"
    " all that it should is not settled: attribute Male",
    UNCLEAR,
  )
  rows[0] = attack("naive", 90)
  text, level = headline(examples.images(rows))
  assert text.startswith("Identity is not") and "keep" not in text
  assert level == BAD


@pytest.mark.parametrize(
  ("privacy", "text", "level"),
  [
    (None, "This model was trained without differential privacy", BAD),
    ({"not_private_phases": ["pen"]}, "Some phases were trained with", UNCLEAR),
    (
      {},
      "Training is differentially private for each image: epsilon 3.00, delta"
      " 1e-05",
      GOOD,
    ),
    ({"epsilon": 8.0041, "delta": 1.42e-5}, "epsilon 8.01, delta 1.42e", GOOD),
  ],
)
def test_the_guarantee_of_a_model_is_a_claim(privacy, text, level):
  if privacy is not None:
    privacy = {**examples.PRIVACY, **privacy}
  rows = [f for f in examples.scores() if f.metric != "mean error"]
  results = examples.model(rows, privacy=privacy)
  assert text in headline(results)[0] and headline(results)[1] == level
  card = cards(results)["Training data"]
  assert card.level == level
  if privacy is None:
    assert card.figure == "ε = ∞" and "Nothing bounds" in card.sentence


def test_scores_are_kept_beside_a_guarantee():
  assert headline(examples.model()) == (
    "Training is differentially private for each image: epsilon 3.00, delta"
    " 1e-05, but some of what it should keep is lost: pose",
    BAD,
  )
  shown = cards(examples.model())
  assert list(shown) == [
    *("Training data", "Landmarks", "Gender", "Pose", "Detection")
  ]
  assert (shown["Gender"].word, shown["Pose"].word) == ("works", "fails")
  assert shown["Pose"].sentence.startswith("Model: mean error 5.0° (95%")
  assert shown["Detection"].word == "" and "90.0%" in shown["Detection"].figure


def test_images_and_a_model_in_one_run():
  """A score does not make a report of images one of a model alone."""
  rows = [attack("naive", 6), *examples.scores(examples.MECHANISM)[1:3]]
  both = {"products": ["image", "model"]}
  results = examples.images(rows, **both)
  assert headline(results)[0].startswith("Identity is hidden")
  private = examples.images(rows, privacy=examples.PRIVACY, **both)
  assert headline(private) == (
    "Identity is hidden from every attack that was run. Training is"
    " differentially private for each image: epsilon 3.00, delta 1e-05",
    GOOD,
  )
  without = examples.images(rows, privacy=None, **both)
  text, level = headline(without)
  assert level == BAD
  assert text.startswith("This model was trained without differential privacy.")
  assert "Identity is hidden" in text
  rows[0] = attack("naive", 90)
  text, level = headline(examples.images(rows, privacy=None, **both))
  assert level == BAD and "Identity is not hidden" in text


def test_a_guarantee_of_what_is_no_product_is_told_but_no_claim():
  results = examples.images(privacy=examples.PRIVACY)
  assert "Training" not in headline(results)[0]
  assert "Training data" in cards(results)


@pytest.mark.parametrize(
  ("privacy", "sentence"),
  [
    ({"not_private_phases": ["pen"]}, "Not covered: pen, trained on the same"),
    ({"pretrained": "public"}, "from the parameters of public; the data of"),
  ],
)
def test_what_a_guarantee_does_not_cover_is_said(privacy, sentence):
  results = examples.model(privacy={**examples.PRIVACY, **privacy})
  assert sentence in cards(results)["Training data"].sentence


def test_cards_of_features():
  shown = cards(examples.features())
  assert list(shown) == [
    *("Appearance", "Identity", "Attributes together, to hide"),
    *("Attributes, to hide", "Linkage", "Attributes together, to keep"),
    "Attributes, to keep",
  ]
  appearance = shown["Appearance"]
  assert appearance.figure == "SSIM 0.71"
  assert "2 of 7 attacks are held off" in appearance.sentence
  assert (
    "known pairs reach SSIM 0.40 on a line between those tried, up to 1,024."
    in appearance.sentence
  )
  assert "pairs reach" not in shown["Identity"].sentence
  assert shown["Attributes, to hide"].figure == "1 of 2 hidden"
  assert "The strongest is Young by A7" in shown["Attributes, to hide"].sentence
  assert shown["Attributes, to keep"].word == "kept"


def test_pairs_that_were_not_enough():
  rows = rebuilt("A1", 0.1, 16) + rebuilt("A1", 0.15, 64)
  sentence = cards(examples.features(rows))["Appearance"].sentence
  assert "No number of known pairs up to 64 reaches SSIM 0.40." in sentence
  results = examples.without(examples.features(rows), "config")
  assert "SSIM 0.40" not in cards(results)["Appearance"].sentence


def test_attributes_are_kept_if_every_reader_says_so():
  rows = [attribute("Big_Nose", 900, "FSN"), attribute("Big_Nose", 700)]
  card = cards(examples.images(rows))["Attributes"]
  assert (card.figure, card.level) == ("0 of 1 kept", UNCLEAR)
  assert "The weakest is Big Nose by fresh VGG: accuracy 70.0%" in card.sentence


def test_what_is_told_has_no_word():
  shown = cards(examples.images())
  assert list(shown) == ["Identity", "Attributes", "Outputs", "Likeness"]
  assert (shown["Outputs"].figure, shown["Outputs"].word) == ("73.3%", "")
  assert shown["Likeness"].sentence == "SSIM 0.22. PSNR 11.5 dB."


def test_attributes_that_are_told_are_named():
  rows = [
    attack("naive", 4),
    attribute("Male", 900, "faceres", wanted=TOLD),
    attribute("Smiling", 120, "expressions", wanted=TOLD),
  ]
  card = cards(examples.images(rows))["Attributes"]
  assert (card.figure, card.word) == ("2 readings", "")
  assert card.sentence.startswith("Male by faceres: accuracy 90.0% (")
  assert "Smiling by expressions: accuracy 12.0% (" in card.sentence


def test_claims_that_nobody_here_has_heard_of():
  results = examples.stranger()
  text, level = headline(results)
  assert level == BAD and text == (
    "Voice of the lips is not hidden: lip reader reaches entropy 3.25 bits,"
    " where knowing nothing scores 0.75 bits and the same reader without"
    " protection 6.50 bits"
  )
  assert list(cards(results)) == [
    *("Appearance", "Voice of the lips", "Verification", "Hue drift")
  ]
  assert "Protection rests" not in limits(results)
  assert "features" not in limits(results)


@pytest.mark.parametrize(
  ("wanted", "level", "bare", "word"),
  [
    (HIDDEN, GOOD, False, "hidden"),
    (HIDDEN, BAD, False, "not hidden"),
    (HIDDEN, UNCLEAR, False, "unclear"),
    (KEPT, GOOD, False, "kept"),
    (KEPT, BAD, False, "lost"),
    (KEPT, GOOD, True, "works"),
    (KEPT, BAD, True, "fails"),
    (TOLD, TOLD, False, ""),
  ],
)
def test_words(wanted, level, bare, word):
  ceiling = None if bare else examples.ceiling(0.9)
  given = finding("x", wanted, "y", "SSIM", 0.1, ceiling=ceiling)
  assert claims.word(given, level) == word


def test_limits_of_images():
  results = examples.images()
  text = limits(results)
  assert "no independent witness" in text and "not a proof" in text
  assert "stay readable on purpose" in text and "(procedural)" in text
  assert "features" not in text and "secrecy" not in text
  assert "people were in the test" not in text
  data = {**results.header["data"], "people": {"test": 40}}
  given = ["Voices are left as they are."]
  results = examples.images(data=data, not_claimed=given)
  lines = summary.limits(results.products, results, ["Hair is left."])
  assert lines[:2] == ["Hair is left.", *given]
  assert "Only 40 people were in the test" in lines[-1]


def test_limits_of_a_model():
  text = limits(examples.model())
  assert "people whom the model is shown later are not protected" in text
  assert "Scores hold for the data" in text and "Only the face" not in text
  open_model = limits(examples.model(privacy=None))
  assert "Nobody in the training data is protected" in open_model
  both = limits(examples.stranger())
  assert "Nobody in the training data" in both and "Only the face" in both


def test_limits_of_features():
  text = limits(examples.features())
  assert (
    "Known pairs give appearance away: with 256, A1 least squares reaches SSIM"
    " 0.31; up to 1,024 were tried." in text
  )
  assert (
    "Known pairs give identity away: with 1,024, A1 least squares reaches"
    " rank-1 31.2%; up to 1,024 were tried. Attackers who know no pair succeed,"
    " too: A7 linear probe." in text
  )
  assert "Not measured" not in text
  nothing = summary.limits(["features"])
  assert (
    "Not measured, and so not shown to be hidden: appearance, identity,"
    " attributes and linkage." in nothing
  )
  some = limits(examples.features([leak("A7 probe", "identity", 5)]))
  assert "hidden: appearance, attributes and linkage." in some


def test_how_a_mechanism_protects_is_for_itself_to_say():
  results = examples.features()
  for given in (results, examples.features([]), None):
    text = " ".join(summary.limits(["features"], given))
    for word in ("secrecy", "deterministic", "A8", "decider reads", "inverts"):
      assert word not in text
  said = ["The map is secret."]
  results = examples.features(not_claimed=said)
  assert summary.limits(["features"], results, said)[0] == said[0]
  assert limits(results).count(said[0]) == 1


@pytest.mark.parametrize(
  ("rows", "sentence"),
  [
    (
      rebuilt("A1", 0.1, 64),
      "Up to 64 known pairs do not give appearance away; more may.",
    ),
    (
      rebuilt("A1", 0.21, 64),
      "Up to 64 known pairs were tried, and do not settle how many give"
      " appearance away.",
    ),
    (
      rebuilt("A1", 0.3, 64),
      "give appearance away: with 64, A1 reaches SSIM 0.30; up to 64 were",
    ),
    (
      rebuilt("A1", 0.1, 16, hits=300),
      "give identity away: with 16, A1 reaches rank-1 30.0%",
    ),
    (
      rebuilt("A1", 0.1, 16) + rebuilt("A0", 0.6),
      "more may. Attackers who know no pair succeed, too: A0.",
    ),
  ],
)
def test_known_pairs_as_far_as_they_were_tried(rows, sentence):
  assert sentence in limits(examples.features(rows))


@pytest.mark.parametrize(
  "rows", [rebuilt("A0", 0.6), [leak("A7 probe", "identity", 300)]]
)
def test_known_pairs_are_no_matter_where_none_were_tried(rows):
  assert "pair" not in limits(examples.features(rows))
