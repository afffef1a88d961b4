"""Stage 0: an all-linear student of the teacher's weights."""

import torch

from examples.halo.conversion import CALIBRATED_BATCHES, Conversion, Weights, save_weights
from examples.halo.decoder_parts import DecoderParts
from examples.halo.evaluation import evaluate, layer_errors
from examples.halo.files import write_json, write_whole
from examples.halo.head_order import head_orders, in_order
from examples.halo.output_fit import fit_outputs
from examples.halo.torch_decoder import TorchDecoder
from examples.halo.transfer import Measured, measure, transfer

STAGE = "0-transfer"
WEIGHTS, MEASURED, EVALUATION = "weights.safetensors", "measured.pt", "evaluation.json"


def transfer_weights(conversion: Conversion, teacher: TorchDecoder) -> None:
    """Measure the teacher, write the student that every later stage begins from, and judge it."""
    folder, options = conversion.folder(STAGE), conversion.options
    if (folder / EVALUATION).is_file():
        return
    batches = [
        conversion.batch(0, 0, part, options.batch, options.length)
        for part in range(CALIBRATED_BATCHES)
    ]
    with conversion.products():
        measured = measure(teacher, batches)
    config = conversion.config(())
    weights = transfer(DecoderParts.of(config).tensors, conversion.source, measured, options.seed)
    with write_whole(folder / MEASURED) as file:
        torch.save(
            {
                "outputs": [x.cpu() for x in measured.outputs],
                **{name: list(getattr(measured, name)) for name in _LISTS},
            },
            file,
        )
    with conversion.products():
        student = conversion.decoder(config, conversion.placed(weights))
        weights = in_order(weights, head_orders(teacher, student, batches))
        student = conversion.decoder(config, conversion.placed(weights))
        weights |= fit_outputs(teacher, student, batches)
    save_weights(folder / WEIGHTS, weights)
    judge_linear(conversion, teacher, weights, STAGE)


def read_measured(conversion: Conversion) -> Measured:
    """What was measured of the teacher."""
    found = torch.load(conversion.folder(STAGE) / MEASURED, weights_only=True)
    return Measured(tuple(found["outputs"]), *(tuple(found[name]) for name in _LISTS))


def judge_linear(
    conversion: Conversion, teacher: TorchDecoder, weights: Weights, stage: str
) -> None:
    """Write how far the all-linear student and each of its layers are from the teacher."""
    student = conversion.decoder(conversion.config(()), conversion.placed(weights))
    batches = conversion.held_batches(conversion.options.length)
    with conversion.products():
        found = {
            **evaluate(teacher, student, batches),
            "layer_errors": layer_errors(teacher, student, batches),
        }
    write_json(conversion.folder(stage) / EVALUATION, found)


_LISTS = ("queries", "keys", "variance")
