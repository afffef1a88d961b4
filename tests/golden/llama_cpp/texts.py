# ruff: noqa: RUF001
"""Texts that tell tokenizers apart, and a conversation."""

import random

HAND = (
    "",
    " ",
    "  two and   three spaces, then trailing   ",
    "tab\tand\ttwo\t\ttabs\n\nnew lines\r\n and\n  indented\n\n\n",
    "I'll we've they'RE don't it's O'Neil ''' \"quotes\"",
    "0 12 123 1234567890 3.14159 1,000,000 ½ ² ٣٤٥ 一二三 Ⅻ",
    "def f(x):\n    return {'a': [1, 2], **x}  # comment\n\tif x != y >= z: pass",
    "naïve café Ångström coöperate — “quoted” … ‹›",
    "e\u0301 n\u0303 a\u030a combining, \u200bzero\u200dwidth\u00a0spaces\u3000ideographic",
    "🙂🙃 👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽 🇫🇷🇯🇵 ☕️ ❤️ 🧑🏿‍🚀",
    "中文句子，没有空格。日本語のテキスト、カタカナとひらがな。한국어 문장입니다.",
    "العربية من اليمين إلى اليسار עברית हिन्दी ไทย Ελληνικά Русский язык",
    "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
    "a <|im_start|> b<|im_end|>c <|endoftext|><|endoftext|> <|im_end|",
    "<repo_name>x<file_sep><reponame> <filename> <jupyter_start> <empty_output>",
    "<|im_start|><|im_start|> <| im_start |> <|IM_START|>",
    "https://example.org/a/b?c=d&e=%20f#g user@example.com C:\\path\\file.txt",
    "\u0001\u0007\u001b[31m\u007f\u0080\u009f\ufeff\ufffd\ue000\U0010ffff",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "The quick brown fox jumps over the lazy dog. " * 8,
)
RANGES = (
    (0x20, 0x7E),
    (0x09, 0x0D),
    (0xA0, 0x24F),
    (0x300, 0x36F),
    (0x370, 0x5FF),
    (0x600, 0x6FF),
    (0x900, 0x97F),
    (0x2000, 0x206F),
    (0x3040, 0x30FF),
    (0x4E00, 0x9FFF),
    (0xAC00, 0xD7A3),
    (0x1F300, 0x1FAFF),
)
PIECES = (
    " ",
    "  ",
    "\n",
    "<|im_end|>",
    "<|im_start|>",
    "'s",
    "1",
    "42",
    "the",
    " The",
    ".",
    "👍🏽",
)
CONVERSATION = (
    "Hi! Who are you?",
    "Why is the sky blue?",
    "Give me three tips for staying healthy.",
    "Explain the second one to a child.",
    "Thank you 🙂",
)
"""What a user says, turn after turn."""
ANSWER_TOKENS = 96


def corpus() -> list[str]:
    """The texts by hand, and 200 of random characters and pieces."""
    draw = random.Random(0)
    return [*HAND, *(_drawn(draw) for _ in range(200))]


def _drawn(draw: random.Random) -> str:
    """Up to 24 characters of a few ranges, pieces among them."""
    ranges = draw.sample(RANGES, 3)
    parts: list[str] = []
    for _ in range(draw.randint(1, 24)):
        if draw.random() < 0.3:
            parts.append(draw.choice(PIECES))
        else:
            parts.append(chr(draw.randint(*draw.choice(ranges))))
    return "".join(parts)
