"""What the configuration of compressed-tensors says: one way of quantising, and nothing else."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sala_compile.runtime.common.json_text import is_list, is_object, json_kind, quoted
from sala_compile.runtime.errors import CheckpointError
from sala_compile.sala_ir.checkpoint.quantized import known_fields as known
from sala_compile.sala_ir.checkpoint.quantized.settings import Settings
from sala_compile.sala_ir.field_rules import FieldRules, check_fields

FORMAT = "pack-quantized"


@dataclass(frozen=True, slots=True)
class Scheme:
    """How all weights were quantised; `group` None: a scale for a whole row.

    `reordered`: the columns of a group are no neighbours unless a tensor says so.
    """

    group: int | None
    symmetric: bool
    reordered: bool


def read_scheme(settings: Settings) -> tuple[Scheme, tuple[str, ...]]:
    """The one scheme of all groups, and the names of unknown fields.

    Raises CheckpointError if there are several, or where a field requests more than integers.
    """
    read = _Reading(settings.place, [])
    config = read.checked(settings.fields, known.COMPRESSED)
    read.sparsity(config.get("sparsity_config"))
    read.transforms(config.get("transform_config"))
    schemes = set(read.schemes(config))
    if len(schemes) != 1:
        raise CheckpointError(
            f"{len(schemes)} groups of modules are quantised in different ways"
            if schemes
            else "no group says how its weights are quantised",
            where=f"{settings.place}: config_groups",
            expected="one way for all quantised modules",
        )
    return schemes.pop(), tuple(read.unknown)


@dataclass(frozen=True, slots=True)
class _Reading:
    place: str
    unknown: list[str]

    def checked(self, fields: Any, rules: FieldRules, *path: str) -> Mapping[str, Any]:
        """The fields at a path below the configuration, each checked by its rule."""
        place = ": ".join([self.place, *path])
        names = check_fields(fields, rules, place, CheckpointError)
        self.unknown.extend(".".join([*path, name]) for name in names)
        return fields

    def refuse(self, found: str, expected: str, *path: str) -> CheckpointError:
        """The error for the value at a path."""
        return CheckpointError(found, where=": ".join([self.place, *path]), expected=expected)

    def sparsity(self, fields: Any) -> None:
        """Refuse tensors that are stored sparsely."""
        path = ("sparsity_config",)
        if fields is None or fields == {}:
            return
        if self.checked(fields, known.SPARSITY, *path).get("format") is None:
            raise self.refuse("format is missing", "dense", *path)

    def transforms(self, fields: Any) -> None:
        """Refuse transforms of activations; those of weights were done before they were stored."""
        path = ("transform_config",)
        if fields is None:
            return
        found = self.checked(fields, known.TRANSFORMS, *path)
        groups: dict[str, Any] = found.get("config_groups") or {}
        for name, transform in groups.items():
            inner = (*path, name)
            places = self.checked(transform, known.TRANSFORM, *inner).get("apply")
            if places is not None and not is_list(places):
                raise self.refuse(f"apply is {quoted(places)}", "a list", *inner)
            for index, place in enumerate(places or []):
                where = (*inner, f"apply[{index}]")
                if self.checked(place, known.PLACE, *where).get("location") is None:
                    raise self.refuse("location is missing", "weight_input", *where)

    def schemes(self, config: Mapping[str, Any]) -> Iterator[Scheme]:
        """How the weights of every group are quantised."""
        groups: dict[str, Any] = config.get("config_groups") or {}
        for name, group in groups.items():
            path = ("config_groups", name)
            scheme = self._spelled_out(name, group, path)
            if scheme.get("weights") is None:
                continue
            layout = scheme.get("format") or config.get("format")
            if layout != FORMAT:
                raise self.refuse(f"format is {quoted(layout)}", FORMAT, *path)
            yield self._scheme(scheme["weights"], (*path, "weights"))

    def _spelled_out(self, name: str, group: Any, path: tuple[str, ...]) -> Mapping[str, Any]:
        """The fields of a group, which may be the name of a preset and its targets."""
        if is_object(group):
            return self.checked(group, known.SCHEME, *path)
        if not is_list(group):
            raise self.refuse(
                f"there is {json_kind(group)}", "an object, or a preset and its targets", *path
            )
        if name.upper() == "UNQUANTIZED":
            return {}
        preset = known.PRESETS.get(name.upper())
        if preset is None:
            raise self.refuse(
                f"{quoted(name)} names no preset of 4-bit integers",
                " or ".join(known.PRESETS),
                *path,
            )
        return self.checked({"targets": group, "weights": preset}, known.SCHEME, *path)

    def _scheme(self, fields: Any, path: tuple[str, ...]) -> Scheme:
        weights = self.checked(fields, known.WEIGHTS, *path)
        if weights.get("num_bits") is None:
            raise self.refuse("num_bits is missing, which means 8", "4", *path)
        size, strategy = weights.get("group_size"), weights.get("strategy")
        if strategy is None and size is not None:
            strategy = "channel" if size == -1 else "group"
        is_grouped = isinstance(strategy, str) and strategy.lower() == "group"
        has_size = size is not None and size != -1
        if strategy is None or is_grouped != has_size:
            raise self.refuse(
                f"strategy is {quoted(strategy)} and group_size {quoted(size)}",
                "group with a size, or channel without one",
                *path,
            )
        order = weights.get("actorder")
        return Scheme(
            group=size if is_grouped else None,
            symmetric=weights.get("symmetric") is not False,
            reordered=order is True or (isinstance(order, str) and order.lower() in _REORDERED),
        )


_REORDERED = ("group", "dynamic")
