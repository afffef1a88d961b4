"""Checkpoint directories: reading by rows, and every way in which one can be damaged."""

import json
import os
import tracemalloc

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from sala_compile.runtime.errors import CheckpointError, ConfigError, SalaError
from sala_compile.sala_ir.checkpoint.checkpoint import INDEX_FILE, WEIGHTS_FILE, Checkpoint
from sala_compile.sala_ir.frontends import frontend_for
from tests.support.checkpoints import tiny_config, write_checkpoint

NORM = "model.norm.weight"
EMBEDDING = "model.embed_tokens.weight"


@pytest.fixture
def directory(tmp_path):
    return write_checkpoint(tmp_path / "checkpoint")


def _expected(checkpoint):
    frontend = frontend_for(checkpoint.config)
    return frontend.expected_tensors(frontend.parse_config(checkpoint.config))


def _header(path):
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


def _replace_header(path, change):
    header, data = _header(path)
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def _open_and_check(directory):
    checkpoint = Checkpoint.open(directory)
    checkpoint.check(_expected(checkpoint))


def _refused(directory, *parts):
    with pytest.raises(CheckpointError) as caught:
        _open_and_check(directory)
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize("element", ["BF16", "F16", "F32"])
@pytest.mark.parametrize("shards", [1, 3])
def test_reading_equals_the_library(tmp_path, element, shards):
    directory = write_checkpoint(tmp_path, element=element, shards=shards)
    stored = {}
    for path in directory.glob("*.safetensors"):
        stored |= load_file(path)
    with Checkpoint.open(directory) as checkpoint:
        checkpoint.check(_expected(checkpoint))
        assert set(checkpoint.tensors) == set(stored)
        assert checkpoint.parameters == sum(array.size for array in stored.values())
        for name, array in stored.items():
            found = checkpoint.read(name)
            assert found.dtype == array.dtype
            np.testing.assert_array_equal(found.view(np.uint8), array.view(np.uint8))
        whole = stored[EMBEDDING].astype(np.float32)
        rows = checkpoint.rows(EMBEDDING, 5, 130)
        assert rows.dtype == (ml_dtypes.bfloat16 if element == "BF16" else np.float32)
        np.testing.assert_array_equal(rows.astype(np.float32), whole[5:130])
        np.testing.assert_array_equal(checkpoint.read(NORM, slice(60, None)), stored[NORM][60:])
        assert checkpoint.read(EMBEDDING, slice(7, 7)).shape == (0, 64)


def test_the_golden_layout_of_the_library_is_read(tmp_path, directory):
    tensors = {name: array.astype(np.float32) for name, array in _all(directory).items()}
    save_file(tensors, directory / WEIGHTS_FILE, metadata={"format": "pt"})
    checkpoint = Checkpoint.open(directory)
    checkpoint.check(_expected(checkpoint))


def _all(directory):
    return load_file(directory / WEIGHTS_FILE)


