# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person writes, made one normal form, and everything that is refused."""

from __future__ import annotations

import hashlib

import pytest

from baleine import units
from baleine.errors import BaleineError


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("http://mirror.example/debian/", "http://mirror.example/debian"),
        ("http://mirror.example//", "http://mirror.example"),
        ("file:///", "file:///"),
        ("deb http://mirror.example/own ./", "deb http://mirror.example/own ./"),
        ("", ""),
    ],
)
def test_a_final_slash_of_a_mirror_is_ignored_and_a_sources_line_is_kept_unchanged(text, normal):
    assert units.normal_address(text) == normal


@pytest.mark.parametrize(
    ("name", "what", "normal"),
    [
        ("web1", "container", "web1"),
        ("Web_1.example-2", "container", "Web_1.example-2"),
        ("1", "container", "1"),
        ("a" * 63, "container", "a" * 63),
        ("a" * 15, "bridge", "a" * 15),
        ("private", "bridge", "private"),
        ("apache2", "image", "apache2"),
        ("apache2:v1.2", "image", "apache2:v1.2"),
        ("apache2:latest", "image", "apache2"),
        ("latest", "image", "latest"),
        ("a..b", "image", "a..b"),
    ],
)
def test_a_valid_name_is_kept_without_the_tag_latest(name, what, normal):
    assert units.check_name(name, what) == normal


@pytest.mark.parametrize("what", ["container", "bridge", "image"])
@pytest.mark.parametrize(
    "name",
    ["", "a/b", "/etc/passwd", "a b", " a", "a ", "..", ".", ".hidden", "-a", "_a", "a" * 300, "a" * 64, "a\n", "a\0b"]
    + ["é", "a*b", "a;b", "a$b", "../a", "a:b:c", "a:", ":a", "a:.b", "a:" + "b" * 64],
    ids=lambda name: repr(name[:12]),
)
def test_a_name_that_could_be_another_path_is_refused(name, what):
    with pytest.raises(BaleineError) as caught:
        units.check_name(name, what)
    assert what in caught.value.message
    assert len(caught.value.message) < 200
    assert caught.value.hint


@pytest.mark.parametrize("what", ["container", "bridge"])
def test_only_an_image_has_a_tag(what):
    with pytest.raises(BaleineError, match="no valid name"):
        units.check_name("web:v1", what)


def test_a_bridge_of_16_characters_is_refused_as_the_kernel_would():
    with pytest.raises(BaleineError, match="16 characters.*at most 15"):
        units.check_name("b" * 16, "bridge")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512M", 536870912),
        ("512MiB", 536870912),
        ("512MB", 536870912),
        ("512m", 536870912),
        ("512 M", 536870912),
        (" 512M ", 536870912),
        ("536870912", 536870912),
        ("536870912B", 536870912),
        (536870912, 536870912),
        ("0.5G", 536870912),
        ("1.5G", 1610612736),
        ("10g", 10737418240),
        ("1T", 1 << 40),
        ("1K", 1024),
        ("1kib", 1024),
        ("0", 0),
    ],
)
def test_a_size_is_converted_to_bytes(text, size):
    assert units.parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "size"),
    [("10240", 10 << 30), (10240, 10 << 30), ("1.5", 3 << 19), ("10240M", 10 << 30), ("1048576B", 1 << 20)],
)
def test_a_number_without_unit_is_bytes_by_default(text, size):
    assert units.parse_size(text, bare=units.MEBIBYTE) == size


@pytest.mark.parametrize(
    "text",
    [
        "",
        "M",
        "-1",
        "-1M",
        "1e3",
        "1,5G",
        "512X",
        "512MM",
        "512iB",
        "B512",
        "1.G",
        ".5G",
        "five",
        "1 2M",
        "nan",
        "0x10",
        "٣M",
    ]
    + ["9" * 400 + ".5G", "9" * 5000],
    ids=lambda text: text[:10] or "empty",
)
def test_an_invalid_size_is_refused(text):
    with pytest.raises(BaleineError, match="size"):
        units.parse_size(text)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0B"),
        (512, "512B"),
        (1024, "1K"),
        (1536, "1.5K"),
        (536870912, "512M"),
        (10 << 30, "10G"),
        (1 << 40, "1T"),
        ((10 << 30) + 1, "10.0G"),
        (3 << 29, "1536M"),
    ],
)
def test_a_size_is_shown_in_the_largest_exact_unit(size, text):
    assert units.show_size(size) == text


