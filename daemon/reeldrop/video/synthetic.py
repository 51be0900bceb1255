"""The machine-readable mark that a file was made by a model and not by a camera.

It is an XMP packet with the property `DigitalSourceType` of the IPTC's Photo Metadata Standard
2025.1, at the place that the XMP specification, part 3, defines for mp4, gif and jpg. For webm it
defines none: there the packet is a tag named XMP.
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
"""Ends the packet for programs that read its text as blocks with lengths."""

_GIF_END = b"\x3b"

_JFIF_BEGIN = b"\xff\xd8\xff\xe0"
_JPG_XMP = b"http://ns.adobe.com/xap/1.0/\0"

MAX_PACKET_BYTES = 1 << 16
"""Upper bound on packets that are read; in a jpg, a larger one is not possible."""

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
    """Return the XMP packet of a video: it is synthetic, by this model, with this software."""
    software = f"reeldrop {dict(rendered.versions).get('reeldrop', '')}".strip()
    return _packet(model_name(rendered), shown(rendered.revision or "unknown"), software)


def packet_of(profiles: Iterable[str]) -> str:
    """Return the XMP packet of a sheet of videos of these profiles."""
    return _packet(", ".join(map(shown, profiles)), "unknown", "reeldrop")


def _packet(model: str, version: str, software: str) -> str:
    return _PACKET.format(
        source_type=DIGITAL_SOURCE_TYPE,
        model=escape(model),
        version=escape(version),
        software=software,
    )


def model_name(rendered: Rendered) -> str:
    """Return the repository of a model, or the name of its folder without the path."""
    return shown(PurePath(rendered.model).name if os.path.isabs(rendered.model) else rendered.model)


def append_to_mp4(path: Path, xmp: str) -> None:
    """Append a box with the packet to the end of an mp4."""
    with path.open("ab") as file:
        file.write(mp4_box(xmp))


def mp4_box(xmp: str) -> bytes:
    """Return a box with the packet, for the end of an mp4."""
    content = _UUID + xmp.encode()
    return (8 + len(content)).to_bytes(4, "big") + b"uuid" + content


def append_to_gif(path: Path, xmp: str) -> None:
    """Insert the packet after the last picture.

    Raises:
        ValueError: the file does not end like a GIF.
    """
    with path.open("r+b") as file:
        file.seek(-1, 2)
        if file.read() != _GIF_END:
            raise ValueError(f"{path} does not end like a GIF")
        file.seek(-1, 2)
        file.write(_GIF_HEADER + xmp.encode() + _GIF_TRAILER + _GIF_END)


def in_jpg(jpg: bytes, xmp: str) -> bytes:
    """Return a jpg with the packet after its header, as Pillow writes it.

    Raises:
        ValueError: it does not begin like a JFIF file.
    """
    if jpg[:4] != _JFIF_BEGIN:
        raise ValueError("it does not begin like a JFIF file")
    header = 4 + int.from_bytes(jpg[4:6], "big")  # the length counts its own two bytes
    content = _JPG_XMP + xmp.encode()
    segment = b"\xff\xe1" + (2 + len(content)).to_bytes(2, "big") + content
    return jpg[:header] + segment + jpg[header:]


@dataclass(frozen=True, slots=True)
class Claim:
    """What a file claims in XMP; each is empty if it claims nothing."""

    source_type: str = ""
    model: str = ""
    software: str = ""

    @property
    def is_synthetic(self) -> bool:
        return "AlgorithmicMedia" in self.source_type


def claim(path: Path) -> Claim:
    """Return what a file of any format claims about its origin.

    Packets are found as the XMP specification advises for unknown formats: by the text around them.
    A claim to be synthetic wins, because our files also contain prompts, which may claim anything.

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
    """Return those of _PROPERTIES that a packet has; none if it has no source type.

    They are elements, or attributes, as other programs write them.
    """
    found = {}
    for name in _PROPERTIES:
        value = re.search(rf"<\w+:{name}>([^<]*)<|\b\w+:{name}=[\"']([^\"'<]*)[\"']", xmp)
        if value is not None:
            found[name] = unescape(value[1] or value[2] or "")
    return found if _PROPERTIES[0] in found else {}
