"""Chunks cover their document, fit the model and carry exact offsets, whatever the text."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Inner
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from embed_job.chunk.boundaries import begins_cluster, layout
from embed_job.chunk.chunker import Chunk, Chunker, Window
from embed_job.errors import SpecError
from embed_job.records import Document
from embed_job.tokenizer import Tokenizer

PROSE = (
    "The archive is opened first. Then every member is read, one by one; nothing is kept. "
    "Does it close? It does! An error names the file, e.g. the third one, and its offset.\n\n"
    "# Reading\n\nA second paragraph begins here and goes on\nover a line break. It ends.\n"
    "- a list item of some words\n- another item, much like it\n"
    "日本語の文章です。次の文はここから始まります。最後！ "
)
UNKNOWN = "[UNK]"
TRAINING = [PROSE, "unaffable playing e\u0301 \U0001f469\u200d\U0001f469\u200d\U0001f467 123 don't"]


class BuiltTokenizer(Tokenizer):
    """The engine's tokenizer over one that was built here; notes what it was given."""

    def __init__(self, inner: Inner, prompt: str = "") -> None:
        self.longest = self.work = 0
        self._set(inner, prompt)

    def spans(self, text: str) -> npt.NDArray[np.int32]:
        self._note([text])
        return super().spans(text)

    def _encodings(self, texts: Sequence[str]) -> Iterable[Any]:
        self._note(texts)
        return super()._encodings(texts)

    def _note(self, texts: Sequence[str]) -> None:
        self.longest = max([self.longest, *map(len, texts)])
        self.work += sum(map(len, texts))


def _word_pieces() -> Inner:
    """As BERT's: blanks and control characters vanish, accents are stripped."""
    alphabet = sorted(set("".join(TRAINING).lower()) - set(" \n"))
    words = {"the", "is", "it", "un", "member", "read", "error", ".", ",", "##aff", "##ing"}
    vocabulary = ["[PAD]", UNKNOWN, "[CLS]", "[SEP]", *alphabet, *(f"##{c}" for c in alphabet)]
    vocabulary += sorted(words - set(vocabulary))
    ids = {word: number for number, word in enumerate(vocabulary)}
    inner = Inner(models.WordPiece(ids, unk_token=UNKNOWN, max_input_chars_per_word=100))
    inner.normalizer = normalizers.BertNormalizer()
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return inner


def _byte_pairs() -> Inner:
    """As RoBERTa's: blanks belong to tokens, one character may be several."""
    inner = Inner(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=500, initial_alphabet=alphabet, show_progress=False)
    inner.train_from_iterator(TRAINING, trainer)
    inner.add_special_tokens(["<s>", "</s>"])
    special = [(name, inner.token_to_id(name)) for name in ("<s>", "</s>")]
    inner.post_processor = processors.TemplateProcessing("<s> $A </s>", special_tokens=special)
    return inner


def _unigram() -> Inner:
    """As XLM-R's: a mark is put before each text, so a piece has other tokens than its span."""
    inner = Inner(models.Unigram())
    inner.normalizer = normalizers.NFKC()
    inner.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=200,
        special_tokens=[UNKNOWN, "<s>", "</s>"],
        unk_token=UNKNOWN,
        show_progress=False,
    )
    inner.train_from_iterator(TRAINING, trainer)
    special = [("<s>", 1), ("</s>", 2)]
    inner.post_processor = processors.TemplateProcessing("<s> $A </s>", special_tokens=special)
    return inner


INNERS = {"word pieces": _word_pieces(), "byte pairs": _byte_pairs(), "unigram": _unigram()}
BUILT = sorted(INNERS)


def _tokenizer(kind: str = "word pieces", prompt: str = "") -> BuiltTokenizer:
    return BuiltTokenizer(INNERS[kind], prompt)


def _chunker(
    tokenizer: Tokenizer, *, max_tokens: int = 32, overlap_tokens: int = 8, **options: Any
) -> Chunker:
    options = {"strategy": "sentences"} | options
    return Chunker(tokenizer, max_tokens=max_tokens, overlap_tokens=overlap_tokens, **options)


def _documents(*texts: str) -> list[Document]:
    return [
        Document(
            ordinal=number,
            key="k",
            line=number,
            byte_offset=None,
            length=None,
            doc_id=str(number),
            text=text,
        )
        for number, text in enumerate(texts)
    ]


@dataclass
class _Result:
    """All windows of a run, put together by document."""

    chunks: dict[str, list[Chunk]]
    ids: dict[str, list[list[int]]]
    finished: dict[str, tuple[int, int]]
    windows: list[Window]


