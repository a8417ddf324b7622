"""gRPC options for the client of a stream that lasts as long as two of our processes."""

from typing import Final

CLIENT_OPTIONS: Final = (
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
    ("grpc.enable_http_proxy", 0),  # The server is a neighbour; a proxy of the environment is meant for the internet.
    ("grpc.use_local_subchannel_pool", 1),  # Else a new attempt may get the failed connection of the last one.
    ("grpc.keepalive_time_ms", 15_000),  # A server whose machine died sends no FIN.
    ("grpc.keepalive_timeout_ms", 5_000),
    # By default a minute, and a pending ping delays the keepalive's.
    ("grpc.http2.ping_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
)
