"""Whether a text can fit the context, found out before all of it is turned into tokens."""

from sala_compile.runtime.errors import RequestError
from sala_compile.runtime.serving.http.api_error import too_long
from sala_compile.runtime.text.tokenizer import Tokenizer
from sala_compile.runtime.text.tokenizers.room import require_room


def require_text_fits(tokenizer: Tokenizer, context: int, text: str, param: str) -> None:
    """ApiError if a text certainly has more tokens than the context."""
    try:
        require_room(text, context, lambda part: len(tokenizer.encode(part, special=False)))
    except RequestError:
        raise too_long(context + 1, context, param) from None
