"""TLS as an endpoint wants it: whom to trust, and who the gateway is. The receiver is verified in any case."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Literal

from gateway.config import ConfigError
from gateway.contract.endpoints import Endpoint

# What aiohttp takes for "verify by the system's certificate authorities".
BY_DEFAULT: Literal[True] = True


def tls_of(endpoint: Endpoint, prefix: str) -> ssl.SSLContext | Literal[True]:
    """The context for connections to `endpoint`; its files are read now.

    With `ca` nobody else is trusted. Fields in errors begin with `prefix`.

    Raises:
        ConfigError: A file is not there or is not what it is to be.
    """
    if endpoint.ca is None and endpoint.client_certificate is None:
        return BY_DEFAULT
    try:
        context = ssl.create_default_context(cafile=_file(endpoint, "ca", prefix))
    except ssl.SSLError:
        raise _error(endpoint, f"{prefix}ca", "holds no certificate in PEM") from None
    context.set_alpn_protocols(["http/1.1"])
    certificate, key = _file(endpoint, "client_certificate", prefix), _file(endpoint, "client_key", prefix)
    if certificate is not None:
        try:
            # Without a password OpenSSL would ask for one at the terminal.
            context.load_cert_chain(certificate, key, password="")
        except ssl.SSLError:
            of = "" if key is None else " of client_key"
            what = f"is no certificate with the private key{of}, in PEM and without a password"
            raise _error(endpoint, f"{prefix}client_certificate", what) from None
    return context


def _file(endpoint: Endpoint, field: str, prefix: str) -> str | None:
    """The path that a reference names, after a look whether it can be read."""
    reference: str | None = getattr(endpoint, field)
    if reference is None:
        return None
    path = reference.removeprefix("file:")
    try:
        with Path(path).open("rb"):
            pass
    except OSError as error:
        raise _error(endpoint, f"{prefix}{field}", error.strerror or type(error).__name__) from None
    return path


def _error(endpoint: Endpoint, field: str, why: str) -> ConfigError:
    return ConfigError(f"endpoint {endpoint.id}", field, why)
