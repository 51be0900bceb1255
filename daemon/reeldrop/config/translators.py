"""What the stages are told of `translate:` in config.yaml."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reeldrop.render import pins
from reeldrop.translation.orders import Reads
from reeldrop.translation.source import TranslatorSource

if TYPE_CHECKING:
    from reeldrop.config.config import Config


def sources(config: Config) -> dict[str, TranslatorSource]:
    """Return where the translator of each language comes from."""
    return {
        language: TranslatorSource(
            language,
            str(one.path or one.repository),
            is_folder=one.path is not None,
            revision=one.revision,
            pins=config.spool / pins.FILE_NAME,
        )
        for language, one in config.translate.items()
    }


def reads(config: Config) -> dict[str, Reads]:
    """Return what each profile reads."""
    return {
        name: Reads(profile.languages, profile.prompt_syntax == "weighted")
        for name, profile in config.models.items()
    }
