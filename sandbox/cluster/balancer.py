"""nginx before the nodes: its configuration out of deploy/nginx, and certificates of an authority made for the run."""

import string
from pathlib import Path

from sandbox.cluster.children import ClusterError

_TEMPLATE = Path(__file__).resolve().parents[2] / "deploy" / "nginx" / "sandbox.conf.template"


class _Template(string.Template):
    # `$` begins nginx's own variables.
    delimiter = "@"


def write_certificates(run: Path, host: str) -> Path:
    """Make an authority and the certificate of `host` under `run`; returns the path of the authority's certificate.

    ClusterError when the package that makes them is missing.
    """
    try:
        import trustme
    except ImportError:
        raise ClusterError("the package trustme is missing: install ringcloud-gateway[cluster]") from None
    authority = trustme.CA(organization_name="RingCloud sandbox")
    certificate = authority.issue_cert(host, "localhost")
    key = run / "server.key"
    key.touch(mode=0o600)
    certificate.private_key_pem.write_to_path(key)
    for blob in certificate.cert_chain_pems:
        blob.write_to_path(run / "server.pem", append=True)
    authority.cert_pem.write_to_path(run / "ca.pem")
    return run / "ca.pem"


def write_configuration(run: Path, host: str, port: int, nodes: list[str]) -> Path:
    """Write nginx's configuration under `run`, to listen on `host` and `port` before these HTTP URLs; returns its path.

    ClusterError when the template is missing.
    """
    if not _TEMPLATE.is_file():
        raise ClusterError("deploy/nginx is not here: a checkout of the source is needed")
    servers = " ".join(f"server {url.removeprefix('http://')} max_fails=0;" for url in nodes)
    path = run / "nginx.conf"
    path.write_text(_Template(_TEMPLATE.read_text()).substitute(run=run, host=host, port=port, servers=servers))
    return path
