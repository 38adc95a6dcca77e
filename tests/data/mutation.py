"""Damage to files, as hypothesis draws it."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st


def mutated(data: st.DataObject, text: bytes, words: Sequence[str], changes: int = 3) -> bytes:
    """The text after some changes: a bit flipped, or a part cut out, doubled or made a word.

    Whole JSON values are replaced oftener than chance would have it: the parts begin and end where
    the text has a colon, a comma or a bracket.
    """
    for _ in range(data.draw(st.integers(1, changes))):
        kind = data.draw(st.sampled_from(["flip", "truncate", "cut", "double", "word", "word"]))
        if kind == "flip" and text:
            position = data.draw(st.integers(0, len(text) - 1))
            flipped = text[position] ^ (1 << data.draw(st.integers(0, 7)))
            text = text[:position] + bytes([flipped]) + text[position + 1 :]
        elif kind == "truncate":
            text = text[: data.draw(st.integers(0, len(text)))]
        else:
            edges = [0, *(i + 1 for i, byte in enumerate(text) if byte in b":,[]{}\n"), len(text)]
            first = data.draw(st.integers(0, len(edges) - 1))
            last = data.draw(st.integers(first, min(first + 3, len(edges) - 1)))
            start, end = edges[first], edges[last]
            part = {
                "cut": b"",
                "double": text[start:end] * 2,
                "word": data.draw(st.sampled_from(list(words))).encode() + text[end - 1 : end],
            }.get(kind, b"")
            text = text[:start] + part + text[end:]
    return text
