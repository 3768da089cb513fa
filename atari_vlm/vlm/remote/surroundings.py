"""What in the environment of the process may be why a server is not reached: certificates and proxies."""

from __future__ import annotations

import os
import urllib.parse
import urllib.request

from atari_vlm.vlm.remote.outcomes import Failure

_PROXIED = (
    None,
    403,
    407,
    502,
    503,
    504,
)  # statuses that a proxy gives of its own; None: no response


def hint_of_surroundings(failure: Failure, url: str) -> str:
    """A sentence that names the variable to look at, or nothing."""
    if failure.status not in _PROXIED:
        return ""
    if failure.status is None and (hint := _certificates()):
        return hint
    return _proxy(url)


def _certificates() -> str:
    """The variable that names certificates which are not there."""
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        path = os.environ.get(name)
        if path and not os.path.exists(path):
            return f"{name} names {path}, which does not exist: unset it or correct it"
    return ""


def _proxy(url: str) -> str:
    """The proxy between here and ``url``, without the credentials that may stand in its address."""
    parts = urllib.parse.urlsplit(url)
    host = parts.hostname or ""
    proxies = urllib.request.getproxies()
    scheme = next((scheme for scheme in (parts.scheme, "all") if proxies.get(scheme)), None)
    if scheme is None or urllib.request.proxy_bypass(host):
        return ""
    proxy = urllib.parse.urlsplit(proxies[scheme]).netloc.rpartition("@")[2]
    return f"Requests go through the proxy {proxy} ({scheme.upper()}_PROXY); for a server of your own set NO_PROXY={host}"