@pytest.mark.parametrize("size", [4096, 1 << 20, 536870912, 10 << 30, 3 << 29])
def test_a_shown_exact_size_is_read_back(size):
    assert units.parse_size(units.show_size(size)) == size


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("192.168.42.2/24", "192.168.42.2/24"),
        (" 192.168.42.2/24 ", "192.168.42.2/24"),
        ("192.168.42.2/255.255.255.0", "192.168.42.2/24"),
        ("10.0.0.1/8", "10.0.0.1/8"),
        ("192.168.42.0/31", "192.168.42.0/31"),
        ("192.168.42.1/31", "192.168.42.1/31"),
        ("192.168.42.0/32", "192.168.42.0/32"),
        ("192.168.42.255/23", "192.168.42.255/23"),
        ("fd00::2/64", "fd00::2/64"),
        ("FD00::2/64", "fd00::2/64"),
        ("fd00:0:0:0::2/64", "fd00::2/64"),
        ("fd00:0000:0000:0000:0000:0000:0000:0002/64", "fd00::2/64"),
        ("fd00::/127", "fd00::/127"),
        ("fd00::1/128", "fd00::1/128"),
        ("fd00::ffff:ffff:ffff:ffff/64", "fd00::ffff:ffff:ffff:ffff/64"),
    ],
)
def test_an_address_has_one_normal_form(text, normal):
    assert units.parse_address(text, "bridge b") == normal


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("192.168.42.2", "no prefix"),
        ("fd00::2", "no prefix"),
        ("192.168.42.0/24", "network's own"),
        ("192.168.42.255/24", "broadcast"),
        ("10.0.0.0/8", "network's own"),
        ("10.255.255.255/8", "broadcast"),
        ("fd00::/64", "network's own"),
        ("192.168.042.1/24", "042"),
        ("192.168.42.256/24", "256"),
        ("192.168.42.2/33", "33"),
        ("192.168.42/24", "192.168.42"),
        ("fd00::g/64", "fd00::g"),
        ("224.0.0.1/24", "cannot be"),
        ("ff02::1/64", "cannot be"),
        ("0.0.0.0/0", "0.0.0.0"),
        ("0.0.0.0/32", "0.0.0.0"),
        ("::/0", "::"),
        ("::/128", "::"),
        ("web/24", "web"),
        ("/24", ""),
        ("127.0.0.5/8", "127.0.0.5"),
        ("::1/128", "::1"),
        ("fe80::5/64", "fe80::5"),
        ("fe80::5%eth0/64", "fe80::5"),
    ],
)
def test_an_address_that_no_interface_can_have_is_refused(text, why):
    with pytest.raises(BaleineError) as caught:
        units.parse_address(text, "bridge b")
    assert caught.value.message.startswith("bridge b: ")
    assert why in caught.value.message


@pytest.mark.parametrize(
    ("text", "normal"), [("192.168.42.1", "192.168.42.1"), (" FD00::1 ", "fd00::1"), ("fd00:0::1", "fd00::1")]
)
def test_a_gateway_has_one_normal_form(text, normal):
    assert units.parse_gateway(text, "x") == normal


@pytest.mark.parametrize("text", ["192.168.42.1/24", "gateway", "", "192.168.42", "1.2.3.04", "default"])
def test_a_gateway_is_an_address_without_a_prefix(text):
    with pytest.raises(BaleineError, match=r"x: gateway: .*without a prefix"):
        units.parse_gateway(text, "x")


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("default", "default"),
        (" default ", "default"),
        ("10.1.0.0/16", "10.1.0.0/16"),
        ("10.1.0.0/255.255.0.0", "10.1.0.0/16"),
        ("FD00:1::/32", "fd00:1::/32"),
    ],
)
def test_a_route_has_one_normal_form(text, normal):
    assert units.parse_destination(text, "x") == normal


