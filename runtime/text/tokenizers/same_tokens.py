"""Whether the token ids of two artifacts mean the same."""

from sala_compile.runtime.artifact.reader import Artifact
from sala_compile.runtime.common.json_text import quoted
from sala_compile.runtime.errors import RequestError
from sala_compile.runtime.text.tokenizers.tokenizer_files import TOKENIZER_FILE, TokenizerFiles
from sala_compile.runtime.text.tokenizers.tokenizer_loading import load_core

_FIX = "take a draft model of the same family, compiled from a checkpoint with the same tokenizer"


def require_same_tokens(artifact: Artifact, draft: Artifact) -> None:
    """RequestError, with the first id that differs, unless a draft model's ids are the model's.

    Vocabularies may have unused rows at their end. Of artifacts without tokenizers only the size
    of the vocabulary is known, and has to be equal.
    """
    name, other = artifact.directory.name, draft.directory.name
    with_files = [each.has(TOKENIZER_FILE) for each in (artifact, draft)]
    if not any(with_files):
        sizes = [each.manifest.model.vocabulary for each in (artifact, draft)]
        if sizes[0] != sizes[1]:
            raise _refused(
                f"{other} has {sizes[1]} token ids, {name} has {sizes[0]}, and neither has a "
                "tokenizer"
            )
        return
    if not all(with_files):
        without = other if with_files[0] else name
        raise _refused(f"{without} has no tokenizer that could be compared with the other's")
    own, drafted = (_tokens(each) for each in (artifact, draft))
    for token in sorted(own.keys() | drafted.keys()):
        one, two = own.get(token), drafted.get(token)
        if one != two:
            found = f"token {token} is {_shown(two)} in {other} and {_shown(one)} in {name}"
            raise _refused(f"the tokenizers differ: {found}")


def _tokens(artifact: Artifact) -> dict[int, str]:
    core, _ = load_core(TokenizerFiles.of_artifact(artifact))
    return {number: text for text, number in core.get_vocab(with_added_tokens=True).items()}


def _shown(text: str | None) -> str:
    return "no token" if text is None else quoted(text)


def _refused(found: str) -> RequestError:
    return RequestError(
        found, where="draft", expected="a draft model with the tokenizer of the model", fix=_FIX
    )
