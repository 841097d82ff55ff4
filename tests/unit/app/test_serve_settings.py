"""What `lastgood controller` refuses before it touches its state directory."""

import socket
from argparse import Namespace
from dataclasses import fields

import pytest

from lastgood_controller.model import (
    Policy,
)
from lastgood_controller.serve import MisuseError, _check_free, settings_from


def arguments(**changes) -> Namespace:
    policy = {each.name: getattr(Policy(), each.name) for each in fields(Policy)}
    given = {**policy, "state_dir": "x", "listen": "127.0.0.1:0", "metrics_listen": "127.0.0.1:0", "steering": "on"}
    return Namespace(**{**given, **changes})


@pytest.mark.parametrize("wrong", [-1.0, float("nan"), float("inf")])
def test_every_wait_is_a_number_that_ends(wrong):
    with pytest.raises(MisuseError, match="--gate-s"):
        settings_from(arguments(gate_s=wrong))


def test_an_address_of_version_6_stands_in_brackets():
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    listen = settings_from(arguments(listen="[::1]:0")).listen

    _check_free(listen, "--listen")

    assert listen == ("[::1]", 0)
