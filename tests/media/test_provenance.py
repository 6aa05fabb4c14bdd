"""Every video says that it is synthetic; a signed one says so in a way that cannot be changed unseen."""

import datetime
from collections.abc import Iterator
from fractions import Fraction
from itertools import repeat
from pathlib import Path

import numpy as np
import pytest

from mggdub.errors import InputError, UsageError
from mggdub.media import provenance
from mggdub.media.encode import write_video
from mggdub.media.provenance import SOURCE_TYPE, XMP_BOX, load_credentials
from mggdub.media.video import read_video
from mggdub.options import RenderOptions

try:  # the [c2pa] extra, which brings cryptography along
    import c2pa
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
except ImportError:
    c2pa = None

signs = pytest.mark.skipif(c2pa is None, reason="needs c2pa-python")
PICTURE = np.full((32, 48, 3), 90, np.uint8)


def write(path: Path, **more: object) -> None:
    write_video(path, repeat(PICTURE, 5), fps=Fraction(25), size=(48, 32), **more)


def boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(type, content) of the top-level boxes of an MP4."""
    place = 0
    while place < len(data):
        size = int.from_bytes(data[place : place + 4], "big")
        assert 8 <= size <= len(data) - place
        yield data[place + 4 : place + 8], data[place + 8 : place + size]
        place += size


def test_the_mark_is_the_last_box_of_a_whole_file(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4")
    found = list(boxes((tmp_path / "a.mp4").read_bytes()))
    kind, content = found[-1]
    assert kind == b"uuid" and content.startswith(XMP_BOX)
    packet = content[16:].decode("utf-8")
    assert f"<Iptc4xmpExt:DigitalSourceType>{SOURCE_TYPE}<" in packet and packet.endswith('<?xpacket end="r"?>')
    assert {b"ftyp", b"moov", b"mdat"} <= {kind for kind, _ in found}
    assert len(list(read_video(tmp_path / "a.mp4"))) == 5


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with chain.pem, key.pem, another.pem (a key of nobody) and web.pem (a chain for web servers)."""
    folder = tmp_path_factory.mktemp("credentials")
    now = datetime.datetime.now(datetime.UTC)
    issuer, signer, other = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))

    def name(text: str) -> "x509.Name":
        return x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "tests"),
                          x509.NameAttribute(NameOID.COMMON_NAME, text)])  # fmt: skip

    def certificate(key: "ec.EllipticCurvePrivateKey", use: "x509.ObjectIdentifier | None") -> bytes:
        ca = use is None
        usage = {"content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only",
                 "decipher_only", "crl_sign"}  # fmt: skip
        builder = (
            x509.CertificateBuilder()
            .subject_name(name("issuer" if ca else "signer"))
            .issuer_name(name("issuer"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=2))
            .add_extension(x509.BasicConstraints(ca, None), critical=True)
            .add_extension(
                x509.KeyUsage(**dict.fromkeys(usage, False), digital_signature=not ca, key_cert_sign=ca), critical=True
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key()), critical=False)
        )
        if use:
            builder = builder.add_extension(x509.ExtendedKeyUsage([use]), critical=False)
        return builder.sign(issuer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    root = certificate(issuer, None)
    chain = certificate(signer, ExtendedKeyUsageOID.EMAIL_PROTECTION) + root
    (folder / "chain.pem").write_bytes(chain)
    (folder / "web.pem").write_bytes(certificate(signer, ExtendedKeyUsageOID.SERVER_AUTH) + root)
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "key.pem").write_bytes(signer.private_bytes(serialization.Encoding.PEM, *plain))
    spoken = chain.decode().replace("-----BEGIN", "Subject: CN = signer\n-----BEGIN").replace("\n", "\r\n")
    (folder / "windows.pem").write_bytes(b"\xef\xbb\xbf" + spoken.encode())
    openssl = serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    (folder / "openssl.pem").write_bytes(signer.private_bytes(serialization.Encoding.PEM, *openssl))
    odd_curve = ec.generate_private_key(ec.SECP256K1())
    (folder / "curve.pem").write_bytes(odd_curve.private_bytes(serialization.Encoding.PEM, *plain))
    (folder / "curve_chain.pem").write_bytes(certificate(odd_curve, ExtendedKeyUsageOID.EMAIL_PROTECTION) + root)
    (folder / "another.pem").write_bytes(other.private_bytes(serialization.Encoding.PEM, *plain))
    locked = serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"secret")
    (folder / "locked.pem").write_bytes(signer.private_bytes(serialization.Encoding.PEM, *locked))
    (folder / "huge.pem").write_bytes((folder / "chain.pem").read_bytes() * 1000)
    (folder / "odd.pem").write_bytes(b"-----BEGIN CERTIFICATE-----\n\x1b[31m\0\xff\n-----END CERTIFICATE-----\n")
    return folder


