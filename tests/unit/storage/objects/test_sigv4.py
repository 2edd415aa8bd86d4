"""Presigned addresses are signed as AWS signs them."""

from __future__ import annotations

from datetime import UTC, datetime

from storage.objects.sigv4 import S3Credentials, presigned_url


def test_the_published_example_of_aws_has_its_published_signature() -> None:
    # "Authenticating Requests: Using Query Parameters (AWS Signature Version 4)", Amazon S3 API reference.
    url = presigned_url(
        "GET",
        "https://examplebucket.s3.amazonaws.com",
        "/test.txt",
        {},
        credentials=S3Credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "us-east-1"),
        now=datetime(2013, 5, 24, tzinfo=UTC),
        expires_s=86400,
    )
    assert url == (
        "https://examplebucket.s3.amazonaws.com/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256"
        "&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request"
        "&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"
        "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
    )
