"""Where a checkpoint keeps its chat templates, and which of them are there."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sala_compile.runtime.artifact import Artifact
from sala_compile.runtime.common.json_text import is_list, is_object, json_kind, quoted
from sala_compile.runtime.errors import ArtifactError
from sala_compile.runtime.text.tokenizers.tokenizer_files import CONFIG_FILE, TokenizerFiles

TEMPLATE_FILE = "chat_template.jinja"
TEMPLATE_FOLDER = "additional_chat_templates"
DEFAULT = "default"
_SUFFIX = ".jinja"
TEMPLATE_BYTES = 1 << 16
"""Bytes of a template: more than any published one has, few enough to compile in a second."""


@dataclass(frozen=True, slots=True)
class TemplateSource:
    """The text of a template and where it is."""

    text: str
    where: str


@dataclass(frozen=True, slots=True)
class TemplateFiles:
    """The files of a checkpoint or an artifact, and the names in a folder."""

    files: TokenizerFiles
    names: Callable[[str], list[str]]

    @staticmethod
    def of(place: Path | Artifact) -> "TemplateFiles":
        """Those of a directory, or of an artifact, whose hashes are then checked."""
        if isinstance(place, Artifact):
            return _of_artifact(place)
        return _of_directory(Path(place))

    def sources(self) -> dict[str, TemplateSource]:
        """The templates by name, in order; ArtifactError for what is not a template.

        If there are files, the templates of tokenizer_config.json do not count.
        """
        files = {DEFAULT: TEMPLATE_FILE}
        for name in self.names(TEMPLATE_FOLDER):
            files[name.removesuffix(_SUFFIX)] = f"{TEMPLATE_FOLDER}/{name}"
        read = {name: (path, self.files.read(path)) for name, path in files.items()}
        found = {
            name: self._source(data, self.files.where(path))
            for name, (path, data) in read.items()
            if data is not None
        }
        return found or self._configured()

    def _configured(self) -> dict[str, TemplateSource]:
        """The templates of tokenizer_config.json: one text, or several by name."""
        template = self.files.config.get("chat_template")
        where = f"{self.files.where(CONFIG_FILE)}: chat_template"
        if template is None:
            return {}
        if isinstance(template, str):
            template = {DEFAULT: template}
        if is_list(template):
            template = dict(_named(entry, f"{where}[{i}]") for i, entry in enumerate(template))
        if not is_object(template):
            raise _refused(f"the chat template is {json_kind(template)}", where)
        for name, text in template.items():
            if not isinstance(text, str):
                raise _refused(f"the chat template {quoted(name)} is {json_kind(text)}", where)
        return {name: self._source(text.encode(), where) for name, text in template.items()}

    def _source(self, data: bytes, where: str) -> TemplateSource:
        if len(data) > TEMPLATE_BYTES:
            raise _refused(f"the chat template has {len(data)} bytes", where)
        try:
            return TemplateSource(data.decode("utf-8-sig"), where)
        except UnicodeDecodeError as error:
            found = f"the chat template is not UTF-8: {error.reason} at byte {error.start}"
            raise _refused(found, where) from None


def _named(entry: Any, where: str) -> tuple[str, Any]:
    """The name and the template of an entry in a list of templates."""
    if not is_object(entry) or not {"name", "template"} <= entry.keys():
        raise _refused(f"an entry of the chat templates is {quoted(entry)}", where)
    if not isinstance(entry["name"], str):
        raise _refused(f"the name of a chat template is {quoted(entry['name'])}", where)
    return entry["name"], entry["template"]


def _refused(found: str, where: str) -> ArtifactError:
    return ArtifactError(
        found,
        where=where,
        expected=f"a text of at most {TEMPLATE_BYTES} bytes in UTF-8, or in {CONFIG_FILE} a list "
        'of {"name": ..., "template": ...} or an object of texts',
        fix="compile again, from a checkpoint whose templates are whole",
    )


def _of_directory(directory: Path) -> TemplateFiles:
    def names(folder: str) -> list[str]:
        found = (directory / folder).glob(f"*{_SUFFIX}")
        return sorted(path.name for path in found)

    return TemplateFiles(TokenizerFiles.of_directory(directory), names)


def _of_artifact(artifact: Artifact) -> TemplateFiles:
    def names(folder: str) -> list[str]:
        paths = (path.rpartition("/") for path in artifact.manifest.files)
        return sorted(name for parent, _, name in paths if parent == folder)

    return TemplateFiles(TokenizerFiles.of_artifact(artifact), names)
