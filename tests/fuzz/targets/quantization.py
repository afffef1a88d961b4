"""quantization_config of published checkpoints of 4 bits, beside the tensors that it describes."""

import json
from pathlib import Path

from hypothesis import strategies as st

from tests.fuzz import fixtures
from tests.fuzz.case import Case, Edit
from tests.fuzz.strategies import document_edits
from tests.fuzz.target import Folder, Target, changes_of, read_files
from tests.fuzz.values import Draw

CONFIG, SEPARATE, FIELD = "config.json", "quantize_config.json", "quantization_config"
WORDS = (
    *("gptq", "awq", "compressed-tensors", "gptq_v2", "gemm", "gemv", "pack-quantized", "W4A16"),
    *("int-quantized", "float", "int", "group", "channel", "tensor", "static", "dynamic", "re:.*"),
    *("Linear", "lm_head", "-:(a+)+$", "+:(.*)*x", "model.layers.0.mlp.up_proj", "targets"),
    *("group_size", "actorder", "transform_config", "kv_cache_scheme", "sparsity_config", "bits"),
    *("modules_to_not_convert", "zp_type", "num_bits", "zero_point", "sym", "desc_act", "ignore"),
    *("output_activations", "input_activations", "config_groups", "lm_head", "backend"),
)


class QuantizationTarget(Target):
    """A dry run over a checkpoint in which two modules are integers."""

    name = "quantization"
    share = 3_000
    continuous = 50

    def prepare(self) -> None:
        """Plan once."""
        from tests.fuzz.planning import plan_config

        self._plan = plan_config
        folder = self.fixtures / fixtures.QUANTIZED
        self._bases = {path.name: read_files(path, CONFIG) for path in sorted(folder.iterdir())}
        plan_config(folder / "gptq")

    def start(self, room: Path) -> None:
        """A checkpoint of each format."""
        super().start(room)
        source = self.fixtures / fixtures.QUANTIZED
        self._folders = {name: Folder(source / name, room / name) for name in self._bases}

    def cases(self) -> st.SearchStrategy[Case]:
        """Edits below `quantization_config`, at times in a file of its own."""

        @st.composite
        def case(draw: Draw) -> Case:
            base = draw(st.sampled_from(sorted(self._bases)))
            inner = json.dumps(json.loads(self._bases[base][CONFIG])[FIELD]).encode()
            separate = draw(st.integers(0, 5)) == 0
            found = draw(document_edits(CONFIG, inner, WORDS))
            edits = tuple(
                Edit(SEPARATE if separate else CONFIG, e.action, e.at, e.value)
                if separate
                else Edit(CONFIG, e.action, (FIELD, *e.at), e.value)
                for e in found
                if e.action not in ("splice", "fill")
            )
            return Case(base, edits, {"separate": separate})

        return case()

    def lay(self, case: Case) -> int:
        """The configuration where the case wants it."""
        files = dict(self._bases[case.base])
        if case.options["separate"]:
            document = json.loads(files[CONFIG])
            files[SEPARATE] = json.dumps(document.pop(FIELD)).encode()
            files[CONFIG] = json.dumps(document).encode()
        return self._folders[case.base].lay({**files, **changes_of(files, case)})

    def check(self, case: Case) -> None:
        """A dry run."""
        self._plan(self._folders[case.base].path)