@pytest.mark.parametrize(
    ("text", "shown_by_the_kernel"),
    [("0.0.0.0/0", "default"), ("::/0", "default"), ("10.9.9.9/32", "10.9.9.9"), ("2001:db8::1/128", "2001:db8::1")],
)
def test_a_route_is_written_as_the_kernel_shows_it(text, shown_by_the_kernel):
    """`ip -j route` writes no prefix for one host, and `default` for all of them: else it is drift for ever."""
    assert units.parse_destination(text, "x") == shown_by_the_kernel


@pytest.mark.parametrize("text", ["10.1.2.3/16", "any", "", "10.1.0.0/33"])
def test_a_route_to_an_invalid_network_is_refused(text):
    with pytest.raises(BaleineError, match="x: route: "):
        units.parse_destination(text, "x")


@pytest.mark.parametrize(
    "text",
    ["02:ab:cd:ef:01:23", "02-AB-CD-EF-01-23", "02AB.CDEF.0123", "02abcdef0123", " 02:AB:cd:EF:01:23 "],
)
def test_a_mac_has_one_normal_form(text):
    assert units.parse_mac(text, "x") == "02:ab:cd:ef:01:23"


@pytest.mark.parametrize(
    "text",
    ["", "02:ab:cd:ef:01", "02:ab:cd:ef:01:23:45", "02:ab:cd:ef:01:2g", "01:00:5e:00:00:01", "ff:ff:ff:ff:ff:ff"]
    + ["00:00:00:00:00:00", "mac"],
)
def test_a_mac_that_no_interface_can_have_is_refused(text):
    with pytest.raises(BaleineError, match="x: .* is no MAC"):
        units.parse_mac(text, "x")


def test_a_generated_mac_is_local_unicast_stable_and_unique_per_machine_name_and_index():
    macs = [units.make_mac(m, n, i) for m in ("one", "two") for n in ("web1", "web2") for i in (0, 1)]
    assert len(set(macs)) == len(macs)
    assert units.make_mac("one", "web1", 0) == macs[0]
    for mac in macs:
        assert int(mac[:2], 16) & 3 == 2
        assert units.parse_mac(mac, "x") == mac


def test_the_documented_interface_prefix_is_kept():
    assert units.interface_prefix("mycontainer") == "vifc866"
    assert units.interface_names("mycontainer", 2, []) == ["vifc866_0", "vifc866_1"]


#: The SHA-1 of both, each followed by a newline, begins with cb42.
MEET = ("web106", "web251")


def test_interface_names_that_collide_in_four_digits_get_more_digits():
    first, second = MEET
    assert units.interface_prefix(first) == units.interface_prefix(second) == "vifcb42"
    digest = hashlib.sha1(f"{second}\n".encode()).hexdigest()
    assert units.interface_names(second, 2, ["vifcb42_0"]) == [f"vif{digest[:5]}_0", f"vif{digest[:5]}_1"]
    assert units.interface_names(second, 1, ["vifcb42_0", f"vif{digest[:5]}_3"]) == [f"vif{digest[:6]}_0"]


@pytest.mark.parametrize("count", [0, 1, 10, 100])
def test_an_interface_name_has_at_most_15_characters(count):
    digest = hashlib.sha1(b"web251\n").hexdigest()
    taken = [f"vif{digest[:digits]}_0" for digits in range(4, 9)]
    names = units.interface_names("web251", count, taken)
    assert len(names) == count == len(set(names))
    assert all(len(name) <= 15 for name in names)


def test_another_name_is_required_if_no_digits_are_left():
    digest = hashlib.sha1(b"web251\n").hexdigest()
    with pytest.raises(BaleineError, match="web251.*another name"):
        units.interface_names("web251", 1, [f"vif{digest[:digits]}_0" for digits in range(4, 16)])


@pytest.mark.parametrize("value", [None, 68, 1280, 1500, 9000, 65535])
def test_an_mtu_in_range_is_accepted(value):
    assert units.parse_mtu(value, "x") == value


@pytest.mark.parametrize("value", [-1, 0, 67, 65536])
def test_an_mtu_out_of_range_is_refused(value):
    with pytest.raises(BaleineError, match=f"x: an MTU of {value} bytes"):
        units.parse_mtu(value, "x")


