"""The targets by name. One file a target: what it damages, how that is mended, what is called."""

from tests.fuzz.target import Target
from tests.fuzz.targets.config import ConfigTarget
from tests.fuzz.targets.gguf import GgufTarget
from tests.fuzz.targets.golden import GoldenTarget
from tests.fuzz.targets.graph import GraphTarget
from tests.fuzz.targets.kept import KeptTarget
from tests.fuzz.targets.manifest import ManifestTarget
from tests.fuzz.targets.onnx import OnnxTarget
from tests.fuzz.targets.program import ProgramTarget
from tests.fuzz.targets.quantization import QuantizationTarget
from tests.fuzz.targets.safetensors import SafetensorsTarget
from tests.fuzz.targets.state import StateTarget
from tests.fuzz.targets.stored import StoredTarget
from tests.fuzz.targets.template import TemplateTarget
from tests.fuzz.targets.tokenizer import TokenizerTarget
from tests.fuzz.targets.tuning import TuningTarget

TARGETS: dict[str, type[Target]] = {
    kind.name: kind
    for kind in (
        ConfigTarget,
        QuantizationTarget,
        SafetensorsTarget,
        GgufTarget,
        OnnxTarget,
        GraphTarget,
        TokenizerTarget,
        TemplateTarget,
        ManifestTarget,
        ProgramTarget,
        StoredTarget,
        GoldenTarget,
        StateTarget,
        KeptTarget,
        TuningTarget,
    )
}

assert sum(kind.share for kind in TARGETS.values()) == 100_000
