"""Damage to files, decided by a random generator alone: to JSON, RecordIO and pictures."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable
from random import Random

DEEP = 100_000
_DIGITS = b"9" * 5000

VALUES: tuple[bytes, ...] = (
    *(
        b"0",
        b"-1",
        b"-0.0",
        b"0.5",
        b"1e5",
        b"1e-320",
        b"1e308",
        b"1e400",
        b"-1e400",
        b"01",
        b"0x1",
    ),
    *(str(2**power).encode() for power in (31, 32, 53, 63, 64, 2000)),
    *(b"-9223372036854775808", b"-9223372036854775809", _DIGITS, b"-" + _DIGITS),
    *(_DIGITS + b".5", b"1e" + _DIGITS),
    *(b"NaN", b"Infinity", b"-Infinity", b"nan", b"true", b"false", b"null", b"undefined"),
    *(b'""', b'" "', b'"1"', b'"1.0"', b'"-3"', b'"1e3"', b'"\\u0661"', b'"\xef\xbc\x91"', b"'1'"),
    *(b'"\\ud800"', b'"\\udc00\\ud800"', b'"\\u0000"', b'"\0"', b'"a\\u0000.png"', b'"\xff"'),
    *(b'"../../../../etc/passwd"', b'"/etc/passwd"', b'"."', b'".."', b'"a/"', b'"\\\\"'),
    *(b'"' + b"x" * 100_000 + b'"', b'"</script><b>"', b'"{{ 7 * 7 }}"', b'"%s%n"', b'"\n"'),
    *(b"[]", b"{}", b"[[]]", b"[{}]", b'{"": 1}', b"[1, 2, 3, 4]", b"[null, null, null, null]"),
    *(b"[" * DEEP, b"[" * DEEP + b"]" * DEEP, b"[" * 900 + b"]" * 900),
    *(b'{"a":' * DEEP, b'{"a":' * DEEP + b"1" + b"}" * DEEP, b'{"a":' * 900 + b"1" + b"}" * 900),
    *(b"", b"\0", b"\xef\xbb\xbf", b"//", b"]", b"}", b","),
)
"""What stands in place of a JSON value."""

MAGIC = b"\x0a\x23\xd7\xce"
_LENGTH_BITS = 29
_PNG = b"\x89PNG"
_WORDS = (
    *(0, 1, 2, 5, 7, 23, 24, 27, 28, 1000, 2**16, 2**24, 2**28, 2**29 - 1, 2**29, 2**31 - 1, 2**31),
    *(2**32 - 4, 2**32 - 1, struct.unpack("<I", MAGIC)[0]),
)
_FLOATS = (
    0.0,
    -0.0,
    0.5,
    1.0,
    2.0,
    5.0,
    6.0,
    -1.0,
    -2.0,
    1.5,
    1000.0,
    3e9,
    1e30,
    -1e30,
    3e38,
    1e-45,
)
_ODD_FLOATS = (float("nan"), float("inf"), float("-inf"))

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|-?[0-9][0-9.eE+-]*|true|false|null|[\[\]{},:]')
_NAME = re.compile(rb'"(?:[^"\\]|\\.)*"(?=\s*:)')
_EDGE = re.compile(rb"[\[\]{},:\n]")


def any_bytes(random: Random, data: bytes) -> bytes:
    """One change that knows nothing of the format."""
    if not data:
        return random.randbytes(random.randint(1, 40))
    start = random.randrange(len(data))
    end = min(len(data), start + random.choice((1, 2, 4, 16, 100, 1000)))
    kind = random.choice(("flip", "flip", "truncate", "cut", "double", "insert", "overwrite"))
    if kind == "flip":
        flipped = data[start] ^ (1 << random.randrange(8))
        return data[:start] + bytes([flipped]) + data[start + 1 :]
    if kind == "truncate":
        return data[:start]
    if kind == "cut":
        return data[:start] + data[end:]
    if kind == "double":
        return data[:end] + data[start:]
    new = random.choice((random.randbytes(end - start), bytes(end - start)))
    return data[:start] + new + data[start if kind == "insert" else end :]


def text(random: Random, data: bytes) -> bytes:
    """One change to JSON or lines of JSON."""
    return random.choice((_value, _value, _value, _name_twice, _chunk, _encoding, any_bytes))(
        random, data
    )


def records(random: Random, data: bytes) -> bytes:
    """One change to frames of RecordIO with image records."""
    changes: tuple[Callable[[Random, bytes], bytes], ...] = (
        *(_word, _word, _label, _label, _label, _kind, _frame),
        any_bytes,
    )
    return random.choice(changes)(random, data)


def picture(random: Random, data: bytes) -> bytes:
    """One change to an encoded picture: to its header, which says how large it is, or anywhere."""
    if len(data) < 64 or random.random() < 0.4:
        return any_bytes(random, data)
    place, size = random.randrange(64), random.choice((1, 2, 4))
    number = random.choice((0, 1, 255, 2**14 - 1, 2**15, 2**16 - 1, 2**24, 2**31 - 1, 2**32 - 1))
    word = (number % 256**size).to_bytes(size, random.choice(("big", "little")))
    frame_header = re.search(rb"\xff\xc0..\x08", data, re.DOTALL)
    if data.startswith(_PNG):  # with a checksum that agrees
        header = _put(data[12:29], random.choice((4, 8, 12, 13, 14, 16)), word)[:17]
        return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]
    if frame_header and random.random() < 0.7:
        place = frame_header.start() + random.randrange(2, 17)
    return _put(data, place, word)


def _value(random: Random, data: bytes) -> bytes:
    """A value, a name, a bracket or a comma becomes something else."""
    found = list(_TOKEN.finditer(data))
    if not found:
        return any_bytes(random, data)
    tokens = [token for token in found if token.group() not in b"[]{},:"]
    token = random.choice(tokens if tokens and random.random() < 0.9 else found)
    return data[: token.start()] + random.choice(VALUES) + data[token.end() :]


def _name_twice(random: Random, data: bytes) -> bytes:
    """A name of an object stands there twice, with another value before or behind it."""
    names = list(_NAME.finditer(data))
    if not names:
        return any_bytes(random, data)
    name, other = random.choice(names), random.choice(names)
    key = random.choice((name, other)).group()
    return data[: name.start()] + key + b": " + random.choice(VALUES) + b", " + data[name.start() :]


def _chunk(random: Random, data: bytes) -> bytes:
    """A part between brackets, commas or ends of lines is cut out, doubled or put elsewhere."""
    edges = [0, *(match.end() for match in _EDGE.finditer(data)), len(data)]
    first = random.randrange(len(edges))
    start, end = edges[first], edges[min(len(edges) - 1, first + random.choice((1, 2, 5, 30)))]
    place = random.choice((start, end, random.choice(edges)))
    moved = data[start:end] * random.choice((0, 1, 1, 3, 300))
    return data[:place] + moved + data[place:] if moved else data[:start] + data[end:]


def _encoding(random: Random, data: bytes) -> bytes:
    """The text in another encoding, without its quotes, or with another end of lines."""
    readable = data.decode("utf-8", "replace")
    return random.choice(
        (
            readable.encode("utf-16"),
            readable.encode("utf-32", "replace"),
            b"\xef\xbb\xbf" + data,
            data.replace(b'"', b"'"),
            data.replace(b"\n", b"\r"),
            data.replace(b", ", b",\n"),
            b"[" + data + b"]",
            b"",
        )
    )


def _header(random: Random, data: bytes) -> int | None:
    """Where a frame begins, if there is one."""
    found = [match.start() for match in re.finditer(re.escape(MAGIC), data)]
    found = [place for place in found if place + 8 <= len(data)]
    return random.choice(found) if found else None


def _put(data: bytes, place: int, word: bytes) -> bytes:
    return data[:place] + word + data[place + len(word) :]


def _word(random: Random, data: bytes) -> bytes:
    """A number of the frame's header, or the count, label and ids behind it, becomes another."""
    header = _header(random, data)
    if header is None:
        return any_bytes(random, data)
    place = header + random.choice((0, 4, 4, 8, 8, 12, 16, 24))
    word = random.choice(_WORDS)
    if place == header + 4 and random.random() < 0.5:  # a length that is nearly right
        word = max(0, int.from_bytes(data[place : place + 4], "little") + random.randint(-9, 9))
    return _put(data, place, struct.pack("<I", word % 2**32))


