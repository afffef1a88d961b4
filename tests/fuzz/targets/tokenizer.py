"""tokenizer.json and the files beside it."""

from pathlib import Path

from hypothesis import strategies as st

from tests.fuzz import fixtures
from tests.fuzz.case import Case
from tests.fuzz.strategies import edits_of
from tests.fuzz.target import Folder, Target, changes_of, read_files
from tests.fuzz.values import Draw

MAIN = "tokenizer.json"
BESIDE = (
    *("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    "generation_config.json",
)
TEXTS = (
    "the key is here.",
    "  a  abc 12\n你好 👩‍👩‍👧‍👦 <s>x</s><|user|>",
    "a" * 3000 + " " * 500,
    "",
)
ROWS = 100_000
WORDS = (
    *("BPE", "Unigram", "WordPiece", "WordLevel", "Sequence", "Replace", "Split", "Precompiled"),
    *("ByteLevel", "Metaspace", "ByteFallback", "Strip", "Fuse", "TemplateProcessing", "NFKC"),
    *("Isolated", "MergedWithPrevious", "Removed", "always", "never", "first", "Prepend", "Digits"),
    *(
        "Regex",
        "String",
        "pattern",
        "content",
        "(a+)+$",
        "(?:a|a)*$",
        r"(\s|\s\s)+x",
        "\\p{L}+",
        "",
    ),
    *(
        "LlamaTokenizer",
        "PreTrainedTokenizerFast",
        "<s>",
        "</s>",
        "<unk>",
        "bos_token",
        "eos_token",
    ),
    *("additional_special_tokens", "extra_special_tokens", "add_bos_token", "vocab", "merges"),
)


class TokenizerTarget(Target):
    """Loaded; texts are encoded, decoded, and streamed token by token."""

    name = "tokenizer"
    share = 15_000
    continuous = 250

    def prepare(self) -> None:
        """Import the tokenizer."""
        from sala_compile.codegen.texts import check_tokenizer, end_tokens
        from sala_compile.runtime.text.tokenizer import Tokenizer

        self._tokenizer, self._check, self._ends = Tokenizer, check_tokenizer, end_tokens
        folder = self.fixtures / fixtures.TOKENIZERS
        self._bases = {
            path.name: read_files(path, MAIN, *BESIDE) for path in sorted(folder.iterdir())
        }

    def start(self, room: Path) -> None:
        """A directory of each kind."""
        super().start(room)
        source = self.fixtures / fixtures.TOKENIZERS
        self._folders = {name: Folder(source / name, room / name) for name in self._bases}

    def cases(self) -> st.SearchStrategy[Case]:
        """Edits of one or two files."""

        @st.composite
        def case(draw: Draw) -> Case:
            base = draw(st.sampled_from(sorted(self._bases)))
            files = self._bases[base]
            main = draw(st.integers(0, 2)) > 0
            chosen = {name: data for name, data in files.items() if (name == MAIN) is main}
            return Case(base, draw(edits_of(chosen, WORDS)), {})

        return case()

    def lay(self, case: Case) -> int:
        """The files of the case."""
        return self._folders[case.base].lay(changes_of(self._bases[case.base], case))

    def check(self, case: Case) -> None:
        """Everything that the product does with these files."""
        folder = self._folders[case.base].path
        self._check(folder, ROWS)
        self._ends(folder, (2,))
        tokenizer = self._tokenizer.from_files(folder)
        for text in TEXTS:
            ids = tokenizer.encode(text)
            tokenizer.decode(ids)
            decoder = tokenizer.stream(ids[:3])
            for token in ids[3:200]:
                decoder.push(token)
            decoder.flush()