def _run(chunker: Chunker, documents: list[Document], window_bytes: int = 1 << 20) -> _Result:
    result = _Result({}, {}, {}, [])
    for window in chunker.iter_windows(documents, window_bytes=window_bytes):
        result.windows.append(window)
        assert len(window.tokens) == len(window.chunks)
        assert window.tokens.offsets[-1] == len(window.tokens.ids)
        for chunk, begin, end in zip(
            window.chunks, window.tokens.offsets[:-1], window.tokens.offsets[1:], strict=True
        ):
            document = window.documents[chunk.document]
            assert chunk.text == document.text[chunk.char_start : chunk.char_end]
            result.chunks.setdefault(document.doc_id, []).append(chunk)
            ids = window.tokens.ids[begin:end].tolist()
            result.ids.setdefault(document.doc_id, []).append(ids)
        for end in window.finished:
            document = window.documents[end.document]
            assert document.doc_id not in result.finished
            result.finished[document.doc_id] = (end.chunks, end.truncated_tokens)
    for doc_id, chunks in result.chunks.items():
        assert [chunk.number for chunk in chunks] == list(range(len(chunks)))
        assert {chunk.only for chunk in chunks} == {len(chunks) == 1}
        assert result.finished[doc_id][0] == len(chunks)
    return result


def _cuts(chunks: list[Chunk]) -> list[tuple[int, int]]:
    return [(chunk.char_start, chunk.char_end) for chunk in chunks]


def _assert_covers(text: str, chunks: list[Chunk]) -> None:
    covered = np.zeros(len(text), bool)
    for chunk in chunks:
        covered[chunk.char_start : chunk.char_end] = True
    assert all(covered[at] or char.isspace() for at, char in enumerate(text))


def _assert_ascending(chunks: list[Chunk]) -> None:
    for before, after in pairwise(chunks):
        assert before.char_start < after.char_start
        assert before.char_end < after.char_end


CLUSTERS = [
    "e\u0301", "a\u0308\u0323", "\U0001f469\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466",
    "\U0001f44d\U0001f3fd", "\U0001f1e9\U0001f1ea", "\u1112\u1161\u11ab", "\u2764\ufe0f", "क\u093e",
]  # fmt: skip
PIECES = [
    "word", "unaffable", "The", "playing", " ", " ", " ", ". ", "? ", "\n", "\n\n", "# ", "- ",
    "…",
    "e\u0301", "a\u0308\u0323", "日本語", "。", "한국어", "שלום", "\u202eabc\u202c", "\x00",
    "\ufeff",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466", "\U0001f44d\U0001f3fd",
    "\U0001f1e9\U0001f1ea\U0001f1eb\U0001f1f7", "\ufdfa", "x" * 130, "12.5", "e.g. ",
]  # fmt: skip
TEXTS = st.lists(
    st.sampled_from(PIECES) | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    min_size=1,
    max_size=120,
).map("".join)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    text=TEXTS,
    kind=st.sampled_from(BUILT),
    max_tokens=st.integers(8, 40),
    overlap=st.integers(0, 20),
    prompt=st.sampled_from(["", "the "]),
    stretch=st.sampled_from([200, 65_536]),
)
@example(PROSE * 20, "word pieces", 16, 4, "", 65_536)
@example("word" + "x" * 130, "unigram", 8, 0, "the ", 200)
@example("   \n\n", "byte pairs", 8, 0, "the ", 200)
@example("\ufdfa" * 30, "unigram", 8, 3, "the ", 65_536)
@example("e" + "\u0301" * 300, "byte pairs", 8, 3, "", 65_536)
@example("\n" * 500 + "a" + " \n" * 300, "byte pairs", 8, 4, "", 65_536)
def test_any_text_is_covered_by_chunks_that_fit(
    text: str, kind: str, max_tokens: int, overlap: int, prompt: str, stretch: int
) -> None:
    tokenizer = _tokenizer(kind, prompt)
    max_tokens = max(max_tokens, tokenizer.overhead_tokens + 4)
    chunker = _chunker(
        tokenizer, max_tokens=max_tokens, overlap_tokens=overlap, stretch_chars=stretch
    )
    result = _run(chunker, _documents(text))
    chunks, ids = result.chunks["0"], result.ids["0"]
    _assert_ascending(chunks)
    _assert_covers(text, chunks)
    assert max(map(len, ids)) <= max_tokens
    alone = [tokenizer.encode([chunk.text]).ids.tolist() for chunk in chunks]
    lost = sum(max(0, len(whole) - max_tokens) for whole in alone)
    assert result.finished["0"] == (len(chunks), lost)
    for own, whole in zip(ids, alone, strict=True):
        assert own == whole or len(whole) > max_tokens
    if len(tokenizer.encode([text]).ids) <= max_tokens:
        assert _cuts(chunks) == [(0, len(text))]


