"""Compiles what answers follow, for one model."""

import threading
from collections import OrderedDict
from collections.abc import Set
from concurrent.futures import ThreadPoolExecutor

from llguidance import LLMatcher

from sala_compile.runtime.errors import RequestError
from sala_compile.runtime.serving.structure.grammar_checker import GrammarChecker
from sala_compile.runtime.serving.structure.grammar_constraint import GrammarConstraint
from sala_compile.runtime.serving.structure.grammar_tokenizer import GrammarTokenizer
from sala_compile.runtime.serving.structure.library_grammar import GrammarFailure, compiled
from sala_compile.runtime.serving.structure.structure import Structure
from sala_compile.runtime.text.tokenizer import Tokenizer

_KEPT = 32
_STACK = 64 << 20


class CompiledStructure:
    """A structure for a model's tokens; gives a constraint to each answer."""

    def __init__(self, matcher: LLMatcher, tokens: GrammarTokenizer, structure: Structure) -> None:
        self.structure = structure
        self._matcher = matcher
        self._tokens = tokens

    def constraint(self) -> GrammarConstraint:
        """A new one, at its beginning."""
        tokens, matcher = self._tokens, self._matcher.deep_copy()
        size = tokens.library.vocab_size
        return GrammarConstraint(matcher, tokens.vocabulary, size, self.structure)


class Structures:
    """Compiles structures, one at a time, and keeps the last few. For any threads."""

    def __init__(self, tokenizer: Tokenizer, vocabulary: int, ends: Set[int]) -> None:
        """For a model of `vocabulary` ids whose answers end with one of `ends`."""
        self._source = (tokenizer, vocabulary, ends)
        self._lock = threading.Lock()
        self._tokens: GrammarTokenizer | None = None
        self._kept: OrderedDict[Structure, CompiledStructure] = OrderedDict()
        self._checker = GrammarChecker()
        before = threading.stack_size(_STACK)  # compilers call themselves for what is nested
        self._thread = ThreadPoolExecutor(1, "grammars")
        self._thread.submit(threading.get_ident).result()
        threading.stack_size(before)

    @property
    def tokens(self) -> GrammarTokenizer:
        """The model's tokens; RequestError if no grammar can be enforced with its tokenizer."""
        with self._lock:
            if self._tokens is None:
                self._tokens = GrammarTokenizer(*self._source)
            return self._tokens

    def start(self) -> None:
        """Do what takes time, which the first structure does otherwise."""
        self._checker.start()
        try:
            _ = self.tokens.library
        except RequestError:
            return  # said where a structure is requested

    def close(self) -> None:
        """End the process and the thread that compile."""
        self._checker.close()
        self._thread.shutdown(cancel_futures=True)

    def compile(self, structure: Structure) -> CompiledStructure:
        """RequestError if it does not compile, or takes too much."""
        with self._lock:
            known = self._kept.get(structure)
            if known is not None:
                self._kept.move_to_end(structure)
                return known
        tokens = self.tokens
        self._checker.check(structure.kind, structure.source, structure.where)
        made = self._thread.submit(self._compiled, tokens, structure).result()
        with self._lock:
            self._kept[structure] = made
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return made

    def _compiled(self, tokens: GrammarTokenizer, structure: Structure) -> CompiledStructure:
        try:
            matcher = compiled(tokens.library, structure.kind, structure.source)
        except GrammarFailure as failure:
            found = f"the {structure.kind} does not compile: {failure}"
            raise RequestError(found, structure.where) from None
        return CompiledStructure(matcher, tokens, structure)
