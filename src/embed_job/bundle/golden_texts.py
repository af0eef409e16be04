"""The texts of the golden vectors, in the order in which a worker's start takes them."""

from __future__ import annotations

from collections.abc import Iterable

_SHORT = (
    "How do I read a zip file?",
    "The committee meets on the second Tuesday of each month.",
    "a",
    "naïve café, Ångström, Œuvre, straße",
    "東京は日本の首都です。",
    "return {key: value for key, value in pairs if value is not None}",
    "Привет, как дела? Всё хорошо.",
    "1,234.56 × 10⁻³ ≈ 1.23456; 50 % off until 2031-12-24T23:59:59Z",
    "Invoice no. 2048 was paid twice. Please refund the second payment to the same account.",
    "السلام عليكم ورحمة الله",
    "👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽 ok",
    "!!! ... ??? --- ;;; ###",
    "\ttabs\tand\r\nline breaks\n\n  and   spaces \u00a0\u2003 of all kinds ",
    "A purring cat sleeps on the warm windowsill.",
    "UPPER lower MiXeD snake_case camelCase kebab-case",
    "e\u0301 is é; A\u030a is Å; \u202eright to left\u202c; zero\u200bwidth",
    "pneumonoultramicroscopicsilicovolcanoconiosis",
    "한국어 문장 하나와 English mixed together",
    "https://example.org/a/b?c=d&e=f#g user@example.org 192.0.2.17 ::1",
    "Water boils at 100 °C at sea level, and at about 93 °C in Denver.",
    "नमस्ते दुनिया",
    "[CLS] [SEP] <s> </s> <pad> [PAD] <mask> [MASK]",
    "x = 3\nwhile x:\n    x -= 1\n",
    "Der Vertrag endet mit Ablauf des Monats, in dem er gekündigt wurde.",
    "abc\u0000def \u0007 \ufffd",
    "El cielo está despejado y el viento sopla del norte.",
    "∀x ∈ ℝ: x² ≥ 0",
    "Ωmega και λόγος, τέλος",
)
_PARAGRAPH = (
    "A lighthouse keeper writes down the weather four times a day. The entries are short: wind, "
    "visibility, the state of the sea, the names of ships that pass. Over thirty years the books "
    "fill a shelf, and nobody reads them until a student of the climate asks whether there were "
    "more fogs in the past. She photographs every page, has the handwriting recognised, and finds "
    "that the number of foggy mornings fell by half after the harbour was dredged in 1957. "
)
_LONG = (
    _PARAGRAPH,
    _PARAGRAPH * 3,
    "word " * 600,
    "語" * 700,
)


def golden_texts(prompts: Iterable[str]) -> tuple[str, ...]:
    """Short texts, then some with each of the first prompts before them, then long ones."""
    prompted = [prompt + text for prompt in list(prompts)[:4] for text in _SHORT[:2] if prompt]
    return (*_SHORT, *prompted, *_LONG)
