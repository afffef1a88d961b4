"""config.json and generation_config.json: whatever they say is planned, or refused."""

from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from tests.fuzz import fixtures
from tests.fuzz.case import Case
from tests.fuzz.strategies import document_edits
from tests.fuzz.target import Folder, Target, changes_of, read_files
from tests.fuzz.values import Draw

ROOT = Path(__file__).parents[3]
CONFIG, GENERATION = "config.json", "generation_config.json"
WORDS = (
    *(
        "minicpm4",
        "lightning-attn",
        "lightning",
        "1/d",
        "1",
        "silu",
        "gelu",
        "float16",
        "torch.float32",
    ),
    *("linear", "dynamic", "longrope", "yarn", "rope_parameters", "sparse_config", "auto_map"),
    *(
        "llama",
        "qwen2",
        "qwen3",
        "minicpm",
        "hypenet",
        "hype 50",
        "llama3",
        "rope_type",
        "factor",
        "high_freq_factor",
    ),
    *("linear_attention", "olmo_hybrid", "linear_conv_kernel_dim", "layer_types"),
    *("sliding_window", "full_attention", "original_max_position_embeddings"),
    *("attn_use_rope", "use_nope", "quantization_config", "torch_dtype", "dtype", "head_dim"),
)
OTHERS = (
    "llama-tied-a",
    "llama-llama3-a",
    "qwen3-a",
    "minicpm-a",
    "hypenet-a",
    "olmo_hybrid-a",
    "falcon_h1-a",
    "minicpm3-a",
    "qwen3_next-a",
    "kimi_linear-a",
    "bailing_hybrid-a",
    "minimax-a",
    "nemotron_h-a",
    "glm5_next-a",
    "deepseek_v32-a",
    "glm_moe_dsa-a",
    "qwen4_exp-a",
    "qwen4_exp-text-a",
)
"""Golden checkpoints of other families, whose configs are small."""
WITH_BLOCKS = (
    *("tiny", "checkpoint", "released", "minicpm-a"),
    *("qwen4_exp-a", "qwen4_exp-text-a"),
)
"""Those of which sparse attention can be requested."""
OPTIONS = {
    "dtype": ("bfloat16", "float32"),
    "attention": ("config", "sparse", "dense"),
    "quantization": ("none", "int4-g128", "int4-g32", "int8"),
    "context": (1024, 32768),
}


class ConfigTarget(Target):
    """Planned without weights (`--config FILE --dry-run`), or beside those of a checkpoint."""

    name = "config"
    share = 3_000
    continuous = 40

    def prepare(self) -> None:
        """Plan once, so that what is computed once is computed."""
        from tests.fuzz.planning import plan_config

        self._plan = plan_config
        released = (ROOT / "examples" / "released-config.json").read_bytes()
        tiny = read_files(self.fixtures / fixtures.CHECKPOINT, CONFIG)[CONFIG]
        generation = (
            b'{"eos_token_id": [2, 3], "bos_token_id": 1, "temperature": 0.7, "top_p": 0.8}'
        )
        golden = ROOT / "tests" / "golden" / "data"
        self._bases = {
            "tiny": {CONFIG: tiny},
            **{name: {CONFIG: (golden / name / CONFIG).read_bytes()} for name in OTHERS},
            "released": {CONFIG: released},
            "checkpoint": {CONFIG: tiny, GENERATION: generation},
        }
        self._plan(self.fixtures / fixtures.CHECKPOINT / CONFIG)

    def start(self, room: Path) -> None:
        """A checkpoint of its own."""
        super().start(room)
        self._folder = Folder(self.fixtures / fixtures.CHECKPOINT, room / "checkpoint")

    def cases(self) -> st.SearchStrategy[Case]:
        """Mostly the small config: the released one takes seconds where it is accepted."""

        @st.composite
        def case(draw: Draw) -> Case:
            base = draw(
                st.sampled_from(("tiny",) * 9 + OTHERS + ("checkpoint",) * 7 + ("released",))
            )
            name = CONFIG
            if base == "checkpoint" and draw(st.booleans()):
                name = GENERATION
            edits = draw(document_edits(name, self._bases[base][name], WORDS))
            options: dict[str, Any] = {}
            for option, values in OPTIONS.items():
                if base not in WITH_BLOCKS:
                    values = tuple(value for value in values if value != "sparse")
                options[option] = draw(st.sampled_from((values[0],) * 3 + values))
            return Case(base, edits, options)

        return case()

    def lay(self, case: Case) -> int:
        """Beside the weights of a checkpoint, which the small config belongs to."""
        files = self._bases[case.base]
        return self._folder.lay({**files, **changes_of(files, case)})

    def check(self, case: Case) -> None:
        """A dry run."""
        folder = self._folder.path
        place = folder if case.base == "checkpoint" else folder / CONFIG
        options = dict(case.options)
        if case.base == "checkpoint":
            options["quantization"] = "none"
        self._plan(place, **options)
