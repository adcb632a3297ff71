"""Whoever contains what is asked for is among the candidates, and the tokens say nothing without their key."""

import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.sealing.blind_index import BlindIndex, asked_grams, grams

WORD = st.text(st.sampled_from("abcdeé林美琪王小明"), min_size=1, max_size=8)


@given(st.lists(WORD, min_size=1, max_size=4), st.data())
def test_a_name_is_a_candidate_for_every_part_of_its_words(words: list[str], data: st.DataObject) -> None:
    word = data.draw(st.sampled_from(words))
    first = data.draw(st.integers(0, len(word) - 1))
    size = data.draw(st.integers(1, len(word) - first))
    part = word[first : first + size]
    if len(part) > 1 or not part.isascii() or first == 0:
        assert asked_grams(part) <= grams(" ".join(words))


def test_one_latin_letter_asks_for_a_beginning_and_one_chinese_character_for_any_place() -> None:
    assert asked_grams("l") <= grams("meiqi lin")
    assert not asked_grams("l") <= grams("wheel")
    assert asked_grams("美") <= grams("林美琪")


def test_nothing_asked_is_nothing_to_look_for() -> None:
    assert asked_grams("  ") == set()


def test_tokens_differ_by_key_and_by_field() -> None:
    one, other = BlindIndex(secrets.token_bytes(32)), BlindIndex(secrets.token_bytes(32))
    assert one.token("phone", "1380") == one.token("phone", "1380")
    assert one.token("phone", "1380") != one.token("document", "1380")
    assert one.token("phone", "1380") != other.token("phone", "1380")
    with pytest.raises(ValueError, match="32 bytes"):
        BlindIndex(b"short")