@signs
def test_a_signed_manifest_is_read_back_and_notices_a_change(tmp_path: Path, pair: Path) -> None:
    video = tmp_path / "a.mp4"
    write(video, credentials=load_credentials(pair / "chain.pem", pair / "key.pem"))
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
    with c2pa.Reader(str(video)) as reader:
        manifest, state = reader.get_active_manifest(), reader.get_validation_state()
    assert state == "Valid" and manifest["claim_generator_info"][0]["name"] == "mggdub"
    (actions,) = (a for a in manifest["assertions"] if a["label"].startswith("c2pa.actions"))
    assert actions["data"]["actions"] == [{"action": "c2pa.created", "digitalSourceType": SOURCE_TYPE}]
    assert manifest["signature_info"]["common_name"] == "signer"
    data = video.read_bytes()
    assert SOURCE_TYPE.encode() in data and len(list(read_video(video))) == 5
    video.write_bytes(data.replace(b"made by mggdub", b"made by nobody"))
    with c2pa.Reader(str(video)) as reader:
        assert reader.get_validation_state() == "Invalid"


@signs
@pytest.mark.parametrize(("chain", "key"), [("chain.pem", "openssl.pem"), ("windows.pem", "key.pem")])
def test_pem_files_are_taken_as_other_programs_write_them(tmp_path: Path, pair: Path, chain: str, key: str) -> None:
    write(tmp_path / "a.mp4", credentials=load_credentials(pair / chain, pair / key))
    with c2pa.Reader(str(tmp_path / "a.mp4")) as reader:
        assert reader.get_validation_state() == "Valid"


@signs
@pytest.mark.parametrize(
    ("chain", "key", "said"),
    [("key.pem", "key.pem", "no certificate"), ("chain.pem", "chain.pem", "no usable key"),
     ("chain.pem", "another.pem", "not the key"), ("web.pem", "key.pem", "cannot sign"),
     ("chain.pem", "locked.pem", "without a password"), ("huge.pem", "key.pem", "larger than 1 MiB"),
     ("chain.pem", "huge.pem", "larger than 1 MiB"), ("odd.pem", "key.pem", "no certificate"),
     ("chain.pem", "odd.pem", "no usable key"), ("curve_chain.pem", "curve.pem", "of a kind that cannot sign")],
)  # fmt: skip
def test_what_cannot_sign_says_so_before_the_work(pair: Path, chain: str, key: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as error:
        load_credentials(pair / chain, pair / key)
    assert str(error.value).isprintable()


def test_one_without_the_other_or_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="belong together"):
        RenderOptions(c2pa_cert=tmp_path / "chain.pem")
    monkeypatch.setattr(provenance, "find_spec", lambda _: None)
    with pytest.raises(UsageError, match="c2pa-python"):
        load_credentials(tmp_path / "chain.pem", tmp_path / "key.pem")


def test_a_video_that_is_cut_short_is_not_sealed(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4")
    data = (tmp_path / "a.mp4").read_bytes()
    for length in (len(data) - 1, len(data) - 700, 20):
        (tmp_path / "b.mp4").write_bytes(data[:length])
        with pytest.raises(OSError, match="cut short"):
            provenance.mark_synthetic(tmp_path / "b.mp4")
        assert (tmp_path / "b.mp4").stat().st_size == length