def test_reading_rows_takes_memory_for_them_only(tmp_path):
    directory = write_checkpoint(tmp_path, tiny_config(vocabulary=40_000))
    checkpoint = Checkpoint.open(directory)
    tracemalloc.start()
    for start in range(0, 40_000, 1000):
        checkpoint.rows(EMBEDDING, start, start + 1000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 * 1000 * 64 * 2 + 100_000


def test_closing_gives_the_files_back(directory):
    before = len(os.listdir("/proc/self/fd"))
    with Checkpoint.open(directory) as checkpoint:
        checkpoint.read(NORM)
    assert len(os.listdir("/proc/self/fd")) == before


def test_digest_is_of_contents_not_of_files(tmp_path):
    whole = Checkpoint.open(write_checkpoint(tmp_path / "a"))
    shards = Checkpoint.open(write_checkpoint(tmp_path / "b", shards=4))
    other = Checkpoint.open(write_checkpoint(tmp_path / "c", seed=1))
    told = []
    assert whole.digest(told.append) == shards.digest() != other.digest()
    assert sum(told) == sum(tensor.size for tensor in whole.tensors.values())


def test_copied_files_are_those_that_exist(directory):
    for name in ("tokenizer.json", "chat_template.jinja", "notes.txt"):
        (directory / name).write_text("x")
    (directory / "additional_chat_templates").mkdir()
    for name in ("tool_use.jinja", "rag.jinja", "notes.txt"):
        (directory / "additional_chat_templates" / name).write_text("x")
    names = [path.name for path in Checkpoint.open(directory).copied_files()]
    assert names == ["chat_template.jinja", "tokenizer.json", "rag.jinja", "tool_use.jinja"]


def test_other_files_are_ignored(directory):
    (directory / "training_args.bin").write_bytes(b"\x80")
    (directory / "other.safetensors").write_bytes(b"broken")
    Checkpoint.open(directory)


def test_links_to_a_store_elsewhere_are_followed(tmp_path, directory):
    store = tmp_path / "blob"
    (directory / WEIGHTS_FILE).rename(store)
    (directory / WEIGHTS_FILE).symlink_to(store)
    Checkpoint.open(directory).read(NORM)


def test_a_directory_that_is_none(tmp_path):
    _refused(tmp_path / "nothing", "no such directory", "nothing")


def test_no_weights(directory):
    (directory / WEIGHTS_FILE).unlink()
    _refused(directory, "no weights", WEIGHTS_FILE, INDEX_FILE)


def test_no_config(directory):
    (directory / "config.json").unlink()
    with pytest.raises(ConfigError, match=r"config\.json"):
        Checkpoint.open(directory)


def _drop(header):
    header.pop(NORM)


@pytest.mark.parametrize("left", [0, 7, 8, 100, 5_000, -200_000, -1])
def test_truncated_file(directory, left):
    path = directory / WEIGHTS_FILE
    raw = path.read_bytes()
    path.write_bytes(raw[:left])
    _refused(directory, WEIGHTS_FILE, "bytes")


def test_longer_file(directory):
    with (directory / WEIGHTS_FILE).open("ab") as file:
        file.write(b"\0" * 10)
    _refused(directory, WEIGHTS_FILE, "bytes of data")


def _edit(field, value):
    def change(header):
        header[NORM][field] = value

    return change


def _overlap(header):
    begin, end = header[NORM]["data_offsets"]
    header[NORM]["data_offsets"] = [begin - 2, end - 2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(_overlap, "overlaps", id="overlap"),
        pytest.param(_drop, "unused", id="gap"),
        pytest.param(_edit("dtype", "F8_E4M3"), "F8_E4M3", id="unknown element"),
        pytest.param(_edit("dtype", "F32"), "bytes to shape", id="element of another size"),
        pytest.param(_edit("dtype", "I16"), "elements I16", id="no element of weights"),
        pytest.param(_edit("shape", [32]), "bytes to shape", id="other shape"),
        pytest.param(_edit("shape", [64, 1]), "shape [64, 1]", id="other rank"),
        pytest.param(_edit("shape", [-64]), "malformed", id="negative shape"),
        pytest.param(_edit("shape", "64"), "malformed", id="no shape"),
        pytest.param(_edit("data_offsets", [0]), "malformed", id="one offset"),
        pytest.param(_edit("data_offsets", [0, 2**80]), "bytes to shape", id="huge offset"),
    ],
)
def test_damaged_header_names_the_tensor(directory, change, message):
    _replace_header(directory / WEIGHTS_FILE, change)
    parts = (WEIGHTS_FILE,) if change is _drop else (WEIGHTS_FILE, NORM)
    _refused(directory, message, *parts)


@pytest.mark.parametrize(
    "header",
    [
        *(b"[]", b"{", b"\xff\xfe", b'{"a": 1, "a": 2}', b'{"a": 1}', b"[" * 3000),
        b'{"a": {"dtype": "F32", "shape": [' + b"7" * 5000 + b'], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [' + b"9" * 99 + b'], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [' + b"2," * 16 + b'2], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [NaN], "data_offsets": [0, 4]}}',
        b'{"\\ud800": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}',
        b'{"' + b"a" * 100_000 + b'": 1}',
    ],
    ids=lambda header: str(header[:20]),
)
def test_header_that_is_none(directory, header):
    path = directory / WEIGHTS_FILE
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    _refused(directory, WEIGHTS_FILE)


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 2894896\n"


@pytest.mark.parametrize("name", ["config.json", WEIGHTS_FILE, "tokenizer.json", "merges.txt"])
def test_a_git_lfs_pointer_is_told_as_one(directory, name):
    (directory / name).write_bytes(POINTER)
    with pytest.raises(SalaError, match="Git LFS pointer") as caught:
        Checkpoint.open(directory).check_copied()
    assert name in (caught.value.where or "")


def test_a_git_lfs_pointer_in_place_of_an_index_or_a_shard(sharded):
    index = (sharded / INDEX_FILE).read_bytes()
    for name in (INDEX_FILE, "model-00002-of-00003.safetensors"):
        (sharded / INDEX_FILE).write_bytes(index)
        (sharded / name).write_bytes(POINTER)
        _refused(sharded, "Git LFS pointer", name)


@pytest.mark.parametrize("name", [WEIGHTS_FILE, INDEX_FILE, "tokenizer.json"])
def test_what_is_no_file_is_not_waited_for(directory, name):
    for path in directory.glob("*.safetensors"):
        if name != "tokenizer.json":
            path.unlink()
    os.mkfifo(directory / name)
    with pytest.raises(CheckpointError, match="is a pipe"):
        Checkpoint.open(directory).check_copied()


BUFFERS = ("model.layers.1.self_attn.rotary_emb.inv_freq", "cos_cached", "model.rope.sin_cached")


