"""Text from the bytes of a file that a person wrote, on any system."""

import codecs

from sala_compile.runtime.errors import RequestError

_MARKS = (
    (codecs.BOM_UTF8, "utf-8", "UTF-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le", "UTF-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be", "UTF-32"),
    (codecs.BOM_UTF16_LE, "utf-16-le", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16-be", "UTF-16"),
)
_LOOKED_AT = 64  # bytes; letters of many scripts leave every second one zero in UTF-16


def decode_text(data: bytes, what: str, where: str) -> str:
    """The text of `data`: UTF-8, or UTF-16 or UTF-32 with a byte order mark, which is dropped.

    RequestError, in which `what` is the part of the file ("the prompt") and `where` its place, for
    anything else.
    """
    mark, codec, name = next((m for m in _MARKS if data.startswith(m[0])), (b"", "utf-8", "UTF-8"))
    beginning = data[:_LOOKED_AT]
    zeros = max(beginning[::2].count(0), beginning[1::2].count(0))
    if not mark and 4 * zeros > len(beginning):
        raise _refused(f"{what} has bytes of zero, as UTF-16 without a byte order mark has", where)
    try:
        return data[len(mark) :].decode(codec)
    except UnicodeDecodeError as problem:
        place = len(mark) + problem.start
        found = f"{what} is not {name}: {problem.reason} at byte {place}"
        raise _refused(found, where) from None


def _refused(found: str, where: str) -> RequestError:
    return RequestError(
        found,
        where=where,
        expected="text in UTF-8, or in UTF-16 or UTF-32 with a byte order mark",
        fix="convert the file: iconv -f ENCODING -t UTF-8",
    )
