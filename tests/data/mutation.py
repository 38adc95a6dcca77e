"""Damage to files, as hypothesis draws it."""

from __future__ import annotations

import struct

from hypothesis import strategies as st

_JSON_WORDS = [
    *("NaN", "1e400", "-1", "0.5", "true", "null", '"\\ud800"', "[]", "{}", "\x00", "\n"),
    *("9" * 5000, "[" * 1200, "[" * 3000),  # more digits and levels than readers bear
]


def mutated(data: st.DataObject, text: bytes) -> bytes:
    """The text after some changes: a bit flipped, or a part cut out, doubled or made a word.

    Whole JSON values are replaced oftener than chance would have it: the parts begin and end where
    the text has a colon, a comma or a bracket.
    """
    for _ in range(data.draw(st.integers(1, 3))):
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
                "word": data.draw(st.sampled_from(_JSON_WORDS)).encode() + text[end - 1 : end],
            }.get(kind, b"")
            text = text[:start] + part + text[end:]
    return text


_WORDS = [struct.pack("<I", number) for number in (0, 1, 5, 2**29, 2**32 - 1, 0xCED7230A)] + [
    struct.pack("<f", number) for number in (float("nan"), float("inf"), -1, 0.5, 3e38, 1e-40)
]


def damaged(data: st.DataObject, content: bytes) -> bytes:
    """Binary content after some changes: a bit flipped, a word replaced, a part cut or doubled."""
    for _ in range(data.draw(st.integers(1, 3))):
        kind = data.draw(st.sampled_from(["flip", "word", "word", "truncate", "cut", "double"]))
        start = data.draw(st.integers(0, len(content)))
        if kind == "flip" and start < len(content):
            flipped = content[start] ^ (1 << data.draw(st.integers(0, 7)))
            content = content[:start] + bytes([flipped]) + content[start + 1 :]
        elif kind == "word":
            start -= start % 4
            word = data.draw(st.sampled_from(_WORDS))
            content = content[:start] + word + content[start + 4 :]
        elif kind == "truncate":
            content = content[:start]
        else:
            end = min(start + data.draw(st.integers(0, 64)), len(content))
            part = content[start:end] * (2 if kind == "double" else 0)
            content = content[:start] + part + content[end:]
    return content
