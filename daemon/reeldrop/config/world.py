"""What the keys of config.yaml about the world outside may be: receivers, programs, metrics,
signatures. The keys themselves are in `schema`."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Annotated, Literal

import pydantic
from pydantic import BaseModel, Field

from reeldrop.config.values import STRICT, Hours, absolute

Kind = Literal["video", "job", "failed", "idle", "trouble", "down"]
Command = Annotated[list[Annotated[str, Field(max_length=4000)]], Field(max_length=100)]


class Provenance(BaseModel):
    """With what files are signed: a certificate for C2PA and its key, two PEM files."""

    model_config = STRICT

    certificate: Path
    key: Path
    include_prompt: bool = False

    @pydantic.field_validator("certificate", "key", mode="before")
    @classmethod
    def _below_the_file(cls, value: object, info: pydantic.ValidationInfo) -> object:
        return absolute(value, info, "a file")


class Receiver(BaseModel):
    """Who is told what happens, by an address of Apprise.

    title, body: templates by kind, in place of the usual ones
    quiet: hours in which nothing is sent
    digest_above: if more than this wait, they become one message
    """

    model_config = STRICT

    url: Annotated[str, Field(min_length=1, max_length=4000)]
    on: Annotated[list[Kind], Field(min_length=1)] = ["video", "failed", "trouble", "down"]
    title: dict[Kind, str] = {}
    body: dict[Kind, str] = {}
    attach: bool = True
    quiet: Hours | None = None
    digest_above: Annotated[int, Field(ge=1, le=1_000_000)] = 5

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


class MetricsPlaces(BaseModel):
    """Where numbers for Prometheus are put: a file, or a port of this machine."""

    model_config = STRICT

    textfile: Path | None = None
    port: Annotated[int, Field(ge=1, le=65535)] | None = None

    @pydantic.field_validator("textfile", mode="before")
    @classmethod
    def _below_the_file(cls, value: object, info: pydantic.ValidationInfo) -> object:
        return None if value is None else absolute(value, info, "a file")
