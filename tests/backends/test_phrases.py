"""Phrases in captions: characters first, tokens second."""

from hypothesis import given
from hypothesis import strategies as st

from conftest import tokenizer
from scenewright.backends.phrases import compose, cut, offsets, says_something, tokens, unknown_words


def found(caption: str, *texts: str) -> list[list[str]]:
    prompt = compose(caption, texts)
    return [[f"{a}:{prompt.text[a:b]}" for a, b in spans] for spans in prompt.spans]


def test_case_and_word_boundaries() -> None:
    assert found("The Car in a carpark", "car") == [["4:Car"]]


def test_the_nth_twin_takes_the_nth_occurrence() -> None:
    assert found("a dog and a dog", "dog", "dog") == [["2:dog"], ["12:dog"]]


def test_too_few_occurrences_are_shared() -> None:
    assert found("a dog and a dog", "dog", "dog", "dog") == [["2:dog", "12:dog"]] * 3


def test_a_short_phrase_avoids_a_longer_one() -> None:
    assert found("a red car and a car", "car", "red car") == [["16:car"], ["2:red car"]]
    assert found("a red car", "car", "red car") == [["6:car"], ["2:red car"]]


def test_missing_phrases_are_appended_once() -> None:
    prompt = compose("A dog.", ["blue house", "dog", "blue house", "sky"])
    assert prompt.text == "A dog, blue house, sky"
    assert prompt.appended == ("blue house", "sky")
    assert prompt.spans[0] == prompt.spans[2]
    assert compose("", ["sky"]).text == "sky"


def test_spaces_are_flexible_and_signs_are_plain() -> None:
    assert found("a red  car (old)", "red car") == [["2:red  car"]]
    assert found("a car (old) here", "car (old)") == [["2:car (old)"]]


def test_a_caption_with_every_phrase_is_left_alone() -> None:
    assert compose("A dog, on grass. ", ["dog"]).text == "A dog, on grass. "


@given(st.text(max_size=40), st.lists(st.text(max_size=12), max_size=5))
def test_every_phrase_is_found_or_has_no_words(caption: str, phrases: list[str]) -> None:
    prompt = compose(caption, phrases)
    assert len(prompt.spans) == len(phrases)
    for phrase, spans in zip(phrases, prompt.spans, strict=True):
        if " ".join(phrase.split()).isalnum():
            assert spans
        for a, b in spans:
            assert 0 <= a < b <= len(prompt.text)


def test_tokens_of_a_phrase() -> None:
    text = "a red car, a dog"
    places = offsets(tokenizer(), text, 24)
    assert tokens(places, [(2, 9)]) == (2, 3)
    assert tokens(places, [(2, 9), (13, 16)]) == (2, 3, 6)


def test_cutting_gives_the_tokens_of_truncation() -> None:
    words = tokenizer()
    text = "a dog and " * 10
    assert words(cut(words, text, 24))["input_ids"] == words(text, truncation=True, max_length=24)["input_ids"]
    assert cut(words, "a dog", 24) == "a dog"


def test_unknown_words_are_named_once() -> None:
    assert unknown_words(tokenizer(), "a Zebra and a zebra dog, Zebra") == ["Zebra", "zebra"]


def test_words_that_say_something() -> None:
    words = tokenizer()
    assert says_something(words, "a zebra dog")
    assert not says_something(words, "a Zebra")
    assert not says_something(words, " ")
