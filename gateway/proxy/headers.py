"""The header rules of a gateway (RFC 9110 section 7.6), gathered for those who forward messages."""

from __future__ import annotations

from gateway.proxy.fields import RawHeaders, response_key
from gateway.proxy.request_head import Inspected, check_request_head, credential_fields
from gateway.proxy.request_headers import max_forwards, upstream_headers
from gateway.proxy.response_headers import downstream_headers

__all__ = [
    "Inspected",
    "RawHeaders",
    "check_request_head",
    "credential_fields",
    "downstream_headers",
    "max_forwards",
    "response_key",
    "upstream_headers",
]
