"""How the compiled peers are configured: nginx, HAProxy, Envoy, Traefik, Caddy.

One worker or thread a worker asked for, no access log, upstream connections kept, the client told to the upstream as
each of them does it.
"""

from __future__ import annotations

import json
import os
from typing import Any

from bench.peers.place import Command, Place, Setup

__all__ = ["caddy", "envoy", "haproxy", "nginx", "nginx_lacks", "nginx_main", "traefik"]

_KEPT = 256
"""Idle upstream connections that are kept."""


def nginx_main(place_folder: str, workers: int, http: str) -> str:
    """An nginx configuration with `http` as its http section."""
    user = "user root;\n" if os.geteuid() == 0 else ""
    return f"""{user}worker_processes {workers}; daemon off; error_log stderr error; pid {place_folder}/pid;
worker_rlimit_nofile 20000;
events {{ worker_connections 19900; }}
http {{
  access_log off; sendfile on; tcp_nopush off; keepalive_requests 1000000000; keepalive_timeout 600s;
  client_max_body_size 0; server_names_hash_max_size 131072; server_names_hash_bucket_size 128;
  client_body_temp_path {place_folder}/a; proxy_temp_path {place_folder}/b; fastcgi_temp_path {place_folder}/c;
  uwsgi_temp_path {place_folder}/d; scgi_temp_path {place_folder}/e;
{http}
}}
"""


def nginx_lacks(setup: Setup) -> str:
    """What nginx says to upstreams is HTTP/1, or gRPC."""
    return "it speaks HTTP/2 to upstreams for gRPC only" if setup.upstream == "http2" else ""


def nginx(place: Place) -> Command:
    """nginx: a server a host; requests and responses buffered, as it comes, but for gRPC."""
    tls = f"ssl_certificate {place.certificate}; ssl_certificate_key {place.key};" if place.setup.tls else ""
    http2 = " http2" if place.setup.clients == "http2" else ""
    listen = f"listen 127.0.0.1:{place.port}{' ssl' if place.setup.tls else ''}{http2} backlog=4096"
    to = "grpc_pass grpc://up" if place.setup.upstream == "grpc" else "proxy_pass http://up"
    switch = 'Upgrade $http_upgrade; proxy_set_header Connection "upgrade"'
    kept = switch if place.setup.upstream == "websocket" else 'Connection ""'
    lines = [
        f"upstream up {{ server 127.0.0.1:{place.origin}; keepalive {_KEPT}; keepalive_requests 1000000000; }}",
        f"proxy_http_version 1.1; proxy_set_header {kept}; proxy_set_header Host $host; proxy_read_timeout 600s;",
        "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Forwarded-Proto $scheme;",
        tls,
    ]
    for number, host in enumerate(place.hosts or ["_"]):
        first = listen if number == 0 else listen.replace(" backlog=4096", "")
        lines.append(f"server {{ {first}; server_name {host}; location / {{ {to}; }} }}")
    file = place.write("nginx.conf", nginx_main(str(place.folder), place.setup.workers, "\n".join(lines)))
    return Command([place.binary, "-c", file, "-p", str(place.folder), "-e", "stderr"])


def haproxy(place: Place) -> Command:
    """HAProxy: hosts in a map file, as its manual says."""
    bind = f"bind 127.0.0.1:{place.port} backlog 4096"
    if place.setup.tls:
        both = place.certificate.read_text() + place.key.read_text()
        bind += f" ssl crt {place.write('both.pem', both)}"
    use = "default_backend up"
    if place.hosts:
        known = place.write("hosts.map", "".join(f"{host} up\n" for host in place.hosts))
        use = f"use_backend %[req.hdr(host),field(1,:),lower,map_str({known})]"
    text = f"""global
  nbthread {place.setup.workers}
  maxconn 9990
defaults
  mode http
  timeout connect 5s
  timeout client 600s
  timeout server 600s
  timeout http-keep-alive 600s
  timeout tunnel 600s
  option forwardfor
  http-reuse always
frontend in
  {bind}
  http-request set-header X-Forwarded-Proto {"https" if place.setup.tls else "http"}
  {use}
backend up
  server origin 127.0.0.1:{place.origin}{" proto h2" if place.setup.http2_upstream else ""}
"""
    return Command([place.binary, "-q", "-db", "-f", place.write("haproxy.cfg", text)])