def test_rotary_buffers_are_passed_over(directory):
    buffers = {name: np.ones(8, np.float64) for name in BUFFERS}
    save_file(_all(directory) | buffers, directory / WEIGHTS_FILE)
    _open_and_check(directory)
    save_file(_all(directory) | {"model.inv_freqs": np.ones(1)}, directory / WEIGHTS_FILE)
    _refused(directory, "1 tensor is unexpected", "model.inv_freqs")


def test_tensors_that_should_be_one(directory, monkeypatch):
    few_rows = "sala_compile.sala_ir.checkpoint.checkpoint.PIECE_BYTES"
    monkeypatch.setattr(few_rows, 1000)
    head = "lm_head.weight"
    tensors = _all(directory)
    tensors[head] = tensors[EMBEDDING].copy()
    save_file(tensors, directory / WEIGHTS_FILE)
    Checkpoint.open(directory).check_equal(head, EMBEDDING)
    tensors[head] = tensors[EMBEDDING].astype(np.float32)
    save_file(tensors, directory / WEIGHTS_FILE)
    Checkpoint.open(directory).check_equal(head, EMBEDDING)
    tensors[head][-1, -1] += 1
    save_file(tensors, directory / WEIGHTS_FILE)
    with pytest.raises(CheckpointError, match="other values") as caught:
        Checkpoint.open(directory).check_equal(head, EMBEDDING)
    assert "tie_word_embeddings" in str(caught.value)
    tensors[head] = tensors[head][:-1]
    save_file(tensors, directory / WEIGHTS_FILE)
    with pytest.raises(CheckpointError, match="shape"):
        Checkpoint.open(directory).check_equal(head, EMBEDDING)


def _rename(directory, old, new):
    tensors = _all(directory)
    tensors = {new if name == old else name: array for name, array in tensors.items()}
    save_file({name: array for name, array in tensors.items() if name}, directory / WEIGHTS_FILE)


def test_missing_and_extra_tensors(directory):
    _rename(directory, NORM, "")
    _refused(directory, "1 tensor is missing", NORM)
    write_checkpoint(directory)
    tensors = _all(directory) | {"model.extra": np.zeros(3, np.float32)}
    save_file(tensors, directory / WEIGHTS_FILE)
    _refused(directory, "1 tensor is unexpected", "model.extra")


def test_wrong_shape(directory):
    tensors = _all(directory)
    tensors[EMBEDDING] = tensors[EMBEDDING][:100]
    save_file(tensors, directory / WEIGHTS_FILE)
    _refused(directory, "[100, 64]", "[131, 64]", EMBEDDING)


@pytest.fixture
def sharded(tmp_path):
    return write_checkpoint(tmp_path / "sharded", shards=3)


def _change_index(directory, change):
    path = directory / INDEX_FILE
    index = json.loads(path.read_text())
    change(index)
    path.write_text(json.dumps(index))


def test_missing_shard(sharded):
    (sharded / "model-00002-of-00003.safetensors").unlink()
    _refused(sharded, "shard is missing", "model-00002-of-00003.safetensors")


@pytest.mark.parametrize("file", ["../other.safetensors", "/etc/passwd", "..", "a/b", "", "."])
def test_index_that_leaves_the_directory(sharded, file):
    _change_index(sharded, lambda index: index["weight_map"].update({NORM: file}))
    _refused(sharded, "outside the directory", INDEX_FILE)


def test_index_and_shards_that_disagree(sharded):
    first, last = "model-00001-of-00003.safetensors", "model-00003-of-00003.safetensors"
    _change_index(sharded, lambda index: index["weight_map"].update({NORM: first}))
    _refused(sharded, "lacks a tensor of the index", first, NORM)
    _change_index(sharded, lambda index: index["weight_map"].pop(NORM))
    _refused(sharded, "does not name there", last, NORM)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"weight_map": {"a": 1}}'])
def test_index_that_is_none(sharded, content):
    (sharded / INDEX_FILE).write_text(content)
    _refused(sharded, INDEX_FILE)


def test_file_that_shrinks_while_it_is_read(directory):
    checkpoint = Checkpoint.open(directory)
    path = directory / WEIGHTS_FILE
    os.truncate(path, path.stat().st_size - 10)
    last = max(checkpoint.tensors.values(), key=lambda tensor: tensor.begin)
    with pytest.raises(CheckpointError, match="ends within"):
        checkpoint.read(last.name)
    with pytest.raises(CheckpointError, match="ends within"):
        checkpoint.digest()


def test_unknown_tensor(directory):
    with pytest.raises(CheckpointError, match="nothing"):
        Checkpoint.open(directory).read("nothing")


def test_random_weights_depend_on_the_seed_alone(tmp_path):
    first, second = (
        write_checkpoint(tmp_path / name, seed=seed) for name, seed in (("a", 3), ("b", 3))
    )
    assert (first / WEIGHTS_FILE).read_bytes() == (second / WEIGHTS_FILE).read_bytes()
