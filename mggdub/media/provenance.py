"""What a video says of its own origin: an XMP packet that it is synthetic and, on request, a signed C2PA manifest."""

from __future__ import annotations

import base64
import errno
import io
import os
import uuid
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO

from mggdub.errors import InputError, OutputError, UsageError, excerpt
from mggdub.media.files import appearing_whole, check_input
from mggdub.version import __version__

SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
XMP_BOX = uuid.UUID("BE7ACFCB-97A9-42E8-9C71-999491E3AFAC").bytes  # where ISO base media files keep XMP
XMP = f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/"
 xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">
<xmp:CreatorTool>mggdub {__version__}</xmp:CreatorTool>
<Iptc4xmpExt:DigitalSourceType>{SOURCE_TYPE}</Iptc4xmpExt:DigitalSourceType>
</rdf:Description></rdf:RDF></x:xmpmeta>
<?xpacket end="r"?>"""
LARGEST_FILE = 1 << 20  # bytes; a chain of certificates has some thousands
CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}  # to C2PA's names
SHORTEST_KEY, LONGEST_KEY = 2048, 8192  # bits of RSA: C2PA takes no shorter one, a longer one signs for minutes
DOT = base64.b64decode(  # a PNG of one pixel: what a certificate is tried on before the work
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)


@dataclass(frozen=True)
class Credentials:
    """Who signs: a PEM chain, the signer's certificate first, and its key in PEM."""

    certificates: bytes
    algorithm: str  # C2PA's name
    key: bytes = field(repr=False)


def mark_synthetic(video: Path) -> None:
    """Append the XMP packet to an MP4 as a last top-level box; what was there keeps its place.

    Raises OSError, also if the last box is cut short: on a full disk ffmpeg may say that all went well.
    """
    packet = XMP_BOX + XMP.encode("utf-8")
    with video.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        if _last_box_ends(file) != end:
            raise OSError(errno.ENOSPC, "it was cut short; the disk may be full")
        file.seek(end)
        file.write((8 + len(packet)).to_bytes(4, "big") + b"uuid" + packet)


def _last_box_ends(file: BinaryIO) -> int:
    """Where the last top-level box of an MP4 says that it ends."""
    end, place = file.seek(0, os.SEEK_END), 0
    while place < end:
        file.seek(place)
        head = file.read(16)
        size = int.from_bytes(head[:4], "big")  # 1: the size is behind the type, in 64 bits
        place += int.from_bytes(head[8:], "big") if size == 1 else max(size, 8)
    return place


def seal(video: Path, credentials: Credentials | None) -> None:
    """What is done to an MP4 last, before it gets its name: the mark and, with credentials, the signed manifest."""
    mark_synthetic(video)
    if credentials:
        sign(video, credentials)


def load_credentials(certificate: Path, key: Path) -> Credentials:
    """What signs a C2PA manifest; call it before the work. Raises UsageError or InputError."""
    if find_spec("c2pa") is None or find_spec("cryptography") is None:
        raise UsageError("--c2pa-cert and --c2pa-key need the package c2pa-python; pip install 'mggdub[c2pa]'.")
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        load_pem_private_key,
    )

    chain, secret = (_read(path) for path in (certificate, key))
    try:
        certificates = x509.load_pem_x509_certificates(chain)
        public = certificates[0].public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InputError(f"{certificate} holds no certificate; give a PEM chain, the signer's first.") from error
    try:
        private = load_pem_private_key(secret, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:  # TypeError: the key wants a password
        raise InputError(f"{key} holds no usable key; give a PEM private key without a password.") from error
    if private.public_key() != public:
        raise InputError(f"{key} is not the key of the first certificate in {certificate}; give the pair.")
    algorithm = _algorithm(private, key)
    chain = b"".join(one.public_bytes(Encoding.PEM) for one in certificates)
    secret = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())  # all that c2pa reads
    credentials = Credentials(chain, algorithm, secret)
    try:
        _sign(credentials, "image/png", io.BytesIO(DOT), io.BytesIO())
    except ValueError as error:
        raise InputError(
            f"{certificate} cannot sign C2PA manifests ({excerpt(error)}); it needs to be valid now, for e-mail "
            "protection or document signing, and to come with the chain that issued it."
        ) from error
    return credentials


def _read(path: Path) -> bytes:
    if check_input(path).stat().st_size > LARGEST_FILE:
        raise InputError(f"{path} is larger than {LARGEST_FILE >> 20} MiB; give a PEM file.")
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}); copy it to another disk.") from error


def _algorithm(private: Any, path: Path) -> str:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if isinstance(private, ec.EllipticCurvePrivateKey) and private.curve.name in CURVES:
        return CURVES[private.curve.name]
    if isinstance(private, rsa.RSAPrivateKey) and SHORTEST_KEY <= private.key_size <= LONGEST_KEY:
        return "ps256"
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return "ed25519"
    raise InputError(
        f"{path} is of a kind that cannot sign; use a P-256, P-384, P-521 or Ed25519 key, or RSA of "
        f"{SHORTEST_KEY} to {LONGEST_KEY} bits."
    )


def sign(video: Path, credentials: Credentials) -> None:
    """Put a signed C2PA manifest into an MP4: made by mggdub, of trained and other media. Raises OutputError."""
    try:
        with (
            appearing_whole(video, private=True) as signed,
            video.open("rb") as source,
            signed.open("w+b") as target,
        ):
            _sign(credentials, "video/mp4", source, target)
    except ValueError as error:
        raise OutputError(f"The C2PA manifest could not be signed ({excerpt(error)}).") from error


def _sign(credentials: Credentials, kind: str, source: BinaryIO, target: BinaryIO) -> None:
    """Copy a file of a MIME type with a manifest in it. Raises ValueError with what c2pa says."""
    from c2pa import Builder, C2paError, C2paSignerInfo, Signer

    created = {"action": "c2pa.created", "digitalSourceType": SOURCE_TYPE}
    manifest = {
        "claim_generator_info": [{"name": "mggdub", "version": __version__}],
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [created]}}],
    }
    info = C2paSignerInfo(credentials.algorithm, credentials.certificates, credentials.key, None)
    try:
        with Builder(manifest) as builder, Signer.from_info(info) as signer:
            builder.sign(signer, kind, source, target)
    except C2paError as error:
        raise ValueError(str(error).rstrip(".")) from error
