"""A real Apache Kafka that asks who its clients are and lets each do only what deploy/kafka/acls.csv says."""

from __future__ import annotations

import base64
import csv
import json
import re
import string
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import trustme
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.admin import CreateAclsRequest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from gateway.dev.brokers import ApacheKafka, free_port

_DEPLOY = Path(__file__).parents[2] / "deploy" / "kafka"
ACLS = _DEPLOY / "acls.csv"
# The numbers of the protocol (KIP-140, KIP-290).
_RESOURCES = {"topic": 2, "group": 3, "cluster": 4, "transactional-id": 5}
_PATTERNS = {"literal": 3, "prefixed": 4}
_OPERATIONS = {"Read": 3, "Write": 4, "Create": 5, "Describe": 8, "DescribeConfigs": 10}
_ALLOW = 3
# A line of the broker's log that says what somebody asked for, and by which line of the list it was let in.
_ASKED = re.compile(r"Principal = User:(\w+) is (Allowed|Denied) operation = (\w+) from .* on resource = (\S+) for ")
_BY = re.compile(
    r"resourceType=(\w+), resourceName=(\S+), patternType=(\w+), principal=User:(\w+), .* operation=(\w+),"
)


class Acl(NamedTuple):
    """A line of the list."""

    user: str
    resource: str
    pattern: str
    name: str
    operations: tuple[str, ...]


class Right(NamedTuple):
    """One operation of a line of the list."""

    user: str
    resource: str
    pattern: str
    name: str
    operation: str


def rights() -> set[Right]:
    """The list, an operation each."""
    return {Right(*acl[:4], operation) for acl in listed() for operation in acl.operations}


def listed() -> list[Acl]:
    """The list as it is in the documentation."""
    with ACLS.open(newline="", encoding="utf-8") as lines:
        rows = csv.DictReader(lines)
        return [Acl(**{**row, "operations": tuple(row["operations"].split())}) for row in rows]