def envoy(place: Place) -> Command:
    """Envoy: a virtual host a host, its statistics and request ids on, as they come."""
    kinds = "type.googleapis.com/envoy.extensions"
    route = {"match": {"prefix": "/"}, "route": {"cluster": "up", "timeout": "0s"}}
    hosts = [{"name": host, "domains": [host], "routes": [route]} for host in place.hosts]
    manager: dict[str, Any] = {
        "@type": f"{kinds}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "use_remote_address": True,
        "route_config": {
            "virtual_hosts": hosts or [{"name": "all", "domains": ["*"], "routes": [route]}],
            "ignore_port_in_host_matching": True,
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{kinds}.filters.http.router.v3.Router"},
            }
        ],
    }
    if place.setup.upstream == "websocket":
        manager["upgrade_configs"] = [{"upgrade_type": "websocket"}]
    name = "envoy.filters.network.http_connection_manager"
    chain: dict[str, Any] = {"filters": [{"name": name, "typed_config": manager}]}
    if place.setup.tls:
        pair = {
            "certificate_chain": {"filename": str(place.certificate)},
            "private_key": {"filename": str(place.key)},
        }
        chain["transport_socket"] = {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": f"{kinds}.transport_sockets.tls.v3.DownstreamTlsContext",
                "common_tls_context": {"tls_certificates": [pair]},
            },
        }
    limit = {"max_connections": 16384, "max_pending_requests": 16384, "max_requests": 16384}
    cluster: dict[str, Any] = {
        "name": "up",
        "connect_timeout": "5s",
        "circuit_breakers": {"thresholds": [limit]},
        "load_assignment": {
            "cluster_name": "up",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(place.origin)}}]}],
        },
    }
    if place.setup.http2_upstream:
        options = f"{kinds}.upstreams.http.v3.HttpProtocolOptions"
        chosen = {"@type": options, "explicit_http_config": {"http2_protocol_options": {}}}
        cluster["typed_extension_protocol_options"] = {options.partition("/")[2]: chosen}
    listener = {"address": _address(place.port), "filter_chains": [chain], "tcp_backlog_size": 4096}
    file = place.write("envoy.json", json.dumps({"static_resources": {"listeners": [listener], "clusters": [cluster]}}))
    workers = str(place.setup.workers)
    return Command([place.binary, "-c", file, "--concurrency", workers, "--disable-hot-restart", "-l", "error"])


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def traefik(place: Place) -> Command:
    """Traefik: a router a host, from its file provider. JSON is YAML."""
    tls: dict[str, Any] = {"tls": {}} if place.setup.tls else {}
    rules = [f"Host(`{host}`)" for host in place.hosts] or ["PathPrefix(`/`)"]
    routers = {
        f"r{number}": {"rule": rule, "service": "up", "entryPoints": ["in"], **tls} for number, rule in enumerate(rules)
    }
    scheme = "h2c" if place.setup.http2_upstream else "http"
    dynamic: dict[str, Any] = {
        "http": {
            "routers": routers,
            "services": {
                "up": {
                    "loadBalancer": {
                        "servers": [{"url": f"{scheme}://127.0.0.1:{place.origin}"}],
                        "serversTransport": "kept",
                    }
                }
            },
            "serversTransports": {"kept": {"maxIdleConnsPerHost": _KEPT}},
        }
    }
    if place.setup.tls:
        pair = {"certFile": str(place.certificate), "keyFile": str(place.key)}
        dynamic["tls"] = {"certificates": [pair], "stores": {"default": {"defaultCertificate": pair}}}
    patience = {"readTimeout": "0s", "writeTimeout": "0s", "idleTimeout": "600s"}
    static = {
        "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
        "log": {"level": "ERROR"},
        "entryPoints": {
            "in": {"address": f"127.0.0.1:{place.port}", "transport": {"respondingTimeouts": patience}},
        },
        "providers": {"file": {"filename": place.write("dynamic.yml", json.dumps(dynamic)), "watch": False}},
    }
    file = place.write("traefik.yml", json.dumps(static))
    return Command([place.binary, f"--configfile={file}"], {"GOMAXPROCS": str(place.setup.workers)})


def caddy(place: Place) -> Command:
    """Caddy: a route a host."""
    handle: dict[str, Any] = {
        "handler": "reverse_proxy",
        "upstreams": [{"dial": f"127.0.0.1:{place.origin}"}],
        "transport": {
            "protocol": "http",
            "versions": ["h2c"] if place.setup.http2_upstream else ["1.1"],
            "keep_alive": {"max_idle_conns": _KEPT, "max_idle_conns_per_host": _KEPT},
        },
    }
    routes = [{"match": [{"host": [host]}], "handle": [handle], "terminal": True} for host in place.hosts]
    server: dict[str, Any] = {
        "listen": [f"127.0.0.1:{place.port}"],
        "routes": routes or [{"handle": [handle]}],
        "automatic_https": {"disable": True},
    }
    if place.setup.clients == "http2":
        server["protocols"] = ["h1", "h2", "h2c"]
    apps: dict[str, Any] = {"http": {"servers": {"in": server}}}
    if place.setup.tls:
        server["tls_connection_policies"] = [{"default_sni": "localhost"}]
        pair = {"certificate": str(place.certificate), "key": str(place.key)}
        apps["tls"] = {"certificates": {"load_files": [pair]}}
    document = {
        "admin": {"disabled": True, "config": {"persist": False}},
        "logging": {"logs": {"default": {"level": "ERROR"}}},
        "apps": apps,
    }
    home = {"HOME": str(place.folder), "XDG_DATA_HOME": str(place.folder), "XDG_CONFIG_HOME": str(place.folder)}
    file = place.write("caddy.json", json.dumps(document))
    return Command([place.binary, "run", "--config", file], {"GOMAXPROCS": str(place.setup.workers), **home})
