"""Writes down what transformers makes of the combinations of tokenizer files in `cases.py`.

    python tests/golden/tokenizers/record.py        # in an environment with transformers 5.23

transformers is no dependency of this project: the tests compare with what is written down.
"""

import json
import os
import tempfile
from pathlib import Path

os.environ["TRANSFORMERS_VERBOSITY"] = "error"

import transformers  # pyright: ignore[reportMissingImports]
from cases import TEXTS, cases, id_lists, write

RECORD = Path(__file__).with_name("expected.json")


class Shared:
    """Results, each once, and where it stands."""

    def __init__(self) -> None:
        self.places: dict[str, int] = {}

    def place(self, result: object) -> int:
        """The number of `result`."""
        text = json.dumps(result, ensure_ascii=False)
        return self.places.setdefault(text, len(self.places))


def main() -> None:
    """Record every case, `null` for one that is refused; what cases share is written once."""
    found, shared = {}, Shared()
    with tempfile.TemporaryDirectory() as place:
        for number, (name, core, files) in enumerate(cases()):
            directory = Path(place) / str(number)
            directory.mkdir()
            write(directory, core, files)
            (directory / "config.json").write_text('{"model_type": "minicpm_sala"}')
            try:
                tokenizer = transformers.AutoTokenizer.from_pretrained(str(directory))
            except Exception as error:
                print(f"{name}: {type(error).__name__}: {error}")
                found[name] = None
                continue
            found[name] = [
                shared.place(tokenizer.special_tokens_map),
                *(shared.place(tokenizer(text).input_ids) for text in TEXTS),
                *(shared.place(tokenizer(t, add_special_tokens=False).input_ids) for t in TEXTS),
                *(
                    shared.place(tokenizer.decode(ids, skip_special_tokens=True))
                    for ids in id_lists(len(tokenizer))
                ),
            ]
    lines = [
        f'{{"transformers": "{transformers.__version__}", "results": [',
        ",\n".join(shared.places),
        '], "cases": {',
        ",\n".join(f"{json.dumps(name)}: {json.dumps(case)}" for name, case in found.items()),
        "}}",
    ]
    RECORD.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{len(found)} cases")


if __name__ == "__main__":
    main()
