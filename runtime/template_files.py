"""Where a checkpoint keeps its chat templates, and which of them are there."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.artifact import Artifact
from runtime.errors import ArtifactError
from runtime.files import FileRule, stands
from runtime.json_text import JsonLimits, json_kind, parse_object, quoted
from runtime.tokenizer import CONFIG_FILE

TEMPLATE_FILE = "chat_template.jinja"
TEMPLATE_FOLDER = "additional_chat_templates"
DEFAULT = "default"
_SUFFIX = ".jinja"
_LIMITS = JsonLimits(size=128 << 20, depth=64, values=4_000_000)
TEMPLATE_BYTES = 1 << 16
"""Of a template: more than any published one has, and little enough to be compiled in a second."""


@dataclass(frozen=True, slots=True)
class Source:
    """The text of a template and where it stands."""

    text: str
    where: str


@dataclass(frozen=True, slots=True)
class TemplateFiles:
    """The files of a checkpoint or an artifact: bytes by name, and the names in a folder."""

    read: Callable[[str], bytes | None]
    where: Callable[[str], str]
    names: Callable[[str], list[str]]

    @staticmethod
    def of(place: Path | Artifact) -> "TemplateFiles":
        """Those of a directory, or of an artifact, whose hashes are then checked."""
        if isinstance(place, Artifact):
            return _of_artifact(place)
        return _of_directory(Path(place))

    def config(self) -> dict[str, Any]:
        """tokenizer_config.json, empty where there is none; ArtifactError where it is damaged."""
        data = self.read(CONFIG_FILE)
        if data is None:
            return {}
        where = self.where(CONFIG_FILE)
        return parse_object(data, where, ArtifactError, fix=_fix(CONFIG_FILE), limits=_LIMITS)

    def sources(self) -> dict[str, Source]:
        """The templates by name, in order; ArtifactError for what is none.

        Those that are files overrule those of tokenizer_config.json, all of them at once.
        """
        files = {DEFAULT: TEMPLATE_FILE}
        for name in self.names(TEMPLATE_FOLDER):
            files[name.removesuffix(_SUFFIX)] = f"{TEMPLATE_FOLDER}/{name}"
        read = {name: (path, self.read(path)) for name, path in files.items()}
        found = {
            name: self._source(data, self.where(path))
            for name, (path, data) in read.items()
            if data is not None
        }
        return found or self._configured()

    def _configured(self) -> dict[str, Source]:
        """The templates of tokenizer_config.json: one text, or several by name."""
        template = self.config().get("chat_template")
        where = f"{self.where(CONFIG_FILE)}: chat_template"
        if template is None:
            return {}
        if isinstance(template, str):
            template = {DEFAULT: template}
        if isinstance(template, list):
            template = dict(_named(entry, f"{where}[{i}]") for i, entry in enumerate(template))
        if not isinstance(template, dict):
            raise _refused(f"the chat template is {json_kind(template)}", where)
        for name, text in template.items():
            if not isinstance(text, str):
                raise _refused(f"the chat template {quoted(name)} is {json_kind(text)}", where)
        return {name: self._source(text.encode(), where) for name, text in template.items()}

    def _source(self, data: bytes, where: str) -> Source:
        if len(data) > TEMPLATE_BYTES:
            raise _refused(f"the chat template has {len(data)} bytes", where)
        try:
            return Source(data.decode("utf-8-sig"), where)
        except UnicodeDecodeError as error:
            found = f"the chat template is not UTF-8: {error.reason} at byte {error.start}"
            raise _refused(found, where) from None


def _named(entry: Any, where: str) -> tuple[str, Any]:
    """The name and the template of an entry in a list of templates."""
    if not isinstance(entry, dict) or not {"name", "template"} <= entry.keys():
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
    def read(name: str) -> bytes | None:
        path = directory / name
        limit = _LIMITS.size if name == CONFIG_FILE else TEMPLATE_BYTES
        rule = FileRule(what=name, limit=limit, error=ArtifactError, fix=_fix(name))
        return rule.read(path) if stands(path) else None

    def names(folder: str) -> list[str]:
        found = (directory / folder).glob(f"*{_SUFFIX}")
        return sorted(path.name for path in found)

    return TemplateFiles(read, lambda name: str(directory / name), names)


def _of_artifact(artifact: Artifact) -> TemplateFiles:
    def read(name: str) -> bytes | None:
        return artifact.read_bytes(name) if artifact.has(name) else None

    def names(folder: str) -> list[str]:
        paths = (path.rpartition("/") for path in artifact.manifest.files)
        return sorted(name for parent, _, name in paths if parent == folder)

    return TemplateFiles(read, lambda name: str(artifact.directory / name), names)


def _fix(name: str) -> str:
    return f"compile again, from a checkpoint whose {name} is whole"
