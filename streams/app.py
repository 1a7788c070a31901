"""Makes the Faust app that expands call events into deliveries."""

from __future__ import annotations

from pathlib import Path

import faust
from faust.auth import Credentials, OAuthCredentials, SASLCredentials, SSLCredentials

from gateway.config import Config
from gateway.contract.topics import Topics
from gateway.runtime.kafka import METADATA_AGE_MS
from gateway.runtime.security import security_settings
from streams.fanout import FanOut, add_agent
from streams.rebalancing import use_careful_transport
from streams.transport import use_committed_transport

# Seconds; what a crash makes be expanded, and so delivered, twice. Faust waits twice as long before its first commit:
# at a second, a process that is killed every two would never commit anything, and expand the same events each time.
_COMMIT_INTERVAL = 0.25


def create_app(config: Config, topics: Topics, fan_out: FanOut, data_dir: Path) -> faust.App:
    """The app, reading committed call events from their beginning; to be made within the loop that it will run in.

    It serves nothing, creates no topic and keeps no state; `data_dir` is for Faust, which insists on one.

    Raises:
        ConfigError: A secret of the brokers is not there.
        TransportError: It cannot be assured that only committed records are read.
    """
    app = faust.App(
        id=f"{config.kafka.prefix}-fanout",
        broker=[f"kafka://{one}" for one in config.kafka.bootstrap.split(",")],
        broker_credentials=_credentials(config),
        autodiscover=False,
        datadir=str(data_dir),
        broker_commit_interval=_COMMIT_INTERVAL,
        broker_max_poll_records=500,
        broker_session_timeout=config.kafka.session_timeout,
        broker_heartbeat_interval=config.kafka.session_timeout / 5,
        broker_request_timeout=max(90.0, config.kafka.session_timeout),
        consumer_auto_offset_reset="earliest",
        consumer_metadata_max_age_ms=METADATA_AGE_MS,
        # Faust's own producer writes nothing; the deliveries go through the outbox.
        producer_acks=-1,
        stream_buffer_maxsize=1000,
        # Partitions are given away only when what is under way is acknowledged.
        stream_wait_empty=True,
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
        worker_redirect_stdouts=False,
    )
    use_committed_transport(app)
    use_careful_transport(app)
    add_agent(app, topics, fan_out)
    return app


def _credentials(config: Config) -> Credentials | None:
    """What lets the app's consumer in, as Faust would have it."""
    settings = security_settings(config.kafka)
    tls = settings.get("ssl_context")
    match settings.get("sasl_mechanism"):
        case None:
            return SSLCredentials(tls) if tls else None
        case "OAUTHBEARER":
            return OAuthCredentials(oauth_cb=settings["sasl_oauth_token_provider"], ssl_context=tls)
        case mechanism:
            return SASLCredentials(
                username=settings["sasl_plain_username"],
                password=settings["sasl_plain_password"],
                ssl_context=tls,
                mechanism=mechanism,
            )