@pytest.mark.parametrize(
    ("value", "cpus"), [(None, None), ("0.5", 0.5), (0.5, 0.5), (1, 1.0), ("2", 2.0), ("0.01", 0.01), (0.33333, 0.3333)]
)
def test_a_number_of_cpus_has_one_normal_form(value, cpus):
    assert units.parse_cpus(value, "x") == cpus


@pytest.mark.parametrize("value", ["", "0", 0, -1, "half", "nan", "inf", "1e9", 0.001])
def test_an_invalid_number_of_cpus_is_refused(value):
    with pytest.raises(BaleineError, match=r"x: limits\.cpus"):
        units.parse_cpus(value, "x")


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        (None, None),
        ("0", "0"),
        ("0-2,7", "0-2,7"),
        ("7,0,1,2", "0-2,7"),
        ("0,1", "0-1"),
        (" 0 , 1-3 ", "0-3"),
        ("0-3,2-5", "0-5"),
        ("3-3", "3"),
        (0, "0"),
    ],
)
def test_a_set_of_cpus_has_the_form_of_the_kernel(text, normal):
    assert units.parse_cpuset(text, "x") == normal


@pytest.mark.parametrize("text", ["", ",", "a", "2-1", "-1", "0-", "0--1", "1.5", "0;1", "999999"])
def test_an_invalid_set_of_cpus_is_refused(text):
    with pytest.raises(BaleineError, match=r"x: .* is no list of numbers"):
        units.parse_cpuset(text, "x")


@pytest.mark.parametrize(("numbers", "text"), [([], ""), ([0], "0"), ([0, 1], "0-1"), ([0, 2, 3, 4, 9], "0,2-4,9")])
def test_sorted_numbers_are_joined_to_ranges(numbers, text):
    assert units.join_ranges(numbers) == text


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("/usr/sbin/apache2ctl start", ("/usr/sbin/apache2ctl", "start")),
        ("sh -c 'echo \"a b\" $HOME; ls > x'", ("sh", "-c", 'echo "a b" $HOME; ls > x')),
        ('echo "it\'s"', ("echo", "it's")),
        ("echo a\\ b ''", ("echo", "a b", "")),
        (["/bin/echo", "a b", ""], ("/bin/echo", "a b", "")),
        (["/bin/sleep", 5], ("/bin/sleep", "5")),
        ("a # b", ("a", "#", "b")),
    ],
)
def test_a_command_is_split_like_shell_words_and_nothing_is_expanded(command, words):
    assert units.split_command(command, "x") == words


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("echo 'open", "quot"),
        ('echo "open', "quot"),
        ("", "empty"),
        ("   ", "empty"),
        ("''", "empty"),
        ([], "empty"),
        ([""], "empty"),
        (["echo", "a\0b"], "NUL"),
        ("echo a\0b", "NUL"),
    ],
)
def test_a_command_that_cannot_be_run_is_refused(command, why):
    with pytest.raises(BaleineError, match=why):
        units.split_command(command, "x")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "00:00:00"), (59.9, "00:00:59"), (3661, "01:01:01"), (86399, "23:59:59"), (3 * 86400 + 14706, "3d 04:05:06")],
)
def test_a_running_time_is_shown_as_a_clock(seconds, text):
    assert units.show_duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("20mbit", 20_000_000),
        ("1.5gbit", 1_500_000_000),
        ("64k", 64_000),
        ("20Mbit", 20_000_000),
        (None, None),
        ("", None),
    ],
)
def test_a_rate_is_parsed_and_shown(text, rate):
    assert units.parse_rate(text, "x") == rate
    assert units.parse_rate(units.show_rate(rate) if rate else None, "x") == rate


@pytest.mark.parametrize("text", ["1", "20mb", "-5mbit", "fast", "10kbit", "20mbit/s", "1e6"])
def test_an_invalid_rate_is_refused(text):
    with pytest.raises(BaleineError, match="x: .* is no rate"):
        units.parse_rate(text, "x")


@pytest.mark.parametrize(
    ("path", "normal"), [("/a", "/a"), ("//a/./b/", "/a/b"), ("///a/../b", "/b"), ("//", "/"), ("a//b", "a/b")]
)
def test_a_path_has_one_normal_form(path, normal):
    assert units.normal_path(path) == normal
