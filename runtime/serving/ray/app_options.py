"""The options of the application on Ray Serve, as `serve run ... NAME=VALUE` and YAML give them."""

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

_PLACES = "letters, digits, a path of every node, or a URL of fsspec"


class AppOptions(BaseModel):
    """What to serve, on how many replicas, and when one is preferred.

    Those of `sala-serve` have its names and meanings; `prefix_dir` is a URL, or a directory that
    all nodes share. With `max_replicas` there are as many replicas as requests in flight ask for,
    `target` for each, from `min_replicas` on. `cpus` and `gpus` are what Ray reserves for one.
    `grace` are the seconds in which a replica that goes ends its answers. `anyone` answers requests
    that name any host, without keys. `factor`, `slack`, `share` and `doubt` are those of
    ChoiceRule; `router` "balanced" is Ray's own, which knows no prefixes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    artifact: str = Field(description=_PLACES)
    replicas: PositiveInt = 1
    min_replicas: PositiveInt | None = None
    max_replicas: PositiveInt | None = None
    target: PositiveFloat | None = None
    ingresses: PositiveInt = 1
    cpus: PositiveFloat = 1.0
    ingress_cpus: float = Field(1.0, ge=0)
    gpus: float = Field(0.0, ge=0)

    context: int | str | None = None
    batch: PositiveInt = 8
    sequences: PositiveInt | None = None
    chunk: int | str | None = None
    capacity: int | str | None = None
    speculate: int = Field(0, ge=0)
    memory: int | str | None = None
    prefix_cache: int | str | None = "1GiB"
    prefix_dir: str | None = None
    prefix_dir_size: int | str = "16GiB"
    max_stall: PositiveFloat = 0.25
    queue: PositiveInt = 256
    device: str | None = None
    threads: PositiveInt | None = None

    model_name: str | None = None
    api_key_file: str | None = None
    anyone: bool = False
    log_prompts: bool = False
    grace: PositiveFloat = 120.0

    router: str = Field("prefix", pattern="^(prefix|balanced)$")
    factor: PositiveFloat = 2.0
    slack: int = Field(4, ge=0)
    share: float = Field(0.1, ge=0, le=1)
    doubt: PositiveFloat = 30.0
    stats_seconds: PositiveFloat = 2.0
    health_seconds: PositiveFloat = 10.0

    @model_validator(mode="after")
    def _scales(self) -> "AppOptions":
        if self.max_replicas is not None and (self.min_replicas or 1) > self.max_replicas:
            raise ValueError("min_replicas is more than max_replicas")
        if self.max_replicas is None and (self.min_replicas or self.target):
            raise ValueError(
                "min_replicas and target are for a number that changes: give max_replicas"
            )
        if self.prefix_dir is not None and self.prefix_cache is None:
            raise ValueError("prefix_dir needs a prefix_cache")
        return self
