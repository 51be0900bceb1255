"""C2PA manifests: signatures with which others can check that a file is as we published it.

A file is signed last, over its pictures and all its metadata. Of our formats, C2PA supports mp4,
gif and jpg, but not webm. Needs the package c2pa-python; no call uses the network.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

from reeldrop.base import trouble
from reeldrop.base.errors import ConfigError, Mistake
from reeldrop.base.escaping import shown
from reeldrop.base.job import Prompt, Rendered
from reeldrop.video.synthetic import DIGITAL_SOURCE_TYPE, model_name

KINDS = {"mp4": "video/mp4", "gif": "image/gif", "jpg": "image/jpeg"}
"""The formats that can be signed, with their media types."""

MISSING = "the package c2pa-python is missing"
REMEDY = "pip install 'reeldrop[c2pa]'"

VALID = "Valid"
"""The state of a manifest with a correct signature by an unknown signer."""

EXPIRED = "Expired"
_HOLDS = {VALID, "Trusted"}
_OF_AN_OLD_CERTIFICATE = {"signingCredential.expired"}
"""C2PA calls it invalid, because without a time stamp nobody knows when it was signed."""

_PIXEL = b"GIF89a\1\0\1\0\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\1\0\1\0\0\2\2D\1\0;"

_SETTINGS = {
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
    "builder": {"thumbnail": {"enabled": False}},
}
"""No thumbnails, which would be ten times the size of a poster; and no downloads."""


class Signer:
    """Signs files with the key of a certificate.

    certificate: a PEM file with the certificate and its chain, without the root
    key: a PEM file with its private key: ECDSA, RSA or Ed25519, without a password
    include_prompt: whether manifests contain the prompt

    Raises:
        ConfigError: they can't be used.
    """

    def __init__(self, certificate: Path, key: Path, *, include_prompt: bool) -> None:
        library = _library()
        self._include_prompt = include_prompt
        self._context = library.Context.from_dict(_SETTINGS)
        try:
            chain, secret = certificate.read_bytes(), key.read_bytes()
            information = library.C2paSignerInfo(_algorithm(secret), chain, secret, None)
            self._signer = library.Signer.from_info(information)
            self._try()
        except (OSError, ValueError, TypeError, library.C2paError, SigningError) as error:
            raise ConfigError(_unusable(certificate, key, error)) from None

    def _try(self) -> None:
        """Sign a picture of one pixel and verify it: only that finds every possible problem."""
        signed = io.BytesIO()
        trial = _manifest("none", "none", "none", "")
        self._write(io.BytesIO(_PIXEL), signed, "gif", trial)
        found = _read(signed, "gif") or {}
        if found.get("state") != VALID:
            raise SigningError(f"a trial signature is {found.get('state', 'missing')}")

    def sign(self, path: Path, kind: str, prompt: Prompt, rendered: Rendered) -> None:
        """Add a manifest to a file in place; `kind` is one of KINDS.

        Raises:
            SigningError: it can't be signed, for example because the certificate has expired.
            OSError: the file can't be read or written.
        """
        version = dict(rendered.versions).get("reeldrop", "unknown")
        text = prompt.prompt if self._include_prompt else ""
        model, revision = model_name(rendered), rendered.revision or "unknown"
        self._replace(path, kind, _manifest(model, revision, version, text))

    def sign_sheet(self, path: Path, kind: str, profiles: Iterable[str]) -> None:
        """Do the same with a sheet of videos of these profiles.

        Raises:
            SigningError, OSError: as `sign` does.
        """
        models = ", ".join(map(shown, profiles))
        self._replace(path, kind, _manifest(models, "unknown", "unknown", ""))

    def _replace(self, path: Path, kind: str, manifest: str) -> None:
        signed = io.BytesIO()  # of a full disk, the package would not say that it is full
        with trouble.naming(path), path.open("r+b") as file:
            self._write(file, signed, kind, manifest)
            file.seek(0)
            file.write(signed.getbuffer())
            file.truncate()

    def _write(self, file: IO[bytes], signed: IO[bytes], kind: str, manifest: str) -> None:
        library = _library()
        try:
            with library.Builder(manifest, context=self._context) as builder:
                builder.sign(self._signer, KINDS[kind], file, signed)
        except library.C2paError as error:
            raise SigningError(str(error)) from None


def _manifest(model: str, revision: str, version: str, prompt: str) -> str:
    """Return the claim: that a model made the file, and with which software."""
    created = {
        "action": "c2pa.created",
        "digitalSourceType": DIGITAL_SOURCE_TYPE,
        "softwareAgent": {"name": model, "version": revision},
    }
    assertions = [{"label": "c2pa.actions.v2", "data": {"actions": [created]}}]
    if prompt:
        assertions.append({"label": "reeldrop.prompt", "data": {"prompt": prompt}})
    generator = {"name": "reeldrop", "version": version}
    return json.dumps({"claim_generator_info": [generator], "assertions": assertions})


class SigningError(Exception):
    """A file could not be signed."""


def claims(path: Path, kind: str) -> dict[str, str] | None:
    """Return `state` and `signer` of a file's manifest; None if it has none.

    `state` is Valid if the signature is correct and nothing was changed, Expired if only the
    certificate has expired since, else Invalid. `signer` is the organisation in the certificate;
    whether it can be trusted is not checked.

    Raises:
        ConfigError: the package is missing.
        SigningError: the manifest can't be read.
        OSError: the file can't be read.
    """
    with path.open("rb") as file:
        return _read(file, kind)


def _read(file: IO[bytes], kind: str) -> dict[str, str] | None:
    library = _library()
    try:
        with library.Context.from_dict(_SETTINGS) as context:
            reader = library.Reader.try_create(KINDS[kind], file, context=context)
            if reader is None:
                return None
            with reader:
                manifest = json.loads(reader.json())
                active = manifest["manifests"][manifest["active_manifest"]]
                signer = str(active.get("signature_info", {}).get("issuer", ""))
                state = str(reader.get_validation_state())
                if state not in _HOLDS and _failures(manifest) == _OF_AN_OLD_CERTIFICATE:
                    state = EXPIRED
                return {"state": state, "signer": signer}
    except (library.C2paError, LookupError, TypeError, ValueError) as error:
        raise SigningError(f"its manifest can't be read: {error}") from None


def _failures(manifest: dict[str, Any]) -> set[str]:
    """Return C2PA's codes of all failed checks, except that of trust."""
    found = {entry["code"] for entry in manifest.get("validation_status", [])}
    return found - {"signingCredential.untrusted"}


def _library() -> Any:
    """Return the package, imported when needed: that takes 0.1 s, and it may not be installed."""
    try:
        import c2pa
    except ImportError:
        raise ConfigError(Mistake(MISSING, REMEDY)) from None
    return c2pa


def _algorithm(key: bytes) -> bytes:
    """Return C2PA's name of the algorithm of a private key in PEM.

    Raises:
        ValueError, TypeError: it is no key, has a password, or is of an unsupported kind.
    """
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    match load_pem_private_key(key, None):
        case ec.EllipticCurvePrivateKey(curve=curve) if curve.name in _CURVES:
            return _CURVES[curve.name]
        case rsa.RSAPrivateKey():
            return b"ps256"
        case ed25519.Ed25519PrivateKey():
            return b"ed25519"
    raise ValueError("the key is neither ECDSA (P-256, P-384, P-521) nor RSA nor Ed25519")


_CURVES = {"secp256r1": b"es256", "secp384r1": b"es384", "secp521r1": b"es512"}


def _unusable(certificate: Path, key: Path, error: Exception) -> Mistake:
    problem = f"{certificate} and {key} can't be used to sign: {error}"
    return Mistake(problem, "name a certificate for C2PA and its key, both PEM files")
