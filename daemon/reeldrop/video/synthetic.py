"""The mark, for machines to read, that a file was made by a model and not by a camera.

It is an XMP packet with the property `DigitalSourceType` of the IPTC's Photo Metadata Standard
2025.1, where the XMP specification, part 3, puts it in mp4, gif and jpg. A webm has no such place:
it gets the packet as a tag named XMP.
"""

from __future__ import annotations

import mmap
import os
import re
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from xml.sax.saxutils import escape, unescape

from reeldrop.base.escaping import shown
from reeldrop.base.job import Rendered

DIGITAL_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"

TAG = "XMP"
"""The name of a webm's tag with the packet."""

_UUID = uuid.UUID("be7acfcb-97a9-42e8-9c71-999491e3afac").bytes
"""The type of an mp4's box with an XMP packet."""

_GIF_HEADER = b"\x21\xff\x0bXMP DataXMP"
_GIF_TRAILER = bytes([1, *range(255, -1, -1), 0])
"""Ends the packet for programs that take its text for blocks with lengths."""

_GIF_END = b"\x3b"

_JFIF_BEGIN = b"\xff\xd8\xff\xe0"
_JPG_XMP = b"http://ns.adobe.com/xap/1.0/\0"

MAX_PACKET_BYTES = 1 << 16
"""No longer packet is read; a jpg can't have one."""

_BEGIN, _END = b"<?xpacket begin", b"<?xpacket end"
_PROPERTIES = ("DigitalSourceType", "AISystemUsed", "CreatorTool")

_PACKET = """\
<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about=""
 xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
 xmlns:xmp="http://ns.adobe.com/xap/1.0/">
<Iptc4xmpExt:DigitalSourceType>{source_type}</Iptc4xmpExt:DigitalSourceType>
<Iptc4xmpExt:AISystemUsed>{model}</Iptc4xmpExt:AISystemUsed>
<Iptc4xmpExt:AISystemVersionUsed>{version}</Iptc4xmpExt:AISystemVersionUsed>
<xmp:CreatorTool>{software}</xmp:CreatorTool>
</rdf:Description>
</rdf:RDF>
</x:xmpmeta>
<?xpacket end="r"?>"""


def packet(rendered: Rendered) -> str:
    """Return the XMP packet of a video: that it is synthetic, its model, and this software."""
    software = f"reeldrop {dict(rendered.versions).get('reeldrop', '')}".strip()
    return _packet(model_name(rendered), shown(rendered.revision or "unknown"), software)


def packet_of(profiles: Iterable[str]) -> str:
    """Return the XMP packet of what shows videos of these profiles."""
    return _packet(", ".join(map(shown, profiles)), "unknown", "reeldrop")


def _packet(model: str, version: str, software: str) -> str:
    return _PACKET.format(
        source_type=DIGITAL_SOURCE_TYPE,
        model=escape(model),
        version=escape(version),
        software=software,
    )


def model_name(rendered: Rendered) -> str:
    """Return the repository of a model, or the name of its folder, but not where that is."""
    return shown(PurePath(rendered.model).name if os.path.isabs(rendered.model) else rendered.model)


def append_to_mp4(path: Path, xmp: str) -> None:
    """Append the box with the packet, after all that players need."""
    content = _UUID + xmp.encode()
    with path.open("ab") as file:
        file.write((8 + len(content)).to_bytes(4, "big") + b"uuid" + content)


def append_to_gif(path: Path, xmp: str) -> None:
    """Put the packet after the last picture.

    Raises:
        ValueError: the file does not end as a GIF does.
    """
    with path.open("r+b") as file:
        file.seek(-1, 2)
        if file.read() != _GIF_END:
            raise ValueError(f"{path} does not end as a GIF does")
        file.seek(-1, 2)
        file.write(_GIF_HEADER + xmp.encode() + _GIF_TRAILER + _GIF_END)


def in_jpg(jpg: bytes, xmp: str) -> bytes:
    """Return a jpg with the packet behind its header, where Pillow puts it, too.

    Raises:
        ValueError: it does not begin as a JFIF file does.
    """
    if jpg[:4] != _JFIF_BEGIN:
        raise ValueError("it does not begin as a JFIF file does")
    header = 4 + int.from_bytes(jpg[4:6], "big")  # the length counts its own two bytes
    content = _JPG_XMP + xmp.encode()
    segment = b"\xff\xe1" + (2 + len(content)).to_bytes(2, "big") + content
    return jpg[:header] + segment + jpg[header:]


@dataclass(frozen=True, slots=True)
class Claim:
    """What a file claims in XMP; each is empty if nothing is claimed."""

    source_type: str = ""
    model: str = ""
    software: str = ""

    @property
    def is_synthetic(self) -> bool:
        return "AlgorithmicMedia" in self.source_type


def claim(path: Path) -> Claim:
    """Return what a file of any format claims of its origin.

    Found as the XMP specification advises where a format is unknown: by the text around a packet.
    A claim to be synthetic goes before others: our files have prompts, too, and these any claim.

    Raises:
        OSError: it can't be read.
    """
    with path.open("rb") as file:
        if not os.fstat(file.fileno()).st_size:
            return Claim()
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            first = Claim()
            for packet in _packets(content):
                found = _properties(packet)
                one = Claim(*(found.get(name, "") for name in _PROPERTIES))
                if one.is_synthetic:
                    return one
                first = first if first.source_type else one
    return first


def _packets(content: mmap.mmap) -> Iterator[str]:
    at = content.find(_BEGIN)
    while at >= 0 and (end := content.find(_END, at)) >= 0:
        begin = content.rfind(_BEGIN, at, end)
        if end - begin <= MAX_PACKET_BYTES:
            yield content[begin:end].decode(errors="replace")
        at = content.find(_BEGIN, end)


def _properties(xmp: str) -> dict[str, str]:
    """Return those of _PROPERTIES that a packet has; none if it names no source type.

    They are elements, or, as other programs write them, attributes.
    """
    found = {}
    for name in _PROPERTIES:
        value = re.search(rf"<\w+:{name}>([^<]*)<|\b\w+:{name}=[\"']([^\"'<]*)[\"']", xmp)
        if value is not None:
            found[name] = unescape(value[1] or value[2] or "")
    return found if _PROPERTIES[0] in found else {}