@settings(max_examples=60, deadline=None)
@given(
    texts=st.lists(TEXTS, min_size=1, max_size=5),
    window_bytes=st.integers(1, 3000),
    strategy=st.sampled_from(["sentences", "truncate"]),
)
def test_chunks_do_not_depend_on_windows_or_neighbours(
    texts: list[str], window_bytes: int, strategy: str
) -> None:
    chunker = _chunker(_tokenizer("byte pairs"), max_tokens=16, overlap_tokens=4, strategy=strategy)
    together = _run(chunker, _documents(*texts), window_bytes)
    for number, document in enumerate(_documents(*texts)):
        alone = _run(chunker, [document])
        doc_id = str(number)
        assert _cuts(together.chunks[doc_id]) == _cuts(alone.chunks[doc_id])
        assert together.ids[doc_id] == alone.ids[doc_id]
        assert together.finished[doc_id] == alone.finished[doc_id]


@settings(max_examples=60, deadline=None)
@given(text=TEXTS, overlap=st.integers(0, 12))
def test_no_more_is_repeated_than_the_overlap(text: str, overlap: int) -> None:
    tokenizer = _tokenizer()
    chunks = _run(_chunker(tokenizer, overlap_tokens=overlap), _documents(text)).chunks["0"]
    for before, after in pairwise(chunks):
        repeated = text[after.char_start : before.char_end]
        assert len(tokenizer.spans(repeated)) <= overlap


@settings(max_examples=80, deadline=None)
@given(words=st.lists(st.sampled_from(CLUSTERS), min_size=40, max_size=200))
@pytest.mark.parametrize("kind", BUILT)
def test_no_cut_splits_what_is_read_as_one_character(kind: str, words: list[str]) -> None:
    text = "".join(words)
    for chunk in _run(_chunker(_tokenizer(kind), max_tokens=64), _documents(text)).chunks["0"]:
        assert begins_cluster(text, chunk.char_start)
        assert begins_cluster(text, chunk.char_end)


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_clusters_are_known(cluster: str) -> None:
    text = f"a{cluster}b"
    begins = [at for at in range(1, len(text)) if begins_cluster(text, at)]
    assert begins == [1, len(text) - 1]


def test_sentences_stay_whole_and_overlap_is_a_whole_sentence() -> None:
    sentences = [f"The {n} member is read. " for n in "abcdefgh"]
    text = "".join(sentences).rstrip()
    tokenizer = _tokenizer()
    size = len(tokenizer.spans(sentences[0]))
    chunker = _chunker(tokenizer, max_tokens=3 * size + 3, overlap_tokens=size + 1)
    chunks = _run(chunker, _documents(text)).chunks["0"]
    assert all(chunk.text.startswith("The ") and chunk.text.endswith(".") for chunk in chunks)
    for before, after in pairwise(chunks):
        repeated = text[after.char_start : before.char_end]
        assert repeated.startswith("The ")
        assert repeated.count(".") == 1


def test_a_paragraph_end_is_preferred_to_a_later_sentence_end() -> None:
    tokenizer = _tokenizer()
    sentence = "It is read. "
    size = len(tokenizer.spans(sentence))
    text = sentence * 8 + "\n\n" + sentence * 8
    chunker = _chunker(tokenizer, max_tokens=9 * size + 2, overlap_tokens=0)
    first = _run(chunker, _documents(text)).chunks["0"][0]
    assert first.text == (sentence * 8).strip()


def test_a_last_chunk_is_not_tiny() -> None:
    tokenizer = _tokenizer()
    text = " ".join(["the"] * 103)
    chunker = _chunker(tokenizer, max_tokens=102, overlap_tokens=0)
    lengths = [len(ids) for ids in _run(chunker, _documents(text)).ids["0"]]
    assert len(lengths) == 2
    assert min(lengths) > 30


def test_a_sentence_longer_than_the_model_is_cut_between_words() -> None:
    text = " ".join(["unaffable"] * 50)
    for chunk in _run(_chunker(_tokenizer()), _documents(text)).chunks["0"]:
        assert set(chunk.text.split(" ")) == {"unaffable"}


def test_a_word_longer_than_the_model_is_cut_between_tokens() -> None:
    tokenizer = _tokenizer("byte pairs")
    text = "".join(chr(97 + n * 7 % 26) for n in range(3000))
    result = _run(_chunker(tokenizer, overlap_tokens=0), _documents(text))
    assert "".join(chunk.text for chunk in result.chunks["0"]) == text
    assert len(result.chunks["0"]) > 10


@pytest.mark.parametrize("text", ["\x00", "\x00" * 70_000, "\u200b\x01"])
@pytest.mark.parametrize("strategy", ["sentences", "truncate"])
def test_a_text_without_tokens_is_one_chunk(text: str, strategy: str) -> None:
    result = _run(_chunker(_tokenizer(), strategy=strategy), _documents(text, "read"))
    assert result.ids["0"] == [[2, 3]]
    assert result.finished["0"] == (1, 0)
    assert result.chunks["1"][0].text == "read"