class SecuredKafka(ApacheKafka):
    """The broker. `bootstrap` is for whoever judges; `secured` takes passwords and tokens, `certified` certificates."""

    def __init__(self, folder: Path, users: Iterable[str] | None = None) -> None:
        """Take the folder, and which users it knows from the start; by default those of the list, and admin, who may all."""
        super().__init__(folder)
        self.passwords = {user: f"the-password-of-{user}" for user in ("admin", *(acl.user for acl in listed()))}
        self._users = sorted(self.passwords if users is None else users)
        self._folder = folder
        self._ports = {"secured": free_port(), "certified": free_port()}
        self._authority = trustme.CA()
        self._key = rsa.generate_private_key(65537, 2048)
        self.ca = folder / "ca.pem"
        folder.mkdir(parents=True, exist_ok=True)
        self._authority.cert_pem.write_to_path(str(self.ca))
        (folder / "broker.pem").write_bytes(_pem(self._authority.issue_cert("127.0.0.1")))
        (folder / "jwks.json").write_text(json.dumps({"keys": [self._public_key()]}), encoding="utf-8")

    @property
    def secured(self) -> str:
        """`host:port` of the listener for SASL over TLS."""
        return f"127.0.0.1:{self._ports['secured']}"

    @property
    def certified(self) -> str:
        """`host:port` of the listener for clients with certificates."""
        return f"127.0.0.1:{self._ports['certified']}"

    def certificate(self, user: str) -> Path:
        """A file with the certificate and key of a user."""
        path = self._folder / f"{user}.pem"
        path.write_bytes(_pem(self._authority.issue_cert(f"{user}@example.com", common_name=user)))
        return path

    def token(self, user: str, seconds: float = 600.0) -> str:
        """A token that the broker takes for the user, for so many seconds."""
        now = time.time()
        claims = {
            "iss": "https://login.example.com",
            "sub": user,
            "aud": "kafka",
            "scope": "kafka",
            "iat": int(now),
            "exp": int(now + seconds),
        }
        text = f"{_encoded({'alg': 'RS256', 'kid': 'of-the-tests'})}.{_encoded(claims)}"
        return f"{text}.{_base64(self._key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256()))}"

    async def allow(self, acls: list[Acl], renamed: Mapping[str, str] | None = None) -> None:
        """Let users do what the list says; what its names begin with may be `renamed`."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        try:
            for acl in acls:
                for operation in acl.operations:
                    answer = await admin._send_request(
                        CreateAclsRequest(
                            _RESOURCES[acl.resource],
                            _renamed(acl.name, renamed or {}),
                            _PATTERNS[acl.pattern],
                            f"User:{acl.user}",
                            "*",
                            _OPERATIONS[operation],
                            _ALLOW,
                        )
                    )
                    assert [code for code, _ in answer.creation_responses] == [0], answer
        finally:
            await admin.close()

    def used(self) -> set[Right]:
        """The rights that were made use of until now; what one lets do besides (who reads may describe) is none of it."""
        names = {name.upper().replace("-", "_"): name for name in _RESOURCES}
        operations = {re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).upper(): name for name in _OPERATIONS}
        found = set()
        for line in self._said():
            if (asked := _ASKED.search(line)) and (by := _BY.search(line)):
                resource, name, pattern, user, operation = by.groups()
                if operation == asked[3]:
                    found.add(Right(user, names[resource], pattern.lower(), name, operations[operation]))
        return found

    def denied(self) -> set[tuple[str, str, str]]:
        """Who was refused which operation on what (`Topic:LITERAL:name`) until now."""
        found = (_ASKED.search(line) for line in self._said())
        return {(one[1], one[3], one[4]) for one in found if one and one[2] == "Denied"}

    def _said(self) -> list[str]:
        return (self._folder / "broker.log").read_text(encoding="utf-8").splitlines()

    def _more_properties(self, controller_port: int) -> str:
        return string.Template((_DEPLOY / "secured.properties.template").read_text(encoding="utf-8")).substitute(
            port=self._port,
            secured_port=self._ports["secured"],
            certified_port=self._ports["certified"],
            controller_port=controller_port,
            keystore=self._folder / "broker.pem",
            truststore=self.ca,
            jwks=self._jwks,
            password=self.passwords["events"],
        )

    def _more_options(self) -> list[str]:
        return [f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={self._jwks}", "-Dkafka.authorizer.level=DEBUG"]

    def _more_to_format(self) -> list[str]:
        return [
            f"--add-scram={mechanism}=[name={user},password={self.passwords[user]}]"
            for user in self._users
            for mechanism in ("SCRAM-SHA-512", "SCRAM-SHA-256")
        ]

    @property
    def _jwks(self) -> str:
        return (self._folder / "jwks.json").as_uri()

    def _public_key(self) -> dict[str, Any]:
        numbers = self._key.public_key().public_numbers()
        of = {
            name: _base64(value.to_bytes((value.bit_length() + 7) // 8))
            for name, value in (("n", numbers.n), ("e", numbers.e))
        }
        return {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "of-the-tests", **of}


def _pem(leaf: trustme.LeafCert) -> bytes:
    """The key as Kafka reads it, and the certificates."""
    key = serialization.load_pem_private_key(leaf.private_key_pem.bytes(), None)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private + b"".join(blob.bytes() for blob in leaf.cert_chain_pems)


def _renamed(name: str, renamed: Mapping[str, str]) -> str:
    for old, new in renamed.items():
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name


def _encoded(what: dict[str, Any]) -> str:
    return _base64(json.dumps(what).encode())


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def settings(kafka: SecuredKafka, user: str, folder: Path) -> Iterator[tuple[str, str]]:
    """What of [kafka] lets a client of this user in by its password, which is put into a file of the folder."""
    path = folder / f"{user}.password"
    path.write_text(kafka.passwords[user], encoding="utf-8")
    name = folder / f"{user}.username"
    name.write_text(user, encoding="utf-8")
    yield "bootstrap", kafka.secured
    yield "security_protocol", "SASL_SSL"
    yield "ca", f"file:{kafka.ca}"
    yield "username", f"file:{name}"
    yield "password", f"file:{path}"