def _label(random: Random, data: bytes) -> bytes:
    """A number of the label, its two widths included, becomes another."""
    header = _header(random, data)
    if header is None:
        return any_bytes(random, data)
    place = header + 32 + 4 * random.choice((0, 1, *range(2, 14)))
    number = random.choice((*_FLOATS, *_ODD_FLOATS, random.uniform(-2, 3)))
    return _put(data, place, struct.pack("<f", number))


def _kind(random: Random, data: bytes) -> bytes:
    """A frame says to be the first, a middle or the last one of a record, or nothing known."""
    header = _header(random, data)
    if header is None:
        return any_bytes(random, data)
    (word,) = struct.unpack_from("<I", data, header + 4)
    word = word & (2**_LENGTH_BITS - 1) | random.randrange(8) << _LENGTH_BITS
    return _put(data, header + 4, struct.pack("<I", word))


def _frame(random: Random, data: bytes) -> bytes:
    """A frame is left out, doubled, cut in two that belong together or not, or a new one added."""
    header = _header(random, data)
    if header is None:
        return any_bytes(random, data)
    (word,) = struct.unpack_from("<I", data, header + 4)
    length = word & (2**_LENGTH_BITS - 1)
    end = header + 8 + (length + 3 & ~3)
    body, rest = data[header + 8 : header + 8 + length], data[end:]
    kinds = [random.randrange(5) for _ in range(3)] if random.random() < 0.5 else [1, 2, 3]
    cut = sorted(random.randrange(len(body) // 4 + 1) * 4 for _ in range(2))
    parts = body[: cut[0]], body[cut[0] : cut[1]], body[cut[1] :]
    new = random.choice(
        (
            b"",
            data[header:end] * 2,
            data[header:end] * 40,
            b"".join(map(frame, parts, kinds)),
            frame(b"") + data[header:end],
            frame(random.randbytes(random.randrange(60))) + data[header:end],
        )
    )
    return data[:header] + new + rest


def frame(body: bytes, kind: int = 0) -> bytes:
    """One frame of RecordIO."""
    word = kind << _LENGTH_BITS | len(body)
    return MAGIC + struct.pack("<I", word) + body + bytes(-len(body) % 4)