def test_characters_without_tokens_between_stretches_lose_nothing_else() -> None:
    text = "The member is read. " * 40 + "\x00" * 20_000 + "It is the error. " * 40
    chunker = _chunker(_tokenizer(), stretch_chars=4_000)
    covered = np.zeros(len(text), bool)
    for chunk in _run(chunker, _documents(text)).chunks["0"]:
        covered[chunk.char_start : chunk.char_end] = True
    assert all(covered[at] or not char.isalpha() for at, char in enumerate(text))


@pytest.mark.parametrize("kind", BUILT)
@pytest.mark.parametrize("prompt", ["", "the "])
def test_truncation_keeps_the_beginning_and_counts_the_rest(kind: str, prompt: str) -> None:
    tokenizer = _tokenizer(kind, prompt)
    text = PROSE * 5
    chunker = _chunker(tokenizer, strategy="truncate")
    result = _run(chunker, _documents("It is read.", text))
    assert result.finished["0"] == (1, 0)
    (chunk,) = result.chunks["1"]
    kept, lost = tokenizer.encode_truncated([text], 32)
    assert result.ids["1"] == [kept.ids.tolist()]
    assert result.finished["1"] == (1, int(lost[0]))
    assert lost[0] == len(tokenizer.encode([text]).ids) - 32
    content = 32 - tokenizer.overhead_tokens
    assert (chunk.char_start, chunk.char_end) == (0, tokenizer.spans(text)[content - 1][1])


def test_truncation_counts_what_lies_beyond_the_first_stretch() -> None:
    tokenizer = _tokenizer()
    text = "the member is read. " * 20_000
    result = _run(_chunker(tokenizer, strategy="truncate"), _documents(text))
    assert result.finished["0"] == (1, 5 * 20_000 - 30)
    assert tokenizer.longest <= 65_536


def test_a_long_document_spans_windows_in_bounded_pieces() -> None:
    text = PROSE * 400
    result = _run(_chunker(_tokenizer()), _documents("It is.", text, "It was."), 10_000)
    assert len(result.windows) > 8
    assert sum("1" in {d.doc_id for d in window.documents} for window in result.windows) > 8
    for window in result.windows:
        assert sum(len(chunk.text.encode()) for chunk in window.chunks) < 10_000 + 400
    _assert_covers(text, result.chunks["1"])


def test_many_short_documents_are_bounded_by_count() -> None:
    documents = _documents(*["it"] * 10_000)
    windows = _run(_chunker(_tokenizer()), documents, 1 << 30).windows
    assert [len(window.chunks) for window in windows] == [*[2_048] * 4, 1_808]


def test_windows_are_made_as_they_are_taken() -> None:
    taken = 0

    def endless() -> Iterable[Document]:
        nonlocal taken
        while True:
            taken += 1
            yield _documents(PROSE)[0]

    next(_chunker(_tokenizer()).iter_windows(endless(), window_bytes=10_000))
    assert taken < 300


def _work_and_peak(text: str) -> tuple[int, int]:
    """Characters given to the tokenizer in all, and peak bytes of Python's own memory."""
    tokenizer = _tokenizer()
    chunker = _chunker(tokenizer, max_tokens=256, overlap_tokens=32)
    documents = _documents(text)
    tracemalloc.start()
    for window in chunker.iter_windows(documents, window_bytes=50_000):
        assert window.chunks
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert tokenizer.longest <= 65_536
    return tokenizer.work, peak


@pytest.mark.parametrize(
    "unit", ["the member is the error. ", "unaffable", "x" * 90 + " ", "\x00 ", "日本語。"]
)
def test_a_huge_text_takes_linear_work_and_bounded_memory(unit: str) -> None:
    _, small_peak = _work_and_peak(unit * (150_000 // len(unit)))
    work, peak = _work_and_peak(unit * (350_000 // len(unit)))
    assert work < 5 * 350_000  # 2: once for places, once for ids; more where tokens are few
    assert peak < 1.2 * small_peak + 100_000


@pytest.mark.parametrize("unit", [".", ".)", "\n", " ", "\n ", ". ", '!"', "\n    #", "。」"])
def test_no_run_of_marks_makes_the_search_for_boundaries_slow(unit: str) -> None:
    text = (unit * 65_536)[:65_535] + "x"
    begun = time.process_time()
    layout(text, np.array([[65_535, 65_536]], np.int32))
    assert time.process_time() - begun < 1  # a quadratic pattern takes minutes


def test_no_room_beside_the_prompt_is_the_users_mistake() -> None:
    with pytest.raises(SpecError, match="leave no room"):
        _chunker(_tokenizer(prompt="the member is read and read"), max_tokens=8)


def test_no_document_gives_no_window() -> None:
    assert _run(_chunker(_tokenizer()), []).windows == []
