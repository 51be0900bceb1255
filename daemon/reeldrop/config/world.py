"""What the keys of config.yaml about the world outside may be: receivers, programs, metrics,
signatures, a cluster, translators. The keys themselves are in `schema`."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Annotated, Any, Literal

import pydantic
from pydantic import BaseModel, Field

from reeldrop.config.values import (
    STRICT,
    File,
    Folder,
    Hours,
    Language,
    Refused,
    Repository,
    repository,
    require_repository,
    whole_or,
)
from reeldrop.translation import detection

Kind = Literal["video", "job", "failed", "idle", "trouble", "down"]
Command = Annotated[list[Annotated[str, Field(max_length=4000)]], Field(max_length=100)]


class Provenance(BaseModel):
    """With what files are signed: a certificate for C2PA and its key, two PEM files."""

    model_config = STRICT

    certificate: File
    key: File
    include_prompt: bool = False


class Receiver(BaseModel):
    """Who is told what happens, by an address of Apprise.

    title, body: templates by kind, in place of the usual ones
    quiet: hours in which nothing is sent
    digest_above: if more than this wait, they become one message
    repeat: whether what may have arrived is sent again (once more) or named in a message of its own
        (never); None for `once` where the receiver can drop what comes twice
    """

    model_config = STRICT

    url: Annotated[str, Field(min_length=1, max_length=4000)]
    on: Annotated[list[Kind], Field(min_length=1)] = ["video", "failed", "trouble", "down"]
    title: dict[Kind, str] = {}
    body: dict[Kind, str] = {}
    attach: bool = True
    quiet: Hours | None = None
    digest_above: Annotated[int, Field(ge=1, le=1_000_000)] = 5
    repeat: Literal["once", "never"] | None = None

    @pydantic.field_validator("title", "body")
    @classmethod
    def _can_be_filled(cls, value: dict[Kind, str]) -> dict[Kind, str]:
        for text in value.values():
            for fact in ("", "?"):
                try:
                    text.format_map(defaultdict(fact.__str__))
                except (ValueError, LookupError, TypeError, AttributeError) as error:
                    remedy = "name facts as in '{prompt}', and double other braces: '{{ }}'"
                    raise ValueError(f"can't be filled: {error}; {remedy}") from None
        return value


class Cluster(BaseModel):
    """Where the Ray cluster is that renders, and how it is reached.

    address: `local` for one of this machine alone, `auto` for the one that runs here, or host:port
    interface: the network interface of the cluster, this machine's address on it, or its network
    token_file: a file with the token that all machines of the cluster share
    """

    model_config = STRICT

    address: str = "local"
    renderers: Annotated[int | Literal["all"], whole_or("all", 1, 10_000)] = "all"
    interface: Annotated[str, Field(min_length=1, max_length=45)] | None = None
    token_file: File | None = None

    @pydantic.field_validator("address")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        if value not in ("local", "auto") and not re.fullmatch(r"[\w.-]+:\d{1,5}", value):
            raise Refused(f"can't be '{value}'", "use local, auto, or host:port")
        return value

    @pydantic.model_validator(mode="after")
    def _is_closed(self) -> Cluster:
        for key in ("token_file", "interface"):
            if self.address != "local" and getattr(self, key) is None:
                problem = f"{key} is missing: who reaches a Ray cluster can run programs on it"
                raise Refused(problem, "see docs/cluster.md")
        return self


class MetricsPlaces(BaseModel):
    """Where numbers for Prometheus are put: a file, or a port of this machine."""

    model_config = STRICT

    textfile: File | None = None
    port: Annotated[int, Field(ge=1, le=65535)] | None = None


class Translator(BaseModel):
    """Where a translator into English comes from: a repository of the hub, or a folder."""

    model_config = STRICT

    repository: Repository | None = None
    path: Folder | None = None
    revision: str | None = None

    @pydantic.model_validator(mode="before")
    @classmethod
    def _from_a_name(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return {"repository": repository(value)}

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> Translator:
        if (self.repository is None) == (self.path is None):
            raise ValueError("give exactly one of repository and path")
        require_repository(self.revision, self.repository)
        return self


def _told_apart(value: dict[str, Translator]) -> dict[str, Translator]:
    detection.require_detector(value)
    return value


Translators = Annotated[
    dict[Language, Translator],
    Field(max_length=100),
    pydantic.BeforeValidator(lambda value: {} if value is False else value),  # as in prompt files
    pydantic.AfterValidator(_told_apart),
]
